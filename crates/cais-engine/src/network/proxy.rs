//! Ports that the monitor serves itself: a packet that the host sends to ::1 cannot leave
//! it, one of IPv6 cannot become one of IPv4, and with `--publish-mode proxy` everything is
//! to come by way of the host's own sockets.
//!
//! The socket that keeps a port listens. What the kernel leads to the container never comes
//! to it. Connections are copied by this process, which has one thread: nothing here waits.

mod stream;
mod udp;

use super::keeping::let_go;
use crate::monitor::attendant::Wanted;
use cais_linux::SysError;
use cais_net::NetError;
use cais_net::endpoint::Endpoints;
use cais_net::namespace::{at_home, has_home};
use cais_net::publish::{Protocol, PublishedPort};
use cais_net::reserve::Reserved;
use cais_net::transparent::take_address;
use rustix::event::{PollFlags, Timespec, epoll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, acceptfrom_with, connect, listen, socket_with, sockopt,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use stream::Connection;
use udp::Flows;

/// The most connections at once; those beyond wait in the kernel.
const MOST: usize = 512;
const BACKLOG: i32 = 128;
/// Of so many ports none listens before [`PAUSE`] is over, unless all that comes, comes this way.
const MANY: usize = 64;

/// Where the container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Targets {
    /// Its address of IPv4.
    pub(super) ipv4: Option<Ipv4Addr>,
    /// Its address of IPv6.
    pub(super) ipv6: Option<Ipv6Addr>,
    /// Whether everything comes by way of the monitor.
    pub(super) all: bool,
}

impl Targets {
    /// The addresses that a port leads to, in the order in which they are tried: that of the
    /// client's own family first, since a server may listen at one alone.
    fn addresses(self, port: &PublishedPort, client: IpAddr) -> impl Iterator<Item = SocketAddr> {
        let (four, six) = (self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6));
        let order = if client.to_canonical().is_ipv4() {
            [four, six]
        } else {
            [six, four]
        };
        let port = port.container_port;
        let all = order.into_iter().flatten();
        all.map(move |address| SocketAddr::new(address, port))
    }

    /// Whether something can come to the port that the kernel does not lead on.
    fn leaves_something(self, port: &PublishedPort) -> bool {
        match port.host {
            _ if self.all => true,
            None => true,
            Some(IpAddr::V4(_)) => self.ipv4.is_none(),
            Some(IpAddr::V6(address)) => {
                self.ipv6.is_none() || address.is_loopback() || address.is_unspecified()
            }
        }
    }
}

/// Where a container is.
pub(super) fn targets(endpoints: &Endpoints) -> Targets {
    let endpoint = endpoints.published_to();
    Targets {
        ipv4: endpoint.and_then(|each| each.ipv4).map(|(address, _)| address),
        ipv6: endpoint.and_then(|each| each.ipv6).map(|(address, _)| address),
        all: endpoints.proxy,
    }
}

/// Begins to connect to a container, for this client.
fn connect_to(target: SocketAddr, kind: SocketType, client: IpAddr) -> Option<OwnedFd> {
    let family = if target.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = || {
        socket_with(family, kind, flags, None)
            .map_err(|errno| SysError::new("socket", "to a container", errno))
            .map_err(NetError::system("pass a connection on"))
    };
    let socket = at_home(open).ok()?;
    if has_home() {
        take_address(&socket, client, target.is_ipv4()).ok()?;
    }
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

/// One port.
#[derive(Debug)]
struct Kept {
    reserved: Reserved,
    flows: Flows,
    /// Whether connections are taken.
    listens: bool,
}

/// The ports of a container, and the connections that are passed on.
#[derive(Debug, Default)]
pub(super) struct Forwarding {
    targets: Targets,
    ports: Vec<Kept>,
    /// Tells which of the sockets that listen have a connection (epoll(7)): to wait for a
    /// thousand of them costs no more than to wait for one. Its data are their numbers. None
    /// until [`Self::watch_from`].
    watch: Option<OwnedFd>,
    /// When the sockets that listen are looked at for the first time.
    watch_from: Option<Instant>,
    /// Whether they begin to listen only then.
    listens_later: bool,
    connections: Vec<Connection>,
}

/// How long after they began to listen the sockets are put together to be waited for: a program
/// that has ended by then never needed it. Until then the kernel keeps connections waiting, or
/// refuses them where so many ports are published that to listen at all of them takes a while.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(1);

impl Drop for Forwarding {
    fn drop(&mut self) {
        let ports = std::mem::take(&mut self.ports).into_iter();
        let_go(ports.filter_map(|kept| kept.reserved.socket).collect());
    }
}

/// Whom a descriptor belongs to.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// All ports that listen.
    Listening,
    Datagrams(usize),
    Flow(usize, usize),
    Client(usize),
    Server(usize),
}

