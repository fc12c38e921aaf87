//! The nf_tables table `inet cais`: a pure function of the state.
//!
//! The rules never change. What changes are elements of sets and maps: a network adds its
//! bridge and its subnets, a published port one element. So the kernel looks a port up by a
//! hash, however many there are, and each change is one small transaction.
//!
//! | chain | what it is for |
//! | --- | --- |
//! | `guard` | Nobody but the host itself may speak to or from 127/8. Bridges route it, for ports that are published on the loopback address (CVE-2020-8558, CVE-2025-54388). |
//! | `prerouting`, `output` → `publish` | What is sent to an address of the host and to a published port goes to the container. |
//! | `postrouting` | Containers leave with the host's address; what comes back to the same network by a published port is answered by way of the host. |
//! | `forward` → `into` | Into a network come only answers, neighbours, and what was sent to a published port. |
//! | `forward` → `outof` | Out of a network may go what is not internal. |
//!
//! A packet between two networks is `into` one of them and is dropped there unless it was
//! sent to a published port.

use crate::netlink::nftables::{
    ACCEPT, DROP, Element, Expression, Field, GOTO, Hook, JUMP, RETURN, Set, Transaction,
};
use crate::publish::Protocol;
use crate::subnet::Subnet;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The interfaces that are bridges of ours.
pub static BRIDGES: Set = set("bridges", &[Field::Interface]);
/// Each bridge with itself: frames between its ports, where br_netfilter shows them.
pub static SAME_BRIDGE: Set = set("same_br", &[Field::Interface, Field::Interface]);
/// The bridges that nothing leaves.
pub static INTERNAL: Set = set("internal", &[Field::Interface]);
/// The subnets whose packets leave with the host's address.
pub static SUBNETS4: Set = ranges("subnets4", &[Field::Ipv4]);
/// The same of IPv6.
pub static SUBNETS6: Set = ranges("subnets6", &[Field::Ipv6]);
/// Each subnet with itself.
pub static NEAR4: Set = ranges("near4", &[Field::Ipv4, Field::Ipv4]);
/// The same of IPv6.
pub static NEAR6: Set = ranges("near6", &[Field::Ipv6, Field::Ipv6]);
/// The families in which this host routed nothing before we asked it to: what is not ours
/// is not routed now either.
pub static NO_ROUTING: Set = set("no_routing", &[Field::Family]);
/// Ports that are published on all addresses.
pub static PORTS4: Set = map(
    "pub_any4",
    &[Field::Protocol, Field::Port],
    &[Field::Ipv4, Field::Port],
);
/// Ports that are published on one address.
pub static PORTS4_AT: Set = map(
    "pub_ip4",
    &[Field::Ipv4, Field::Protocol, Field::Port],
    &[Field::Ipv4, Field::Port],
);
/// The same of IPv6.
pub static PORTS6: Set = map(
    "pub_any6",
    &[Field::Protocol, Field::Port],
    &[Field::Ipv6, Field::Port],
);
/// The same of IPv6.
pub static PORTS6_AT: Set = map(
    "pub_ip6",
    &[Field::Ipv6, Field::Protocol, Field::Port],
    &[Field::Ipv6, Field::Port],
);

/// All sets, in the order in which they are made.
pub static SETS: [&Set; 12] = [
    &BRIDGES,
    &SAME_BRIDGE,
    &INTERNAL,
    &SUBNETS4,
    &SUBNETS6,
    &NEAR4,
    &NEAR6,
    &NO_ROUTING,
    &PORTS4,
    &PORTS4_AT,
    &PORTS6,
    &PORTS6_AT,
];

const fn set(name: &'static str, key: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges: false,
    }
}

const fn ranges(name: &'static str, key: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges: true,
    }
}

const fn map(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value,
        ranges: false,
    }
}

/// A chain with its rules.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets come by; without one it is gone to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: &'static [&'static [Expression]],
}

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

const fn hook(kind: &'static str, number: u32, priority: i32) -> Option<Hook> {
    Some(Hook {
        kind,
        number,
        priority,
    })
}

