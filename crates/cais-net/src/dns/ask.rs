//! Questions of our own: where a host is, as this machine knows it. /etc/hosts comes first, then
//! the name servers of /etc/resolv.conf, with its search list and options (hosts(5),
//! resolv.conf(5)). Other sources of nsswitch.conf are libraries, which a static executable
//! does not load; a resolver that stands behind 127.0.0.53 is asked like any other server.

use super::exchange::{encode, first_frame, random16};
use super::message::{CLASS_IN, Query, Question, flag, kind};
use super::name::Name;
use super::reply::{Reply, parse_reply};
use super::resolv_conf::{ResolvConf, Server};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Longest datagram that is taken.
const MAX_DATAGRAM: usize = 4096;

/// Finds the addresses of a host, those of IPv4 first.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is no such name; else why nobody could be asked.
pub fn find_addresses(host: &str, patience: Duration) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let known = parse_hosts(&hosts, host);
    if !known.is_empty() {
        return Ok(known);
    }
    let lower = host.trim_end_matches('.').to_ascii_lowercase();
    if lower == "localhost" || lower.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let config = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let config = ResolvConf::parse(&config);
    let find = |name: &str| {
        rustix::net::netdevice::name_to_index(
            rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::DGRAM,
                None,
            )
            .ok()?,
            name,
        )
        .ok()
    };
    let servers: Vec<SocketAddr> = config
        .servers
        .iter()
        .filter_map(|server: &Server| server.socket_address(find))
        .collect();
    Asking {
        servers: if servers.is_empty() {
            vec![SocketAddr::new(
                Ipv4Addr::LOCALHOST.into(),
                super::resolv_conf::PORT,
            )]
        } else {
            servers
        },
        patience: config.patience(),
        deadline: Instant::now() + patience,
    }
    .find(&plan_names(host, &config))
}

/// The addresses that a file like /etc/hosts has for a name.
fn parse_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let host = host.trim_end_matches('.');
    let mut found: Vec<IpAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found.drain(..).partition(IpAddr::is_ipv4);
    [v4, v6].concat()
}

/// The full names that a name may mean, in the order in which they are tried: one with enough
/// dots is tried as it is before the search list, others after it.
fn plan_names(host: &str, config: &ResolvConf) -> Vec<String> {
    if let Some(whole) = host.strip_suffix('.') {
        return vec![whole.to_owned()];
    }
    let dots = config
        .options
        .iter()
        .filter_map(|option| option.strip_prefix("ndots:")?.parse::<usize>().ok())
        .next_back()
        .unwrap_or(1);
    let searched = config.search.iter().map(|domain| match domain.trim_matches('.') {
        "" => host.to_owned(),
        domain => format!("{host}.{domain}"),
    });
    let mut names: Vec<String> = searched.collect();
    let at = if host.matches('.').count() >= dots {
        0
    } else {
        names.len()
    };
    names.insert(at, host.to_owned());
    names.dedup();
    names
}

struct Asking {
    servers: Vec<SocketAddr>,
    /// For one try, and how many tries.
    patience: (Duration, u32),
    deadline: Instant,
}

impl Asking {
    fn find(&self, names: &[String]) -> io::Result<Vec<IpAddr>> {
        let mut failure = None;
        for name in names {
            let Some(name) = Name::from_text(name) else {
                continue;
            };
            let mut found = Vec::new();
            for kind in [kind::A, kind::AAAA] {
                match self.ask(&name, kind) {
                    Ok(reply) => found.extend(reply.addresses.into_iter().map(|(address, _)| address)),
                    Err(error) => failure = Some(error),
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(failure.unwrap_or_else(|| ErrorKind::NotFound.into()))
    }

    /// Asks one server after the other until one knows.
    fn ask(&self, name: &Name, kind: u16) -> io::Result<Reply> {
        let question = Question {
            name: name.clone(),
            kind,
            class: CLASS_IN,
        };
        let mut failure = None;
        for _ in 0..self.patience.1 {
            for server in &self.servers {
                match self.ask_one(*server, &question) {
                    // No error, or no such name: both are answers (RFC 1035, 4.1.1).
                    Ok(reply) if matches!(reply.rcode, 0 | 3) => return Ok(reply),
                    Ok(reply) => {
                        let text = format!("the name server {} says error {}", server.ip(), reply.rcode);
                        failure = Some(io::Error::other(text));
                    }
                    Err(error) => failure = Some(error),
                }
            }
        }
        Err(failure.unwrap_or_else(|| ErrorKind::TimedOut.into()))
    }

    /// The time that one try may take.
    fn rest(&self) -> io::Result<Duration> {
        let rest = self.deadline.saturating_duration_since(Instant::now());
        match rest.min(self.patience.0) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            rest => Ok(rest),
        }
    }

    fn ask_one(&self, server: SocketAddr, question: &Question) -> io::Result<Reply> {
        let id = random16();
        let query = Query {
            id,
            flags: flag::RECURSION_DESIRED,
            spelled: [
                question.name.as_bytes(),
                &question.kind.to_be_bytes(),
                &question.class.to_be_bytes(),
            ]
            .concat(),
            question: question.clone(),
            edns: None,
        };
        // With its length in front, as a stream wants it.
        let message = encode(&query, id);
        let reply = self.ask_datagram(server, message.get(2..).unwrap_or_default(), &query)?;
        if reply.truncated {
            return self.ask_stream(server, &message, &query);
        }
        Ok(reply)
    }

    fn ask_datagram(&self, server: SocketAddr, message: &[u8], query: &Query) -> io::Result<Reply> {
        let any = if server.is_ipv4() {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.send(message)?;
        let end = Instant::now() + self.rest()?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            // Others may send too: what is no reply to this is passed over until time is up.
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(rest))?;
            let length = socket.recv(&mut buffer).map_err(timed_out)?;
            let received = buffer.get(..length).unwrap_or_default();
            if let Some(reply) = parse_reply(received, &query.question).filter(|reply| reply.id == query.id) {
                return Ok(reply);
            }
        }
    }

    fn ask_stream(&self, server: SocketAddr, message: &[u8], query: &Query) -> io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&server, self.rest()?)?;
        stream.set_read_timeout(Some(self.rest()?))?;
        stream.set_write_timeout(Some(self.rest()?))?;
        stream.write_all(message)?;
        let mut received = vec![0; 2];
        stream.read_exact(&mut received).map_err(timed_out)?;
        let length = received
            .first_chunk()
            .map_or(0, |length| u16::from_be_bytes(*length));
        received.resize(2 + usize::from(length), 0);
        stream
            .read_exact(received.get_mut(2..).unwrap_or_default())
            .map_err(timed_out)?;
        first_frame(&received)
            .and_then(|frame| parse_reply(frame, &query.question))
            .filter(|reply| reply.id == query.id)
            .ok_or_else(|| ErrorKind::InvalidData.into())
    }
}

/// What a socket says when its time is up.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests;
