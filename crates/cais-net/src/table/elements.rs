//! The elements of the table's sets, as a pure function of the state.

use super::*;
use cais_order::InOrder;
use std::time::Duration;

/// A bridge, as far as the table is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeEntry {
    /// The name of its interface.
    pub interface: String,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// Whether its containers leave with the host's address.
    pub masquerade: bool,
}

/// A published port, as far as the table is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortEntry {
    /// Whose it is.
    pub owner: String,
    /// The address of the host; none for all of them.
    pub host: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The last port of a range; the ports inside are the same then.
    pub last: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
    /// The container's address of IPv4.
    pub ipv4: Option<Ipv4Addr>,
    /// The container's address of IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// The port inside.
    pub container_port: u16,
}

/// Everything that the table says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// The bridges.
    pub bridges: Vec<BridgeEntry>,
    /// The published ports.
    pub ports: Vec<PortEntry>,
    /// Whether the host itself routes nothing, of IPv4 and of IPv6.
    pub no_routing: [bool; 2],
    /// The bridges that were there when that was noted.
    pub old_bridges: Vec<String>,
}

/// The elements of each set, by its name; sorted, each once.
pub type Elements = BTreeMap<&'static str, Vec<Element>>;

/// The set with this name.
#[must_use]
pub fn set_named(name: &str) -> Option<&'static Set> {
    SETS.iter().find(|set| set.name == name).copied()
}

impl TableState {
    /// The elements that stand for this state.
    #[must_use]
    pub fn elements(&self) -> Elements {
        let mut all = Elements::new();
        for bridge in &self.bridges {
            add_bridge(&mut all, bridge);
        }
        for port in &self.ports {
            add_port(&mut all, port);
        }
        for (family, _) in [2u8, 10].iter().zip(self.no_routing).filter(|(_, on)| *on) {
            push(&mut all, &NO_ROUTING, vec![*family], Vec::new(), "");
        }
        for name in &self.old_bridges {
            push(&mut all, &OLD_BRIDGES, interface_key(name), Vec::new(), "");
        }
        for elements in all.values_mut() {
            elements.order();
            elements.dedup_by(|one, other| one.key == other.key && one.last == other.last);
        }
        all
    }

    /// The transaction that makes the table anew with all that this state says, in place of
    /// whatever stands there: all of it or nothing.
    #[must_use]
    pub fn plan_table(&self, name: &str, generation: Option<u32>) -> Transaction {
        let mut transaction = Transaction::new(name, generation);
        // One that is there is removed, and only what is there can be removed.
        transaction.add_table();
        transaction.delete_table();
        transaction.add_table();
        for (set, id) in SETS.iter().zip(1..) {
            transaction.add_set(set, id);
        }
        for chain in &CHAINS {
            transaction.add_chain(chain.name, chain.hook);
        }
        for chain in &CHAINS {
            for rule in chain.rules {
                transaction.add_rule(chain.name, rule);
            }
        }
        add_all(&mut transaction, &self.elements());
        transaction
    }
}

fn each_set(elements: &Elements, mut take: impl FnMut(&'static Set, &[Element])) {
    for set in SETS {
        if let Some(elements) = elements.get(set.name).filter(|elements| !elements.is_empty()) {
            take(set, elements);
        }
    }
}

/// Adds these elements.
pub fn add_all(transaction: &mut Transaction, elements: &Elements) {
    each_set(elements, |set, elements| transaction.add_elements(set, elements));
}

/// Removes these elements.
pub fn delete_all(transaction: &mut Transaction, elements: &Elements) {
    each_set(elements, |set, elements| {
        transaction.delete_elements(set, elements);
    });
}

/// Gives these elements an end.
pub fn expire_all(transaction: &mut Transaction, elements: &Elements, after: Duration) {
    each_set(elements, |set, elements| {
        transaction.expire_elements(set, elements, after);
    });
}

fn push(all: &mut Elements, set: &'static Set, key: Vec<u8>, value: Vec<u8>, owner: &str) {
    all.entry(set.name).or_default().push(Element {
        key,
        last: None,
        value,
        comment: owner.to_owned(),
    });
}

fn interface_key(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn add_bridge(all: &mut Elements, bridge: &BridgeEntry) {
    let name = interface_key(&bridge.interface);
    push(all, &BRIDGES, name.clone(), Vec::new(), "");
    push(
        all,
        &SAME_BRIDGE,
        [name.clone(), name.clone()].concat(),
        Vec::new(),
        "",
    );
    if bridge.internal {
        push(all, &INTERNAL, name, Vec::new(), "");
    }
    for subnet in &bridge.subnets {
        let (first, last) = (octets(subnet.address()), octets(subnet.last()));
        let (subnets, near) = if subnet.is_ipv4() {
            (&SUBNETS4, &NEAR4)
        } else {
            (&SUBNETS6, &NEAR6)
        };
        let mut range = |set: &'static Set, key: Vec<u8>, last: Vec<u8>| {
            all.entry(set.name).or_default().push(Element {
                key,
                last: Some(last),
                value: Vec::new(),
                comment: String::new(),
            });
        };
        if bridge.masquerade && !bridge.internal {
            range(subnets, first.clone(), last.clone());
        }
        range(
            near,
            [first.clone(), first].concat(),
            [last.clone(), last].concat(),
        );
    }
}

fn port_field(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn add_port(all: &mut Elements, port: &PortEntry) {
    let sets = if port.last.is_some() {
        [[&RANGES4, &RANGES4_AT], [&RANGES6, &RANGES6_AT]]
    } else {
        [[&PORTS4, &PORTS4_AT], [&PORTS6, &PORTS6_AT]]
    };
    let addresses = [port.ipv4.map(IpAddr::V4), port.ipv6.map(IpAddr::V6)];
    for (target, sets) in addresses.into_iter().zip(sets) {
        if let Some(target) = target {
            add_port_to(all, port, target, sets);
        }
    }
}

fn add_port_to(all: &mut Elements, port: &PortEntry, target: IpAddr, [any, at]: [&'static Set; 2]) {
    let (set, host) = match port.host {
        None => (any, Vec::new()),
        Some(host) if host.is_ipv4() != target.is_ipv4() => return,
        // All addresses of one family.
        Some(host) if host.is_unspecified() => (any, Vec::new()),
        Some(host) => (at, octets(host)),
    };
    let key = |number: u16| {
        let protocol = [port.protocol.number(), 0, 0, 0];
        [&host[..], &protocol, &port_field(number)].concat()
    };
    let mut value = octets(target);
    if port.last.is_none() {
        value.extend(port_field(port.container_port));
    }
    all.entry(set.name).or_default().push(Element {
        key: key(port.host_port),
        last: port.last.map(key),
        value,
        comment: port.owner.clone(),
    });
}
