//! The resolver: all of it behind one descriptor that becomes readable when there is
//! something to do.

mod files;
mod slots;

use super::cache::{Cache, Key};
use super::clients::{Client, Origin};
use super::exchange::{Exchange, Plan, Progress, Waiter, Watch, add, change, for_client, random16};
use super::listen::Listeners;
use super::lookup::{Verdict, look_up};
use super::message::{Answer, Explanation, Query, Rcode, Record, Reject, encode_reject, parse_query};
use super::name_reader::NameReaders;
use super::reply::parse_reply;
use cais_linux::{Result, SysError};
use files::{ConfigFile, HostFile};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recvfrom, sendto};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use slots::Slots;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// Questions on their way to upstream servers; one more is answered with an error.
const MOST_EXCHANGES: usize = 64;
/// Connections of clients; for one more the idlest is closed.
const MOST_CLIENTS: usize = 16;
/// What is done in one go before the monitor's loop looks at other things.
const AT_ONCE: usize = 32;

const TOKEN_UDP: u64 = 0;
const TOKEN_TCP: u64 = 1;
const TOKEN_TIMER: u64 = 2;
/// The kinds of token that name a slot.
const KIND_CLIENT: u8 = 1;
const KIND_EXCHANGE: u8 = 2;

/// A question for the address of `rehearsal`, as a client sends it.
const REHEARSAL: &[u8] = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x09rehearsal\0\0\x01\0\x01";

/// Where a policy for outgoing traffic hears of names.
pub trait AllowAddresses {
    /// An upstream server gave these addresses for an allowed name, each for so many
    /// seconds; the client hears of them only if this succeeds.
    ///
    /// # Errors
    /// Where they cannot be let through.
    fn allow(&mut self, name: &str, addresses: &[(IpAddr, u32)]) -> std::result::Result<(), Errno>;

    /// Somebody asked for a name that is not allowed.
    fn refuse(&mut self, name: &str);
}

/// Without what it holds: to write that out would be much code for nobody.
impl fmt::Debug for dyn AllowAddresses {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("AllowAddresses")
    }
}

/// Answers the names of one container.
#[derive(Debug)]
pub struct Resolver {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer goes off.
    armed: Option<Instant>,
    listeners: Listeners,
    config: ConfigFile,
    names: NameReaders,
    host: HostFile,
    cache: Cache,
    exchanges: Slots<Exchange>,
    clients: Slots<Client>,
    /// The server that answered last is asked first.
    good: Option<SocketAddr>,
    policy: Option<Box<dyn AllowAddresses>>,
}

