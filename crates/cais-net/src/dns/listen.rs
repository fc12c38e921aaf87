//! The sockets at 127.0.0.11, opened inside a container's network namespace. A socket
//! stays in the namespace in which it was made (network_namespaces(7)), so the monitor
//! holds them and lives elsewhere.

use super::resolv_conf::{OURS, PORT};
use crate::error::{NetError, Result};
use crate::netlink::nftables::{Element, Expression, Field, Hook, Set, Transaction};
use crate::netlink::{Protocol, Socket};
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{set_ip_freebind, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use std::net::SocketAddr;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// The sockets of a resolver.
#[derive(Debug)]
pub struct Listeners {
    /// Takes datagrams.
    pub udp: OwnedFd,
    /// Takes connections.
    pub tcp: OwnedFd,
}

/// Opens the sockets in the network namespace that `namespace` refers to, and comes back.
/// Only for a process with one thread.
///
/// With `aside` they are at ports of their own, and what is sent to port 53 is led there: for
/// a container whose program is to listen at port 53 of all its addresses itself. That costs
/// a table of nf_tables in the container's namespace.
///
/// # Errors
/// As setns(2), socket(2), bind(2). Where coming back fails the process is in the wrong
/// namespace and must end.
pub fn open_in(namespace: BorrowedFd<'_>, aside: bool) -> Result<Listeners> {
    crate::namespace::inside(namespace, || {
        let port = if aside { 0 } else { PORT };
        let failed = || NetError::system(format!("listen at {OURS}:{PORT} in the container"));
        let listeners = open_at(SocketAddr::new(OURS, port)).map_err(failed())?;
        if aside {
            lead_aside(&listeners)?;
        }
        Ok(listeners)
    })
}

/// What is sent to port 53 by a protocol goes to this address and port instead.
static PORTS: Set = Set {
    name: "ports",
    key: &[Field::Protocol, Field::Port],
    value: &[Field::Ipv4, Field::Port],
    ranges: false,
    expires: false,
};

/// `ip daddr 127.0.0.11 dnat ip to meta l4proto . th dport map @ports`.
const RULE: &[Expression] = &[
    Expression::Meta { key: 15, register: 1 },
    equals(&[2]),
    payload(1, 16, 4, 1),
    equals(&[127, 0, 0, 11]),
    Expression::Meta { key: 16, register: 1 },
    payload(2, 2, 2, 9),
    Expression::Lookup {
        set: &PORTS,
        register: 1,
        inverted: false,
    },
    Expression::Destination {
        family: 2,
        address: 1,
        port: 9,
    },
];

const fn equals(value: &'static [u8]) -> Expression {
    Expression::Compare {
        register: 1,
        equal: true,
        value,
    }
}

const fn payload(base: u32, offset: u32, length: u32, register: u32) -> Expression {
    Expression::Payload {
        base,
        offset,
        length,
        register,
    }
}

/// Leads what is sent to port 53 to the ports of these sockets, in the namespace of this
/// thread.
fn lead_aside(listeners: &Listeners) -> Result<()> {
    let mut elements = Vec::new();
    for (protocol, socket) in [(17, &listeners.udp), (6, &listeners.tcp)] {
        let address = getsockname(socket)
            .and_then(SocketAddr::try_from)
            .map_err(|errno| SysError::new("getsockname", "", errno))
            .map_err(NetError::system("find the resolver's port"))?;
        let [high, low] = address.port().to_be_bytes();
        elements.push(Element {
            key: vec![protocol, 0, 0, 0, 0, 53, 0, 0],
            last: None,
            value: vec![127, 0, 0, 11, high, low, 0, 0],
            comment: String::new(),
        });
    }
    let mut table = Transaction::new("cais-names", None);
    table.add_table();
    table.delete_table();
    table.add_table();
    table.add_set(&PORTS, 1);
    let hook = Hook {
        kind: "nat",
        number: 3,
        priority: -100,
    };
    table.add_chain("output", Some(hook));
    table.add_rule("output", RULE);
    table.add_elements(&PORTS, &elements);
    let mut batch = table.finish();
    Socket::open_here(Protocol::Netfilter)?
        .apply(&mut batch)
        .map_err(NetError::netlink("lead questions for names aside", "nf_tables"))
}

/// Opens the sockets at this address in the namespace of this process.
///
/// # Errors
/// As socket(2), bind(2), listen(2).
pub fn open_at(address: SocketAddr) -> cais_linux::Result<Listeners> {
    let udp = open(SocketType::DGRAM, address)?;
    let tcp = open(SocketType::STREAM, address)?;
    listen(&tcp, BACKLOG).map_err(|errno| SysError::new("listen", address.to_string(), errno))?;
    Ok(Listeners { udp, tcp })
}

fn open(kind: SocketType, address: SocketAddr) -> cais_linux::Result<OwnedFd> {
    let error = |call| move |errno| SysError::new(call, address.to_string(), errno);
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, kind, flags, None).map_err(error("socket"))?;
    // The loopback interface may not be up yet.
    set_ip_freebind(&socket, true).map_err(error("setsockopt"))?;
    // Lets a DNS server in the container that also sets it bind to all addresses.
    set_socket_reuseaddr(socket.as_fd(), true).map_err(error("setsockopt"))?;
    bind(&socket, &address).map_err(error("bind"))?;
    Ok(socket)
}
