use super::super::config::{NamePattern, NetworkNames, ResolverConfig};
use super::super::listen::open_at;
use super::super::message::{CLASS_IN, Question, kind, number16};
use super::super::name::Name;
use super::super::name_file::{NameFile, plan_entries};
use super::super::reply::Reply;
use super::*;
use rustix::event::{PollFd, PollFlags, poll};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::rc::Rc;

mod failures;
mod hostile;
mod policy;

/// A resolver, its files, and the upstream servers that a test plays.
struct World {
    directory: PathBuf,
    resolver: Resolver,
    address: SocketAddr,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl World {
    fn new(name: &str, change: impl FnOnce(&mut ResolverConfig)) -> Self {
        let directory = std::env::temp_dir().join(format!("cais-resolver-{}-{name}", std::process::id()));
        std::fs::create_dir_all(directory.join("net")).unwrap();
        let mut config = ResolverConfig {
            networks: vec![NetworkNames {
                name: "net".to_owned(),
                directory: directory.join("net"),
                subnets: Vec::new(),
            }],
            forward: true,
            ..ResolverConfig::default()
        };
        change(&mut config);
        write_config(&directory, &config);
        let listeners = open_at(loopback()).unwrap();
        // Both have a port of their own here: TCP is asked at its own.
        let address = SocketAddr::try_from(rustix::net::getsockname(&listeners.udp).unwrap()).unwrap();
        std::fs::write(directory.join("resolv.conf"), "options timeout:1 attempts:1\n").unwrap();
        let resolver = Resolver::new(
            listeners,
            &directory.join("config"),
            &directory.join("resolv.conf"),
        )
        .unwrap();
        Self {
            directory,
            resolver,
            address,
        }
    }

    fn with_servers(name: &str, servers: &[&Upstream]) -> Self {
        Self::new(name, |config| {
            config.servers = servers.iter().map(|server| server.address.to_string()).collect();
        })
    }

    fn add(&self, owner: &str, name: &str, address: &str) {
        let entries = plan_entries(&[name.to_owned()], "net", &[address.parse().unwrap()]);
        NameFile::new(&self.directory.join("net"))
            .add(owner, &entries)
            .unwrap();
    }

    /// Lets the resolver work until this descriptor is readable; false after three seconds.
    fn work_until(&mut self, fd: BorrowedFd<'_>) -> bool {
        let end = Instant::now() + Duration::from_secs(3);
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(fd, PollFlags::IN),
                PollFd::from_borrowed_fd(self.resolver.descriptor(), PollFlags::IN),
            ];
            let left = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            poll(&mut fds, Some(&left)).unwrap();
            if !fds[0].revents().is_empty() {
                return true;
            }
            if !fds[1].revents().is_empty() {
                self.resolver.handle().unwrap();
            }
            if Instant::now() > end {
                return false;
            }
        }
    }

    fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind(loopback()).unwrap();
        client.connect(self.address).unwrap();
        client
    }

    fn tcp_client(&self) -> TcpStream {
        let address =
            SocketAddr::try_from(rustix::net::getsockname(&self.resolver.listeners.tcp).unwrap()).unwrap();
        TcpStream::connect(address).unwrap()
    }

    /// The next datagram for this client.
    fn answer(&mut self, client: &UdpSocket) -> Vec<u8> {
        assert!(self.work_until(client.as_fd()), "no answer");
        receive(client)
    }

    /// Asks and returns the answer.
    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        let client = self.client();
        client.send(message).unwrap();
        self.answer(&client)
    }

    /// The next answer over a connection.
    fn tcp_answer(&mut self, client: &mut TcpStream) -> Vec<u8> {
        assert!(self.work_until(client.as_fd()), "no answer");
        let mut length = [0u8; 2];
        client.read_exact(&mut length).unwrap();
        let mut message = vec![0u8; usize::from(u16::from_be_bytes(length))];
        let mut done = 0;
        while done < message.len() {
            assert!(self.work_until(client.as_fd()), "no more of the answer");
            done += client.read(&mut message[done..]).unwrap();
        }
        message
    }
}

impl Drop for World {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap_or_default();
    }
}

