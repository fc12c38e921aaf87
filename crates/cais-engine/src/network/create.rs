//! Making networks: subnets that nobody else uses.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::store::Store;
use crate::time;
use cais_linux::SysError;
use cais_net::bridge::{self, HostNetworks};
use cais_net::host;
use cais_net::netlink::{Protocol, Socket};
use cais_net::network::{DEFAULT, Driver, Network, NetworkStore, Pool, VERSION, is_name};
use cais_net::subnet::Subnet;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A subnet that the user asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPool {
    /// `--subnet`.
    pub subnet: Option<Subnet>,
    /// `--gateway`.
    pub gateway: Option<IpAddr>,
    /// `--ip-range`.
    pub range: Option<Subnet>,
    /// `--aux-address`: name and address.
    pub aux: BTreeMap<String, IpAddr>,
}

/// A network that the user asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// `--driver`.
    pub driver: Driver,
    /// Its subnets.
    pub pools: Vec<NewPool>,
    /// `--ipv4`: without it only IPv6.
    pub ipv4: Option<bool>,
    /// `--ipv6`; where the host has it if absent.
    pub ipv6: Option<bool>,
    /// `--internal`.
    pub internal: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
}

/// Options that are understood: Docker's names and the short ones.
const OPTIONS: [(&str, &str); 10] = [
    ("com.docker.network.driver.mtu", "mtu"),
    ("com.docker.network.mtu", "mtu"),
    ("com.docker.network.bridge.name", "name"),
    ("com.docker.network.bridge.enable_icc", "icc"),
    ("com.docker.network.bridge.enable_ip_masquerade", "masquerade"),
    ("com.docker.network.bridge.host_binding_ipv4", "publish-address"),
    ("com.docker.network.container_iface_prefix", "prefix"),
    ("macvlan_mode", "mode"),
    ("parent", "parent"),
    ("mode", "mode"),
];

/// The short name of an option.
fn short_name(key: &str) -> &str {
    OPTIONS
        .iter()
        .find(|(long, _)| *long == key)
        .map_or(key, |(_, short)| short)
}

fn invalid(text: impl Into<String>) -> EngineError {
    EngineError::Invalid(text.into())
}

/// Whoever chooses a subnet holds this, so that two do not choose the same.
fn lock(store: &NetworkStore) -> Result<OwnedFd> {
    crate::store::ensure_directory(&store.definitions)?;
    let path = &store.definitions;
    let directory = open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|directory| flock(&directory, FlockOperation::LockExclusive).map(|()| directory));
    directory
        .map_err(|errno| SysError::new("flock", path.display().to_string(), errno))
        .map_err(EngineError::system("lock the networks"))
}

/// The default network; made where it is not there.
///
/// # Errors
/// Where it cannot be read or made.
pub(crate) fn ensure_default(store: &Store) -> Result<Network> {
    let networks = store.networks();
    if let Some(network) = networks.read(DEFAULT)? {
        return Ok(network);
    }
    let new = NewNetwork {
        name: DEFAULT.to_owned(),
        ..NewNetwork::default()
    };
    match create(store, &new) {
        Ok(network) => Ok(network),
        // Somebody else was faster.
        Err(error) => networks.read(DEFAULT)?.ok_or(error),
    }
}

