//! One probe while it runs. None of them waits: the monitor's loop does.

use super::super::exec::{self, ExecOptions};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::HealthProbe;
use crate::options::health::HttpTarget;
use cais_linux::SysError;
use cais_linux::process::pidfd;
use cais_sys::clone::StubProcess;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::SocketAddr;
use std::path::Path;

/// How much of what a probe says is kept, as Docker does.
const MOST_OUTPUT: usize = 4096;

/// How a probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// 0 for success.
    pub(super) code: i32,
    /// What it said.
    pub(super) output: Vec<u8>,
}

fn failure(text: impl Into<String>) -> Finding {
    Finding {
        code: 1,
        output: text.into().into_bytes(),
    }
}

/// A probe that runs.
#[derive(Debug)]
pub(super) enum Running {
    /// A connection that is being made; with a request, its answer is what counts.
    Connection {
        socket: OwnedFd,
        connected: bool,
        request: Option<Vec<u8>>,
        answer: Vec<u8>,
    },
    /// A program in the container.
    Program {
        process: StubProcess,
        output: Option<OwnedFd>,
        said: Vec<u8>,
    },
}

/// What a probe needs to know of its container.
#[derive(Debug)]
pub(super) struct Target {
    /// The first process.
    pub(super) pid: i32,
    /// Its network namespace.
    pub(super) network: OwnedFd,
    /// The monitor's own.
    pub(super) own_network: OwnedFd,
}

impl Target {
    /// Opens the namespaces.
    ///
    /// # Errors
    /// As open(2).
    pub(super) fn open(pid: i32) -> Result<Self> {
        let namespace = |path: &str| {
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
                .map_err(EngineError::system("open the network namespace"))
        };
        Ok(Self {
            pid,
            network: namespace(&format!("/proc/{pid}/ns/net"))?,
            own_network: namespace("/proc/self/ns/net")?,
        })
    }

    /// Makes a socket in the container's network namespace: the process enters it for that
    /// one call.
    fn socket(&self, family: AddressFamily) -> std::result::Result<OwnedFd, Errno> {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.network.as_fd(), kind)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None);
        move_into_link_name_space(self.own_network.as_fd(), kind)?;
        socket
    }
}

/// Begins a probe. A finding is what is known at once.
pub(super) fn begin(
    probe: &HealthProbe,
    engine: &Engine,
    container: &str,
    target: &Target,
) -> std::result::Result<Running, Finding> {
    match probe {
        HealthProbe::Command(words) => run_program(engine, container, words.clone()),
        HealthProbe::Shell(line) => {
            let words = ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
            run_program(engine, container, words)
        }
        HealthProbe::Tcp(port) => begin_connection(target, SocketAddr::from(([127, 0, 0, 1], *port)), None),
        HealthProbe::Http(url) => {
            let http = HttpTarget::parse(url).ok_or_else(|| failure(format!("{url} is no address")))?;
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: cais\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                http.path, http.host
            );
            begin_connection(target, http.address, Some(request.into_bytes()))
        }
        HealthProbe::Unix(path) => connect_unix(target, path),
    }
}

fn run_program(
    engine: &Engine,
    container: &str,
    command: Vec<String>,
) -> std::result::Result<Running, Finding> {
    let options = ExecOptions {
        container: container.to_owned(),
        command,
        ..ExecOptions::default()
    };
    let (process, output) = exec::spawn_with_output(engine, &options).map_err(|error| Finding {
        code: i32::from(crate::run::exit_code(&error)),
        output: crate::run::chain(&error).into_bytes(),
    })?;
    Ok(Running::Program {
        process,
        output: Some(output),
        said: Vec::new(),
    })
}

fn begin_connection(
    target: &Target,
    address: SocketAddr,
    request: Option<Vec<u8>>,
) -> std::result::Result<Running, Finding> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = target
        .socket(family)
        .map_err(|errno| failure(format!("cannot make a socket: {errno}")))?;
    let connected = match connect(&socket, &SocketAddrAny::from(address)) {
        Ok(()) => true,
        Err(Errno::INPROGRESS) => false,
        Err(errno) => return Err(failure(format!("cannot connect to {address}: {errno}"))),
    };
    Ok(Running::Connection {
        socket,
        connected,
        request,
        answer: Vec::new(),
    })
}

