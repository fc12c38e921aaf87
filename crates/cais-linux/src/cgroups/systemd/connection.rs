//! A connection: who we are, calls and answers, and the news in between.

use super::SystemdError;
use super::dbus::{self, Message, Value};
use crate::error::SysError;
use rustix::io::Errno;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest line that an authentication may answer with.
const LINE_MAX: usize = 16 << 10;

const BUS: &str = "org.freedesktop.DBus";

/// A connection to systemd, directly or over a message bus.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    /// Where it leads, for errors.
    address: String,
    /// Whether there is no message bus between.
    pub(super) direct: bool,
    /// Signals that came while an answer was waited for.
    pub(super) signals: Vec<Message>,
    /// Bytes that came and are no whole message yet.
    received: Vec<u8>,
    /// The number of the last message sent.
    serial: u32,
    /// How long an answer is waited for.
    pub(super) patience: Duration,
}

/// Something to be called.
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    pub(super) body: Vec<Value>,
}

impl Call<'_> {
    /// As errors show it: `StopUnit("cais-web.scope", "replace")`.
    pub(super) fn describe(&self) -> String {
        let texts: Vec<String> = self
            .body
            .iter()
            .map_while(Value::text)
            .map(|text| format!("{text:?}"))
            .collect();
        format!("{}({})", self.member, texts.join(", "))
    }
}

impl Connection {
    /// Says who we are, and asks a message bus for a name.
    pub(super) fn greet(stream: UnixStream, address: String, direct: bool) -> Result<Self, SystemdError> {
        let mut connection = Self {
            stream,
            address,
            direct,
            signals: Vec::new(),
            received: Vec::new(),
            serial: 0,
            patience: PATIENCE,
        };
        connection.authenticate()?;
        if !direct {
            connection.call_bus("Hello", vec![])?;
        }
        Ok(connection)
    }

    /// The mechanism `EXTERNAL` without a name: the kernel tells the other side who we are
    /// (`SO_PEERCRED`), which is right inside a user namespace too.
    ///
    /// All of it in one piece, as sd-bus does. A `BEGIN` of its own may arrive together with
    /// the first message; systemd then takes no notice of that until another comes.
    fn authenticate(&mut self) -> Result<(), SystemdError> {
        const CALL: &str = "authentication";
        self.send(CALL, b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let deadline = Instant::now() + self.patience;
        // Before version 246 systemd says OK to both lines.
        let first = self.line(CALL, deadline)?;
        if first != "DATA" && !is_ok(&first) {
            return Err(self.refused(first));
        }
        let second = self.line(CALL, deadline)?;
        if !is_ok(&second) {
            return Err(self.refused(second));
        }
        Ok(())
    }

    fn refused(&self, answer: String) -> SystemdError {
        SystemdError::Authentication {
            address: self.address.clone(),
            uid: rustix::process::geteuid().as_raw(),
            answer,
        }
    }

    /// A line of an authentication, without its end.
    fn line(&mut self, call: &str, deadline: Instant) -> Result<String, SystemdError> {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.received.len() > LINE_MAX {
                return Err(SystemdError::Malformed("an endless line of authentication"));
            }
            self.fill(call, deadline)?;
        }
    }

    /// Calls the message bus itself.
    pub(super) fn call_bus(&mut self, member: &str, body: Vec<Value>) -> Result<Message, SystemdError> {
        self.call(Call {
            destination: BUS,
            path: "/org/freedesktop/DBus",
            interface: BUS,
            member,
            body,
        })
    }

    /// Calls and waits for the answer.
    pub(super) fn call(&mut self, call: Call<'_>) -> Result<Message, SystemdError> {
        let described = call.describe();
        let serial = self.send_call(&described, call, 0)?;
        let deadline = Instant::now() + self.patience;
        loop {
            let message = self.receive(&described, deadline)?;
            let is_answer = message.field(dbus::REPLY_SERIAL) == Some(&Value::U32(serial));
            match message.kind {
                dbus::SIGNAL => self.signals.push(message),
                dbus::RETURN if is_answer => return Ok(message),
                dbus::ERROR if is_answer => {
                    return Err(SystemdError::Refused {
                        call: described,
                        name: message.text(dbus::ERROR_NAME).to_owned(),
                        message: first_text(&message).unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
    }

    fn send_call(&mut self, described: &str, call: Call<'_>, flags: u8) -> Result<u32, SystemdError> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let message = Message {
            kind: dbus::CALL,
            flags,
            serial: self.serial,
            fields: vec![
                (dbus::PATH, Value::Path(call.path.to_owned())),
                (dbus::MEMBER, text(call.member)),
                (dbus::INTERFACE, text(call.interface)),
                (dbus::DESTINATION, text(call.destination)),
            ],
            body: call.body,
        };
        self.send(described, &message.encode()?)?;
        Ok(self.serial)
    }

    /// Calls and wants no answer.
    pub(super) fn tell(&mut self, call: Call<'_>) -> Result<(), SystemdError> {
        let described = call.describe();
        self.send_call(&described, call, dbus::NO_REPLY).map(|_| ())
    }

    /// The next signal, until `deadline`. `call` is what it is waited for.
    pub(super) fn signal(&mut self, call: &str, deadline: Instant) -> Result<Message, SystemdError> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive(call, deadline)?;
            if message.kind == dbus::SIGNAL {
                return Ok(message);
            }
        }
    }

    /// The next message.
    fn receive(&mut self, call: &str, deadline: Instant) -> Result<Message, SystemdError> {
        loop {
            if let Some((message, length)) = Message::decode(&self.received)? {
                self.received.drain(..length);
                return Ok(message);
            }
            self.fill(call, deadline)?;
        }
    }

    /// Reads what is there, or waits for it.
    fn fill(&mut self, call: &str, deadline: Instant) -> Result<(), SystemdError> {
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timeout(call));
            }
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut buffer));
            match read {
                Ok(0) => return Err(SystemdError::Closed(call.to_owned())),
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The clock of the socket is coarser than ours: look again.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => {
                    return Err(SysError::from_io("recvfrom", self.address.clone(), &error).into());
                }
            }
        }
    }

    fn send(&mut self, call: &str, mut bytes: &[u8]) -> Result<(), SystemdError> {
        // Not write(2): a connection that was closed must not end us (SIGPIPE).
        let flags = rustix::net::SendFlags::NOSIGNAL;
        self.stream
            .set_write_timeout(Some(self.patience))
            .map_err(|error| SysError::from_io("setsockopt", "SO_SNDTIMEO", &error))?;
        while !bytes.is_empty() {
            match rustix::net::send(&self.stream, bytes, flags) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(self.timeout(call)),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(SystemdError::Closed(call.to_owned())),
                Err(errno) => return Err(SysError::new("sendto", self.address.clone(), errno).into()),
            }
        }
        Ok(())
    }

    fn timeout(&self, call: &str) -> SystemdError {
        SystemdError::Timeout {
            call: call.to_owned(),
            seconds: self.patience.as_secs(),
        }
    }
}

/// Whether a line of an authentication says that we are let in.
fn is_ok(line: &str) -> bool {
    line == "OK" || line.starts_with("OK ")
}

/// A string.
pub(super) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The first value of a message, which must be a text.
pub(super) fn first_text(message: &Message) -> Result<String, SystemdError> {
    let first = message.body.first().and_then(Value::text).map(str::to_owned);
    first.ok_or(SystemdError::Malformed("an answer without its text"))
}

#[cfg(test)]
mod tests;
