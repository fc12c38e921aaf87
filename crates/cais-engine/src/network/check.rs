//! `cais network check` and `repair`: whether the kernel has what the files say.

use super::sweep::sweep;
use crate::error::Result;
use crate::id::ContainerId;
use crate::options::{NetworkMode, RunOptions};
use crate::store::Store;
use cais_net::bridge::{self, HostNetworks};
use cais_net::endpoint::Endpoints;
use cais_net::firewall::{Firewall, read_state};
use cais_net::netlink::nftables::Chain;
use cais_net::netlink::{Batch, Protocol, Socket, link};
use cais_net::network::{Driver, Network, NetworkStore};
use cais_net::table::{Elements, SETS};
use cais_net::{NetError, host, lease};
use cais_order::Gather;
use std::collections::BTreeSet;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

const REPAIR: &str = "cais network repair";

fn finding(what: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        remedy: REPAIR.to_owned(),
    }
}

/// Compares the kernel with the files. Nothing is changed.
///
/// # Errors
/// Where a file cannot be read, or the kernel does not say.
pub fn check(store: &Store) -> Result<Vec<Finding>> {
    let networks = store.networks();
    let containers = networks.list_endpoints()?;
    let known = networks.list()?;
    let mut found = Vec::new();
    let mut route = Socket::open(Protocol::Route)?;
    let host = HostNetworks::read(&mut route)?;
    let bridges: Vec<&Network> = known
        .iter()
        .filter(|network| network.driver == Driver::Bridge)
        .collect();
    for network in &bridges {
        check_bridge(network, &containers, &host, &mut found);
    }
    let is_used = bridges
        .iter()
        .any(|network| host.links.iter().any(|link| link.name == network.interface));
    if is_used {
        check_table(&networks, &host, &mut found)?;
        found.extend(foreign_firewalls(&networks)?);
    }
    check_leases(store, &networks, &containers, &known, &mut found)?;
    Ok(found)
}

/// A bridge is made on first use: it must be there only where somebody uses it.
fn check_bridge(network: &Network, containers: &[Endpoints], host: &HostNetworks, found: &mut Vec<Finding>) {
    let members: Vec<_> = containers
        .iter()
        .flat_map(|each| each.endpoints.iter().map(move |endpoint| (each, endpoint)))
        .filter(|(_, endpoint)| endpoint.network_id == network.id)
        .collect();
    let name = &network.interface;
    let Some(bridge) = host.links.iter().find(|link| link.name == *name) else {
        if !members.is_empty() {
            found.push(finding(format!(
                "network {}: the bridge {name} is gone",
                network.name
            )));
        }
        return;
    };
    if members.is_empty() && bridge.flags & link::UP == 0 {
        // Whoever made it was killed over it: the next one that uses it finishes it.
        return;
    }
    let addresses: BTreeSet<_> = host.addresses_of(bridge.index).into_set();
    let has_ipv6 = host::has_ipv6();
    for gateway in network.pools.iter().filter_map(|pool| pool.gateway) {
        if gateway.is_ipv6() && !has_ipv6 {
            let have = match network.pool(true) {
                Some(_) => "its containers have IPv4 alone",
                None => "no container can be started in it",
            };
            found.push(Finding {
                what: format!(
                    "network {}: IPv6 is turned off on this host, {have}",
                    network.name
                ),
                remedy: format!("sysctl -w net.ipv6.conf.all.disable_ipv6=0 && {REPAIR}"),
            });
        } else if !addresses.contains(&gateway) {
            found.push(finding(format!(
                "network {}: the bridge {name} has lost its address {gateway}",
                network.name
            )));
        }
    }
    if bridge.flags & link::UP == 0 {
        found.push(finding(format!(
            "network {}: the bridge {name} is down",
            network.name
        )));
    }
    for (container, endpoint) in members {
        let Some(port) = &endpoint.host_interface else {
            continue;
        };
        let link = host.links.iter().find(|link| link.name == *port);
        match link {
            Some(link) if link.master == Some(bridge.index) => {}
            Some(_) => found.push(finding(format!(
                "container {}: its interface {port} is not at the bridge {name}",
                container.name
            ))),
            None => found.push(Finding {
                what: format!(
                    "container {}: its interface {port} in network {} is gone",
                    container.name, network.name
                ),
                remedy: format!(
                    "cais network disconnect {} {name}, then connect; or restart it",
                    network.name,
                    name = container.name
                ),
            }),
        }
    }
}

