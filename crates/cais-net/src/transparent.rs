//! Connections that the monitor passes on with the address of the client (`IP_TRANSPARENT`,
//! ip(7)), in an ordinary user's network namespace: what the container answers is led to the
//! socket that has that address, though it is no address of the namespace.
//!
//! A rule marks packets for such sockets, and a route takes what is marked in.

use crate::error::{NetError, Result};
use crate::netlink::nftables::{self, Expression, Hook, Transaction};
use crate::netlink::{Batch, Protocol, Socket, route};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::bind;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

const TABLE: &str = "cais-sockets";
const CHAIN: &str = "mark";
/// `socket transparent 1 meta mark set 1`: what is found, one byte, is the mark too.
const RULE: &[Expression] = &[
    Expression::SocketIsTransparent { register: 1 },
    Expression::Compare {
        register: 1,
        equal: true,
        value: &[1],
    },
    Expression::SetMark { register: 1 },
];
const MARK: u32 = u32::from_ne_bytes([1, 0, 0, 0]);

/// Makes rule and routes in the network namespace of this thread.
///
/// # Errors
/// Where the kernel refuses: it may lack the expression `socket`.
pub fn prepare_here() -> Result<()> {
    let refused = |action: &str| NetError::netlink(action.to_owned(), "netlink");
    let mut batch = Batch::default();
    route::take_in_marked(&mut batch, MARK);
    Socket::open_here(Protocol::Route)?
        .apply(&mut batch)
        .map_err(refused("route what is marked"))?;
    let mut table = Transaction::new(TABLE, None);
    table.add_table();
    // Before routes are looked up.
    let hook = Hook {
        kind: "filter",
        number: 0,
        priority: -150,
    };
    table.add_chain(CHAIN, Some(hook));
    table.add_rule(CHAIN, RULE);
    Socket::open_here(Protocol::Netfilter)?
        .apply(&mut table.finish())
        .map_err(refused("mark packets of sockets"))
}

/// Whether [`prepare_here`] was done where the bridges are.
fn is_prepared() -> bool {
    static PREPARED: OnceLock<bool> = OnceLock::new();
    *PREPARED.get_or_init(|| {
        let mut batch = Batch::default();
        nftables::ask_chain(&mut batch, TABLE, CHAIN);
        Socket::open(Protocol::Netfilter).is_ok_and(|mut socket| socket.ask(&batch, |_| {}).is_ok())
    })
}

/// Gives a socket, opened where the bridges are, the address of a client of the host, where
/// that can be.
///
/// # Errors
/// As setsockopt(2), bind(2).
pub fn take_address(socket: &impl AsFd, client: IpAddr, ipv4: bool) -> std::result::Result<(), Errno> {
    let client = client.to_canonical();
    let is_near = match client {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    };
    if is_near || client.is_ipv4() != ipv4 || !is_prepared() {
        return Ok(());
    }
    cais_sys::socket::set_transparent(socket.as_fd(), !ipv4)?;
    bind(socket, &SocketAddr::new(client, 0))
}
