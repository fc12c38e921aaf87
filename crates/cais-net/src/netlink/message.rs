//! Netlink messages in bytes (netlink(7)): a header of 16 bytes, the body of the
//! protocol, then attributes of type, length and value, each padded to four bytes.
//!
//! Numbers of rtnetlink are in the host's order, those of nfnetlink in the network's.

use rustix::io::Errno;
use std::net::IpAddr;

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;
const NLM_F_MULTI: u16 = 2;

/// Several messages, one after the other, for one send.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    last: usize,
    sequence: u32,
    awaited: Option<u32>,
}

impl Batch {
    /// Adds a message of this kind with the body and the attributes that `write` appends.
    pub fn message(&mut self, kind: u16, flags: u16, body: &[u8], write: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.last = start;
        self.sequence += 1;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(body);
        pad(&mut self.bytes);
        write(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.put(start, &length.to_ne_bytes());
    }

    /// Asks for an acknowledgement of the message added last, unless one is asked for already:
    /// the end of a transaction is acknowledged since Linux 6.10 only.
    pub fn ensure_acknowledged(&mut self) {
        if self.awaited.is_none() {
            self.acknowledge();
        }
    }

    /// Asks for an acknowledgement of the message added last.
    pub fn acknowledge(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let at = self.last + 6;
        let flags = self
            .bytes
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u16::from_ne_bytes);
        self.put(at, &(flags | ACK).to_ne_bytes());
        self.awaited = Some(self.sequence);
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    /// The bytes of all messages.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The sequence number of the message whose answer ends the exchange: the one that is to
    /// be acknowledged, or the last.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.awaited.unwrap_or(self.sequence)
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Writes the attributes of one message or of one nest.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
    }

    /// Attributes that are encoded already.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
        pad(self.bytes);
    }

    /// A string, ended by a zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes);
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// A number in the host's order (rtnetlink).
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// A number in the network's order (nfnetlink).
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A number in the network's order (nfnetlink).
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An address.
    pub fn address(&mut self, kind: u16, value: IpAddr) {
        match value {
            IpAddr::V4(address) => self.bytes(kind, &address.octets()),
            IpAddr::V6(address) => self.bytes(kind, &address.octets()),
        }
    }

    /// A nest of attributes, after `body`.
    pub fn nest_after(&mut self, kind: u16, body: &[u8], write: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
        self.bytes.extend_from_slice(body);
        write(&mut Attributes { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
    }

    /// A nest of attributes.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Attributes<'_>)) {
        self.nest_after(kind, &[], write);
    }
}

/// One message as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its kind (`nlmsg_type`).
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The number of the request that it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// What a message says about the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The request with this number was done.
    Done,
    /// It was refused.
    Refused(Errno),
    /// The message carries data; further ones follow.
    Part,
    /// The message carries data and is the only one.
    Whole,
}

impl<'a> Message<'a> {
    /// What the message says about the exchange.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        let code = || self.body.first_chunk::<4>().copied().map(i32::from_ne_bytes);
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => match code() {
                Some(0) => Meaning::Done,
                None if self.kind == NLMSG_DONE => Meaning::Done,
                Some(code) if code < 0 => Meaning::Refused(errno(code)),
                _ => Meaning::Refused(Errno::BADMSG),
            },
            _ if self.flags & NLM_F_MULTI != 0 => Meaning::Part,
            _ => Meaning::Whole,
        }
    }

    /// The attributes behind a body of `skip` bytes.
    #[must_use]
    pub fn attributes(&self, skip: usize) -> AttributeReader<'a> {
        AttributeReader {
            rest: self.body.get(skip.next_multiple_of(4)..).unwrap_or(&[]),
        }
    }
}

/// The errno of a negative code.
fn errno(code: i32) -> Errno {
    Errno::from_raw_os_error(code.checked_neg().unwrap_or(i32::MAX).clamp(1, 4095))
}

/// The messages of one datagram. A message that claims more than there is ends them.
#[derive(Debug, Clone, Copy)]
pub struct MessageReader<'a> {
    rest: &'a [u8],
}

impl<'a> MessageReader<'a> {
    /// The messages in these bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for MessageReader<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.rest.first_chunk::<HEADER>()?;
        let number = |at: usize| header.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let short = |at: usize| header.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes);
        let length = usize::try_from(number(0)?).ok()?;
        let body = self.rest.get(HEADER..length)?;
        let message = Message {
            kind: short(4)?,
            flags: short(6)?,
            sequence: number(8)?,
            body,
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    }
}

