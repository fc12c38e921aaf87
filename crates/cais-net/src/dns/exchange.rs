//! One question on its way to upstream servers: over UDP first, over TCP where the reply
//! did not fit or somebody else answers too, one server after the other until one has
//! an answer.
//!
//! Each try has a socket of its own, connected to the server: the kernel chooses a random
//! port and passes only what comes from that server. A reply must have the random number
//! of the query and repeat its question.

use super::cache::Key;
use super::clients::Origin;
use super::message::{EDNS_UDP, Query, Question, flag, header, option_head};
use super::reply::{Reply, parse_reply, question_end};
use rustix::event::epoll;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// So many messages that are no reply to the query, and we go over to TCP: somebody
/// guesses.
const MOST_STRAYS: u32 = 8;
/// More clients do not wait for the same question.
const MOST_WAITERS: usize = 32;
/// Longest datagram that is taken from a server.
const MAX_DATAGRAM: usize = 4096;

/// A client that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) origin: Origin,
    pub(super) query: Query,
}

/// Whom to ask, and with how much patience.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) timeout: Duration,
    /// How often each is asked.
    pub(super) attempts: usize,
}

/// Where the sockets are watched, and under which token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    pub(super) epoll: BorrowedFd<'a>,
    pub(super) token: u64,
}

#[derive(Debug)]
enum Transport {
    None,
    Udp(OwnedFd),
    Tcp {
        socket: OwnedFd,
        written: usize,
        received: Vec<u8>,
    },
}

/// How far an exchange is.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits for the server.
    Waiting,
    /// It is over: the message and what it says.
    Finished(Vec<u8>, Reply),
    /// Nobody answered; perhaps somebody said why not.
    Exhausted(Option<Vec<u8>>),
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) key: Key,
    pub(super) waiters: Vec<Waiter>,
    pub(super) deadline: Instant,
    question: Question,
    id: u16,
    /// The query, with room for the length that TCP wants in front.
    message: Vec<u8>,
    plan: Plan,
    tries: usize,
    transport: Transport,
    strays: u32,
    refusal: Option<Vec<u8>>,
}

impl Exchange {
    pub(super) fn new(key: Key, waiter: Waiter, plan: Plan, now: Instant) -> Self {
        let id = random16();
        Self {
            key,
            deadline: now,
            question: waiter.query.question.clone(),
            id,
            message: encode(&waiter.query, id),
            waiters: vec![waiter],
            plan,
            tries: 0,
            transport: Transport::None,
            strays: 0,
            refusal: None,
        }
    }

    /// The server that is being asked.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        let count = self.plan.servers.len().max(1);
        self.plan.servers.get(self.tries.checked_sub(1)? % count).copied()
    }

    /// Lets another client wait for the same question; not if there are too many.
    pub(super) fn join(&mut self, waiter: Waiter) {
        if self.waiters.len() < MOST_WAITERS {
            self.waiters.push(waiter);
        }
    }

    /// Asks the next server that can be asked.
    pub(super) fn ask_next(&mut self, watch: Watch<'_>, now: Instant) -> Progress {
        while self.tries < self.plan.servers.len() * self.plan.attempts {
            self.tries += 1;
            if self.open_udp(watch).is_ok() {
                self.deadline = now + self.plan.timeout;
                return Progress::Waiting;
            }
        }
        self.transport = Transport::None;
        Progress::Exhausted(self.refusal.take())
    }

    fn open_udp(&mut self, watch: Watch<'_>) -> Result<(), Errno> {
        let socket = self.open(SocketType::DGRAM)?;
        send(
            &socket,
            self.message.get(2..).unwrap_or_default(),
            SendFlags::NOSIGNAL,
        )?;
        add(watch, socket.as_fd(), epoll::EventFlags::IN)?;
        self.strays = 0;
        self.transport = Transport::Udp(socket);
        Ok(())
    }

    fn open_tcp(&mut self, watch: Watch<'_>) -> Result<(), Errno> {
        let socket = self.open(SocketType::STREAM)?;
        add(watch, socket.as_fd(), epoll::EventFlags::OUT)?;
        self.transport = Transport::Tcp {
            socket,
            written: 0,
            received: Vec::new(),
        };
        Ok(())
    }

    /// A socket that is connected to the server, or on the way to it.
    fn open(&self, kind: SocketType) -> Result<OwnedFd, Errno> {
        let server = self.server().ok_or(Errno::HOSTUNREACH)?;
        let family = if server.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }

    /// Goes on with what the server sent.
    pub(super) fn advance(&mut self, watch: Watch<'_>, now: Instant) -> Progress {
        let received = match &self.transport {
            Transport::None => return Progress::Waiting,
            Transport::Udp(_) => self.receive_datagrams(),
            Transport::Tcp { .. } => self.go_on_with_stream(watch),
        };
        match received {
            Ok(Received::Nothing) => Progress::Waiting,
            Ok(Received::Message(message, reply)) if reply.truncated => {
                if matches!(self.transport, Transport::Tcp { .. }) {
                    return self.refuse(message, watch, now);
                }
                self.change_to_tcp(watch, now)
            }
            Ok(Received::Message(message, reply)) if matches!(reply.rcode, 0 | 3) => {
                Progress::Finished(message, reply)
            }
            // This server cannot or will not; another one may.
            Ok(Received::Message(message, _)) => self.refuse(message, watch, now),
            Ok(Received::TooManyStrays) => self.change_to_tcp(watch, now),
            Err(_) => self.ask_next(watch, now),
        }
    }

    fn refuse(&mut self, message: Vec<u8>, watch: Watch<'_>, now: Instant) -> Progress {
        self.refusal = Some(message);
        self.ask_next(watch, now)
    }

    fn change_to_tcp(&mut self, watch: Watch<'_>, now: Instant) -> Progress {
        if self.open_tcp(watch).is_err() {
            return self.ask_next(watch, now);
        }
        self.deadline = now + self.plan.timeout;
        Progress::Waiting
    }

    fn receive_datagrams(&mut self) -> Result<Received, Errno> {
        let Transport::Udp(socket) = &self.transport else {
            return Ok(Received::Nothing);
        };
        let mut buffer = vec![0u8; MAX_DATAGRAM];
        loop {
            let count = match recv(socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((count, _)) => count,
                Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
                Err(errno) => return Err(errno),
            };
            let message = buffer.get(..count).unwrap_or_default();
            if let Some(reply) = self.accept(message) {
                return Ok(Received::Message(message.to_vec(), reply));
            }
            self.strays += 1;
            if self.strays >= MOST_STRAYS {
                return Ok(Received::TooManyStrays);
            }
        }
    }

    /// What a message says, if it is the reply to our query.
    fn accept(&self, message: &[u8]) -> Option<Reply> {
        parse_reply(message, &self.question).filter(|reply| reply.id == self.id)
    }

    fn go_on_with_stream(&mut self, watch: Watch<'_>) -> Result<Received, Errno> {
        let Transport::Tcp {
            socket,
            written,
            received,
        } = &mut self.transport
        else {
            return Ok(Received::Nothing);
        };
        if *written < self.message.len() {
            match send(
                &*socket,
                self.message.get(*written..).unwrap_or_default(),
                SendFlags::NOSIGNAL,
            ) {
                Ok(count) => *written += count,
                Err(Errno::AGAIN | Errno::INTR | Errno::INPROGRESS) => {}
                Err(errno) => return Err(errno),
            }
            if *written == self.message.len() {
                change(watch, socket.as_fd(), epoll::EventFlags::IN)?;
            }
            return Ok(Received::Nothing);
        }
        let mut buffer = vec![0u8; MAX_DATAGRAM];
        match recv(&*socket, &mut buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((count, _)) => received.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(errno) => return Err(errno),
        }
        let Some(message) = first_frame(received).map(<[u8]>::to_vec) else {
            return Ok(Received::Nothing);
        };
        match self.accept(&message) {
            Some(reply) => Ok(Received::Message(message, reply)),
            // Over a connection of our own nobody else speaks: the server is broken.
            None => Err(Errno::BADMSG),
        }
    }
}