/// Makes a network. Its bridge is made when it is first used.
///
/// # Errors
/// Where the name is taken, the options do not fit, or no subnet is free.
pub fn create(store: &Store, new: &NewNetwork) -> Result<Network> {
    let networks = store.networks();
    check(new)?;
    let held = lock(&networks)?;
    if networks.read(&new.name)?.is_some() {
        return Err(invalid(format!("network with name {} already exists", new.name)));
    }
    let mut socket = Socket::open_here(Protocol::Route)?;
    let host = HostNetworks::read(&mut socket)?;
    let known = networks.list()?;
    let id = ContainerId::random()?;
    let mut network = Network {
        version: VERSION,
        id: id.as_str().to_owned(),
        name: new.name.clone(),
        created: time::now(),
        driver: new.driver,
        interface: if new.name == DEFAULT {
            networks.bridge.clone()
        } else {
            format!("br-{}", id.short())
        },
        pools: choose_pools(new, &known, &host)?,
        internal: new.internal,
        attachable: new.attachable,
        masquerade: true,
        neighbours: true,
        mtu: default_mtu(&host),
        publish_address: None,
        labels: new.labels.clone(),
        options: new.options.clone(),
    };
    for (key, value) in &new.options {
        apply_option(&mut network, short_name(key), value)
            .map_err(|expected| invalid(format!("--opt {key}={value}: {expected}")))?;
    }
    super::hold::allowances_of(&network)?;
    super::hold::allowances_of(&network)?;
    finish_driver(&mut network, new, &known, &host)?;
    if !networks.create(&network)? {
        return Err(invalid(format!("network with name {} already exists", new.name)));
    }
    drop(held);
    note(store, &network, "create");
    Ok(network)
}

/// The largest packet where the user says nothing and Ethernet's would not do.
fn default_mtu(host: &HostNetworks) -> Option<u32> {
    if cais_net::namespace::has_home() {
        return Some(super::home::MTU);
    }
    host.uplink_mtu().filter(|mtu| *mtu < bridge::MTU)
}

/// Notes what happened to a network in the journal of events.
pub(super) fn note(store: &Store, network: &Network, action: &str) {
    let attributes = [("name", network.name.as_str()), ("type", network.driver.name())];
    crate::events::other(store, "network", &network.id, action, &attributes);
}

fn check(new: &NewNetwork) -> Result<()> {
    if !is_name(&new.name) {
        return Err(invalid(format!(
            "{:?} cannot be the name of a network: letters, digits, '_', '.' and '-', beginning with a letter or digit",
            new.name
        )));
    }
    if ["none", "host", "container", "default"].contains(&new.name.as_str()) {
        return Err(invalid(format!(
            "operation is not permitted on predefined {} network",
            new.name
        )));
    }
    Ok(())
}

/// Takes an option; tells what was expected where it does not fit.
fn apply_option(network: &mut Network, key: &str, value: &str) -> std::result::Result<(), String> {
    let boolean = || match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    };
    let interface = || {
        let fits = (1..16).contains(&value.len())
            && value != "."
            && value != ".."
            && value
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte));
        fits.then(|| value.to_owned())
            .ok_or_else(|| "expected the name of an interface: at most 15 characters".to_owned())
    };
    let macvlan = network.driver == Driver::Macvlan;
    match key {
        "mtu" => {
            let mtu = value.parse().ok().filter(|mtu| (68..=65_535).contains(mtu));
            network.mtu = Some(mtu.ok_or("expected 68 to 65535")?);
        }
        "name" if !macvlan => network.interface = interface()?,
        "parent" if macvlan => network.interface = interface()?,
        "mode" if macvlan => {
            if !["bridge", "private", "vepa", "passthru"].contains(&value) {
                return Err("expected bridge, private, vepa or passthru".to_owned());
            }
        }
        // Judged together when all are read.
        "egress" | "egress-allow" => {}
        "icc" => network.neighbours = boolean()?,
        "masquerade" => network.masquerade = boolean()?,
        "publish-address" => {
            network.publish_address = Some(value.parse().ok().ok_or("expected an IP address")?);
        }
        _ => {
            return Err(format!("not an option of the driver {}", network.driver.name()));
        }
    }
    Ok(())
}

/// What depends on the driver.
fn finish_driver(
    network: &mut Network,
    new: &NewNetwork,
    known: &[Network],
    host: &HostNetworks,
) -> Result<()> {
    if network.driver == Driver::Bridge {
        let is_taken = known.iter().any(|other| other.interface == network.interface);
        if is_taken {
            return Err(invalid(format!(
                "the bridge {} belongs to another network",
                network.interface
            )));
        }
        return Ok(());
    }
    if !new.options.keys().any(|key| short_name(key) == "parent") {
        return Err(invalid(
            "a macvlan network needs the host's interface that it is above: --opt parent=NAME",
        ));
    }
    let parent = host.links.iter().find(|link| link.name == network.interface);
    let Some(parent) = parent else {
        return Err(invalid(format!(
            "--opt parent={}: this host has no such interface",
            network.interface
        )));
    };
    if network.mtu.is_none() || network.mtu == default_mtu(host) {
        network.mtu = Some(parent.mtu);
    }
    // Nothing of ours stands between the container and the parent's network.
    network.masquerade = false;
    Ok(())
}

