//! Ports of the host, kept from everybody else by a bound socket that does not listen: the
//! kernel leads packets to the container before they would come to it.

use crate::error::{NetError, Result};
use crate::network::NetworkStore;
use crate::publish::{PortMapping, PortRange, Protocol, PublishedPort};
use cais_linux::SysError;
use cais_linux::limits::rlimit::raise_descriptors;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, socket_with, sockopt};
use std::cell::{Cell, OnceCell};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Descriptors of this number and above say that many ports are kept.
const MANY: i32 = 128;

/// A port that is kept.
#[derive(Debug)]
pub struct Reserved {
    /// What is published.
    pub port: PublishedPort,
    /// The socket that keeps the port; none where the kernel has no sockets of the protocol.
    pub socket: Option<OwnedFd>,
}

/// Keeps the ports of a mapping. `fallback` is the address where the user gave none.
///
/// # Errors
/// [`NetError::PortTaken`], naming who has it.
pub fn reserve(
    store: &NetworkStore,
    mapping: &PortMapping,
    (fallback, host_ways): (Option<IpAddr>, &HostWays),
) -> Result<Vec<Reserved>> {
    let host = mapping.host.or(fallback);
    let inside = mapping.container_ports;
    // A range of the host for one port of the container: any that is free.
    if let Some(ports) = mapping
        .host_ports
        .filter(|ports| inside.count() == 1 && ports.count() > 1)
    {
        return reserve_any(store, mapping, (host, host_ways), ports);
    }
    let mut opened = Vec::new();
    for (offset, container_port) in (inside.first..=inside.last).enumerate() {
        let offset = u16::try_from(offset).unwrap_or(0);
        let port = PublishedPort {
            host,
            host_port: mapping.host_ports.map_or(0, |ports| ports.first + offset),
            container_port,
            protocol: mapping.protocol,
        };
        opened.push((port, open_for(&port, host_ways)?));
    }
    // First the one, then the other: a tenth quicker than by turns.
    let bound = opened
        .into_iter()
        .map(|(port, socket)| bind_to(store, port, (socket, host_ways)));
    bound.collect()
}

fn reserve_any(
    store: &NetworkStore,
    mapping: &PortMapping,
    (host, host_ways): (Option<IpAddr>, &HostWays),
    ports: PortRange,
) -> Result<Vec<Reserved>> {
    let mut last = None;
    for host_port in ports.first..=ports.last {
        let port = PublishedPort {
            host,
            host_port,
            container_port: mapping.container_ports.first,
            protocol: mapping.protocol,
        };
        match reserve_at(store, port, host_ways) {
            Ok(reserved) => return Ok(vec![reserved]),
            Err(error @ NetError::PortTaken { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| NetError::Invalid(format!("--publish: {ports} is empty"))))
}

/// Keeps one port. A port 0 of the host becomes a free one.
///
/// # Errors
/// [`NetError::PortTaken`]; what bind(2) says otherwise.
pub fn reserve_one(store: &NetworkStore, port: PublishedPort) -> Result<Reserved> {
    reserve_at(store, port, &HostWays::unknown())
}

/// What a host says of sockets, found out once for all ports that a thread keeps.
#[derive(Debug)]
pub struct HostWays {
    /// What a socket is bound to that keeps a port at all addresses: one of IPv6 that takes both
    /// families keeps it in both. Of IPv4 on a kernel without IPv6, as the first socket shows.
    any: Cell<IpAddr>,
    /// Whether a new socket of IPv6 takes IPv6 alone (`net.ipv6.bindv6only`, ipv6(7)).
    one_family: OnceCell<bool>,
    /// Whether this process was let have as many descriptors as it may.
    raised: OnceCell<()>,
}

impl HostWays {
    /// Nothing is known yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            any: Cell::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            one_family: OnceCell::new(),
            raised: OnceCell::new(),
        }
    }

    fn takes_one_family(&self, socket: &OwnedFd) -> bool {
        let read = || sockopt::ipv6_v6only(socket).unwrap_or(false);
        *self.one_family.get_or_init(read)
    }
}

