//! The nf_tables table `inet cais`: a pure function of the state.
//!
//! The rules never change. What changes are elements of sets and maps: a network adds its
//! bridge and its subnets, a published port one element, and a range of ports one too. So the
//! kernel looks a port up by a hash, however many there are, and each change is one small
//! transaction.
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

mod elements;

pub use elements::*;

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
/// The families in which this host routed nothing before we asked it to: it routes nothing now
/// either but what is ours, and from and to bridges that came later.
pub static NO_ROUTING: Set = set("no_routing", &[Field::Family]);
/// The bridges that were there before: what is routed from them and to them is held as that of
/// other interfaces. Those that came later are of other engines, which have their own rules.
pub static OLD_BRIDGES: Set = set("old_bridges", &[Field::Interface]);
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

/// Ranges of ports that are published on all addresses and are the same inside.
pub static RANGES4: Set = range_map("pub_range4", &[Field::Protocol, Field::Port], &[Field::Ipv4]);
/// The same, on one address.
pub static RANGES4_AT: Set = range_map(
    "pub_ip_range4",
    &[Field::Ipv4, Field::Protocol, Field::Port],
    &[Field::Ipv4],
);
/// The same of IPv6.
pub static RANGES6: Set = range_map("pub_range6", &[Field::Protocol, Field::Port], &[Field::Ipv6]);
/// The same of IPv6.
pub static RANGES6_AT: Set = range_map(
    "pub_ip_range6",
    &[Field::Ipv6, Field::Protocol, Field::Port],
    &[Field::Ipv6],
);

/// All sets, in the order in which they are made.
pub static SETS: [&Set; 17] = [
    &BRIDGES,
    &SAME_BRIDGE,
    &INTERNAL,
    &SUBNETS4,
    &SUBNETS6,
    &NEAR4,
    &NEAR6,
    &NO_ROUTING,
    &OLD_BRIDGES,
    &PORTS4,
    &PORTS4_AT,
    &PORTS6,
    &PORTS6_AT,
    &RANGES4,
    &RANGES4_AT,
    &RANGES6,
    &RANGES6_AT,
];

const fn set(name: &'static str, key: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges: false,
        expires: false,
    }
}

const fn ranges(name: &'static str, key: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges: true,
        expires: false,
    }
}

const fn map(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Set {
    Set {
        name,
        key,
        value,
        ranges: false,
        expires: true,
    }
}

const fn range_map(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Set {
    Set {
        ranges: true,
        ..map(name, key, value)
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
const IN_KIND: u32 = 26;
const OUT_KIND: u32 = 27;

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

/// After the kind of an interface; a device has none, and then the rule ends.
const IS_BRIDGE: Expression = equals(b"bridge\0\0\0\0\0\0\0\0\0\0");

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

/// As [`send_to`], at the port that it was sent to.
const fn send_to_same(family: u32) -> Expression {
    send_to(family, 0)
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
    &[
        FAMILY,
        IS_IPV4,
        network(16, 4, FIRST),
        protocol(9),
        port(10),
        is_in(&RANGES4_AT),
        send_to_same(IPV4),
    ],
    &[
        FAMILY,
        IS_IPV4,
        protocol(FIRST),
        port(9),
        is_in(&RANGES4),
        send_to_same(IPV4),
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
    &[
        FAMILY,
        IS_IPV6,
        network(24, 16, FIRST),
        protocol(SECOND),
        port(13),
        is_in(&RANGES6_AT),
        send_to_same(IPV6),
    ],
    &[
        FAMILY,
        IS_IPV6,
        protocol(FIRST),
        port(9),
        is_in(&RANGES6),
        send_to_same(IPV6),
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
    &[
        meta(IN_KIND, FIRST),
        IS_BRIDGE,
        CAME_BY,
        is_not_in(&OLD_BRIDGES),
        verdict(RETURN),
    ],
    &[
        meta(OUT_KIND, FIRST),
        IS_BRIDGE,
        LEAVES_BY,
        is_not_in(&OLD_BRIDGES),
        verdict(RETURN),
    ],
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

#[cfg(test)]
mod tests;