impl Forwarding {
    /// These ports of a container, those served of which the kernel does not serve all.
    pub(super) fn of(targets: Targets, reserved: Vec<Reserved>) -> Self {
        let mut this = Self::default();
        this.targets = targets;
        this.listens_later = reserved.len() >= MANY && !targets.all;
        for reserved in reserved {
            this.keep(reserved);
        }
        this
    }

    /// The container's addresses have changed, and with them which ports are served.
    pub(super) fn set_targets(&mut self, targets: Targets) {
        if self.targets != targets {
            self.targets = targets;
            for kept in std::mem::take(&mut self.ports) {
                self.keep_or_serve(kept);
            }
        }
    }

    /// What is kept.
    pub(super) fn ports(&self) -> impl Iterator<Item = &PublishedPort> {
        self.ports.iter().map(|kept| &kept.reserved.port)
    }

    /// Keeps a port, and serves it where the kernel does not serve all of it.
    pub(super) fn keep(&mut self, reserved: Reserved) {
        self.keep_or_serve(Kept {
            reserved,
            flows: Flows::default(),
            listens: false,
        });
    }

    fn keep_or_serve(&mut self, mut kept: Kept) {
        let port = &kept.reserved.port;
        if let Some(socket) = &kept.reserved.socket
            && port.protocol == Protocol::Tcp
            && !kept.listens
            && self.targets.leaves_something(port)
        {
            if self.listens_later {
                self.watch_soon();
            } else {
                // One that cannot listen still keeps the port.
                kept.listens = self.begin_to_listen(socket.as_fd()).is_ok();
            }
        }
        self.ports.push(kept);
    }

    fn begin_to_listen(&mut self, socket: BorrowedFd<'_>) -> Result<(), Errno> {
        match listen(socket, BACKLOG) {
            // What lingers of earlier connections (TIME_WAIT) must not keep this socket from
            // listening. Nobody shares a port with one that listens.
            Err(Errno::ADDRINUSE) => {
                sockopt::set_socket_reuseaddr(socket, true)?;
                listen(socket, BACKLOG)?;
            }
            other => other?,
        }
        match &self.watch {
            Some(watch) => watch_for(watch, socket),
            None => {
                self.watch_soon();
                Ok(())
            }
        }
    }

    fn watch_soon(&mut self) {
        self.watch_from.get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// Puts the sockets that listen together.
    fn begin_to_watch(&mut self) -> Result<(), Errno> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listening = self.ports.iter().filter(|kept| kept.listens);
        for socket in listening.filter_map(|kept| kept.reserved.socket.as_ref()) {
            watch_for(&watch, socket.as_fd())?;
        }
        self.watch = Some(watch);
        if std::mem::take(&mut self.listens_later) {
            for kept in std::mem::take(&mut self.ports) {
                self.keep_or_serve(kept);
            }
        }
        Ok(())
    }