fn check_table(networks: &NetworkStore, host: &HostNetworks, found: &mut Vec<Finding>) -> Result<()> {
    let mut firewall = Firewall::open(networks)?;
    let table = &networks.table;
    let Some(actual) = firewall.read_elements()? else {
        found.push(finding(format!("the table inet {table} is gone")));
        return Ok(());
    };
    if !firewall.is_intact()? {
        found.push(finding(format!(
            "the table inet {table} lacks rules, or has others"
        )));
    }
    // A network that was never used may be in the table or not.
    let mut state = read_state(networks)?;
    let allowed = state.elements();
    state
        .bridges
        .retain(|bridge| host.links.iter().any(|link| link.name == bridge.interface));
    let required = state.elements();
    for set in SETS {
        let keys = |elements: &Elements| -> BTreeSet<(Vec<u8>, Vec<u8>)> {
            elements
                .get(set.name)
                .into_iter()
                .flatten()
                .map(|element| (element.key.clone(), element.value.clone()))
                .into_set()
        };
        let actual = keys(&actual);
        let missing = keys(&required).difference(&actual).count();
        let others = actual.difference(&keys(&allowed)).count();
        if missing + others > 0 {
            found.push(finding(format!(
                "the table inet {table}: set {} lacks {missing} elements and has {others} that nobody asked for",
                set.name
            )));
        }
    }
    Ok(())
}

fn check_leases(
    store: &Store,
    networks: &NetworkStore,
    containers: &[Endpoints],
    known: &[Network],
    found: &mut Vec<Finding>,
) -> Result<()> {
    let held: BTreeSet<_> = containers
        .iter()
        .flat_map(|each| each.endpoints.iter())
        .flat_map(|endpoint| {
            endpoint
                .addresses()
                .map(move |(address, _)| (&endpoint.network, address))
        })
        .into_set();
    for network in known {
        for lease in lease::list(networks, &network.name)? {
            let is_starting =
                ContainerId::parse(&lease.container).is_some_and(|id| store.state(&id).exists());
            if !held.contains(&(&network.name, lease.address)) && !is_starting {
                found.push(finding(format!(
                    "network {}: address {} is leased to a container that is gone",
                    network.name, lease.address
                )));
            }
        }
    }
    Ok(())
}

/// Firewalls of others that drop what is forwarded: an accept of ours does not undo that.
///
/// # Errors
/// Where the kernel does not say.
pub fn foreign_firewalls(networks: &NetworkStore) -> Result<Vec<Finding>> {
    let chains = Firewall::open(networks)?.list_chains()?;
    Ok(judge_chains(&chains, networks))
}

/// The same, where a container is about to be the first one at the default bridge: later
/// starts need not be told again, nor pay for it.
#[must_use]
pub fn first_warnings(store: &Store, options: &RunOptions) -> Vec<Finding> {
    if !matches!(options.namespaces.network, NetworkMode::Networks(_)) {
        return Vec::new();
    }
    let networks = store.networks();
    let is_first = Socket::open(Protocol::Route)
        .and_then(|route| bridge::index_of(&route, &networks.bridge))
        .is_ok_and(|index| index.is_none());
    if !is_first {
        return Vec::new();
    }
    // Where the kernel does not say, the start itself will.
    foreign_firewalls(&networks).unwrap_or_default()
}

fn judge_chains(chains: &[Chain], networks: &NetworkStore) -> Vec<Finding> {
    const FORWARD: u32 = 2;
    const INET: u8 = 1;
    const IPV4: u8 = 2;
    const IPV6: u8 = 10;
    let has = |prefix: &str| chains.iter().any(|chain| chain.name.starts_with(prefix));
    let mut found = Vec::new();
    for chain in chains {
        let ours = chain.table == networks.table || chain.table.starts_with("cais-");
        let is_ip = [INET, IPV4, IPV6].contains(&chain.family);
        if ours || !is_ip || chain.hook != Some(FORWARD) || !chain.drops {
            continue;
        }
        let family = match chain.family {
            INET => "inet",
            IPV4 => "ip",
            _ => "ip6",
        };
        let place = format!("{family} {} {}", chain.table, chain.name);
        let (whose, remedy) = if has("ufw-") || has("ufw6-") {
            (
                "ufw",
                "ufw route allow in on BRIDGE; ufw route allow out on BRIDGE; or publish with --publish-mode proxy, which ufw's rules for incoming connections then govern".to_owned(),
            )
        } else if has("DOCKER") {
            let command = if chain.family == IPV6 {
                "ip6tables"
            } else {
                "iptables"
            };
            (
                "Docker",
                format!(
                    "{command} -I DOCKER-USER -i BRIDGE -j ACCEPT; {command} -I DOCKER-USER -o BRIDGE -j ACCEPT"
                ),
            )
        } else {
            (
                "a firewall of this host",
                format!(
                    "nft insert rule {place} iifname BRIDGE accept; nft insert rule {place} oifname BRIDGE accept"
                ),
            )
        };
        found.push(Finding {
            what: format!("{whose} drops forwarded packets unless told otherwise (chain {place}): containers may not reach the world, nor the world them"),
            remedy: remedy.replace("BRIDGE", &networks.bridge),
        });
    }
    if chains.iter().any(|chain| chain.table == "firewalld") {
        found.push(Finding {
            what: "firewalld refuses to forward between its zones".to_owned(),
            remedy: format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={}; firewall-cmd --reload; or publish with --publish-mode proxy",
                networks.bridge
            ),
        });
    }
    found
}

