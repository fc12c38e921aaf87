//! `cais network …`.

use super::prune::ask;
use super::{engine, for_each, privileged_engine, sweep};
use crate::failure::Failure;
use crate::output::{print, print_error, program};
use cais::cli::{NetworkCommand, NetworkConnectArgs, NetworkCreateArgs, NetworkListArgs, NetworkPruneArgs};
use cais::template::{Format, Listing, Template};
use cais_engine::EngineError;
use cais_engine::engine::Engine;
use cais_engine::network::check::{check, repair};
use cais_engine::network::describe::{Listed, inspect, list};
use cais_engine::network::{NewNetwork, NewPool, change, create, remove};
use cais_engine::options::network::{check_alias, parse_address, parse_mac};
use cais_engine::options::{Attachment, process};
use cais_engine::prune::{LabelFilter, PruneFilter};
use cais_json::{Value, json};
use cais_net::NetError;
use cais_net::network::{Driver, Network};
use cais_net::subnet::Subnet;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) fn network(command: &NetworkCommand) -> Result<u8, Failure> {
    match command {
        NetworkCommand::Create(args) => make(args),
        NetworkCommand::Ls(args) => ls(args),
        NetworkCommand::Inspect { format, networks, .. } => show(networks, format.as_deref()),
        NetworkCommand::Rm { force, networks } => rm(networks, *force),
        NetworkCommand::Prune(args) => prune(args),
        NetworkCommand::Connect(args) => connect(args),
        NetworkCommand::Disconnect {
            force,
            network,
            container,
        } => disconnect(network, container, *force),
        NetworkCommand::Egress { format, container } => super::egress::show(container, format.is_some()),
        NetworkCommand::Check => look(),
        NetworkCommand::Repair | NetworkCommand::Reload => mend(),
    }
}

fn bad(text: impl Into<String>) -> Failure {
    Failure::new(text).code(1)
}

fn parse<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse()
        .map_err(|error: T::Err| bad(format!("{flag} {text:?}: {error}")))
}

fn pairs(flag: &'static str, texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let (key, value) = process::parse_pair(flag, text)?;
        pairs.insert(key, value);
    }
    Ok(pairs)
}

fn make(args: &NetworkCreateArgs) -> Result<u8, Failure> {
    let driver = match args.driver.as_str() {
        "macvlan" => Driver::Macvlan,
        "bridge" => Driver::Bridge,
        other => {
            return Err(bad(format!(
                "only one instance of \"{other}\" network is allowed: it is always there, as --network {}",
                if other == "null" { "none" } else { other }
            )));
        }
    };
    let new = NewNetwork {
        name: args.name.clone(),
        driver,
        pools: pools(args)?,
        ipv4: args.ipv4,
        ipv6: args.ipv6,
        internal: args.internal,
        attachable: args.attachable,
        labels: pairs("--label", &args.label)?,
        options: pairs("--opt", &args.opt)?,
    };
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    sweep(&engine);
    let network = create(&engine.store, &new)?;
    print(&format!("{}\n", network.id))?;
    Ok(0)
}

/// The subnets, each with the gateway, range and reserved addresses that lie in it.
fn pools(args: &NetworkCreateArgs) -> Result<Vec<NewPool>, Failure> {
    let mut pools = Vec::new();
    for text in args.subnet.iter().flat_map(|text| text.split(',')) {
        pools.push(NewPool {
            subnet: Some(parse::<Subnet>("--subnet", text)?),
            ..NewPool::default()
        });
    }
    for text in &args.gateway {
        let address: IpAddr = parse("--gateway", text)?;
        pool_of(&mut pools, "--gateway", address)?.gateway = Some(address);
    }
    for text in &args.ip_range {
        let range: Subnet = parse("--ip-range", text)?;
        pool_of(&mut pools, "--ip-range", range.address())?.range = Some(range);
    }
    for (name, text) in pairs("--aux-address", &args.aux_address)? {
        let address: IpAddr = parse("--aux-address", &text)?;
        pool_of(&mut pools, "--aux-address", address)?
            .aux
            .insert(name, address);
    }
    Ok(pools)
}

fn pool_of<'a>(pools: &'a mut [NewPool], flag: &str, address: IpAddr) -> Result<&'a mut NewPool, Failure> {
    pools
        .iter_mut()
        .find(|pool| pool.subnet.is_some_and(|subnet| subnet.contains(address)))
        .ok_or_else(|| bad(format!("{flag} {address}: it lies in no --subnet that was given")))
}

/// The networks that all filters take.
fn filtered(all: Vec<Listed>, filters: &[String]) -> Result<Vec<Listed>, Failure> {
    let mut left = all;
    for text in filters {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| bad(format!("--filter {text:?}: not KEY=VALUE")))?;
        let label = LabelFilter::parse(value);
        match key {
            "name" => left.retain(|each| each.name.contains(value)),
            "id" => left.retain(|each| each.id.contains(value)),
            "driver" => left.retain(|each| each.driver == value),
            "scope" => left.retain(|_| value == "local"),
            "type" => {
                let custom = value == "custom";
                left.retain(|each| (each.network.is_some() && each.name != "bridge") == custom);
            }
            "label" => left.retain(|each| {
                let network = each.network.as_ref();
                label.matches(network.iter().flat_map(|network| labels(network)))
            }),
            _ => return Err(bad(format!("invalid filter '{key}'"))),
        }
    }
    Ok(left)
}

