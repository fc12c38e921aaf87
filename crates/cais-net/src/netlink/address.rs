//! Addresses of interfaces: `RTM_NEWADDR`, `RTM_GETADDR` (rtnetlink(7), `if_addr.h`).

use super::message::{Batch, CREATE, DUMP, Message, REPLACE};
use crate::subnet::Subnet;
use std::net::IpAddr;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// Without duplicate address detection: leases see to it that an address is given once, and
/// the address works at once.
const IFA_F_NODAD: u32 = 0x2;
const IFA_F_PERMANENT: u32 = 0x80;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const RT_SCOPE_LINK: u8 = 253;

/// `struct ifaddrmsg`.
fn body(address: IpAddr, prefix: u8, scope: u8, index: u32) -> [u8; 8] {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut bytes = [family, prefix, 0, scope, 0, 0, 0, 0];
    bytes[4..].copy_from_slice(&index.to_ne_bytes());
    bytes
}

/// Gives an interface an address.
pub fn add(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let scope = if link_local { RT_SCOPE_LINK } else { 0 };
    batch.message(
        RTM_NEWADDR,
        CREATE | REPLACE,
        &body(address, prefix, scope, index),
        |attributes| {
            attributes.address(IFA_LOCAL, address);
            attributes.address(IFA_ADDRESS, address);
            if let IpAddr::V4(_) = address
                && let Some(broadcast) = Subnet::new(address, prefix).broadcast().filter(|_| prefix < 31)
            {
                attributes.address(IFA_BROADCAST, broadcast);
            }
            attributes.u32(IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT);
        },
    );
}

/// Takes an address from an interface.
pub fn delete(batch: &mut Batch, index: u32, address: IpAddr, prefix: u8) {
    batch.message(RTM_DELADDR, 0, &body(address, prefix, 0, index), |attributes| {
        attributes.address(IFA_LOCAL, address);
    });
}

/// Asks for all addresses.
pub fn list(batch: &mut Batch) {
    batch.message(RTM_GETADDR, DUMP, &[0; 8], |_| {});
}

/// An address as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many of its bits are the network's.
    pub prefix: u8,
}

/// Reads an answer; `None` for another message.
#[must_use]
pub fn parse(message: &Message<'_>) -> Option<Address> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let attributes = message.attributes(8);
    let found = attributes
        .find(IFA_LOCAL)
        .or_else(|| attributes.find(IFA_ADDRESS))?;
    Some(Address {
        index: message.body.get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?,
        address: found.address()?,
        prefix: *message.body.get(1)?,
    })
}