fn write_config(directory: &Path, config: &ResolverConfig) {
    let new = directory.join("config.new");
    std::fs::write(&new, cais_json::to_vec(config).unwrap()).unwrap();
    std::fs::rename(new, directory.join("config")).unwrap();
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0u8; 65_536];
    let count = socket.recv(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

/// An upstream server that the test plays: the same port over UDP and TCP.
struct Upstream {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Upstream {
    fn new() -> Self {
        for _ in 0..100 {
            let udp = UdpSocket::bind(loopback()).unwrap();
            let address = udp.local_addr().unwrap();
            if let Ok(tcp) = TcpListener::bind(address) {
                return Self { udp, tcp, address };
            }
        }
        panic!("no port that is free over UDP and TCP");
    }

    /// The next query, and from where.
    fn query(&self, world: &mut World) -> (Vec<u8>, SocketAddr) {
        assert!(world.work_until(self.udp.as_fd()), "no query came");
        let mut buffer = vec![0u8; 65_536];
        let (count, from) = self.udp.recv_from(&mut buffer).unwrap();
        buffer.truncate(count);
        (buffer, from)
    }

    /// Takes the next query and answers it.
    fn serve(&self, world: &mut World, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
        let (query, from) = self.query(world);
        self.udp.send_to(&answer(&query), from).unwrap();
    }

    /// Takes the next connection and answers the query that it brings.
    fn serve_tcp(&self, world: &mut World, answer: impl FnOnce(&[u8]) -> Vec<u8>) {
        assert!(world.work_until(self.tcp.as_fd()), "no connection came");
        let (mut stream, _) = self.tcp.accept().unwrap();
        assert!(world.work_until(stream.as_fd()), "no query came");
        let mut query = vec![0u8; 2048];
        let count = stream.read(&mut query).unwrap();
        let message = answer(&query[2..count]);
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        stream.write_all(&length).unwrap();
        stream.write_all(&message).unwrap();
        // What it holds is read before the test goes on.
        drop(stream);
    }

    /// Whether nobody asks.
    fn is_left_alone(&self) -> bool {
        self.udp.set_nonblocking(true).unwrap();
        self.udp.recv(&mut [0u8; 16]).is_err()
    }
}

fn question(name: &str, kind: u16) -> Question {
    Question {
        name: Name::from_text(name).unwrap(),
        kind,
        class: CLASS_IN,
    }
}

fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(Name::from_text(name).unwrap().as_bytes());
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

fn with_edns(mut query: Vec<u8>) -> Vec<u8> {
    query[11] = 1;
    query.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
    query
}

/// A reply with these flags and so many address records.
fn reply(query: &[u8], flags: u16, count: u8) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes[7] = count;
    bytes[11] = 0;
    bytes.truncate(super::super::reply::question_end(query));
    for last in 0..count {
        bytes.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
    }
    bytes
}

fn read(message: &[u8], name: &str) -> Reply {
    parse_reply(message, &question(name, kind::A)).expect("a reply to the question")
}

fn addresses(message: &[u8], name: &str) -> Vec<String> {
    let reply = read(message, name);
    reply
        .addresses
        .iter()
        .map(|(address, _)| address.to_string())
        .collect()
}

#[test]
fn names_of_containers_over_udp_and_tcp() {
    let mut world = World::new("local", |_| {});
    world.add("one", "web", "10.0.0.2");
    let answer = world.ask(&query(7, "web", kind::A));
    assert_eq!(addresses(&answer, "web"), ["10.0.0.2"]);
    assert_eq!(number16(&answer, 0), Some(7));
    let none = world.ask(&query(7, "web", kind::AAAA));
    let reply = parse_reply(&none, &question("web", kind::AAAA)).unwrap();
    assert_eq!((reply.rcode, reply.addresses.len()), (0, 0));
    // Several queries over one connection, sent in pieces.
    let mut client = world.tcp_client();
    let message = query(8, "web", kind::A);
    let framed = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    let twice = [&framed[..], &framed].concat();
    let (head, tail) = twice.split_at(framed.len() + 5);
    client.write_all(head).unwrap();
    assert_eq!(addresses(&world.tcp_answer(&mut client), "web"), ["10.0.0.2"]);
    client.write_all(tail).unwrap();
    assert_eq!(addresses(&world.tcp_answer(&mut client), "web"), ["10.0.0.2"]);
}

#[test]
fn containers_with_one_name_take_turns() {
    let mut world = World::new("turns", |_| {});
    for last in 2..6 {
        world.add(&format!("c{last}"), "app", &format!("10.0.0.{last}"));
    }
    let mut firsts = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let found = addresses(&world.ask(&query(1, "app", kind::A)), "app");
        assert_eq!(found.len(), 4);
        firsts.insert(found[0].clone());
    }
    assert_eq!(firsts.len(), 4, "{firsts:?}");
}

