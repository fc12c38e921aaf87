//! Interfaces: `RTM_NEWLINK`, `RTM_SETLINK`, `RTM_GETLINK` (rtnetlink(7), `if_link.h`).

use super::message::{Attributes, Batch, CREATE, DUMP, EXCL, Message};
use crate::mac::Mac;
use rustix::fd::{AsRawFd, BorrowedFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESS: u8 = 1;
/// The smallest MTU with which IPv6 is there at all (`IPV6_MIN_MTU`).
const IPV6_MIN_MTU: u32 = 1280;

/// `IPV4_DEVCONF_ARP_NOTIFY`.
const ARP_NOTIFY: u16 = 22;
/// `IPV4_DEVCONF_ROUTE_LOCALNET`.
const ROUTE_LOCALNET: u16 = 26;

/// `IFF_UP`.
pub const UP: u32 = 1;

/// `struct ifinfomsg`.
fn body(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// A bridge that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBridge<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address: without one of its own a bridge takes that of a port, and
    /// changes it as ports come and go.
    pub mac: Mac,
    /// The largest packet.
    pub mtu: u32,
}

/// Makes a bridge and brings it up.
pub fn add_bridge(batch: &mut Batch, bridge: &NewBridge<'_>) {
    batch.message(RTM_NEWLINK, CREATE | EXCL, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, bridge.name);
        attributes.bytes(IFLA_ADDRESS, &bridge.mac.0);
        attributes.u32(IFLA_MTU, bridge.mtu);
        attributes.nest(IFLA_LINKINFO, |info| info.bytes(IFLA_INFO_KIND, b"bridge"));
    });
}

/// Lets a bridge route 127/8, for ports that are published on the host's loopback address.
/// Only behind the guard of [`crate::table`] (CVE-2020-8558).
pub fn allow_route_localnet(batch: &mut Batch, index: u32) {
    batch.message(RTM_SETLINK, 0, &body(index, 0, 0), |attributes| {
        ipv4_setting(attributes, ROUTE_LOCALNET, 1);
    });
}

fn ipv4_setting(attributes: &mut Attributes<'_>, setting: u16, value: u32) {
    attributes.nest(IFLA_AF_SPEC, |families| {
        families.nest(AF_INET, |family| {
            family.nest(IFLA_INET_CONF, |settings| settings.u32(setting, value));
        });
    });
}

/// An interface that is to be made in a container's network namespace.
#[derive(Debug, Clone, Copy)]
pub struct NewInterface<'a> {
    /// The container's network namespace.
    pub namespace: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest packet.
    pub mtu: u32,
}

fn place(attributes: &mut Attributes<'_>, interface: &NewInterface<'_>) {
    attributes.text(IFLA_IFNAME, interface.name);
    attributes.bytes(IFLA_ADDRESS, &interface.mac.0);
    attributes.u32(IFLA_MTU, interface.mtu);
    attributes.u32(IFLA_NET_NS_FD, interface.namespace.as_raw_fd().cast_unsigned());
}

/// Makes a veth pair: one end, up, at the bridge `master`, the other in the container. One
/// queue each: by default there is one for each CPU, which costs memory and time. Where the host
/// `has_ipv6`, the end at the bridge gets no address of it, which nobody would ask: for each the
/// kernel would look for duplicates, join groups and send reports, all at the time of the start.
pub fn add_veth(
    batch: &mut Batch,
    (host_name, master): (&str, u32),
    interface: &NewInterface<'_>,
    has_ipv6: bool,
) {
    let queues = |attributes: &mut Attributes<'_>| {
        attributes.u32(IFLA_NUM_TX_QUEUES, 1);
        attributes.u32(IFLA_NUM_RX_QUEUES, 1);
    };
    let waits = has_ipv6 && interface.mtu >= IPV6_MIN_MTU;
    let flags = if waits { 0 } else { UP };
    batch.message(RTM_NEWLINK, CREATE | EXCL, &body(0, flags, flags), |attributes| {
        attributes.text(IFLA_IFNAME, host_name);
        attributes.u32(IFLA_MTU, interface.mtu);
        attributes.u32(IFLA_MASTER, master);
        queues(attributes);
        attributes.nest(IFLA_LINKINFO, |info| {
            info.bytes(IFLA_INFO_KIND, b"veth");
            info.nest(IFLA_INFO_DATA, |data| {
                data.nest_after(VETH_INFO_PEER, &body(0, 0, 0), |peer| {
                    place(peer, interface);
                    queues(peer);
                });
            });
        });
    });
    if waits {
        give_no_address(batch, host_name);
        bring_up_by_name(batch, host_name);
    }
}

/// Has the kernel give an interface no address of IPv6 when it comes up.
fn give_no_address(batch: &mut Batch, name: &str) {
    batch.message(RTM_SETLINK, 0, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, name);
        attributes.nest(IFLA_AF_SPEC, |families| {
            families.nest(AF_INET6, |family| {
                family.u8(IFLA_INET6_ADDR_GEN_MODE, NO_ADDRESS);
            });
        });
    });
}