    /// Lets go of the ports that are not among these.
    pub(super) fn retain(&mut self, ports: &[PublishedPort]) {
        self.ports.retain(|kept| ports.contains(&kept.reserved.port));
    }

    pub(super) fn has(&self, port: &PublishedPort) -> bool {
        self.ports().any(|kept| kept == port)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let flows = self.ports.iter().filter_map(|kept| kept.flows.deadline());
        flows.chain(self.watch_from).min()
    }

    /// The descriptors, and for what each is waited.
    fn descriptors(&self) -> Vec<(Whose, BorrowedFd<'_>, PollFlags)> {
        let mut all = Vec::new();
        if let Some(watch) = self.watch.as_ref().filter(|_| self.has_room()) {
            all.push((Whose::Listening, watch.as_fd(), PollFlags::IN));
        }
        for (number, kept) in self.ports.iter().enumerate() {
            let port = &kept.reserved.port;
            let Some(socket) = kept
                .reserved
                .socket
                .as_ref()
                .filter(|_| port.protocol == Protocol::Udp && self.targets.leaves_something(port))
            else {
                continue;
            };
            all.push((Whose::Datagrams(number), socket.as_fd(), PollFlags::IN));
            let flows = kept.flows.descriptors();
            all.extend(flows.map(|(flow, fd)| (Whose::Flow(number, flow), fd, PollFlags::IN)));
        }
        for (number, connection) in self.connections.iter().enumerate() {
            let (client, server) = connection.wants();
            all.push((Whose::Client(number), connection.client(), client));
            all.push((Whose::Server(number), connection.server(), server));
        }
        all
    }

    pub(super) fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        wanted.extend(self.descriptors().into_iter().map(|(_, fd, flags)| (fd, flags)));
    }

    pub(super) fn attend(&mut self, ready: &[PollFlags]) {
        let whose: Vec<(Whose, PollFlags)> = self
            .descriptors()
            .iter()
            .zip(ready)
            .map(|((whose, _, _), flags)| (*whose, *flags))
            .filter(|(_, flags)| !flags.is_empty())
            .collect();
        for (whose, flags) in whose {
            match whose {
                Whose::Listening => self.serve(),
                Whose::Datagrams(number) => self.pass_datagrams(number),
                Whose::Flow(number, flow) => {
                    if let Some(kept) = self.ports.get_mut(number)
                        && let Some(socket) = &kept.reserved.socket
                    {
                        kept.flows.answer(flow, socket.as_fd());
                    }
                }
                Whose::Client(number) | Whose::Server(number) => {
                    if let Some(connection) = self.connections.get_mut(number) {
                        connection.go_on(flags);
                    }
                }
            }
        }
        if self.watch_from.is_some_and(|from| from <= Instant::now()) {
            // Where the kernel has no room for it now, it may have later.
            let again = self.begin_to_watch().err();
            self.watch_from = again.map(|_| Instant::now() + PAUSE_AFTER_REFUSAL);
        }
        self.connections.retain(|connection| !connection.is_over());
        for kept in &mut self.ports {
            kept.flows.forget_idle();
        }
    }

    fn has_room(&self) -> bool {
        self.connections.len() < MOST
    }

    /// Takes the connections that have come.
    fn serve(&mut self) {
        const AT_ONCE: usize = 32;
        let none = epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        };
        let mut events = [none; AT_ONCE];
        let Some(watch) = &self.watch else { return };
        let found = epoll::wait(watch, &mut events[..], Some(&Timespec::default())).unwrap_or(0);
        for event in events.get(..found).unwrap_or_default() {
            let data = event.data;
            if self.has_room() {
                self.accept(data.u64());
            }
        }
    }

    fn accept(&mut self, which: u64) {
        let is_it = |kept: &&Kept| {
            let socket = kept.reserved.socket.as_ref();
            socket.is_some_and(|socket| number(socket.as_fd()) == which)
        };
        let kept = self.ports.iter().find(is_it);
        let Some((Some(socket), port)) = kept.map(|kept| (&kept.reserved.socket, &kept.reserved.port)) else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        if let Ok((client, Some(from))) = acceptfrom_with(socket, flags)
            && let Ok(from) = SocketAddr::try_from(from)
        {
            // What lingers of it (TIME_WAIT) must not keep the port from the next container.
            sockopt::set_socket_reuseaddr(&client, true).unwrap_or_default();
            let targets = self.targets.addresses(port, from.ip()).collect();
            // Where the container cannot be reached the client sees its connection end.
            self.connections
                .extend(Connection::open(client, from.ip(), targets));
        }
    }

    fn pass_datagrams(&mut self, number: usize) {
        let Some(kept) = self.ports.get_mut(number) else {
            return;
        };
        let Some(socket) = &kept.reserved.socket else {
            return;
        };
        let (targets, port) = (self.targets, &kept.reserved.port);
        let target = |client: IpAddr| targets.addresses(port, client).next();
        kept.flows.pass_on(socket.as_fd(), target);
    }
}