/// The chains, those that others go to first.
pub static CHAINS: [Chain; 8] = [
    Chain {
        name: "publish",
        hook: None,
        rules: PUBLISH,
    },
    Chain {
        name: "into",
        hook: None,
        rules: INTO,
    },
    Chain {
        name: "outof",
        hook: None,
        rules: OUT_OF,
    },
    Chain {
        name: "guard",
        hook: hook("filter", PREROUTING, -300),
        rules: GUARD,
    },
    Chain {
        name: "prerouting",
        hook: hook("nat", PREROUTING, -100),
        rules: TO_HOST,
    },
    Chain {
        name: "output",
        hook: hook("nat", OUTPUT, -100),
        rules: TO_HOST,
    },
    Chain {
        name: "postrouting",
        hook: hook("nat", POSTROUTING, 100),
        rules: LEAVING,
    },
    Chain {
        name: "forward",
        hook: hook("filter", FORWARD, 0),
        rules: FORWARDED,
    },
];

const IPV4: u32 = 2;
const IPV6: u32 = 10;
const IN_NAME: u32 = 6;
const OUT_NAME: u32 = 7;

/// The registers: 16 bytes each under 1 to 4, or 4 bytes each under 8 to 23, so that 1
/// begins where 8 does, and 2 where 12 does.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

const fn meta(key: u32, register: u32) -> Expression {
    Expression::Meta { key, register }
}

/// The interface by which the packet came.
const CAME_BY: Expression = meta(IN_NAME, FIRST);
/// The interface by which it leaves.
const LEAVES_BY: Expression = meta(OUT_NAME, FIRST);
/// Its family.
const FAMILY: Expression = meta(15, FIRST);
const IS_IPV4: Expression = equals(&[2]);
const IS_IPV6: Expression = equals(&[10]);

const fn protocol(register: u32) -> Expression {
    meta(16, register)
}

const fn equals(value: &'static [u8]) -> Expression {
    Expression::Compare {
        register: FIRST,
        equal: true,
        value,
    }
}

const fn network(offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload {
        base: 1,
        offset,
        length,
        register,
    }
}

/// The destination port of TCP, UDP and SCTP alike.
const fn port(register: u32) -> Expression {
    Expression::Payload {
        base: 2,
        offset: 2,
        length: 2,
        register,
    }
}

const fn is_in(set: &'static Set) -> Expression {
    Expression::Lookup {
        set,
        register: FIRST,
        inverted: false,
    }
}

const fn is_not_in(set: &'static Set) -> Expression {
    Expression::Lookup {
        set,
        register: FIRST,
        inverted: true,
    }
}

const fn verdict(code: i32) -> Expression {
    Expression::Verdict { code, chain: "" }
}

const fn go(code: i32, chain: &'static str) -> Expression {
    Expression::Verdict { code, chain }
}

const fn any_of(mask: u32) -> Expression {
    Expression::And {
        register: FIRST,
        mask,
    }
}

/// After [`any_of`]: one of the bits is set.
const IS_SET: Expression = Expression::Compare {
    register: FIRST,
    equal: false,
    value: &[0; 4],
};
const STATE: Expression = Expression::Connection {
    key: 0,
    register: FIRST,
};
const STATUS: Expression = Expression::Connection {
    key: 2,
    register: FIRST,
};
/// `ct state established,related`.
const ANSWERS: Expression = any_of(0x6);
/// `ct state invalid`.
const INVALID: Expression = any_of(0x1);
/// `ct status dnat`.
const REDIRECTED: Expression = any_of(0x20);
/// Whether an interface is not `lo`.
const IS_NOT_LOOPBACK: Expression = Expression::Compare {
    register: FIRST,
    equal: false,
    value: b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
};

const GUARD: &[&[Expression]] = &[
    &[
        CAME_BY,
        IS_NOT_LOOPBACK,
        FAMILY,
        IS_IPV4,
        network(16, 1, FIRST),
        equals(&[127]),
        verdict(DROP),
    ],
    &[
        CAME_BY,
        IS_NOT_LOOPBACK,
        FAMILY,
        IS_IPV4,
        network(12, 1, FIRST),
        equals(&[127]),
        verdict(DROP),
    ],
];

const TO_HOST: &[&[Expression]] = &[&[
    Expression::DestinationKind { register: FIRST },
    // RTN_LOCAL
    equals(&2u32.to_ne_bytes()),
    go(JUMP, "publish"),
]];

const fn send_to(family: u32, port: u32) -> Expression {
    Expression::Destination {
        family,
        address: FIRST,
        port,
    }
}