/// Makes the kernel have what the files say: sweeps what is left of killed commands, makes
/// bridges and the table anew. Running containers keep their interfaces.
///
/// # Errors
/// Where something cannot be made.
pub fn repair(store: &Store) -> Result<()> {
    sweep(store)?;
    let networks = store.networks();
    let containers = networks.list_endpoints()?;
    let mut route = Socket::open(Protocol::Route)?;
    let mut is_used = false;
    for network in networks.list()? {
        if network.driver != Driver::Bridge {
            continue;
        }
        let members = containers
            .iter()
            .flat_map(|each| &each.endpoints)
            .filter(|endpoint| endpoint.network_id == network.id);
        let ports: Vec<&str> = members
            .filter_map(|endpoint| endpoint.host_interface.as_deref())
            .collect();
        let exists = bridge::index_of(&route, &network.interface)?.is_some();
        if ports.is_empty() && !exists {
            continue;
        }
        is_used = true;
        // One of IPv6 alone waits until the host has that again: the check says so.
        let Ok(network) = network.on_host(host::has_ipv6()) else {
            continue;
        };
        host::ensure_forwarding(&networks, network.pool(false).is_some())?;
        let index = bridge::ensure(&mut route, &network)?;
        bridge::apply_addresses(&mut route, &network, index)?;
        attach_ports(&mut route, index, &ports)?;
    }
    if is_used || Firewall::open(&networks)?.read_elements()?.is_some() {
        Firewall::open(&networks)?.rebuild()?;
    }
    Ok(())
}

/// Puts the ports of a bridge that was removed at the new one.
fn attach_ports(route: &mut Socket, bridge: u32, ports: &[&str]) -> Result<()> {
    for port in ports {
        if bridge::index_of(route, port)?.is_some() {
            let mut batch = Batch::default();
            link::set_master(&mut batch, port, bridge);
            route.apply(&mut batch).map_err(NetError::netlink(
                format!("put {port} at its bridge"),
                "RTM_SETLINK",
            ))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(family: u8, table: &str, name: &str, hook: Option<u32>, drops: bool) -> Chain {
        Chain {
            family,
            table: table.to_owned(),
            name: name.to_owned(),
            hook,
            drops,
            uses: 0,
        }
    }

    #[test]
    fn firewalls_of_others() {
        let networks = NetworkStore::new("/var/lib/cais".as_ref(), "/run/cais".as_ref());
        let judge = |chains: &[Chain]| judge_chains(chains, &networks);
        let drop = chain(2, "filter", "FORWARD", Some(2), true);
        assert!(judge(&[chain(2, "filter", "FORWARD", Some(2), false)]).is_empty());
        assert!(judge(&[chain(2, "filter", "INPUT", Some(1), true)]).is_empty());
        assert!(judge(&[chain(1, "cais", "forward", Some(2), true)]).is_empty());
        let plain = judge(std::slice::from_ref(&drop));
        assert!(plain[0].remedy.contains("iifname cais0 accept"), "{plain:?}");
        let ufw = judge(&[drop.clone(), chain(2, "filter", "ufw-user-input", None, false)]);
        assert!(ufw[0].what.contains("ufw") && ufw[0].remedy.contains("ufw route allow in on cais0"));
        let docker = judge(&[drop, chain(2, "filter", "DOCKER-USER", None, false)]);
        assert!(docker[0].what.contains("Docker") && docker[0].remedy.contains("DOCKER-USER"));
        let firewalld = judge(&[chain(1, "firewalld", "filter_FORWARD", Some(2), false)]);
        assert!(firewalld[0].remedy.contains("firewall-cmd"));
    }
}