fn watch_for(watch: &OwnedFd, socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let data = epoll::EventData::new_u64(number(socket));
    epoll::add(watch, socket, data, epoll::EventFlags::IN)
}

/// The number of a descriptor.
fn number(socket: BorrowedFd<'_>) -> u64 {
    socket.as_raw_fd().cast_unsigned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: Option<&str>) -> PublishedPort {
        PublishedPort {
            host: host.map(|host| host.parse().unwrap()),
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    #[test]
    fn what_the_kernel_does_not_lead_on() {
        let both = Targets {
            ipv4: Some(Ipv4Addr::new(172, 17, 0, 2)),
            ipv6: "fd00::2".parse().ok(),
            all: false,
        };
        let four = Targets { ipv6: None, ..both };
        for (targets, host, expected) in [
            (both, None, true),
            (both, Some("127.0.0.1"), false),
            (both, Some("::1"), true),
            (both, Some("2001:db8::1"), false),
            (four, Some("2001:db8::1"), true),
            (four, Some("192.0.2.1"), false),
            (Targets { all: true, ..both }, Some("192.0.2.1"), true),
        ] {
            assert_eq!(
                targets.leaves_something(&port(host)),
                expected,
                "{targets:?} {host:?}"
            );
        }
        let addresses = |targets: Targets, client: &str| -> Vec<String> {
            let port = port(None);
            let all = targets.addresses(&port, client.parse().unwrap());
            all.map(|address| address.to_string()).collect()
        };
        for (targets, client, expected) in [
            (both, "::1", vec!["[fd00::2]:80", "172.17.0.2:80"]),
            (both, "192.0.2.7", vec!["172.17.0.2:80", "[fd00::2]:80"]),
            (both, "::ffff:192.0.2.7", vec!["172.17.0.2:80", "[fd00::2]:80"]),
            (four, "::1", vec!["172.17.0.2:80"]),
        ] {
            assert_eq!(addresses(targets, client), expected, "{client}");
        }
    }

    /// Of many none at first, unless all that comes, comes this way.
    #[test]
    fn when_ports_begin_to_listen() {
        let reserved = || Reserved {
            port: port(None),
            socket: socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
            .ok(),
        };
        let count = |ports: &Forwarding| ports.ports.iter().filter(|kept| kept.listens).count();
        for (many, all, at_first) in [(1, false, 1), (MANY, false, 0), (MANY, true, MANY)] {
            let targets = Targets {
                all,
                ..Targets::default()
            };
            let mut ports = Forwarding::of(targets, (0..many).map(|_| reserved()).collect());
            assert_eq!(count(&ports), at_first, "{many} {all}");
            assert!(ports.deadline().is_some());
            ports.begin_to_watch().unwrap();
            assert_eq!(count(&ports), many, "{many} {all}");
        }
    }
}
