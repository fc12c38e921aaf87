//! Routes: `RTM_NEWROUTE`, `RTM_GETROUTE` (rtnetlink(7)).

use super::message::{Batch, CREATE, DUMP, Message, REPLACE};
use crate::subnet::Subnet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

/// `struct rtmsg`.
fn body(family: u8, prefix: u8) -> [u8; 12] {
    [
        family,
        prefix,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        0,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ]
}

/// Sends what has no other route to `gateway`, by this interface.
pub fn add_default(batch: &mut Batch, index: u32, gateway: IpAddr, metric: u32) {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    batch.message(RTM_NEWROUTE, CREATE | REPLACE, &body(family, 0), |attributes| {
        attributes.address(RTA_GATEWAY, gateway);
        attributes.u32(RTA_OIF, index);
        if metric != 0 {
            attributes.u32(RTA_PRIORITY, metric);
        }
    });
}

/// Takes packets with this mark in, whatever their destination: of both families.
pub fn take_in_marked(batch: &mut Batch, mark: u32) {
    const RTM_NEWRULE: u16 = 32;
    const FRA_FWMARK: u16 = 10;
    const FR_ACT_TO_TBL: u8 = 1;
    const RTN_LOCAL: u8 = 2;
    const RT_SCOPE_HOST: u8 = 254;
    const LOOPBACK: u32 = 1;
    /// Nobody else has routes in this namespace.
    const TABLE: u8 = 99;
    for family in [AF_INET, AF_INET6] {
        let rule = [family, 0, 0, 0, TABLE, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
        batch.message(RTM_NEWRULE, CREATE, &rule, |attributes| {
            attributes.u32(FRA_FWMARK, mark);
        });
        let mut route = body(family, 0);
        (route[4], route[6], route[7]) = (TABLE, RT_SCOPE_HOST, RTN_LOCAL);
        batch.message(RTM_NEWROUTE, CREATE | REPLACE, &route, |attributes| {
            attributes.u32(RTA_OIF, LOOPBACK);
        });
    }
}

/// Removes the default route by this gateway.
pub fn delete_default(batch: &mut Batch, gateway: IpAddr) {
    let family = if gateway.is_ipv4() { AF_INET } else { AF_INET6 };
    batch.message(RTM_DELROUTE, 0, &body(family, 0), |attributes| {
        attributes.address(RTA_GATEWAY, gateway);
    });
}

/// Asks for all routes of both families: one dump.
pub fn list(batch: &mut Batch) {
    batch.message(RTM_GETROUTE, DUMP, &[0; 12], |_| {});
}

/// A route as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: Subnet,
    /// By which interface.
    pub interface: u32,
    /// The table that it stands in.
    pub table: u8,
    /// By way of whom.
    pub gateway: Option<IpAddr>,
}

/// Reads an answer; `None` for another message.
#[must_use]
pub fn parse(message: &Message<'_>) -> Option<Route> {
    if message.kind != RTM_NEWROUTE {
        return None;
    }
    let (family, prefix) = (*message.body.first()?, *message.body.get(1)?);
    let any = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let attributes = message.attributes(12);
    let destination = attributes.find(RTA_DST).and_then(|found| found.address());
    Some(Route {
        destination: Subnet::new(destination.unwrap_or(any), prefix),
        interface: attributes
            .find(RTA_OIF)
            .and_then(|found| found.u32())
            .unwrap_or(0),
        table: *message.body.get(4)?,
        gateway: attributes.find(RTA_GATEWAY).and_then(|found| found.address()),
    })
}