fn choose_pools(new: &NewNetwork, known: &[Network], host: &HostNetworks) -> Result<Vec<Pool>> {
    let taken = |subnet: &Subnet| {
        known
            .iter()
            .flat_map(|network| &network.pools)
            .any(|pool| pool.subnet.overlaps(subnet))
    };
    let asked = |ipv4: bool| {
        new.pools
            .iter()
            .find(|pool| pool.subnet.is_some_and(|subnet| subnet.is_ipv4() == ipv4))
    };
    let mut pools = Vec::new();
    for pool in &new.pools {
        pools.push(asked_pool(new, pool, &taken, host)?);
    }
    let has_range_alone = new.pools.iter().any(|pool| pool.subnet.is_none());
    if has_range_alone {
        return Err(invalid("--gateway, --ip-range and --aux-address need a --subnet"));
    }
    let only_six = asked(true).is_none() && asked(false).is_some() && new.ipv4 != Some(true);
    if asked(true).is_none() && new.ipv4 != Some(false) && !only_six {
        if new.driver == Driver::Macvlan {
            return Err(invalid(
                "a macvlan network needs the subnet of its parent: --subnet ADDRESS/BITS",
            ));
        }
        let subnet = free_subnet4(&new.name, |subnet| taken(subnet) || host.uses(subnet))?;
        pools.insert(0, automatic(subnet));
    }
    let wants_six = new
        .ipv6
        .unwrap_or_else(|| new.driver == Driver::Bridge && host::has_ipv6());
    if asked(false).is_none() && wants_six {
        pools.push(automatic(random_subnet6(|subnet| {
            taken(subnet) || host.uses(subnet)
        })?));
    }
    if pools.is_empty() {
        return Err(invalid("a network needs IPv4 or IPv6"));
    }
    Ok(pools)
}

/// A subnet that nobody asked for: its first address is the gateway's.
fn automatic(subnet: Subnet) -> Pool {
    Pool {
        subnet,
        gateway: subnet.nth(1),
        range: None,
        aux: BTreeMap::new(),
    }
}

fn asked_pool(
    new: &NewNetwork,
    asked: &NewPool,
    taken: &impl Fn(&Subnet) -> bool,
    host: &HostNetworks,
) -> Result<Pool> {
    let subnet = asked
        .subnet
        .ok_or_else(|| invalid("--gateway, --ip-range and --aux-address need a --subnet"))?;
    if taken(&subnet) {
        return Err(invalid(format!(
            "--subnet {subnet}: it overlaps with that of another network: `cais network ls`, `cais network inspect`"
        )));
    }
    if new.driver == Driver::Bridge && host.uses(&subnet) {
        return Err(invalid(format!(
            "--subnet {subnet}: it overlaps with an address or a route of this host"
        )));
    }
    if subnet.last_index() < 2 {
        return Err(invalid(format!(
            "--subnet {subnet}: too small for a gateway and a container"
        )));
    }
    let outside = |flag: &str, text: String| invalid(format!("{flag} {text}: not within {subnet}"));
    if let Some(range) = asked
        .range
        .filter(|range| range.prefix() < subnet.prefix() || !subnet.contains(range.address()))
    {
        return Err(outside("--ip-range", range.to_string()));
    }
    let mut addresses = asked.aux.values().chain(&asked.gateway);
    if let Some(address) = addresses.find(|address| !subnet.is_usable(**address)) {
        return Err(outside("--gateway or --aux-address", address.to_string()));
    }
    Ok(Pool {
        subnet,
        gateway: asked.gateway.or_else(|| subnet.nth(1)),
        range: asked.range,
        aux: asked.aux.clone(),
    })
}

