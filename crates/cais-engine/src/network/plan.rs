//! What a container gets in its networks: addresses, leased; names of interfaces.

use super::create::ensure_default;
use super::home::ways_to_host;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::{Attachment, HostAddress, NetworkMode, PublishMode, RunOptions};
use crate::record::Record;
use crate::state::ProcessName;
use crate::store::Store;
use cais_net::bridge::MTU;
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::host;
use cais_net::lease::{self, Holder};
use cais_net::mac::Mac;
use cais_net::network::{DEFAULT, Driver, Network, NetworkStore};
use cais_net::publish::Protocol;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

fn invalid(text: impl Into<String>) -> EngineError {
    EngineError::Invalid(text.into())
}

/// Plans the interfaces of a container and leases their addresses; `None` where it has none
/// of ours.
///
/// # Errors
/// Where a network is not there or has no free address; nothing is leased then.
pub(crate) fn plan(engine: &Engine, record: &Record) -> Result<Option<Endpoints>> {
    let NetworkMode::Networks(attachments) = &record.options.namespaces.network else {
        return Ok(None);
    };
    let mut planned = Endpoints {
        version: 1,
        container: record.id.as_str().to_owned(),
        name: record.name.clone(),
        // An ordinary user's bridges are elsewhere: the monitor leads there.
        proxy: engine.rootless || record.options.network.publish_mode == PublishMode::Proxy,
        host_ipv6: Some(host::has_ipv6()),
        ..Endpoints::default()
    };
    let result = plan_all(&engine.store, attachments, &mut planned)
        .and_then(|()| check_publish(engine, &record.options, &planned));
    if result.is_err() {
        release(&engine.store.networks(), &planned);
    }
    result.map(|()| Some(planned))
}

fn plan_all(store: &Store, attachments: &[Attachment], planned: &mut Endpoints) -> Result<()> {
    for attachment in attachments {
        let network = find(store, &attachment.network)?;
        if planned.endpoints.iter().any(|each| each.network_id == network.id) {
            return Err(invalid(format!("network {} is named twice", network.name)));
        }
        add_endpoint(store, &network, attachment, planned)?;
    }
    choose_default_route(attachments, planned);
    Ok(())
}

/// Finds a network; the default one is made on first use.
pub(super) fn find(store: &Store, name: &str) -> Result<Network> {
    if name == DEFAULT {
        return ensure_default(store);
    }
    Ok(store.networks().find(name)?)
}

/// What the monitor leads to a container is TCP and UDP.
///
/// # Errors
/// For SCTP, which only the kernel's translation of addresses leads on.
pub(super) fn check_protocol(engine: &Engine, planned: &Endpoints, protocol: Protocol) -> Result<()> {
    if !planned.proxy || protocol != Protocol::Sctp {
        return Ok(());
    }
    Err(invalid(if engine.rootless {
        "SCTP is not published without root, where cais itself leads connections on and knows TCP and UDP: start the container as root, or tunnel SCTP in UDP (RFC 6951) and publish that port"
    } else {
        "SCTP is not published with --publish-mode proxy, which knows TCP and UDP: leave the mode away, and the kernel leads SCTP on"
    }))
}

/// Published ports need an interface that something from outside can reach, and somebody who
/// leads there.
fn check_publish(engine: &Engine, options: &RunOptions, planned: &Endpoints) -> Result<()> {
    let network = &options.network;
    let exposed = network.expose.iter().filter(|_| network.publish_all);
    let published = network.publish.iter().map(|mapping| mapping.protocol);
    for protocol in published.chain(exposed.map(|exposed| exposed.protocol)) {
        check_protocol(engine, planned, protocol)?;
    }
    let wants = !options.network.publish.is_empty() || options.network.publish_all;
    if wants && planned.published_to().is_none() {
        return Err(invalid(
            "--publish: the container is in internal or macvlan networks only, to which the host leads nothing",
        ));
    }
    Ok(())
}

