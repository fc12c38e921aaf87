//! A connection that is passed on: two sockets, and a buffer for each direction.

use rustix::event::PollFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read};
use rustix::net::{SendFlags, Shutdown, SocketType, send, shutdown, sockopt};
use std::net::{IpAddr, SocketAddr};

/// The most bytes that are on their way in one direction.
const BUFFER: usize = 64 * 1024;

/// One direction.
#[derive(Debug, Default)]
struct Direction {
    /// Read and not yet written.
    pending: Vec<u8>,
    /// Whether the reader has seen the end.
    ended: bool,
    /// Whether the writer was told so.
    shut: bool,
}

impl Direction {
    /// Reads as much as there is room for, and writes what can be written.
    fn pass(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
        loop {
            if self.pending.is_empty() && !self.ended {
                let mut buffer = vec![0; BUFFER];
                match read(from, buffer.as_mut_slice()) {
                    Ok(0) => self.ended = true,
                    Ok(count) => {
                        buffer.truncate(count);
                        self.pending = buffer;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                    Err(errno) => return Err(errno),
                }
            }
            if !self.pending.is_empty() {
                match send(to, &self.pending, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                    Err(errno) => return Err(errno),
                }
            }
            if self.ended && self.pending.is_empty() {
                if !self.shut {
                    self.shut = true;
                    // The other side may be gone, which is the end too.
                    shutdown(to, Shutdown::Write).unwrap_or_default();
                }
                return Ok(());
            }
        }
    }
}

fn connect_to_next(targets: &mut Vec<SocketAddr>, client: IpAddr) -> Option<OwnedFd> {
    while !targets.is_empty() {
        let server = super::connect_to(targets.remove(0), SocketType::STREAM, client);
        if let Some(server) = server {
            nodelay(&server);
            return Some(server);
        }
    }
    None
}

/// Whoever cares about small packets has asked for it on the other side.
fn nodelay(socket: &OwnedFd) {
    sockopt::set_tcp_nodelay(socket, true).unwrap_or_default();
}

/// A connection that is passed on.
#[derive(Debug)]
pub(super) struct Connection {
    client: OwnedFd,
    /// The client's address.
    from: IpAddr,
    server: OwnedFd,
    /// Where else the container may listen.
    targets: Vec<SocketAddr>,
    /// Whether the container has answered.
    connected: bool,
    up: Direction,
    down: Direction,
    failed: bool,
}

impl Connection {
    /// Begins to connect to the first of these addresses of the container; to the next one
    /// where nobody listens there.
    pub(super) fn open(client: OwnedFd, from: IpAddr, mut targets: Vec<SocketAddr>) -> Option<Self> {
        let server = connect_to_next(&mut targets, from)?;
        nodelay(&client);
        Some(Self {
            client,
            from,
            server,
            targets,
            connected: false,
            up: Direction::default(),
            down: Direction::default(),
            failed: false,
        })
    }

    pub(super) fn client(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }

    pub(super) fn server(&self) -> BorrowedFd<'_> {
        self.server.as_fd()
    }

    /// What is waited for at the client and at the server.
    pub(super) fn wants(&self) -> (PollFlags, PollFlags) {
        if !self.connected {
            return (PollFlags::empty(), PollFlags::OUT);
        }
        let flags = |reads: &Direction, writes: &Direction| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads.pending.is_empty() && !reads.ended);
            flags.set(PollFlags::OUT, !writes.pending.is_empty());
            flags
        };
        (flags(&self.up, &self.down), flags(&self.down, &self.up))
    }

    /// Goes on after something has happened.
    pub(super) fn go_on(&mut self, flags: PollFlags) {
        if !self.connected {
            if flags.is_empty() {
                return;
            }
            match sockopt::socket_error(&self.server) {
                Ok(Ok(())) => self.connected = true,
                _ => {
                    match connect_to_next(&mut self.targets, self.from) {
                        Some(server) => self.server = server,
                        None => self.failed = true,
                    }
                    return;
                }
            }
        }
        let up = self.up.pass(self.client.as_fd(), self.server.as_fd());
        let down = self.down.pass(self.server.as_fd(), self.client.as_fd());
        // A side that has gone altogether waits for nothing any more.
        let hung_up = flags.contains(PollFlags::ERR);
        self.failed = up.is_err() || down.is_err() || hung_up;
    }

    /// Whether both sides are done.
    pub(super) fn is_over(&self) -> bool {
        self.failed || (self.up.shut && self.down.shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Turns until the connection is over.
    fn turn(connection: &mut Connection) {
        use rustix::event::{PollFd, poll};
        while !connection.is_over() {
            let (client, server) = connection.wants();
            let flags = {
                let mut fds = [
                    PollFd::from_borrowed_fd(connection.client(), client),
                    PollFd::from_borrowed_fd(connection.server(), server),
                ];
                poll(&mut fds, None).unwrap();
                fds[0].revents() | fds[1].revents()
            };
            connection.go_on(flags);
        }
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// Where nobody listens.
    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[test]
    fn bytes_go_both_ways_and_each_end_is_passed_on() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let (target, address) = (server.local_addr().unwrap(), front.local_addr().unwrap());
        let sent = vec![7u8; 3_000_000];
        let expected = sent.len();
        let answerer = std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            stream.write_all(&all).unwrap();
        });
        let asker = std::thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            all.len()
        });
        let (client, _) = front.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        let mut connection = Connection::open(client.into(), LOCAL, vec![closed(), target]).unwrap();
        turn(&mut connection);
        drop(connection);
        assert_eq!(asker.join().unwrap(), expected);
        answerer.join().unwrap();
    }

    #[test]
    fn a_container_that_does_not_listen_ends_the_connection() {
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        let asker = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let (client, _) = front.accept().unwrap();
        if let Some(mut connection) = Connection::open(client.into(), LOCAL, vec![closed()]) {
            turn(&mut connection);
        }
        let mut asker = asker;
        assert_eq!(asker.read(&mut [0; 8]).unwrap_or(0), 0);
    }
}