fn reserve_at(store: &NetworkStore, port: PublishedPort, host_ways: &HostWays) -> Result<Reserved> {
    let socket = open_for(&port, host_ways)?;
    bind_to(store, port, (socket, host_ways))
}

fn open_for(port: &PublishedPort, host_ways: &HostWays) -> Result<Option<OwnedFd>> {
    let open_at = |address| open(port.protocol, address, port.host.is_none(), host_ways);
    let opened = open_at(port.host.unwrap_or(host_ways.any.get()));
    let socket = match opened {
        Err(error) if port.host.is_none() && is_without_family(&error) => {
            host_ways.any.set(Ipv4Addr::UNSPECIFIED.into());
            open_at(host_ways.any.get())?
        }
        other => other?,
    };
    if socket.as_ref().is_some_and(|socket| socket.as_raw_fd() > MANY) {
        host_ways.raised.get_or_init(raise_descriptors);
    }
    Ok(socket)
}

fn bind_to(
    store: &NetworkStore,
    mut port: PublishedPort,
    (socket, host_ways): (Option<OwnedFd>, &HostWays),
) -> Result<Reserved> {
    let Some(socket) = socket else {
        return Ok(Reserved { port, socket: None });
    };
    let address = port.host.unwrap_or(host_ways.any.get());
    match bind_fresh(&socket, SocketAddr::new(address, port.host_port), &port) {
        Ok(()) => {}
        Err(Errno::ADDRINUSE) => {
            return Err(NetError::PortTaken {
                port: port.host_text(),
                protocol: port.protocol.to_string(),
                holder: holder_of(store, &port),
            });
        }
        Err(errno) => return Err(cannot_bind(&port, errno)),
    }
    if port.host_port == 0 {
        let bound = getsockname(&socket)
            .ok()
            .and_then(|address| SocketAddr::try_from(address).ok());
        port.host_port = bound.map_or(0, |address| address.port());
    }
    Ok(Reserved {
        port,
        socket: Some(socket),
    })
}

/// Whether the kernel was built or booted without the family of a socket.
fn is_without_family(error: &NetError) -> bool {
    matches!(error, NetError::System { source, .. } if source.errno() == Errno::AFNOSUPPORT)
}

fn cannot_bind(port: &PublishedPort, errno: Errno) -> NetError {
    let text = port.host_text();
    match errno {
        Errno::ADDRNOTAVAIL => {
            NetError::Invalid(format!("cannot publish {text}: this host has no such address"))
        }
        Errno::ACCESS => NetError::Invalid(format!(
            "cannot publish {text}: ports below net.ipv4.ip_unprivileged_port_start are for root; choose a higher one"
        )),
        errno => NetError::System {
            action: format!("reserve port {text}/{}", port.protocol),
            source: SysError::new("bind", text, errno),
        },
    }
}

fn open(protocol: Protocol, address: IpAddr, both: bool, host_ways: &HostWays) -> Result<Option<OwnedFd>> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let opened = socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(number),
    );
    let action = || format!("reserve a port of {protocol}");
    let socket = match opened {
        // Nobody on this host can have such a port then.
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        opened => opened
            .map_err(|errno| SysError::new("socket", format!("{family:?}, {protocol}"), errno))
            .map_err(NetError::system(action()))?,
    };
    if !address.is_ipv4() && host_ways.takes_one_family(&socket) == both {
        sockopt::set_ipv6_v6only(&socket, !both)
            .map_err(|errno| SysError::new("setsockopt", "IPV6_V6ONLY", errno))
            .map_err(NetError::system(action()))?;
    }
    Ok(Some(socket))
}

