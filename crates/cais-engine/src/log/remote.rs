//! Logs that others keep: systemd's journal by its native protocol
//! (systemd.io/JOURNAL_NATIVE_PROTOCOL), and syslog (RFC 3164 locally, RFC 5424 over UDP).

use super::Stream;
use super::writer::tag_of;
use crate::error::{EngineError, Result};
use crate::options::logging::FACILITIES;
use crate::options::{LogDriver, LogOptions};
use crate::record::Record;
use crate::time;
use cais_linux::SysError;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, connect, send,
    socket_with,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// The severities of syslog(3) for the two streams: informational, and error.
const SEVERITIES: [u8; 2] = [6, 3];

/// How long a receiver that does not read holds the program up, at most.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one is left alone that did not take a line.
const REST: Duration = Duration::from_secs(1);

/// Whoever keeps the log.
#[derive(Debug)]
pub(super) struct Remote {
    driver: LogDriver,
    options: LogOptions,
    /// Fields of each entry in the journal, or the tag of the syslog.
    fields: Vec<u8>,
    facility: u8,
    socket: Option<OwnedFd>,
    /// Where it did not take the last line: until when it is left alone. Then it is asked
    /// without waiting until it takes one.
    resting: Option<Instant>,
    /// The beginning of a line that was cut into pieces.
    partial: bool,
}

/// Checks that it is there.
pub(super) fn check_reachable(log: &LogOptions) -> Result<()> {
    match log.driver {
        LogDriver::Journald | LogDriver::Syslog => open(log.driver, log).map(drop),
        _ => Ok(()),
    }
}

impl Remote {
    pub(super) fn new(record: &Record) -> Self {
        let log = &record.options.log;
        let tag = tag_of(record, log.tag().unwrap_or("{{.ID}}"));
        let fields = match log.driver {
            LogDriver::Journald => journal_fields(record, &tag),
            _ => tag.into_bytes(),
        };
        let number = log
            .facility()
            .and_then(|name| FACILITIES.iter().position(|known| *known == name));
        // Docker's default: daemon.
        let facility = number.and_then(|number| u8::try_from(number).ok()).unwrap_or(3);
        Self {
            driver: log.driver,
            options: log.clone(),
            fields,
            facility,
            socket: None,
            resting: None,
            partial: false,
        }
    }

    /// Sends a line, or a piece of one without its line feed. A receiver that has gone is
    /// looked for anew, once.
    ///
    /// # Errors
    /// Where there is none, or where it does not read. The program must not wait for it for
    /// ever, nor must whoever ends the program.
    pub(super) fn send(&mut self, stream: Stream, line: &[u8]) -> Result<()> {
        let sent = match self.resting {
            Some(until) if Instant::now() < until => Err(self.failed(Errno::AGAIN)),
            _ => self.try_send(stream, line),
        };
        match (&sent, self.resting) {
            (Ok(()), _) => self.resting = None,
            (Err(_), Some(until)) if Instant::now() < until => {}
            (Err(_), _) => self.resting = Some(Instant::now() + REST),
        }
        sent
    }

    fn failed(&self, errno: Errno) -> EngineError {
        EngineError::System {
            action: format!("give a line to the log driver {}", self.driver.name()),
            source: SysError::new("sendmsg", "", errno),
        }
    }

    fn try_send(&mut self, stream: Stream, line: &[u8]) -> Result<()> {
        let whole = line.ends_with(b"\n");
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let message = match self.driver {
            LogDriver::Journald => journal_entry(&self.fields, stream, text, !whole),
            _ => self.syslog_entry(stream, text),
        };
        self.partial = !whole;
        for attempt in 0..2 {
            let socket = match &self.socket {
                Some(socket) => socket,
                None => self.socket.insert(open(self.driver, &self.options)?),
            };
            let flags = match self.resting {
                None => SendFlags::NOSIGNAL,
                Some(_) => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            };
            match send_datagram(socket, &message, self.driver, flags) {
                Ok(()) => return Ok(()),
                Err(errno) if attempt == 0 && errno != Errno::AGAIN => self.socket = None,
                Err(errno) => return Err(self.failed(errno)),
            }
        }
        Ok(())
    }

    fn syslog_entry(&self, stream: Stream, text: &[u8]) -> Vec<u8> {
        let priority = self.facility * 8 + SEVERITIES[usize::from(stream == Stream::Stderr)];
        let tag = String::from_utf8_lossy(&self.fields);
        let pid = std::process::id();
        let head = if self
            .options
            .address()
            .is_some_and(|address| address.starts_with("udp://"))
        {
            let name = rustix::system::uname();
            let host = name.nodename().to_string_lossy().into_owned();
            format!("<{priority}>1 {} {host} {tag} {pid} - - ", time::now())
        } else {
            format!("<{priority}>{tag}[{pid}]: ")
        };
        [head.as_bytes(), text].concat()
    }
}