/// A subnet of IPv4 that neither another network nor this host uses.
fn free_subnet4(name: &str, is_taken: impl Fn(&Subnet) -> bool) -> Result<Subnet> {
    let blocks = |base: [u8; 4], count: u32, prefix: u8| {
        let base = Ipv4Addr::from(base).to_bits();
        (0..count).map(move |index| {
            let address = Ipv4Addr::from_bits(base + (index << (32 - u32::from(prefix))));
            Subnet::new(address.into(), prefix)
        })
    };
    // The default network is large, as Docker's; the others hold 4093 containers each, so
    // that there can be many.
    let large = blocks([172, 17, 0, 0], 15, 16).take(if name == DEFAULT { 15 } else { 0 });
    let mut candidates = large
        .chain(blocks([172, 18, 0, 0], 224, 20))
        .chain(blocks([10, 128, 0, 0], 2048, 20))
        .chain(blocks([192, 168, 0, 0], 256, 24));
    candidates
        .find(|subnet| !is_taken(subnet))
        .ok_or_else(|| invalid("no subnet is free: give one with --subnet, or remove networks that are not used (`cais network prune`)"))
}

/// A subnet of unique local addresses (RFC 4193), which nobody else is likely to have.
fn random_subnet6(is_taken: impl Fn(&Subnet) -> bool) -> Result<Subnet> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        let id = ContainerId::random()?;
        let random = u64::from_str_radix(id.as_str().get(..10).unwrap_or("0"), 16).unwrap_or(0);
        let bits = (0xfd_u128 << 120) | (u128::from(random) << 80);
        let subnet = Subnet::new(Ipv6Addr::from_bits(bits).into(), 64);
        if !is_taken(&subnet) {
            return Ok(subnet);
        }
    }
    Err(invalid("no subnet of IPv6 is free: give one with --subnet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(pools: &[&str]) -> NewNetwork {
        NewNetwork {
            name: "n".to_owned(),
            pools: pools
                .iter()
                .map(|subnet| NewPool {
                    subnet: subnet.parse().ok(),
                    ..NewPool::default()
                })
                .collect(),
            ipv6: Some(false),
            ..NewNetwork::default()
        }
    }

    #[test]
    fn subnets_that_are_chosen() {
        let host = HostNetworks::default();
        let all = |new: &NewNetwork| choose_pools(new, &[], &host).unwrap();
        let first = all(&network(&[]));
        assert_eq!(first[0].subnet.to_string(), "172.18.0.0/20");
        assert_eq!(first[0].gateway, "172.18.0.1".parse().ok());
        let default = NewNetwork {
            name: DEFAULT.to_owned(),
            ..network(&[])
        };
        assert_eq!(all(&default)[0].subnet.to_string(), "172.17.0.0/16");
        let six = all(&network(&["fd00:1::/64"]));
        assert_eq!(six.len(), 1);
        assert!(!six[0].subnet.is_ipv4());
        let both = NewNetwork {
            ipv6: Some(true),
            ..network(&["10.1.0.0/24"])
        };
        assert_eq!(all(&both).len(), 2);
    }

    #[test]
    fn what_does_not_fit() {
        let host = HostNetworks::default();
        let mut outside = network(&["10.1.0.0/24"]);
        outside.pools[0].gateway = "10.2.0.1".parse().ok();
        let mut range = network(&["10.1.0.0/24"]);
        range.pools[0].range = "10.1.0.0/16".parse().ok();
        for bad in [network(&["10.1.0.0/31"]), outside, range] {
            assert!(choose_pools(&bad, &[], &host).is_err(), "{bad:?}");
        }
        let macvlan = NewNetwork {
            driver: Driver::Macvlan,
            ..network(&[])
        };
        assert!(choose_pools(&macvlan, &[], &host).is_err());
    }

    #[test]
    fn subnets_run_out_one_after_the_other() {
        let mut taken: Vec<Subnet> = Vec::new();
        for _ in 0..300 {
            let next = free_subnet4("n", |subnet| taken.iter().any(|other| other.overlaps(subnet))).unwrap();
            taken.push(next);
        }
        assert!(free_subnet4("n", |_| true).is_err());
    }
}
