//! Bridges: made on first use, with the addresses by which they route for their containers.

use crate::error::{NetError, Result};
use crate::mac::Mac;
use crate::netlink::link::{self, Link, NewBridge};
use crate::netlink::route::Route;
use crate::netlink::{Batch, Socket, address, route};
use crate::network::Network;
use crate::subnet::Subnet;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use std::net::{IpAddr, Ipv6Addr};

/// The largest packet, unless the uplink takes less.
pub const MTU: u32 = 1500;
const RT_TABLE_MAIN: u8 = 254;
/// A bridge's address for its neighbours, as Docker's.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The index of an interface; `None` where there is none of this name.
///
/// # Errors
/// Where the kernel does not say.
pub fn index_of(socket: &impl AsFd, name: &str) -> Result<Option<u32>> {
    match name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(NetError::netlink(
            format!("look up interface {name}"),
            "SIOCGIFINDEX",
        )(errno)),
    }
}

/// Whether an interface is there and up. A bridge that is has all that it is to have: it is
/// brought up with its addresses, by one message after them.
///
/// # Errors
/// Where the kernel does not say.
pub fn is_up(socket: &mut Socket, name: &str) -> Result<bool> {
    let mut batch = Batch::default();
    link::get(&mut batch, name);
    let mut is_up = false;
    let asked = socket.ask(&batch, |message| {
        is_up |= link::parse(message).is_some_and(|link| link.flags & link::UP != 0);
    });
    match asked {
        Ok(()) => Ok(is_up),
        Err(Errno::NODEV) => Ok(false),
        Err(errno) => Err(NetError::netlink(
            format!("look up interface {name}"),
            "RTM_GETLINK",
        )(errno)),
    }
}

/// The bridge of a network: its index. One that is not there is made; one that somebody was
/// killed over is finished.
///
/// # Errors
/// Where it cannot be made.
pub fn ensure(socket: &mut Socket, network: &Network) -> Result<u32> {
    match index_of(socket, &network.interface)? {
        Some(index) => {
            if !is_up(socket, &network.interface)? {
                apply_addresses(socket, network, index)?;
            }
            Ok(index)
        }
        None => make(socket, network),
    }
}

fn make(socket: &mut Socket, network: &Network) -> Result<u32> {
    let name = &network.interface;
    let action = || format!("make the bridge {name}");
    let mut batch = Batch::default();
    link::add_bridge(
        &mut batch,
        &NewBridge {
            name,
            mac: bridge_mac(network),
            mtu: network.mtu.unwrap_or(MTU),
        },
    );
    match socket.apply(&mut batch) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(NetError::netlink(action(), "RTM_NEWLINK bridge")(errno)),
    }
    let index = index_of(socket, name)?
        .ok_or_else(|| NetError::Invalid(format!("the bridge {name} was removed while it was made")))?;
    apply_addresses(socket, network, index)?;
    Ok(index)
}

/// Gives the bridge its addresses, lets it route 127/8 and brings it up; doing it again changes
/// nothing.
///
/// # Errors
/// Where the kernel refuses.
pub fn apply_addresses(socket: &mut Socket, network: &Network, index: u32) -> Result<()> {
    let mut batch = Batch::default();
    for pool in &network.pools {
        if let Some(gateway) = pool.gateway {
            address::add(&mut batch, index, gateway, pool.subnet.prefix());
        }
    }
    if network.pool(false).is_some() {
        // The kernel's own link-local address takes a second to be ready, in which the host
        // could not ask for a container's hardware address on behalf of others.
        address::add(&mut batch, index, LINK_LOCAL.into(), 64);
    }
    if network.pool(true).is_some() {
        link::allow_route_localnet(&mut batch, index);
    }
    link::bring_up(&mut batch, index, false);
    socket.apply(&mut batch).map_err(NetError::netlink(
        format!("give the bridge {} its addresses", network.interface),
        "RTM_NEWADDR",
    ))
}

/// An address of its own, which stays the same for the network's life.
fn bridge_mac(network: &Network) -> Mac {
    let digits = |at: usize| {
        network
            .id
            .get(at..at + 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .unwrap_or(0)
    };
    Mac::local([0, digits(0), digits(2), digits(4), digits(6), digits(8)])
}

/// Removes the bridge of a network; one that is not there is no error.
///
/// # Errors
/// Where the kernel refuses.
pub fn remove(socket: &mut Socket, network: &Network) -> Result<()> {
    let mut batch = Batch::default();
    link::delete(&mut batch, &network.interface);
    match socket.apply(&mut batch) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(errno) => Err(NetError::netlink(
            format!("remove the bridge {}", network.interface),
            "RTM_DELLINK",
        )(errno)),
    }
}

/// The interfaces, addresses and routes of this host.
#[derive(Debug, Clone, Default)]
pub struct HostNetworks {
    /// Its interfaces.
    pub links: Vec<Link>,
    /// Its addresses.
    pub addresses: Vec<address::Address>,
    /// Its routes.
    pub routes: Vec<Route>,
}

impl HostNetworks {
    /// Asks the kernel.
    ///
    /// # Errors
    /// Where it does not say.
    pub fn read(socket: &mut Socket) -> Result<Self> {
        let mut found = Self::default();
        let refused = |what: &'static str| NetError::netlink(format!("list the {what} of this host"), what);
        let mut batch = Batch::default();
        link::list(&mut batch);
        socket
            .ask(&batch, |message| found.links.extend(link::parse(message)))
            .map_err(refused("interfaces"))?;
        let mut batch = Batch::default();
        address::list(&mut batch);
        socket
            .ask(&batch, |message| found.addresses.extend(address::parse(message)))
            .map_err(refused("addresses"))?;
        let mut batch = Batch::default();
        route::list(&mut batch);
        socket
            .ask(&batch, |message| found.routes.extend(route::parse(message)))
            .map_err(refused("routes"))?;
        Ok(found)
    }

    /// Whether a subnet shares an address with one that the host has or routes.
    #[must_use]
    pub fn uses(&self, subnet: &Subnet) -> bool {
        let routed = self
            .routes
            .iter()
            .filter(|route| route.destination.prefix() != 0 && route.table == RT_TABLE_MAIN)
            .any(|route| route.destination.overlaps(subnet));
        routed
            || self
                .addresses
                .iter()
                .any(|address| Subnet::new(address.address, address.prefix).overlaps(subnet))
    }

    /// The largest packet that the uplink takes: the smallest of the interfaces with a default
    /// route.
    #[must_use]
    pub fn uplink_mtu(&self) -> Option<u32> {
        let uplinks = self
            .routes
            .iter()
            .filter(|route| route.destination.prefix() == 0 && route.table == RT_TABLE_MAIN)
            .filter_map(|route| self.links.iter().find(|link| link.index == route.interface));
        uplinks.map(|link| link.mtu).filter(|mtu| *mtu >= 576).min()
    }

    /// The addresses of an interface.
    pub fn addresses_of(&self, index: u32) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses
            .iter()
            .filter(move |address| address.index == index)
            .map(|address| address.address)
    }
}