/// Adds an endpoint in `network`, with leased addresses, to `planned`.
///
/// # Errors
/// Where an address is taken or none is free. What was leased stands in `planned`.
pub(super) fn add_endpoint(
    store: &Store,
    network: &Network,
    attachment: &Attachment,
    planned: &mut Endpoints,
) -> Result<()> {
    let networks = store.networks();
    if network.name == DEFAULT && !attachment.aliases.is_empty() {
        return Err(invalid(
            "network-scoped alias is supported only for containers in user defined networks: `cais network create` makes one",
        ));
    }
    let network = &network.clone().on_host(planned.host_ipv6.unwrap_or(true))?;
    if let Some(address) = attachment
        .ip6
        .filter(|_| network.pool(false).is_none() && planned.host_ipv6 == Some(false))
    {
        return Err(invalid(format!(
            "--ip6 {address}: IPv6 is turned off on this host (net.ipv6.conf.default.disable_ipv6)"
        )));
    }
    let id = ContainerId::random()?;
    let number = free_number(planned);
    let interface = attachment
        .interface
        .clone()
        .unwrap_or_else(|| format!("eth{number}"));
    if planned.endpoints.iter().any(|each| each.interface == interface) {
        return Err(invalid(format!("two interfaces would be called {interface}")));
    }
    let is_bridge = network.driver == Driver::Bridge;
    planned.endpoints.push(Endpoint {
        network: network.name.clone(),
        network_id: network.id.clone(),
        id: id.as_str().to_owned(),
        driver: network.driver,
        parent: network.interface.clone(),
        interface,
        host_interface: is_bridge.then(|| format!("cv{}", id.short())),
        mac: random_mac(&id),
        ipv4: None,
        ipv6: None,
        gateway4: network.pool(true).and_then(|pool| pool.gateway),
        gateway6: network.pool(false).and_then(|pool| pool.gateway),
        link_local: attachment.link_local.clone(),
        aliases: attachment.aliases.clone(),
        mtu: network.mtu.unwrap_or(MTU),
        mode: network
            .options
            .get("macvlan_mode")
            .or_else(|| network.options.get("mode"))
            .cloned(),
        isolated: !network.neighbours,
        hairpin: !planned.ports.is_empty(),
        internal: network.internal,
        default_route: false,
    });
    let container = planned.container.clone();
    let maker = ProcessName::of_this().map_or((0, 0), |it| (it.pid, it.start));
    let holder = Holder {
        container: &container,
        maker,
    };
    let Some(endpoint) = planned.endpoints.last_mut() else {
        return Ok(());
    };
    lease_addresses(&networks, network, attachment, (endpoint, holder))
}

fn lease_addresses(
    networks: &NetworkStore,
    network: &Network,
    attachment: &Attachment,
    (endpoint, holder): (&mut Endpoint, Holder<'_>),
) -> Result<()> {
    let lease = |ipv4: bool, asked: Option<IpAddr>| match asked {
        Some(address) => take_asked(networks, network, address, holder).map(Some),
        None => network
            .pool(ipv4)
            .map(|pool| {
                lease::take_free(networks, network, pool, holder)
                    .map(|address| (address, pool.subnet.prefix()))
            })
            .transpose()
            .map_err(EngineError::from),
    };
    if let Some((IpAddr::V4(address), prefix)) = lease(true, attachment.ip.map(IpAddr::V4))? {
        endpoint.ipv4 = Some((address, prefix));
        endpoint.mac = Mac::of_ipv4(address);
    }
    if let Some((IpAddr::V6(address), prefix)) = lease(false, attachment.ip6.map(IpAddr::V6))? {
        endpoint.ipv6 = Some((address, prefix));
    }
    if let Some(mac) = attachment.mac {
        endpoint.mac = mac;
    }
    Ok(())
}

/// Leases the address that the user asked for.
fn take_asked(
    networks: &NetworkStore,
    network: &Network,
    address: IpAddr,
    holder: Holder<'_>,
) -> Result<(IpAddr, u8)> {
    let pool = network.pool_of(address).ok_or_else(|| {
        let subnets: Vec<String> = network.pools.iter().map(|pool| pool.subnet.to_string()).collect();
        invalid(format!(
            "{address} is not within network {} ({})",
            network.name,
            subnets.join(", ")
        ))
    })?;
    if !pool.may_lease(address) {
        return Err(invalid(format!(
            "{address} in network {} is the gateway's, a reserved or no container's address",
            network.name
        )));
    }
    if !lease::take(networks, &network.name, address, holder)? {
        let holder = lease::read(&networks.leases_of(&network.name).join(address.to_string()));
        let holder = holder.map_or_else(String::new, |lease| {
            format!(
                " by container {}",
                lease.container.get(..12).unwrap_or(&lease.container)
            )
        });
        return Err(invalid(format!(
            "address {address} of network {} is in use{holder}",
            network.name
        )));
    }
    Ok((address, pool.subnet.prefix()))
}

/// The first number of an interface that is free.
fn free_number(planned: &Endpoints) -> u32 {
    (0..)
        .find(|number| {
            planned
                .endpoints
                .iter()
                .all(|each| each.interface != format!("eth{number}"))
        })
        .unwrap_or(0)
}

fn random_mac(id: &ContainerId) -> Mac {
    let mut bytes = [0; 6];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        let digits = id.as_str().get(at + 12..at + 14);
        *byte = digits
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .unwrap_or(0);
    }
    Mac::local(bytes)
}