const PUBLISH: &[&[Expression]] = &[
    &[
        FAMILY,
        IS_IPV4,
        network(16, 4, FIRST),
        protocol(9),
        port(10),
        is_in(&PORTS4_AT),
        send_to(IPV4, 9),
    ],
    &[
        FAMILY,
        IS_IPV4,
        protocol(FIRST),
        port(9),
        is_in(&PORTS4),
        send_to(IPV4, 9),
    ],
    // A packet from ::1 cannot leave the host: the monitor answers there.
    &[
        FAMILY,
        IS_IPV6,
        network(24, 16, FIRST),
        equals(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        verdict(RETURN),
    ],
    &[
        FAMILY,
        IS_IPV6,
        network(24, 16, FIRST),
        protocol(SECOND),
        port(13),
        is_in(&PORTS6_AT),
        send_to(IPV6, SECOND),
    ],
    &[
        FAMILY,
        IS_IPV6,
        protocol(FIRST),
        port(9),
        is_in(&PORTS6),
        send_to(IPV6, SECOND),
    ],
];

const LEAVING: &[&[Expression]] = &[
    &[
        LEAVES_BY,
        is_in(&BRIDGES),
        FAMILY,
        IS_IPV4,
        network(12, 1, FIRST),
        equals(&[127]),
        Expression::Masquerade,
    ],
    &[
        STATUS,
        REDIRECTED,
        IS_SET,
        FAMILY,
        IS_IPV4,
        network(12, 4, FIRST),
        network(16, 4, 9),
        is_in(&NEAR4),
        Expression::Masquerade,
    ],
    &[
        STATUS,
        REDIRECTED,
        IS_SET,
        FAMILY,
        IS_IPV6,
        network(8, 16, FIRST),
        network(24, 16, SECOND),
        is_in(&NEAR6),
        Expression::Masquerade,
    ],
    &[
        FAMILY,
        IS_IPV4,
        network(12, 4, FIRST),
        is_in(&SUBNETS4),
        LEAVES_BY,
        is_not_in(&BRIDGES),
        Expression::Masquerade,
    ],
    &[
        FAMILY,
        IS_IPV6,
        network(8, 16, FIRST),
        is_in(&SUBNETS6),
        LEAVES_BY,
        is_not_in(&BRIDGES),
        Expression::Masquerade,
    ],
];

const INTO: &[&[Expression]] = &[
    &[STATE, ANSWERS, IS_SET, verdict(ACCEPT)],
    &[STATE, INVALID, IS_SET, verdict(DROP)],
    &[
        CAME_BY,
        meta(OUT_NAME, SECOND),
        is_in(&SAME_BRIDGE),
        verdict(ACCEPT),
    ],
    &[LEAVES_BY, is_in(&INTERNAL), verdict(DROP)],
    &[CAME_BY, is_in(&INTERNAL), verdict(DROP)],
    &[STATUS, REDIRECTED, IS_SET, verdict(ACCEPT)],
    &[verdict(DROP)],
];

const OUT_OF: &[&[Expression]] = &[
    &[STATE, ANSWERS, IS_SET, verdict(ACCEPT)],
    &[STATE, INVALID, IS_SET, verdict(DROP)],
    &[CAME_BY, is_in(&INTERNAL), verdict(DROP)],
    &[verdict(ACCEPT)],
];

const FORWARDED: &[&[Expression]] = &[
    &[LEAVES_BY, is_in(&BRIDGES), go(GOTO, "into")],
    &[CAME_BY, is_in(&BRIDGES), go(GOTO, "outof")],
    &[FAMILY, is_in(&NO_ROUTING), verdict(DROP)],
];

/// How many rules and jumps the kernel counts for a chain.
#[must_use]
pub fn uses_of(chain: &Chain) -> u32 {
    let jumps = CHAINS
        .iter()
        .flat_map(|other| other.rules.iter().flat_map(|rule| rule.iter()))
        .filter(|expression| {
            matches!(expression, Expression::Verdict { chain: target, .. } if *target == chain.name)
        });
    u32::try_from(chain.rules.len() + jumps.count()).unwrap_or(u32::MAX)
}

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
    /// Whether nothing but ours is routed, of IPv4 and of IPv6.
    pub no_routing: [bool; 2],
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
        for elements in all.values_mut() {
            elements.sort();
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

/// Adds these elements.
pub fn add_all(transaction: &mut Transaction, elements: &Elements) {
    for set in SETS {
        if let Some(elements) = elements.get(set.name).filter(|elements| !elements.is_empty()) {
            transaction.add_elements(set, elements);
        }
    }
}

/// Removes these elements.
pub fn delete_all(transaction: &mut Transaction, elements: &Elements) {
    for set in SETS {
        if let Some(elements) = elements.get(set.name).filter(|elements| !elements.is_empty()) {
            transaction.delete_elements(set, elements);
        }
    }
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
    let protocol = [port.protocol.number(), 0, 0, 0];
    let key = [protocol, port_field(port.host_port)].concat();
    let inside = port_field(port.container_port);
    let mut add = |any: &'static Set, at: &'static Set, target: IpAddr| {
        let value = [octets(target), inside.to_vec()].concat();
        match port.host {
            None => push(all, any, key.clone(), value, &port.owner),
            // All addresses of one family.
            Some(host) if host.is_unspecified() => {
                if host.is_ipv4() == target.is_ipv4() {
                    push(all, any, key.clone(), value, &port.owner);
                }
            }
            Some(host) if host.is_ipv4() == target.is_ipv4() => {
                push(all, at, [octets(host), key.clone()].concat(), value, &port.owner);
            }
            Some(_) => {}
        }
    };
    if let Some(address) = port.ipv4 {
        add(&PORTS4, &PORTS4_AT, address.into());
    }
    if let Some(address) = port.ipv6 {
        add(&PORTS6, &PORTS6_AT, address.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: Option<&str>) -> PortEntry {
        PortEntry {
            owner: "abc".to_owned(),
            host: host.map(|text| text.parse().unwrap()),
            host_port: 8080,
            protocol: Protocol::Tcp,
            ipv4: Some(Ipv4Addr::new(172, 17, 0, 2)),
            ipv6: Some("fd00::2".parse().unwrap()),
            container_port: 80,
        }
    }

    fn state() -> TableState {
        TableState {
            bridges: vec![BridgeEntry {
                interface: "cais0".to_owned(),
                subnets: vec!["172.17.0.0/16".parse().unwrap(), "fd00::/64".parse().unwrap()],
                internal: false,
                masquerade: true,
            }],
            ports: vec![port(None), port(Some("127.0.0.1"))],
            no_routing: [true, false],
        }
    }

    #[test]
    fn what_a_state_becomes() {
        let all = state().elements();
        let one = |set: &Set| all[set.name].first().unwrap().clone();
        assert_eq!(all[BRIDGES.name].len(), 1);
        assert!(!all.contains_key(INTERNAL.name));
        assert_eq!(one(&PORTS4).key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(one(&PORTS4).value, [172, 17, 0, 2, 0, 80, 0, 0]);
        assert_eq!(one(&PORTS4_AT).key, [127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert!(!all.contains_key(PORTS6_AT.name));
        assert_eq!(one(&PORTS6).value.len(), 20);
        assert_eq!(one(&SUBNETS4).last, Some(vec![172, 17, 255, 255]));
        assert_eq!(one(&NEAR6).key.len(), 32);
        assert_eq!(one(&NO_ROUTING).key, [2]);
    }

    #[test]
    fn an_internal_network_is_not_masqueraded() {
        let mut state = state();
        state.bridges[0].internal = true;
        let all = state.elements();
        assert!(all.contains_key(INTERNAL.name) && !all.contains_key(SUBNETS4.name));
    }

    #[test]
    fn the_same_state_is_the_same_table() {
        let bytes = || state().plan_table("cais", Some(1)).finish().bytes().to_vec();
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn registers_fit_the_keys() {
        // What a lookup reads begins at register 1 and is as long as its set's key.
        for chain in &CHAINS {
            for rule in chain.rules {
                for expression in *rule {
                    if let Expression::Lookup { register, .. } = expression {
                        assert_eq!(*register, FIRST, "{}", chain.name);
                    }
                }
            }
        }
        let uses: Vec<u32> = CHAINS.iter().map(uses_of).collect();
        assert_eq!(uses, [7, 8, 5, 2, 1, 1, 5, 3]);
    }
}