fn labels(network: &Network) -> impl Iterator<Item = (&str, &str)> {
    network
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

fn ls(args: &NetworkListArgs) -> Result<u8, Failure> {
    const LISTING: Listing<'_> = Listing {
        table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
        id: "ID",
        raw: &[
            ("network_id", "ID"),
            ("name", "Name"),
            ("driver", "Driver"),
            ("scope", "Scope"),
        ],
    };
    let engine = engine()?;
    let all = filtered(list(&engine.store)?, &args.filter)?;
    let id = |listed: &Listed| {
        let length = if args.no_trunc { listed.id.len() } else { 12 };
        listed.id.get(..length).unwrap_or_default().to_owned()
    };
    let rows: Vec<Value> = all.iter().map(|listed| row(listed, &id(listed))).collect();
    let format = Format::of_list(args.format.as_deref(), args.quiet, &LISTING)?;
    print(&format.render(rows, &[("ID", "NETWORK ID")])?)?;
    Ok(0)
}

fn row(listed: &Listed, id: &str) -> Value {
    let network = listed.network.as_ref();
    let text: Vec<String> = network
        .iter()
        .flat_map(|network| labels(network))
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    json!({
        "CreatedAt": network.map_or("", |network| network.created.as_str()),
        "Driver": listed.driver,
        "ID": id,
        "IPv4": network.is_none_or(|network| network.pool(true).is_some()).to_string(),
        "IPv6": network.is_some_and(|network| network.pool(false).is_some()).to_string(),
        "Internal": network.is_some_and(|network| network.internal).to_string(),
        "Labels": text.join(","),
        "Name": listed.name,
        "Scope": "local",
    })
}

fn show(names: &[String], format: Option<&str>) -> Result<u8, Failure> {
    let template = format
        .filter(|format| !matches!(*format, "" | "json"))
        .map(Template::parse)
        .transpose()?;
    let engine = engine()?;
    let mut found = Vec::new();
    let mut code = 0;
    for name in names {
        match inspect(&engine.store, name) {
            Ok(value) => found.push(value),
            Err(EngineError::Network(NetError::NoSuchNetwork(name))) => {
                code = 1;
                print_error(&format!("Error response from daemon: network {name} not found\n"));
            }
            Err(error) => code = Failure::from(error).show(),
        }
    }
    match template {
        Some(template) => {
            for value in &found {
                print(&format!("{}\n", template.render(value)?))?;
            }
        }
        None => {
            let text = cais_json::to_string_indented(&Value::Array(found), "  ");
            print(&format!("{text}\n"))?;
        }
    }
    Ok(code)
}

fn rm(names: &[String], force: bool) -> Result<u8, Failure> {
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    sweep(&engine);
    for_each(names, |name| {
        match remove::remove(&engine.store, name, &engine.checkpoints) {
            Err(EngineError::Network(NetError::NoSuchNetwork(_))) if force => Ok(()),
            other => Ok(other.map(drop)?),
        }
    })
}

fn prune(args: &NetworkPruneArgs) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&args.filter, std::time::SystemTime::now())?;
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    if !args.force && !ask("This will remove all custom networks not used by at least one container.")? {
        return Ok(0);
    }
    sweep(&engine);
    prune_unused(&engine, &filter)?;
    Ok(0)
}

/// Removes the networks that no container is in and that the filter takes, and says which.
pub(super) fn prune_unused(engine: &Engine, filter: &PruneFilter) -> Result<(), Failure> {
    let until = filter.until;
    let wanted = |network: &Network| {
        let is_old = until.is_none_or(|until| {
            cais_engine::moment::parse_moment(&network.created, until).is_some_and(|created| created < until)
        });
        is_old
            && filter.labels.iter().all(|label| label.matches(labels(network)))
            && !filter.without.iter().any(|label| label.matches(labels(network)))
    };
    let removed = remove::prune(&engine.store, wanted, &engine.checkpoints)?;
    if !removed.is_empty() {
        let names: String = removed
            .iter()
            .map(|network| network.name.clone() + "\n")
            .collect();
        print(&format!("Deleted Networks:\n{names}\n"))?;
    }
    Ok(())
}

fn connect(args: &NetworkConnectArgs) -> Result<u8, Failure> {
    let optional = |flag, text: &Option<String>| text.as_deref().map(|text| parse_address(flag, text));
    let attachment = Attachment {
        network: args.network.clone(),
        ip: optional("--ip", &args.ip).transpose()?,
        ip6: args
            .ip6
            .as_deref()
            .map(|text| parse_address("--ip6", text))
            .transpose()?,
        mac: args.mac_address.as_deref().map(parse_mac).transpose()?,
        aliases: args
            .alias
            .iter()
            .map(|text| check_alias(text))
            .collect::<Result<_, _>>()?,
        link_local: args
            .link_local_ip
            .iter()
            .map(|text| parse_address("--link-local-ip", text))
            .collect::<Result<_, _>>()?,
        gateway_priority: args.gw_priority.unwrap_or(0),
        interface: None,
    };
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    sweep(&engine);
    change::connect(&engine, &args.container, attachment)?;
    Ok(0)
}

fn disconnect(network: &str, container: &str, force: bool) -> Result<u8, Failure> {
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    sweep(&engine);
    match change::disconnect(&engine, network, container) {
        Err(EngineError::Invalid(_)) if force => {}
        other => other?,
    }
    Ok(0)
}

fn look() -> Result<u8, Failure> {
    let engine = engine()?;
    let found = check(&engine.store)?;
    let text: String = found
        .iter()
        .map(|finding| format!("{}\n  remedy: {}\n", finding.what, finding.remedy))
        .collect();
    print(&text)?;
    Ok(u8::from(!found.is_empty()))
}

fn mend() -> Result<u8, Failure> {
    let engine = privileged_engine().map_err(|failure| failure.code(1))?;
    repair(&engine.store)?;
    let left = check(&engine.store)?;
    for finding in &left {
        let name = program();
        print_error(&format!(
            "{name}: warning: {}\n{name}: remedy: {}\n",
            finding.what, finding.remedy
        ));
    }
    Ok(0)
}