/// The interface with the highest priority, or the first of those, leads to the rest of the
/// world; one of an internal network leads nowhere.
fn choose_default_route(attachments: &[Attachment], planned: &mut Endpoints) {
    let priority = |number: usize| attachments.get(number).map_or(0, |each| each.gateway_priority);
    let chosen = planned
        .endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| !endpoint.internal)
        .max_by_key(|(number, _)| (priority(*number), std::cmp::Reverse(*number)))
        .map(|(number, _)| number);
    if let Some(endpoint) = chosen.and_then(|number| planned.endpoints.get_mut(number)) {
        endpoint.default_route = true;
    }
}

/// Frees what [`plan`] leased.
pub(crate) fn release(networks: &NetworkStore, planned: &Endpoints) {
    for endpoint in &planned.endpoints {
        for (address, _) in endpoint.addresses() {
            // What cannot be freed now a sweep frees.
            lease::release(networks, &endpoint.network, address, &planned.container).unwrap_or_default();
        }
    }
}

/// The lines of `/etc/hosts` that depend on networks.
pub(crate) fn hosts_lines(options: &RunOptions, name: &str, planned: Option<&Endpoints>) -> String {
    let mut text = String::new();
    let mut line = |address: IpAddr, names: &str| {
        // Writing to a string does not fail.
        writeln!(text, "{address}\t{names}").unwrap_or_default();
    };
    let endpoints = planned.map_or(&[][..], |planned| &planned.endpoints);
    let names = options
        .domainname
        .as_ref()
        .map_or_else(|| name.to_owned(), |domain| format!("{name}.{domain} {name}"));
    if endpoints.is_empty() {
        line(IpAddr::from([127, 0, 1, 1]), &names);
    }
    for endpoint in endpoints {
        for (address, _) in endpoint.addresses() {
            line(address, &names);
        }
    }
    let way_out = endpoints
        .iter()
        .find(|endpoint| endpoint.default_route)
        .or(endpoints.first());
    let mut gateways: Vec<IpAddr> = way_out
        .filter(|endpoint| endpoint.driver == Driver::Bridge)
        .map(ways_to_host)
        .unwrap_or_default();
    if options.namespaces.network == NetworkMode::Host {
        gateways.push(Ipv4Addr::LOCALHOST.into());
    }
    for (name, address) in &options.network.add_hosts {
        match address {
            HostAddress::Address(address) => line(*address, name),
            HostAddress::Gateway => gateways.iter().for_each(|gateway| line(*gateway, name)),
        }
    }
    for host in ["host.docker.internal", "host.containers.internal"] {
        let is_given = options.network.add_hosts.iter().any(|(name, _)| name == host);
        if !is_given {
            gateways.iter().for_each(|gateway| line(*gateway, host));
        }
    }
    text
}