/// Binds without sharing. Connections that are already closed may linger at the port of a
/// server that has gone (TIME_WAIT): they are no reason to refuse it.
fn bind_fresh(socket: &OwnedFd, address: SocketAddr, port: &PublishedPort) -> std::result::Result<(), Errno> {
    match bind(socket, &address) {
        Err(Errno::ADDRINUSE) if port.protocol == Protocol::Tcp && only_lingers(port) => {
            sockopt::set_socket_reuseaddr(socket, true)?;
            bind(socket, &address)?;
            sockopt::set_socket_reuseaddr(socket, false)
        }
        other => other,
    }
}

/// A line of `/proc/net/tcp` and its like.
struct SocketLine {
    port: u16,
    state: u8,
    inode: u64,
}

/// The sockets that are bound to some port (proc_net_tcp(5)).
fn sockets(protocol: Protocol) -> Vec<SocketLine> {
    let names: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => &[],
    };
    let texts = names
        .iter()
        .filter_map(|name| fs::read_to_string(format!("/proc/self/net/{name}")).ok());
    texts
        .flat_map(|text| text.lines().skip(1).filter_map(parse_socket).collect::<Vec<_>>())
        .collect()
}

fn parse_socket(line: &str) -> Option<SocketLine> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    Some(SocketLine {
        port: u16::from_str_radix(words.get(1)?.rsplit_once(':')?.1, 16).ok()?,
        state: u8::from_str_radix(words.get(3)?, 16).ok()?,
        inode: words.get(9)?.parse().ok()?,
    })
}

fn only_lingers(port: &PublishedPort) -> bool {
    const TIME_WAIT: u8 = 6;
    let mut found = sockets(Protocol::Tcp)
        .into_iter()
        .filter(|socket| socket.port == port.host_port)
        .peekable();
    found.peek().is_some() && found.all(|socket| socket.state == TIME_WAIT)
}

/// Who has a port: a container by name, or a process.
fn holder_of(store: &NetworkStore, port: &PublishedPort) -> String {
    let containers = store.list_endpoints().unwrap_or_default();
    let same = |other: &PublishedPort| other.host_port == port.host_port && other.protocol == port.protocol;
    if let Some(container) = containers.iter().find(|each| each.ports.iter().any(same)) {
        return format!("container {}", container.name);
    }
    let inodes: Vec<u64> = sockets(port.protocol)
        .into_iter()
        .filter(|socket| socket.port == port.host_port && socket.inode != 0)
        .map(|socket| socket.inode)
        .collect();
    process_with(&inodes).unwrap_or_else(|| "another program".to_owned())
}

/// The process that has one of these sockets.
fn process_with(inodes: &[u64]) -> Option<String> {
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let own = std::process::id().to_string();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().into_string().ok()?;
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has = descriptors
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|target| links.iter().any(|link| target.as_os_str() == link.as_str()));
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", name.trim()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0";
        let socket = parse_socket(line).unwrap();
        assert_eq!((socket.port, socket.state, socket.inode), (8080, 10, 12345));
        for bad in ["", "0: x", "   0: 0100007F 00000000:0000 0A"] {
            assert!(parse_socket(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_kept_and_its_holder_named() {
        let store = NetworkStore::new("/nonexistent".as_ref(), "/nonexistent".as_ref());
        let any = PublishedPort {
            host: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host_port: 0,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let first = reserve_one(&store, any).unwrap();
        assert_ne!(first.port.host_port, 0);
        let again = reserve_one(&store, first.port).unwrap_err();
        assert!(matches!(again, NetError::PortTaken { .. }), "{again}");
        let mapping = PortMapping {
            host: any.host,
            host_ports: Some(PortRange {
                first: first.port.host_port,
                last: first.port.host_port.saturating_add(50),
            }),
            container_ports: PortRange { first: 80, last: 80 },
            protocol: Protocol::Tcp,
        };
        let other = reserve(&store, &mapping, (None, &HostWays::unknown())).unwrap();
        assert_ne!(other[0].port.host_port, first.port.host_port);
    }
}
