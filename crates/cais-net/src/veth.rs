//! Interfaces of containers: made by the host inside the container's network namespace,
//! with their final names, and then set up from a socket inside.

use crate::bridge;
use crate::endpoint::Endpoint;
use crate::error::{NetError, Result};
use crate::namespace;
use crate::netlink::link::{self, MacvlanMode, NewInterface};
use crate::netlink::{Batch, Protocol, Socket, address, route};
use crate::network::Driver;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

/// The index of `lo` in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// The index of the parent of an interface: a bridge, or a device of the host.
fn parent(host: &Socket, endpoint: &Endpoint) -> Result<u32> {
    bridge::index_of(host, &endpoint.parent)?.ok_or_else(|| {
        NetError::Invalid(format!(
            "network {}: there is no interface {} on this host",
            endpoint.network, endpoint.parent
        ))
    })
}

/// Makes the interfaces: one send. `has_ipv6` is whether the host has it ([`crate::host::has_ipv6`]).
///
/// # Errors
/// Where one cannot be made; those made before it go with the namespace, or by [`detach`].
pub fn attach(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    endpoints: &[Endpoint],
    has_ipv6: bool,
) -> Result<()> {
    let parents = endpoints
        .iter()
        .map(|endpoint| parent(host, endpoint))
        .collect::<Result<Vec<u32>>>()?;
    let names: Vec<&str> = endpoints.iter().map(|each| each.network.as_str()).collect();
    make(host, namespace, (endpoints, &parents), has_ipv6).map_err(NetError::netlink(
        format!("connect the container to network {}", names.join(", ")),
        "RTM_NEWLINK",
    ))
}

fn make(
    host: &mut Socket,
    namespace: BorrowedFd<'_>,
    (endpoints, parents): (&[Endpoint], &[u32]),
    has_ipv6: bool,
) -> std::result::Result<(), Errno> {
    let mut batch = Batch::default();
    for (endpoint, parent) in endpoints.iter().zip(parents) {
        let interface = NewInterface {
            namespace,
            name: &endpoint.interface,
            mac: endpoint.mac,
            mtu: endpoint.mtu,
        };
        match (endpoint.driver, &endpoint.host_interface) {
            (Driver::Bridge, Some(name)) => {
                link::add_veth(&mut batch, (name, *parent), &interface, has_ipv6);
                if endpoint.hairpin {
                    link::allow_hairpin(&mut batch, name);
                }
                if endpoint.isolated {
                    link::isolate_port(&mut batch, name);
                }
            }
            _ => link::add_macvlan(&mut batch, *parent, endpoint.macvlan_mode(), &interface),
        }
    }
    host.apply(&mut batch)
}

impl Endpoint {
    fn macvlan_mode(&self) -> MacvlanMode {
        match self.mode.as_deref() {
            Some("private") => MacvlanMode::Private,
            Some("vepa") => MacvlanMode::Vepa,
            Some("passthru") => MacvlanMode::Passthru,
            _ => MacvlanMode::Bridge,
        }
    }
}

/// Lets a container that runs be reached by itself, by way of a published port.
///
/// # Errors
/// Where the kernel refuses.
pub fn allow_hairpin(host: &mut Socket, endpoint: &Endpoint) -> Result<()> {
    let Some(name) = &endpoint.host_interface else {
        return Ok(());
    };
    let mut batch = Batch::default();
    link::allow_hairpin(&mut batch, name);
    host.apply(&mut batch).map_err(NetError::netlink(
        format!("change {name} in network {}", endpoint.network),
        "RTM_NEWLINK",
    ))
}

/// Gives the interfaces their addresses, brings them up and adds the default routes: one
/// send, on a socket inside.
///
/// # Errors
/// Where the kernel refuses.
pub fn configure(inside: &mut Socket, endpoints: &[Endpoint]) -> Result<()> {
    // The kernel chooses the indexes: a namespace may have devices that it makes itself
    // (tunl0, sit0). Looking one up costs no exchange of messages.
    let indexes = endpoints
        .iter()
        .map(|endpoint| index_in(inside, endpoint))
        .collect::<Result<Vec<u32>>>()?;
    let mut batch = Batch::default();
    if endpoints.iter().all(|endpoint| endpoint.ipv4.is_none()) {
        // The resolver's socket is bound next, perhaps before the stub has brought this up.
        // Without any address of IPv4 a namespace has no table of its own addresses, and the
        // kernel then takes 127.0.0.11 for one of many and answers from 127.0.0.1.
        link::bring_up(&mut batch, LOOPBACK, false);
    }
    for (endpoint, index) in endpoints.iter().zip(&indexes) {
        for (address, prefix) in endpoint.addresses() {
            address::add(&mut batch, *index, address, prefix);
        }
        for address in &endpoint.link_local {
            let prefix = if address.is_ipv4() { 16 } else { 64 };
            address::add(&mut batch, *index, *address, prefix);
        }
        link::bring_up(&mut batch, *index, endpoint.ipv4.is_some());
    }
    for (endpoint, index) in endpoints
        .iter()
        .zip(&indexes)
        .filter(|(each, _)| each.default_route)
    {
        for gateway in [endpoint.gateway4, endpoint.gateway6].into_iter().flatten() {
            route::add_default(&mut batch, *index, gateway, 0);
        }
    }
    inside.apply(&mut batch).map_err(NetError::netlink(
        "set up the container's interfaces",
        "RTM_NEWADDR, RTM_SETLINK, RTM_NEWROUTE",
    ))
}

/// The index of an interface in the namespace of this socket.
fn index_in(inside: &Socket, endpoint: &Endpoint) -> Result<u32> {
    bridge::index_of(inside, &endpoint.interface)?.ok_or_else(|| {
        NetError::Invalid(format!(
            "interface {} of the container is gone",
            endpoint.interface
        ))
    })
}

/// Opens a socket inside a network namespace.
///
/// # Errors
/// As setns(2) and socket(2).
pub fn open_inside(namespace: BorrowedFd<'_>) -> Result<Socket> {
    namespace::inside(namespace, || Socket::open_here(Protocol::Route))
}

/// Removes one interface of a container that goes on running: `network disconnect`. One that
/// is not there is no error.
///
/// # Errors
/// Where the kernel refuses.
pub fn detach(inside: &mut Socket, endpoint: &Endpoint) -> Result<()> {
    let mut batch = Batch::default();
    link::delete(&mut batch, &endpoint.interface);
    match inside.apply(&mut batch) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(errno) => Err(NetError::netlink(
            format!("take the container out of network {}", endpoint.network),
            "RTM_DELLINK",
        )(errno)),
    }
}