/// What came from a server.
enum Received {
    Nothing,
    Message(Vec<u8>, Reply),
    TooManyStrays,
}

/// The first message of a stream, whose length is in front (RFC 1035, 4.2.2).
pub(super) fn first_frame(received: &[u8]) -> Option<&[u8]> {
    let (length, rest) = received.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

/// Our own query with this number: nothing of the client's but the question and what it
/// wants to hear.
pub(super) fn encode(query: &Query, id: u16) -> Vec<u8> {
    let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED | flag::AUTHENTIC;
    let mut message = header(id, query.flags & kept, 1);
    message.extend_from_slice(&query.spelled);
    if let Some(edns) = query.edns {
        message[11] = 1;
        message.extend_from_slice(&option_head(0, edns.dnssec));
        message.extend_from_slice(&[0, 0]);
    }
    // A name has 255 octets at most.
    let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    [&length[..], &message].concat()
}

/// The reply as one client is to see it: its number, its spelling, and no more than
/// `limit` octets.
pub(super) fn for_client(reply: &[u8], query: &Query, limit: usize) -> Vec<u8> {
    let mut message = reply.to_vec();
    let end = question_end(&message);
    let mut flags = super::message::number16(&message, 2).unwrap_or(0) | flag::RECURSION_AVAILABLE;
    if message.len() > limit {
        flags |= flag::TRUNCATED;
        message.truncate(end);
        message[6..12].fill(0);
        if let Some(edns) = query.edns {
            message[11] = 1;
            message.extend_from_slice(&option_head(0, edns.dnssec));
            message.extend_from_slice(&[0, 0]);
        }
    }
    message[..2].copy_from_slice(&query.id.to_be_bytes());
    message[2..4].copy_from_slice(&flags.to_be_bytes());
    if end == super::message::HEADER + query.spelled.len() {
        message[super::message::HEADER..end].copy_from_slice(&query.spelled);
    }
    message
}

/// A random number. The kernel gives so few octets at once and always (getrandom(2)).
pub(super) fn random16() -> u16 {
    let mut bytes = [0u8; 2];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map(drop)
        .unwrap_or_default();
    u16::from_ne_bytes(bytes)
}

pub(super) fn add(watch: Watch<'_>, fd: BorrowedFd<'_>, flags: epoll::EventFlags) -> Result<(), Errno> {
    epoll::add(watch.epoll, fd, epoll::EventData::new_u64(watch.token), flags)
}

pub(super) fn change(watch: Watch<'_>, fd: BorrowedFd<'_>, flags: epoll::EventFlags) -> Result<(), Errno> {
    epoll::modify(watch.epoll, fd, epoll::EventData::new_u64(watch.token), flags)
}

const _: () = assert!(MAX_DATAGRAM > EDNS_UDP as usize);