/// The address of `HOST[:PORT]`.
fn find(host: &str) -> Option<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()?),
        _ => (host, 514),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let found = cais_net::dns::ask::find_addresses(name, Duration::from_secs(10)).ok()?;
    Some(SocketAddr::new(*found.first()?, port))
}

fn open(driver: LogDriver, log: &LogOptions) -> Result<OwnedFd> {
    let address = log.address().unwrap_or("unixgram:///dev/log");
    let (family, target) = match (driver, address.strip_prefix("udp://")) {
        (LogDriver::Syslog, Some(host)) => {
            let found = find(host)
                .ok_or_else(|| EngineError::Invalid(format!("syslog-address: {host} is unknown")))?;
            let family = if found.is_ipv4() {
                AddressFamily::INET
            } else {
                AddressFamily::INET6
            };
            (family, SocketAddrAny::from(found))
        }
        (LogDriver::Syslog, None) => {
            let path = address.strip_prefix("unixgram://").unwrap_or(SYSLOG);
            (AddressFamily::UNIX, unix(path)?)
        }
        _ => (AddressFamily::UNIX, unix(JOURNAL)?),
    };
    let action = || format!("reach the log driver {}", driver.name());
    let failed = |call: &'static str| {
        move |errno| EngineError::System {
            action: action(),
            source: SysError::new(call, "", errno),
        }
    };
    let socket =
        socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).map_err(failed("socket"))?;
    connect(&socket, &target).map_err(failed("connect"))?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).map_err(failed("setsockopt"))?;
    Ok(socket)
}

fn unix(path: &str) -> Result<SocketAddrAny> {
    SocketAddrUnix::new(path)
        .map(SocketAddrAny::from)
        .map_err(|errno| EngineError::System {
            action: format!("name the socket {path}"),
            source: SysError::new("sockaddr_un", "", errno),
        })
}

/// Sends a datagram. One that is too long for the journal goes as a sealed memfd, as its
/// protocol has it.
fn send_datagram(
    socket: &OwnedFd,
    message: &[u8],
    driver: LogDriver,
    flags: SendFlags,
) -> std::result::Result<(), Errno> {
    match rustix::io::retry_on_intr(|| send(socket, message, flags)) {
        Err(Errno::MSGSIZE) if driver == LogDriver::Journald => {
            let file = memfd_create("log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
            let mut rest = message;
            while !rest.is_empty() {
                let count = rustix::io::write(&file, rest)?;
                rest = rest.get(count..).unwrap_or(&[]);
            }
            fcntl_add_seals(
                &file,
                SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
            )?;
            cais_sys::socket::send_with_fds(socket.as_fd(), &[], &[file.as_fd()])
        }
        other => other.map(drop),
    }
}

/// The fields that Docker's driver gives, which are the same for all entries.
fn journal_fields(record: &Record, tag: &str) -> Vec<u8> {
    let image = crate::events::image_of(record);
    let mut fields = Vec::new();
    for (name, value) in [
        ("CONTAINER_ID", record.id.short()),
        ("CONTAINER_ID_FULL", record.id.as_str()),
        ("CONTAINER_NAME", &record.name),
        ("CONTAINER_TAG", tag),
        ("SYSLOG_IDENTIFIER", tag),
        ("IMAGE_NAME", &image),
    ] {
        field(&mut fields, name, value.as_bytes());
    }
    for name in record.options.log.names("labels") {
        if let Some((_, value)) = record.options.labels.iter().rev().find(|(key, _)| key == name) {
            let name: String = name
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() {
                        c.to_ascii_uppercase()
                    } else {
                        '_'
                    }
                })
                .collect();
            field(&mut fields, name.trim_start_matches('_'), value.as_bytes());
        }
    }
    fields
}

/// One entry.
fn journal_entry(fields: &[u8], stream: Stream, text: &[u8], partial: bool) -> Vec<u8> {
    let mut entry = Vec::with_capacity(fields.len() + text.len() + 64);
    field(&mut entry, "MESSAGE", text);
    let severity = SEVERITIES[usize::from(stream == Stream::Stderr)];
    field(&mut entry, "PRIORITY", severity.to_string().as_bytes());
    if partial {
        field(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    entry.extend_from_slice(fields);
    entry
}

/// A field: on one line, or with its length where it has several.
fn field(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        let length = u64::try_from(value.len()).unwrap_or(0);
        entry.extend_from_slice(&length.to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_on_one_line_and_on_several() {
        let mut entry = Vec::new();
        field(&mut entry, "A", b"x");
        field(&mut entry, "B", b"y\nz");
        assert_eq!(entry, b"A=x\nB\n\x03\0\0\0\0\0\0\0y\nz\n");
        let entry = journal_entry(b"F=1\n", Stream::Stderr, b"text", true);
        assert_eq!(
            entry,
            b"MESSAGE=text\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nF=1\n"
        );
    }
}