/// One attribute as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type, without the flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a number in the host's order.
    #[must_use]
    pub fn u32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The value as a number in the network's order.
    #[must_use]
    pub fn be32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    /// The value as a string.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        let end = self.value.iter().position(|byte| *byte == 0);
        std::str::from_utf8(self.value.get(..end.unwrap_or(self.value.len()))?).ok()
    }

    /// The value as an address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        if let Ok(octets) = <[u8; 4]>::try_from(self.value) {
            return Some(IpAddr::from(octets));
        }
        <[u8; 16]>::try_from(self.value).ok().map(IpAddr::from)
    }

    /// The attributes inside.
    #[must_use]
    pub fn nested(&self) -> AttributeReader<'a> {
        AttributeReader { rest: self.value }
    }
}

/// The attributes in some bytes. One that claims more than there is ends them.
#[derive(Debug, Clone, Copy)]
pub struct AttributeReader<'a> {
    rest: &'a [u8],
}

impl<'a> AttributeReader<'a> {
    /// The first attribute of this type.
    #[must_use]
    pub fn find(mut self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self, |attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for AttributeReader<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let header = self.rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & NLA_TYPE_MASK;
        let value = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Attribute { kind, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut batch = Batch::default();
        batch.message(16, CREATE, &[1, 2, 3, 4, 5], |attributes| {
            attributes.text(3, "eth0");
            attributes.nest(18, |inner| {
                inner.u32(1, 7);
                inner.be32(2, 7);
                inner.address(4, "10.0.0.1".parse().unwrap());
            });
        });
        batch.message(20, 0, &[], |_| {});
        batch.acknowledge();
        batch
    }

    #[test]
    fn what_is_written_is_read() {
        let batch = sample();
        let messages: Vec<Message<'_>> = MessageReader::new(batch.bytes()).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].kind, messages[0].flags), (16, CREATE | REQUEST));
        assert_eq!(
            (messages[1].flags, messages[1].sequence),
            (REQUEST | ACK, batch.sequence())
        );
        let attributes = messages[0].attributes(5);
        assert_eq!(attributes.find(3).unwrap().text(), Some("eth0"));
        let nest = attributes.find(18).unwrap().nested();
        assert_eq!(nest.find(1).unwrap().u32(), Some(7));
        assert_eq!(nest.find(2).unwrap().be32(), Some(7));
        assert_eq!(nest.find(4).unwrap().address(), "10.0.0.1".parse().ok());
        assert_eq!(nest.find(9), None);
    }

    #[test]
    fn what_is_cut_off_ends_quietly() {
        let batch = sample();
        for end in 0..batch.bytes().len() {
            let cut = batch.bytes().get(..end).unwrap();
            for message in MessageReader::new(cut) {
                for attribute in message.attributes(5) {
                    assert!(attribute.nested().count() <= end);
                }
            }
        }
    }

    #[test]
    fn lengths_that_lie() {
        for length in [0u32, 1, 15, 17, u32::MAX] {
            let mut bytes = sample().bytes().to_vec();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(MessageReader::new(&bytes).count() <= 3, "{length}");
        }
        let short = AttributeReader {
            rest: &[0, 0, 1, 0, 9, 9, 9, 9],
        };
        assert_eq!(short.count(), 0);
        let long = AttributeReader {
            rest: &[0xff, 0xff, 1, 0],
        };
        assert_eq!(long.count(), 0);
    }

    #[test]
    fn answers() {
        let answer = |kind, flags, body: &'static [u8]| {
            Message {
                kind,
                flags,
                sequence: 1,
                body,
            }
            .meaning()
        };
        assert_eq!(answer(2, 0, &[0; 20]), Meaning::Done);
        assert_eq!(answer(3, 2, &[]), Meaning::Done);
        assert_eq!(
            answer(2, 0, &[0xff, 0xff, 0xff, 0xff]),
            Meaning::Refused(Errno::PERM)
        );
        assert_eq!(answer(2, 0, &[1]), Meaning::Refused(Errno::BADMSG));
        assert!(matches!(answer(2, 0, &[0, 0, 0, 0x80]), Meaning::Refused(_)));
        assert_eq!(answer(16, 2, &[]), Meaning::Part);
        assert_eq!(answer(16, 0, &[]), Meaning::Whole);
    }
}