/// Connects to a socket by its path inside the container. A unix socket answers at once.
fn connect_unix(target: &Target, path: &str) -> std::result::Result<Running, Finding> {
    let failed = |errno: Errno| failure(format!("cannot connect to {path}: {errno}"));
    let root = format!("/proc/{}/root", target.pid);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(&root, flags | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(&root, Path::new(path), flags, Mode::empty(), inside).map_err(failed)?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    Ok(Running::Connection {
        socket,
        connected: true,
        request: None,
        answer: Vec::new(),
    })
}

impl Running {
    /// What it waits for.
    pub(super) fn want<'a>(&'a self, wanted: &mut Vec<(BorrowedFd<'a>, PollFlags)>) {
        match self {
            Self::Connection {
                socket,
                connected,
                request,
                ..
            } => {
                let writes = !connected || request.as_ref().is_some_and(|rest| !rest.is_empty());
                let flags = if writes { PollFlags::OUT } else { PollFlags::IN };
                wanted.push((socket.as_fd(), flags));
            }
            Self::Program { process, output, .. } => {
                wanted.push((process.pidfd.as_fd(), PollFlags::IN));
                wanted.extend(output.iter().map(|output| (output.as_fd(), PollFlags::IN)));
            }
        }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn go_on(&mut self) -> Option<Finding> {
        match self {
            Self::Connection {
                socket,
                connected,
                request,
                answer,
            } => go_on_connected(socket, connected, request.as_mut(), answer),
            Self::Program {
                process,
                output,
                said,
            } => {
                let gone = pidfd::await_end(process.pidfd.as_fd(), Some(std::time::Duration::ZERO));
                if output.as_ref().is_some_and(|output| read_some(output, said)) {
                    *output = None;
                }
                if !gone.unwrap_or(true) {
                    return None;
                }
                let code = pidfd::wait(process.pidfd.as_fd()).map_or(-1, |ended| i32::from(ended.code()));
                Some(Finding {
                    code,
                    output: std::mem::take(said),
                })
            }
        }
    }

    /// Ends it.
    pub(super) fn cancel(self) {
        if let Self::Program { process, .. } = self {
            pidfd::send_signal(process.pidfd.as_fd(), Signal::KILL).unwrap_or_default();
            // It is gone or about to be; nobody asks how.
            pidfd::wait(process.pidfd.as_fd()).map(drop).unwrap_or_default();
        }
    }
}

fn go_on_connected(
    socket: &OwnedFd,
    connected: &mut bool,
    request: Option<&mut Vec<u8>>,
    answer: &mut Vec<u8>,
) -> Option<Finding> {
    if !*connected {
        match sockopt::socket_error(socket) {
            Ok(Ok(())) if is_writable(socket) => *connected = true,
            Ok(Ok(())) => return None,
            Ok(Err(errno)) | Err(errno) => return Some(failure(format!("cannot connect: {errno}"))),
        }
    }
    let Some(request) = request else {
        return Some(Finding {
            code: 0,
            output: b"connected".to_vec(),
        });
    };
    while !request.is_empty() {
        match rustix::net::send(socket, request, rustix::net::SendFlags::NOSIGNAL) {
            Ok(count) => drop(request.drain(..count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return None,
            Err(errno) => return Some(failure(format!("cannot send the request: {errno}"))),
        }
    }
    let ended = read_some(socket, answer);
    match parse_status_line(answer) {
        Some(status) => Some(Finding {
            code: i32::from(!(200..400).contains(&status)),
            output: std::mem::take(answer),
        }),
        None if ended || answer.len() >= MOST_OUTPUT => Some(failure(format!(
            "no answer of HTTP: {:?}",
            String::from_utf8_lossy(answer)
        ))),
        None => None,
    }
}

fn is_writable(socket: &OwnedFd) -> bool {
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [rustix::event::PollFd::new(socket, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Reads what is there, keeping the beginning. Tells whether the end was reached.
fn read_some(source: &OwnedFd, kept: &mut Vec<u8>) -> bool {
    let mut buffer = [0u8; MOST_OUTPUT];
    loop {
        match rustix::io::read(source, &mut buffer[..]) {
            Ok(0) => return true,
            Ok(count) => {
                let room = MOST_OUTPUT.saturating_sub(kept.len());
                kept.extend_from_slice(buffer.get(..count.min(room)).unwrap_or(&[]));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
}

/// The status of an answer whose first line is there: `HTTP/1.1 200 OK`.
fn parse_status_line(answer: &[u8]) -> Option<u16> {
    let end = answer.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut words = line.split_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        assert_eq!(parse_status_line(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(parse_status_line(b"HTTP/1.0 500\n"), Some(500));
        for bad in [
            &b""[..],
            b"HTTP/1.1 200 OK",
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1 abc\r\n",
            b"\xff 200\n",
        ] {
            assert_eq!(parse_status_line(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_connection_in_this_namespace() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0u8; 512];
            let count = stream.read(&mut buffer).unwrap();
            assert!(buffer[..count].starts_with(b"GET /h HTTP/1.1\r\nHost: x\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nfine").unwrap();
        });
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let target = Target::open(std::process::id().cast_signed()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let request = b"GET /h HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
        let mut running = begin_connection(&target, address, Some(request)).unwrap();
        let finding = loop {
            if let Some(finding) = running.go_on() {
                break finding;
            }
            let mut wanted = Vec::new();
            running.want(&mut wanted);
            let (fd, flags) = wanted[0];
            rustix::event::poll(&mut [rustix::event::PollFd::from_borrowed_fd(fd, flags)], None).unwrap();
        };
        assert_eq!(finding.code, 0, "{finding:?}");
        server.join().unwrap();
    }
}
