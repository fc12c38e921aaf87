//! The nf_tables table `inet cais` of a container that may not reach everything. Its rules
//! are the same for all; what differs are elements.
//!
//! | set | whom it means |
//! | --- | --- |
//! | `any4`, `any6` | subnets that may be reached at every port |
//! | `port4`, `port6` | subnets, protocols and ports |
//! | `named_any4`, `named4` … | the same for addresses of names, each until its answer ends |
//! | `host4`, `host6` | the host's addresses on the container's networks: not neighbours |
//! | `near4`, `near6` | the container's networks |
//! | `refused4`, `refused6` | what was refused, counted |

use super::{Allowance, Target};
use crate::error::{NetError, Result};
use crate::netlink::nftables::{
    ACCEPT, Element, Expression, Field, Hook, Set, Transaction, list_elements, parse_counts,
};
use crate::netlink::{Batch, Protocol, Socket};
use crate::subnet::{Subnet, number};
use cais_order::InOrder;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const TABLE: &str = "cais";
/// Refusals that are remembered, of each family, and for how long after the last.
const REFUSALS: u32 = 2048;
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

const SERVICE4: &[Field] = &[Field::Ipv4, Field::Protocol, Field::Port];
const SERVICE6: &[Field] = &[Field::Ipv6, Field::Protocol, Field::Port];

const fn set(name: &'static str, key: &'static [Field], ranges: bool) -> Set {
    Set {
        name,
        key,
        value: &[],
        ranges,
        expires: false,
    }
}

static ANY4: Set = set("any4", &[Field::Ipv4], true);
static ANY6: Set = set("any6", &[Field::Ipv6], true);
static PORT4: Set = set("port4", SERVICE4, true);
static PORT6: Set = set("port6", SERVICE6, true);
static NEAR4: Set = set("near4", &[Field::Ipv4], true);
static NEAR6: Set = set("near6", &[Field::Ipv6], true);
static HOST4: Set = set("host4", &[Field::Ipv4], false);
static HOST6: Set = set("host6", &[Field::Ipv6], false);
static NEIGHBOURS: Set = set("nd_types", &[Field::Protocol], false);
/// Addresses of names, at every port.
pub(super) static NAMED_ANY4: Set = set("named_any4", &[Field::Ipv4], false);
/// The same of IPv6.
pub(super) static NAMED_ANY6: Set = set("named_any6", &[Field::Ipv6], false);
/// Addresses of names, with protocol and port.
pub(super) static NAMED4: Set = set("named4", SERVICE4, false);
/// The same of IPv6.
pub(super) static NAMED6: Set = set("named6", SERVICE6, false);
static REFUSED4: Set = set("refused4", SERVICE4, false);
static REFUSED6: Set = set("refused6", SERVICE6, false);

static PLAIN: [&Set; 9] = [
    &ANY4,
    &ANY6,
    &PORT4,
    &PORT6,
    &NEAR4,
    &NEAR6,
    &HOST4,
    &HOST6,
    &NEIGHBOURS,
];
static TIMED: [&Set; 4] = [&NAMED_ANY4, &NAMED_ANY6, &NAMED4, &NAMED6];
static COUNTING: [&Set; 2] = [&REFUSED4, &REFUSED6];

const IPV4: &[u8] = &[2];
const IPV6: &[u8] = &[10];
const ICMPV6: &[u8] = &[58];
const FIRST: u32 = 1;
const SECOND: u32 = 2;

const fn meta(key: u32, register: u32) -> Expression {
    Expression::Meta { key, register }
}

const fn is(value: &'static [u8]) -> Expression {
    Expression::Compare {
        register: FIRST,
        equal: true,
        value,
    }
}