impl Resolver {
    /// How many sockets of TCP it has in the container's namespace.
    #[must_use]
    pub fn count_tcp(&self) -> u32 {
        let clients = self.clients.iter().count();
        u32::try_from(clients).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// A resolver that listens at these sockets and knows what the file `config` says
    /// ([`super::config::ResolverConfig`]); the upstream servers are those of `resolv_conf`
    /// unless the configuration names others.
    ///
    /// # Errors
    /// As epoll_create1(2), timerfd_create(2); where the configuration cannot be read.
    pub fn new(listeners: Listeners, config: &Path, resolv_conf: &Path) -> Result<Self> {
        let error = |call| move |errno| SysError::new(call, "", errno);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(error("epoll_create1"))?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(error("timerfd_create"))?;
        let config = ConfigFile::read(config)?;
        for (fd, token) in [
            (listeners.udp.as_fd(), TOKEN_UDP),
            (listeners.tcp.as_fd(), TOKEN_TCP),
            (timer.as_fd(), TOKEN_TIMER),
        ] {
            let watch = Watch {
                epoll: epoll.as_fd(),
                token,
            };
            add(watch, fd, EventFlags::IN).map_err(error("epoll_ctl"))?;
        }
        Ok(Self {
            epoll,
            timer,
            armed: None,
            listeners,
            config,
            names: NameReaders::default(),
            host: HostFile::new(resolv_conf),
            cache: Cache::default(),
            exchanges: Slots::new(KIND_EXCHANGE, MOST_EXCHANGES),
            clients: Slots::new(KIND_CLIENT, MOST_CLIENTS),
            good: None,
            policy: None,
        })
    }

    /// Lets a policy hear of names.
    pub fn set_policy(&mut self, policy: Box<dyn AllowAddresses>) {
        self.policy = Some(policy);
    }

    /// Goes the way of a question without a client: what it takes of our code and of the
    /// networks' files is in memory then, when the first one comes.
    pub fn rehearse(&mut self) {
        let Ok(query) = parse_query(REHEARSAL) else {
            return;
        };
        // What cannot be read now is told to whoever asks.
        if look_up(self.config.current(), &mut self.names, &query.question).is_ok() {
            let answer = Answer {
                records: vec![Record::Address(Ipv4Addr::LOCALHOST.into())],
                ..Answer::empty(Rcode::NoError)
            };
            std::hint::black_box(answer.encode(&query, REHEARSAL.len() * 2));
        }
    }

    /// The descriptor that becomes readable when there is something to do.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Does what there is to do, and never waits.
    ///
    /// # Errors
    /// As epoll_wait(2). What goes wrong with one client or server is between it and us.
    pub fn handle(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(AT_ONCE);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&now),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("epoll_wait", "", errno)),
        }
        let now = Instant::now();
        for event in events {
            match event.data.u64() {
                TOKEN_UDP => self.receive_datagrams(now),
                TOKEN_TCP => self.accept_clients(now),
                TOKEN_TIMER => self.read_timer(),
                token => self.dispatch(token, event.flags, now),
            }
        }
        self.expire(now);
        self.arm(now);
        Ok(())
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags, now: Instant) {
        if let Some(name) = self.exchanges.named(token) {
            let watch = Watch {
                epoll: self.epoll.as_fd(),
                token,
            };
            let Some(exchange) = self.exchanges.get(name) else {
                return;
            };
            let progress = exchange.advance(watch, now);
            self.conclude(name, progress, now);
        } else if let Some(name) = self.clients.named(token) {
            self.serve_client(name, flags, now);
        }
    }

    fn receive_datagrams(&mut self, now: Instant) {
        let mut buffer = vec![0u8; super::message::MAX_QUERY + 1];
        for _ in 0..AT_ONCE {
            let received = recvfrom(&self.listeners.udp, &mut buffer[..], RecvFlags::empty());
            let (count, from) = match received {
                Ok((count, _, Some(from))) => (count, from),
                Ok(_) | Err(Errno::INTR) => continue,
                // What an earlier answer met (ICMP) is told here; the next call goes on.
                Err(Errno::CONNREFUSED) => continue,
                Err(_) => return,
            };
            let Ok(from) = SocketAddr::try_from(from) else {
                continue;
            };
            let message = buffer.get(..count).unwrap_or_default().to_vec();
            self.hear(&message, Origin::Udp(from), now);
        }
    }

    fn accept_clients(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(socket) = accept_with(&self.listeners.tcp, flags) else {
                return;
            };
            if self.clients.is_full() {
                self.drop_idlest_client();
            }
            let Some(name) = self.clients.insert(Client::new(socket, now)) else {
                continue;
            };
            let watch = Watch {
                epoll: self.epoll.as_fd(),
                token: self.clients.token(name),
            };
            let added = self
                .clients
                .get(name)
                .map(|client| add(watch, client.socket.as_fd(), EventFlags::IN));
            if !matches!(added, Some(Ok(()))) {
                self.clients.remove(name);
            }
        }
    }

    /// Whoever has done nothing for the longest makes room.
    fn drop_idlest_client(&mut self) {
        let earliest = self.clients.iter().map(|client| client.deadline).min();
        let idlest = self
            .clients
            .names_where(|client| Some(client.deadline) == earliest);
        if let Some(name) = idlest.first() {
            self.clients.remove(*name);
        }
    }

    fn serve_client(&mut self, name: slots::Name, flags: EventFlags, now: Instant) {
        let Some(client) = self.clients.get(name) else {
            return;
        };
        // Both directions are closed: there is nobody to answer.
        let is_gone = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        let moved = if flags.contains(EventFlags::OUT) {
            client.write(now)
        } else {
            client.read(now)
        };
        if is_gone || moved.is_err() {
            self.clients.remove(name);
            return;
        }
        self.hear_client(name, now);
    }

    /// Hears what a client has sent, and settles what to wait for.
    fn hear_client(&mut self, name: slots::Name, now: Instant) {
        loop {
            let Some(client) = self.clients.get(name) else {
                return;
            };
            match client.next_query() {
                Ok(None) => break,
                Ok(Some(message)) => self.hear(&message, Origin::Tcp(name), now),
                Err(_) => {
                    self.clients.remove(name);
                    return;
                }
            }
        }
        self.settle(name);
    }

    fn settle(&mut self, name: slots::Name) {
        let watch = Watch {
            epoll: self.epoll.as_fd(),
            token: self.clients.token(name),
        };
        let Some(client) = self.clients.get(name) else {
            return;
        };
        let wanted = client.wanted();
        let changed = if wanted == client.interest {
            Ok(())
        } else {
            client.interest = wanted;
            change(watch, client.socket.as_fd(), wanted)
        };
        if changed.is_err() || client.is_done() {
            self.clients.remove(name);
        }
    }

    /// Answers a message, or asks somebody who can.
    fn hear(&mut self, message: &[u8], origin: Origin, now: Instant) {
        let query = match parse_query(message) {
            Ok(query) => query,
            Err(Reject::Drop) => return self.send(origin, None, now),
            Err(Reject::Answer { id, flags, rcode }) => {
                return self.send(origin, Some(&encode_reject(id, flags, rcode)), now);
            }
        };
        if query.edns.is_some_and(|edns| edns.version != 0) {
            return self.answer(origin, &query, &Answer::empty(Rcode::BadVersion), now);
        }
        match look_up(self.config.current(), &mut self.names, &query.question) {
            Ok(Verdict::Here(mut answer)) => {
                rotate(&mut answer.records);
                self.answer(origin, &query, &answer, now);
            }
            Ok(Verdict::Upstream) => self.forward(origin, query, now),
            Err(_) => self.answer(origin, &query, &Answer::empty(Rcode::ServFail), now),
        }
    }

    fn forward(&mut self, origin: Origin, query: Query, now: Instant) {
        if !self.may_ask(&query) {
            let answer = Answer {
                explanation: Some(Explanation {
                    code: 15,
                    text: "not allowed by the egress policy of this container",
                }),
                ..Answer::empty(Rcode::NxDomain)
            };
            return self.answer(origin, &query, &answer, now);
        }
        let key = Key::of(&query);
        let waiter = Waiter { origin, query };
        if let Some(reply) = self.cache.find(&key, now) {
            return self.pass_on(&reply, waiter, now);
        }
        if let Some(exchange) = self.exchanges.find(|exchange| exchange.key == key) {
            exchange.join(waiter);
            return;
        }
        if self.exchanges.is_full() {
            let answer = Answer::empty(Rcode::ServFail);
            return self.answer(waiter.origin, &waiter.query, &answer, now);
        }
        let plan = self.plan_exchange();
        let Some(name) = self.exchanges.insert(Exchange::new(key, waiter, plan, now)) else {
            return;
        };
        let watch = Watch {
            epoll: self.epoll.as_fd(),
            token: self.exchanges.token(name),
        };
        let Some(exchange) = self.exchanges.get(name) else {
            return;
        };
        let progress = exchange.ask_next(watch, now);
        self.conclude(name, progress, now);
    }

    /// Whether the policy lets this name out; tells it where not.
    fn may_ask(&mut self, query: &Query) -> bool {
        let Some(allowed) = &self.config.current().allowed else {
            return true;
        };
        let text = query.question.name.text();
        let may = text
            .as_deref()
            .is_some_and(|name| allowed.iter().any(|pattern| pattern.matches(name)));
        if !may && let Some(policy) = &mut self.policy {
            policy.refuse(&text.unwrap_or_else(|| query.question.name.to_string()));
        }
        may
    }

    /// Whom to ask: the server that answered last, then the others in their order.
    fn plan_exchange(&mut self) -> Plan {
        let given = &self.config.current().servers;
        let (mut servers, (timeout, attempts), rotates) = self.host.servers(given);
        let first = if rotates {
            usize::from(random16()) % servers.len().max(1)
        } else {
            servers
                .iter()
                .position(|server| Some(*server) == self.good)
                .unwrap_or(0)
        };
        servers.rotate_left(first);
        Plan {
            servers,
            timeout,
            attempts: usize::try_from(attempts).unwrap_or(1),
        }
    }

    /// Gives everybody who waits what came of an exchange.
    fn conclude(&mut self, name: slots::Name, progress: Progress, now: Instant) {
        let outcome = match progress {
            Progress::Waiting => return,
            Progress::Finished(message, reply) => {
                self.good = self.exchanges.get(name).and_then(|exchange| exchange.server());
                Some((message, reply.ttl))
            }
            Progress::Exhausted(refusal) => refusal.map(|message| (message, None)),
        };
        let Some(exchange) = self.exchanges.remove(name) else {
            return;
        };
        if let Some((message, Some(ttl))) = &outcome {
            self.cache.keep(exchange.key, message, *ttl, now);
        }
        for waiter in exchange.waiters {
            match &outcome {
                Some((message, _)) => self.pass_on(message, waiter, now),
                None => {
                    let answer = Answer {
                        explanation: Some(Explanation {
                            code: 23,
                            text: "no name server answered",
                        }),
                        ..Answer::empty(Rcode::ServFail)
                    };
                    self.answer(waiter.origin, &waiter.query, &answer, now);
                }
            }
        }
    }

    /// Passes a reply to a client, once the policy has let its addresses through.
    fn pass_on(&mut self, message: &[u8], waiter: Waiter, now: Instant) {
        let Waiter { origin, query } = waiter;
        if let Some(policy) = &mut self.policy
            && let Some(reply) = parse_reply(message, &query.question)
            && !reply.addresses.is_empty()
        {
            let name = query.question.name.text().unwrap_or_default();
            if policy.allow(&name, &reply.addresses).is_err() {
                return self.answer(origin, &query, &Answer::empty(Rcode::ServFail), now);
            }
        }
        let message = for_client(message, &query, limit(origin, &query));
        self.send(origin, Some(&message), now);
    }

    fn answer(&mut self, origin: Origin, query: &Query, answer: &Answer, now: Instant) {
        let message = answer.encode(query, limit(origin, query));
        self.send(origin, Some(&message), now);
    }

    /// Sends an answer; `None` is for a message that has none.
    fn send(&mut self, origin: Origin, message: Option<&[u8]>, now: Instant) {
        match (origin, message) {
            // A datagram that finds no room is lost, as any datagram may be.
            (Origin::Udp(to), Some(message)) => {
                sendto(&self.listeners.udp, message, SendFlags::DONTWAIT, &to)
                    .map(drop)
                    .unwrap_or_default();
            }
            (Origin::Udp(_), None) => {}
            (Origin::Tcp(name), message) => {
                let Some(client) = self.clients.get(name) else {
                    return;
                };
                if client.answer(message, now).is_err() {
                    self.clients.remove(name);
                } else {
                    self.settle(name);
                }
            }
        }
    }

    /// Asks the next server where one has not answered in time; lets idle clients go.
    fn expire(&mut self, now: Instant) {
        for name in self.exchanges.names_where(|exchange| exchange.deadline <= now) {
            let watch = Watch {
                epoll: self.epoll.as_fd(),
                token: self.exchanges.token(name),
            };
            let Some(exchange) = self.exchanges.get(name) else {
                continue;
            };
            let late = exchange.server();
            let progress = exchange.ask_next(watch, now);
            if late == self.good {
                self.good = None;
            }
            self.conclude(name, progress, now);
        }
        for name in self.clients.names_where(|client| client.deadline <= now) {
            self.clients.remove(name);
        }
    }

    /// Sets the timer to the earliest deadline, unless it goes off before that anyway.
    fn arm(&mut self, now: Instant) {
        let exchanges = self.exchanges.iter().map(|exchange| exchange.deadline);
        let clients = self.clients.iter().map(|client| client.deadline);
        let Some(next) = exchanges.chain(clients).min() else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        let left = next.saturating_duration_since(now).max(Duration::from_millis(1));
        let value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let time = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: value,
        };
        if timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time).is_ok() {
            self.armed = Some(next);
        }
    }

    fn read_timer(&mut self) {
        let mut count = [0u8; 8];
        rustix::io::read(&self.timer, &mut count[..])
            .map(drop)
            .unwrap_or_default();
        self.armed = None;
    }
}

/// The longest answer that may go there.
fn limit(origin: Origin, query: &Query) -> usize {
    match origin {
        Origin::Udp(_) => query.udp_limit(),
        Origin::Tcp(_) => usize::from(u16::MAX),
    }
}

/// Several containers with one name take turns.
fn rotate(records: &mut [Record]) {
    if records.len() > 1 {
        let by = usize::from(random16()) % records.len();
        records.rotate_left(by);
    }
}

#[cfg(test)]
mod tests;
