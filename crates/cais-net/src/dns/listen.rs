//! The sockets at 127.0.0.11, opened inside a container's network namespace. A socket
//! stays in the namespace in which it was made (network_namespaces(7)), so the monitor
//! holds them and lives elsewhere.

use super::resolv_conf::{OURS, PORT};
use cais_linux::{Result, SysError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::sockopt::{set_ip_freebind, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::net::SocketAddr;

/// `CLONE_NEWNET`.
const NETWORK: u32 = 0x4000_0000;
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
/// # Errors
/// As setns(2), socket(2), bind(2). Where coming back fails the process is in the wrong
/// namespace and must end.
pub fn open_in(namespace: BorrowedFd<'_>) -> Result<Listeners> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/ns/net", flags, rustix::fs::Mode::empty())
        .map_err(|errno| SysError::new("open", "\"/proc/self/ns/net\"", errno))?;
    enter(namespace)?;
    let opened = open_at(SocketAddr::new(OURS, PORT));
    enter(own.as_fd())?;
    opened
}

fn enter(namespace: BorrowedFd<'_>) -> Result<()> {
    cais_sys::namespace::enter(namespace, NETWORK)
        .map_err(|errno| SysError::new("setns", "a network namespace, CLONE_NEWNET", errno))
}

/// Opens the sockets at this address in the namespace of this process.
///
/// # Errors
/// As socket(2), bind(2), listen(2).
pub fn open_at(address: SocketAddr) -> Result<Listeners> {
    let udp = open(SocketType::DGRAM, address)?;
    let tcp = open(SocketType::STREAM, address)?;
    listen(&tcp, BACKLOG).map_err(|errno| SysError::new("listen", address.to_string(), errno))?;
    Ok(Listeners { udp, tcp })
}

fn open(kind: SocketType, address: SocketAddr) -> Result<OwnedFd> {
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