const fn header(base: u32, offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload {
        base,
        offset,
        length,
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

const fn count(set: &'static Set) -> Expression {
    Expression::Count { set, register: FIRST }
}

const FAMILY: Expression = meta(15, FIRST);
const TO4: Expression = header(1, 16, 4, FIRST);
const TO6: Expression = header(1, 24, 16, FIRST);
const PASS: Expression = Expression::Verdict {
    code: ACCEPT,
    chain: "",
};

/// Destination, protocol and port of IPv4 in registers that follow one another.
macro_rules! service4 {
    ($last:expr) => {
        &[FAMILY, is(IPV4), TO4, meta(16, 9), header(2, 2, 2, 10), $last]
    };
    ($set:expr, $last:expr) => {
        &[
            FAMILY,
            is(IPV4),
            TO4,
            meta(16, 9),
            header(2, 2, 2, 10),
            is_in($set),
            $last,
        ]
    };
}

/// The same of IPv6.
macro_rules! service6 {
    ($last:expr) => {
        &[
            FAMILY,
            is(IPV6),
            TO6,
            meta(16, SECOND),
            header(2, 2, 2, 13),
            $last,
        ]
    };
    ($set:expr, $last:expr) => {
        &[
            FAMILY,
            is(IPV6),
            TO6,
            meta(16, SECOND),
            header(2, 2, 2, 13),
            is_in($set),
            $last,
        ]
    };
}

const RULES: &[&[Expression]] = &[
    // What stays in the container, its resolver among it.
    &[meta(7, FIRST), is(b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), PASS],
    // Answers to those who came in, and what was allowed when it began.
    &[
        Expression::Connection {
            key: 0,
            register: FIRST,
        },
        Expression::And {
            register: FIRST,
            mask: 0x6,
        },
        Expression::Compare {
            register: FIRST,
            equal: false,
            value: &[0; 4],
        },
        PASS,
    ],
    // Without these IPv6 finds nobody.
    &[
        meta(16, FIRST),
        is(ICMPV6),
        header(2, 0, 1, FIRST),
        is_in(&NEIGHBOURS),
        PASS,
    ],
    &[FAMILY, is(IPV4), TO4, is_in(&ANY4), PASS],
    &[FAMILY, is(IPV6), TO6, is_in(&ANY6), PASS],
    &[FAMILY, is(IPV4), TO4, is_in(&NAMED_ANY4), PASS],
    &[FAMILY, is(IPV6), TO6, is_in(&NAMED_ANY6), PASS],
    service4!(&PORT4, PASS),
    service6!(&PORT6, PASS),
    service4!(&NAMED4, PASS),
    service6!(&NAMED6, PASS),
    // The host is on the network but is no neighbour. Two rules each: one that cannot count,
    // because its set is full, goes no further.
    &[
        FAMILY,
        is(IPV4),
        TO4,
        is_in(&HOST4),
        meta(16, 9),
        header(2, 2, 2, 10),
        count(&REFUSED4),
    ],
    &[FAMILY, is(IPV4), TO4, is_in(&HOST4), Expression::Reject],
    &[
        FAMILY,
        is(IPV6),
        TO6,
        is_in(&HOST6),
        meta(16, SECOND),
        header(2, 2, 2, 13),
        count(&REFUSED6),
    ],
    &[FAMILY, is(IPV6), TO6, is_in(&HOST6), Expression::Reject],
    &[FAMILY, is(IPV4), TO4, is_in(&NEAR4), PASS],
    &[FAMILY, is(IPV6), TO6, is_in(&NEAR6), PASS],
    service4!(count(&REFUSED4)),
    service6!(count(&REFUSED6)),
    &[Expression::Reject],
];

/// What the table of one container says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held<'a> {
    /// What it may reach.
    pub allowances: &'a [Allowance],
    /// Its networks.
    pub near: Vec<Subnet>,
    /// The host's addresses on them.
    pub hosts: Vec<IpAddr>,
}

/// Makes the table in a container's network namespace, in place of one that is there.
///
/// # Errors
/// Where the kernel refuses it: it lacks nf_tables, or one of its parts.
pub fn apply(namespace: BorrowedFd<'_>, held: &Held<'_>) -> Result<()> {
    let mut socket = open_socket(namespace)?;
    let mut batch = plan(held).finish();
    socket.apply(&mut batch).map_err(NetError::netlink(
        "hold the container to what it may reach",
        "the nf_tables table of the container",
    ))
}

/// A socket to the packet filter of a container's network namespace.
pub(super) fn open_socket(namespace: BorrowedFd<'_>) -> Result<Socket> {
    crate::namespace::inside(namespace, || Socket::open_here(Protocol::Netfilter))
}

/// A transaction on the table.
pub(super) fn transaction() -> Transaction {
    Transaction::new(TABLE, None)
}

/// The transaction that makes the table.
fn plan(held: &Held<'_>) -> Transaction {
    let mut table = transaction();
    // One that is there is removed, and only what is there can be removed.
    table.add_table();
    table.delete_table();
    table.add_table();
    let mut id = 0;
    let mut next = || {
        id += 1;
        id
    };
    for set in PLAIN {
        table.add_set(set, next());
    }
    for set in TIMED {
        table.add_timed_set(set, next());
    }
    for set in COUNTING {
        table.add_counting_set(set, next(), REFUSALS, REMEMBERED);
    }
    table.add_chain(
        "output",
        Some(Hook {
            kind: "filter",
            number: 3,
            priority: 0,
        }),
    );
    for rule in RULES {
        table.add_rule("output", rule);
    }
    for (set, elements) in plan_elements(held) {
        table.add_elements(set, &elements);
    }
    table
}

/// The elements of all sets that have some.
fn plan_elements(held: &Held<'_>) -> Vec<(&'static Set, Vec<Element>)> {
    let mut everywhere = Vec::new();
    let mut services: BTreeMap<(u8, u16), Vec<Subnet>> = BTreeMap::new();
    for allowance in held.allowances {
        let Target::Subnet(subnet) = &allowance.target else {
            continue;
        };
        let Some(port) = allowance.port else {
            everywhere.push(*subnet);
            continue;
        };
        for protocol in allowance.protocols() {
            services
                .entry((protocol.number(), port))
                .or_default()
                .push(*subnet);
        }
    }
    let mut planned: Vec<(&'static Set, Vec<Element>)> = Vec::new();
    for (four, any, near, host, port) in [
        (true, &ANY4, &NEAR4, &HOST4, &PORT4),
        (false, &ANY6, &NEAR6, &HOST6, &PORT6),
    ] {
        let ranges = |subnets: &[Subnet]| merge(subnets, four).into_iter().map(|range| element(range, &[]));
        planned.push((any, ranges(&everywhere).collect()));
        planned.push((near, ranges(&held.near).collect()));
        let hosts = held.hosts.iter().filter(|host| host.is_ipv4() == four);
        let mut hosts: Vec<Element> = hosts.map(|host| single(bytes_of(*host))).collect();
        hosts.order();
        hosts.dedup();
        planned.push((host, hosts));
        let of_service = services.iter().flat_map(|((protocol, port), subnets)| {
            let behind = service_bytes(*protocol, *port);
            merge(subnets, four)
                .into_iter()
                .map(move |range| element(range, &behind))
        });
        planned.push((port, of_service.collect()));
    }
    // ICMPv6: router solicitation and advertisement, neighbour solicitation and advertisement.
    planned.push((&NEIGHBOURS, (133..=136).map(|kind| single(vec![kind])).collect()));
    planned.retain(|(_, elements)| !elements.is_empty());
    planned
}

fn single(key: Vec<u8>) -> Element {
    Element {
        key,
        last: None,
        value: Vec::new(),
        comment: String::new(),
    }
}

/// An element for all addresses from the first to the last, with a service behind.
fn element((first, last): (IpAddr, IpAddr), behind: &[u8]) -> Element {
    let with = |address| [bytes_of(address), behind.to_vec()].concat();
    Element {
        last: Some(with(last)),
        ..single(with(first))
    }
}

/// An address as the kernel has it.
pub(super) fn bytes_of(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Protocol and port as they stand in a key.
pub(super) fn service_bytes(protocol: u8, port: u16) -> [u8; 8] {
    let [high, low] = port.to_be_bytes();
    [protocol, 0, 0, 0, high, low, 0, 0]
}

/// The subnets of a family as ranges that do not touch: sets of ranges take no others.
fn merge(subnets: &[Subnet], four: bool) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<(IpAddr, IpAddr)> = subnets
        .iter()
        .filter(|subnet| subnet.is_ipv4() == four)
        .map(|subnet| (subnet.address(), subnet.last()))
        .collect();
    ranges.order();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if number(first) <= number(before.1).saturating_add(1) => {
                before.1 = before.1.max(last);
            }
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Something that was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Where to.
    pub address: IpAddr,
    /// The number of the protocol above IP.
    pub protocol: u8,
    /// The port, for protocols that have ports.
    pub port: u16,
    /// How many packets.
    pub packets: u64,
}

/// What was refused in a container's network namespace; `None` where it may reach
/// everything.
///
/// # Errors
/// Where the kernel cannot be asked.
pub fn read_refusals(namespace: BorrowedFd<'_>) -> Result<Option<Vec<Refusal>>> {
    let mut socket = open_socket(namespace)?;
    let mut refusals = Vec::new();
    for set in COUNTING {
        let mut question = Batch::default();
        list_elements(&mut question, TABLE, set.name);
        let mut counts = Vec::new();
        match socket.ask(&question, |message| parse_counts(message, &mut counts)) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => {
                return Err(NetError::netlink("read what was refused", "NFT_MSG_GETSETELEM")(
                    errno,
                ));
            }
        }
        refusals.extend(
            counts
                .iter()
                .filter_map(|(key, packets)| parse_refusal(key, *packets)),
        );
    }
    refusals.order();
    Ok(Some(refusals))
}

fn parse_refusal(key: &[u8], packets: u64) -> Option<Refusal> {
    let (address, service) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let address = match address.len() {
        4 => Ipv4Addr::from(*address.first_chunk::<4>()?).into(),
        16 => Ipv6Addr::from(*address.first_chunk::<16>()?).into(),
        _ => return None,
    };
    let protocol = *service.first()?;
    let port = u16::from_be_bytes([*service.get(4)?, *service.get(5)?]);
    Some(Refusal {
        address,
        protocol,
        // What other protocols have there is no port.
        port: if matches!(protocol, 6 | 17 | 132) { port } else { 0 },
        packets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::parse_allowances;

    #[test]
    fn ranges_do_not_touch() {
        let subnets: Vec<Subnet> = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "11.0.0.0/8",
            "192.0.2.1/32",
            "fd00::/8",
        ]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
        let text = |four| {
            let ranges = merge(&subnets, four).into_iter();
            ranges
                .map(|(first, last)| format!("{first}-{last}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(text(true), ["10.0.0.0-11.255.255.255", "192.0.2.1-192.0.2.1"]);
        assert_eq!(text(false).len(), 1);
    }

    #[test]
    fn elements_of_a_policy() {
        let allowances =
            parse_allowances("10.0.0.0/8,10.0.0.0/8:53/udp,10.1.0.0/16:53/udp,a.org:443").unwrap();
        let held = Held {
            allowances: &allowances,
            near: vec!["172.20.0.0/16".parse().unwrap()],
            hosts: vec!["172.20.0.1".parse().unwrap()],
        };
        let planned = plan_elements(&held);
        let of = |name: &str| {
            let found = planned.iter().find(|(set, _)| set.name == name);
            found.map(|(_, elements)| elements.clone()).unwrap_or_default()
        };
        assert_eq!(of("any4").len(), 1);
        let port = of("port4");
        assert_eq!(port.len(), 1);
        assert_eq!(port[0].key, [10, 0, 0, 0, 17, 0, 0, 0, 0, 53, 0, 0]);
        assert_eq!(
            port[0].last,
            Some(vec![10, 255, 255, 255, 17, 0, 0, 0, 0, 53, 0, 0])
        );
        assert_eq!(
            (of("host4").len(), of("near4").len(), of("port6").len()),
            (1, 1, 0)
        );
        assert_eq!(of("nd_types").len(), 4);
    }

    #[test]
    fn refusals_are_read() {
        let refusal = parse_refusal(&[192, 0, 2, 1, 6, 0, 0, 0, 1, 187, 0, 0], 3).unwrap();
        assert_eq!(
            (
                refusal.address.to_string().as_str(),
                refusal.port,
                refusal.packets
            ),
            ("192.0.2.1", 443, 3)
        );
        let ping = parse_refusal(&[192, 0, 2, 1, 1, 0, 0, 0, 9, 9, 0, 0], 1).unwrap();
        assert_eq!((ping.protocol, ping.port), (1, 0));
        assert_eq!(parse_refusal(&[1, 2, 3], 1), None);
    }
}
