//! A DNS server that a test plays in a network namespace: over UDP and TCP, with names that
//! behave in ways of their own.

use crate::network_support::Namespace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the server was asked, and that it is to end.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) queries: AtomicU32,
    pub(crate) names: Mutex<Vec<String>>,
    end: AtomicBool,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) heard: Arc<Heard>,
    threads: Vec<JoinHandle<()>>,
}

/// Opens a socket in a namespace.
fn inside<T: Send>(path: &str, open: impl FnOnce() -> T + Send) -> T {
    let path = path.to_owned();
    std::thread::scope(|scope| {
        let made = scope.spawn(move || {
            let namespace = std::fs::File::open(path).unwrap();
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            open()
        });
        made.join().unwrap()
    })
}

impl Upstream {
    /// Starts a server at this address in a namespace.
    pub(crate) fn start(namespace: &Namespace, address: &str) -> Self {
        let address = SocketAddr::new(address.parse().unwrap(), 53);
        let (udp, tcp) = inside(&namespace.path(), || {
            (
                UdpSocket::bind(address).unwrap(),
                TcpListener::bind(address).unwrap(),
            )
        });
        udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let heard = Arc::new(Heard::default());
        let (first, second) = (Arc::clone(&heard), Arc::clone(&heard));
        let threads = vec![
            std::thread::spawn(move || serve_udp(&udp, &first)),
            std::thread::spawn(move || serve_tcp(&tcp, &second)),
        ];
        Self { heard, threads }
    }

    /// How many queries came.
    pub(crate) fn count(&self) -> u32 {
        self.heard.queries.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.heard.end.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap_or_default();
        }
    }
}

fn serve_udp(socket: &UdpSocket, heard: &Heard) {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    while !heard.end.load(Ordering::SeqCst) {
        let mut buffer = [0u8; 2048];
        let Ok((count, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        for reply in replies(&buffer[..count], false, heard, &mut seed) {
            socket.send_to(&reply, from).map(drop).unwrap_or_default();
        }
    }
}

fn serve_tcp(listener: &TcpListener, heard: &Heard) {
    let mut seed = 1;
    while !heard.end.load(Ordering::SeqCst) {
        let Ok((mut stream, _)) = listener.accept() else {
            let pause = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 5_000_000,
            };
            rustix::event::poll(&mut [], Some(&pause))
                .map(drop)
                .unwrap_or_default();
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut query = vec![0u8; 2048];
        let count = stream.read(&mut query).unwrap_or(0);
        for reply in replies(query.get(2..count).unwrap_or_default(), true, heard, &mut seed) {
            let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
            stream
                .write_all(&[&length[..], &reply].concat())
                .unwrap_or_default();
        }
    }
}

/// The question's name in lower case, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at + 4));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}

/// What the server answers. The first label says how:
/// `big` does not fit over UDP, `none` does not exist, `mad` gets damaged messages,
/// `silent` gets nothing; a name `aN` has the address 203.0.113.N, `here` 192.0.2.2.
fn replies(query: &[u8], tcp: bool, heard: &Heard, seed: &mut u64) -> Vec<Vec<u8>> {
    let Some((name, end)) = question(query) else {
        return Vec::new();
    };
    heard.queries.fetch_add(1, Ordering::SeqCst);
    heard.names.lock().unwrap().push(name.clone());
    let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
    let first = name.split('.').next().unwrap_or_default();
    let answer = |flags: u16, addresses: &[Ipv4Addr]| {
        let mut reply = query[..end].to_vec();
        reply[2..4].copy_from_slice(&flags.to_be_bytes());
        reply[6..12].copy_from_slice(&[0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
        for address in addresses {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
            reply.extend_from_slice(&address.octets());
        }
        reply
    };
    let is_address = kind == 1;
    match first {
        "silent" => Vec::new(),
        // What begins so, too: a name of a container that is gone.
        name if name.starts_with("none") => vec![answer(0x8183, &[])],
        "big" if !tcp => vec![answer(0x8380, &[])],
        "big" => {
            let many: Vec<Ipv4Addr> = (0..200).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect();
            vec![answer(0x8180, &many)]
        }
        "mad" => {
            let good = answer(0x8180, &[Ipv4Addr::new(203, 0, 113, 66)]);
            (0..12).map(|_| damage(&good, seed)).collect()
        }
        "here" if is_address => vec![answer(0x8180, &[Ipv4Addr::new(192, 0, 2, 2)])],
        _ if is_address => {
            let last = first
                .strip_prefix('a')
                .and_then(|number| number.parse().ok())
                .unwrap_or(1);
            vec![answer(0x8180, &[Ipv4Addr::new(203, 0, 113, last)])]
        }
        _ => vec![answer(0x8180, &[])],
    }
}

/// A message with some octets changed, and perhaps cut.
fn damage(message: &[u8], seed: &mut u64) -> Vec<u8> {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        usize::try_from(*seed >> 33).unwrap()
    };
    let mut bytes = message.to_vec();
    for _ in 0..1 + next() % 6 {
        let at = next() % bytes.len();
        bytes[at] = u8::try_from(next() % 256).unwrap();
    }
    if next() % 3 == 0 {
        bytes.truncate(next() % bytes.len());
    }
    bytes
}
