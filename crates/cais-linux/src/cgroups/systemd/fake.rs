//! A systemd, or a message bus before it, that says what a test tells it to.

use super::connection::{Connection, text};
use super::dbus::{self, Message, Value};
use super::{Bus, SystemdError};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// The bus's name for systemd, and for somebody else.
pub(super) const SYSTEMD: &str = ":1.0";
pub(super) const STRANGER: &str = ":1.66";

/// The other side of a connection.
pub(super) struct Fake {
    stream: UnixStream,
    received: Vec<u8>,
    /// The number of the last call.
    last: u32,
}

impl Fake {
    /// A fake that does `script`, and the stream that leads to it.
    pub(super) fn run(script: impl FnOnce(&mut Self) + Send + 'static) -> (UnixStream, JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            script(&mut Self {
                stream: theirs,
                received: Vec::new(),
                last: 0,
            });
        });
        (ours, thread)
    }

    /// What `ask` gets out of a [`Bus`] to a fake that does `script` once it has let us in.
    pub(super) fn answer<T>(
        direct: bool,
        script: impl FnOnce(&mut Self) + Send + 'static,
        ask: impl FnOnce(&mut Bus) -> Result<T, SystemdError>,
    ) -> Result<T, SystemdError> {
        let (stream, thread) = Self::run(move |fake| {
            fake.accept();
            if !direct {
                fake.expect("Hello", &[]);
                fake.reply(&[text(":1.7")]);
            }
            script(fake);
        });
        let mut bus = Bus::over(Connection::greet(stream, "fake".into(), direct)?);
        let result = ask(&mut bus);
        // Closes it, so that a fake that still waits comes to an end.
        drop(bus);
        thread.join().unwrap();
        result
    }

    /// The next line of an authentication.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).collect();
                return String::from_utf8(line[..end].to_vec()).unwrap();
            }
            assert!(self.fill(), "hung up during authentication");
        }
    }

    /// Reads who wants in.
    pub(super) fn knock(&mut self) {
        for line in ["\0AUTH EXTERNAL", "DATA", "BEGIN"] {
            assert_eq!(self.line(), line);
        }
    }

    /// Lets in whoever it is.
    pub(super) fn accept(&mut self) {
        self.knock();
        self.write(b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n");
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    fn fill(&mut self) -> bool {
        let mut buffer = [0; 100];
        let count = self.stream.read(&mut buffer).unwrap();
        self.received.extend(&buffer[..count]);
        count != 0
    }

    /// The next message; none when the other side hung up.
    pub(super) fn message(&mut self) -> Option<Message> {
        loop {
            if let Some((message, length)) = Message::decode(&self.received).unwrap() {
                self.received.drain(..length);
                return Some(message);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next message, which must be this call.
    pub(super) fn expect(&mut self, member: &str, body: &[Value]) -> Message {
        let message = self.message().unwrap();
        assert_eq!(message.kind, dbus::CALL);
        assert_eq!(message.text(dbus::MEMBER), member);
        assert_eq!(message.body, body);
        self.last = message.serial;
        message
    }

    /// Answers the last call.
    pub(super) fn reply(&mut self, body: &[Value]) {
        self.send(dbus::RETURN, SYSTEMD, vec![], body);
    }

    /// Answers `call`.
    pub(super) fn reply_to(&mut self, call: &Message, body: &[Value]) {
        self.last = call.serial;
        self.reply(body);
    }

    /// Says no to the last call.
    pub(super) fn refuse(&mut self, name: &str) {
        let fields = vec![(dbus::ERROR_NAME, text(name))];
        self.send(dbus::ERROR, SYSTEMD, fields, &[text("No, sorry.")]);
    }

    /// Says that a job ended.
    pub(super) fn job_removed(&mut self, sender: &str, job: &str, result: &str) {
        let fields = vec![
            (dbus::PATH, Value::Path("/org/freedesktop/systemd1".into())),
            (dbus::INTERFACE, text("org.freedesktop.systemd1.Manager")),
            (dbus::MEMBER, text("JobRemoved")),
        ];
        let body = [
            Value::U32(7),
            Value::Path(job.into()),
            text("x.scope"),
            text(result),
        ];
        self.send(dbus::SIGNAL, sender, fields, &body);
    }

    fn send(&mut self, kind: u8, sender: &str, mut fields: Vec<(u8, Value)>, body: &[Value]) {
        fields.push((dbus::SENDER, text(sender)));
        if kind != dbus::SIGNAL {
            fields.push((dbus::REPLY_SERIAL, Value::U32(self.last)));
        }
        let message = Message {
            kind,
            flags: dbus::NO_REPLY,
            serial: 1,
            fields,
            body: body.to_vec(),
        };
        self.write(&message.encode().unwrap());
    }
}