#[test]
fn a_change_is_seen_with_the_next_question() {
    let mut world = World::new("change", |config| config.forward = false);
    for round in 0..200u8 {
        let address = format!("10.0.1.{round}");
        world.add("one", "web", &address);
        assert_eq!(addresses(&world.ask(&query(1, "web", kind::A)), "web"), [address]);
    }
    NameFile::new(&world.directory.join("net")).remove("one").unwrap();
    assert_eq!(read(&world.ask(&query(1, "web", kind::A)), "web").rcode, 3);
    // A network that it joins while it runs.
    std::fs::create_dir_all(world.directory.join("other")).unwrap();
    let other = world.directory.join("other");
    let entries = plan_entries(&["db".to_owned()], "other", &["10.9.0.2".parse().unwrap()]);
    NameFile::new(&other).add("two", &entries).unwrap();
    let config = ResolverConfig {
        networks: vec![NetworkNames {
            name: "other".to_owned(),
            directory: other,
            subnets: Vec::new(),
        }],
        ..ResolverConfig::default()
    };
    write_config(&world.directory, &config);
    assert_eq!(
        addresses(&world.ask(&query(1, "db.other", kind::A)), "db.other"),
        ["10.9.0.2"]
    );
}

#[test]
fn other_names_are_asked_for_upstream_and_kept() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("forward", &[&upstream]);
    let client = world.client();
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..8u16 {
        let name = format!("n{number}.example");
        client.send(&query(7, &name, kind::A)).unwrap();
        upstream.serve(&mut world, |query| {
            seen.insert(number16(query, 0).unwrap());
            reply(query, 0x8180, 2)
        });
        let answer = world.answer(&client);
        assert_eq!(addresses(&answer, &name), ["192.0.2.0", "192.0.2.1"]);
        assert_eq!(number16(&answer, 0), Some(7));
    }
    assert!(seen.len() > 4, "ids that are not random: {seen:?}");
    // Again, in another spelling: nobody is asked, and the spelling comes back.
    let mut shout = query(9, "n1.example", kind::A);
    shout[13] = b'N';
    let answer = world.ask(&shout);
    assert_eq!(&answer[12..16], &shout[12..16]);
    assert_eq!(addresses(&answer, "n1.example").len(), 2);
    assert!(upstream.is_left_alone());
}

#[test]
fn one_question_of_many_clients_is_asked_once() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("once", &[&upstream]);
    let clients: Vec<UdpSocket> = (0..5).map(|_| world.client()).collect();
    for (id, client) in clients.iter().enumerate() {
        client
            .send(&query(u16::try_from(id).unwrap(), "example.org", kind::A))
            .unwrap();
    }
    upstream.serve(&mut world, |query| reply(query, 0x8180, 1));
    for (id, client) in clients.iter().enumerate() {
        let answer = world.answer(client);
        assert_eq!(number16(&answer, 0).map(usize::from), Some(id));
        assert_eq!(addresses(&answer, "example.org").len(), 1);
    }
    assert!(upstream.is_left_alone());
}

#[test]
fn what_does_not_fit_is_fetched_over_tcp() {
    let upstream = Upstream::new();
    let mut world = World::with_servers("large", &[&upstream]);
    let client = world.client();
    client.send(&query(7, "large.example", kind::A)).unwrap();
    upstream.serve(&mut world, |query| reply(query, 0x8380, 0));
    upstream.serve_tcp(&mut world, |query| reply(query, 0x8180, 200));
    // It does not fit for this client either, which is told so and comes over TCP.
    let answer = world.answer(&client);
    assert!(answer.len() <= 512 && read(&answer, "large.example").truncated);
    let mut stream = world.tcp_client();
    let message = query(8, "large.example", kind::A);
    stream
        .write_all(&[&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat())
        .unwrap();
    let answer = world.tcp_answer(&mut stream);
    assert_eq!(addresses(&answer, "large.example").len(), 200);
    assert!(upstream.is_left_alone());
}

#[test]
fn without_a_way_out_there_are_no_other_names() {
    let upstream = Upstream::new();
    let mut world = World::new("internal", |config| {
        config.forward = false;
        config.servers = vec![upstream.address.to_string()];
    });
    assert_eq!(
        read(&world.ask(&query(1, "example.org", kind::A)), "example.org").rcode,
        3
    );
    assert!(upstream.is_left_alone());
}

#[test]
fn what_is_rehearsed_is_a_question() {
    let query = parse_query(REHEARSAL).unwrap();
    assert_eq!(query.question.name.text().as_deref(), Some("rehearsal"));
    assert_eq!((query.question.kind, query.question.class), (kind::A, CLASS_IN));
}