fn bring_up_by_name(batch: &mut Batch, name: &str) {
    batch.message(RTM_SETLINK, 0, &body(0, UP, UP), |attributes| {
        attributes.text(IFLA_IFNAME, name);
    });
}

/// Makes an interface a port of a bridge.
pub fn set_master(batch: &mut Batch, name: &str, master: u32) {
    batch.message(RTM_SETLINK, 0, &body(0, UP, UP), |attributes| {
        attributes.text(IFLA_IFNAME, name);
        attributes.u32(IFLA_MASTER, master);
    });
}

/// Lets a port of a bridge send back what came by it: a container that reaches itself by a
/// published port, where br_netfilter has the bridge do what the host would route.
pub fn allow_hairpin(batch: &mut Batch, host_name: &str) {
    batch.message(RTM_NEWLINK, 0, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, host_name);
        attributes.nest(IFLA_LINKINFO, |info| {
            info.bytes(IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nest(IFLA_INFO_SLAVE_DATA, |data| data.u8(IFLA_BRPORT_MODE, 1));
        });
    });
}

/// Keeps a port of a bridge from reaching the other ports that are kept so
/// (`IFLA_BRPORT_ISOLATED`): for networks whose containers do not reach each other.
pub fn isolate_port(batch: &mut Batch, host_name: &str) {
    // Without a flag that makes it, NEWLINK changes; SETLINK does not look at this attribute.
    batch.message(RTM_NEWLINK, 0, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, host_name);
        attributes.nest(IFLA_LINKINFO, |info| {
            info.bytes(IFLA_INFO_SLAVE_KIND, b"bridge");
            info.nest(IFLA_INFO_SLAVE_DATA, |data| data.u8(IFLA_BRPORT_ISOLATED, 1));
        });
    });
}

/// Which frames a macvlan interface sees of its siblings (`enum macvlan_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacvlanMode {
    /// None.
    Private = 1,
    /// Those that come back from the switch.
    Vepa = 2,
    /// All, directly.
    Bridge = 4,
    /// It has the parent to itself.
    Passthru = 8,
}

/// Makes a macvlan interface above `parent` in the container.
pub fn add_macvlan(batch: &mut Batch, parent: u32, mode: MacvlanMode, interface: &NewInterface<'_>) {
    batch.message(RTM_NEWLINK, CREATE | EXCL, &body(0, 0, 0), |attributes| {
        attributes.u32(IFLA_LINK, parent);
        place(attributes, interface);
        attributes.nest(IFLA_LINKINFO, |info| {
            info.bytes(IFLA_INFO_KIND, b"macvlan");
            info.nest(IFLA_INFO_DATA, |data| data.u32(IFLA_MACVLAN_MODE, mode as u32));
        });
    });
}

/// Brings an interface up. With `announce` it tells its neighbours its address, so that
/// those who knew it at another port forget that.
pub fn bring_up(batch: &mut Batch, index: u32, announce: bool) {
    batch.message(RTM_SETLINK, 0, &body(index, UP, UP), |attributes| {
        if announce {
            ipv4_setting(attributes, ARP_NOTIFY, 1);
        }
    });
}

/// Removes an interface by name. Slow (the kernel waits for readers): never on the way of
/// stop, where the namespace is dropped instead.
pub fn delete(batch: &mut Batch, name: &str) {
    batch.message(RTM_DELLINK, 0, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, name);
    });
}

/// Asks for one interface by name.
pub fn get(batch: &mut Batch, name: &str) {
    batch.message(RTM_GETLINK, 0, &body(0, 0, 0), |attributes| {
        attributes.text(IFLA_IFNAME, name);
    });
}

/// Asks for all interfaces.
pub fn list(batch: &mut Batch) {
    batch.message(RTM_GETLINK, DUMP, &body(0, 0, 0), |_| {});
}

/// An interface as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// Its name.
    pub name: String,
    /// The largest packet.
    pub mtu: u32,
    /// What kind it is: `bridge`, `veth`; empty for a device.
    pub kind: String,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// Its hardware address.
    pub mac: Option<Mac>,
}

/// Reads an answer; `None` for another message.
#[must_use]
pub fn parse(message: &Message<'_>) -> Option<Link> {
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let number = |at: usize| {
        message
            .body
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(u32::from_ne_bytes)
    };
    let mut link = Link {
        index: number(4)?,
        flags: number(8)?,
        ..Link::default()
    };
    for attribute in message.attributes(16) {
        match attribute.kind {
            IFLA_IFNAME => link.name = attribute.text().unwrap_or_default().to_owned(),
            IFLA_MTU => link.mtu = attribute.u32().unwrap_or(0),
            IFLA_MASTER => link.master = attribute.u32(),
            IFLA_ADDRESS => link.mac = attribute.value.try_into().ok().map(Mac),
            IFLA_LINKINFO => {
                let kind = attribute.nested().find(IFLA_INFO_KIND);
                link.kind = kind.and_then(|kind| kind.text()).unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    Some(link)
}
