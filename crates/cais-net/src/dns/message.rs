//! Queries of clients, and the answers that we make ourselves (RFC 1035, 4.1; RFC 6891).

use super::name::{Name, skip_name};
use std::net::IpAddr;

/// The length of a header.
pub const HEADER: usize = 12;
/// The longest message over UDP from or to somebody who does not speak EDNS.
pub const PLAIN_UDP: usize = 512;
/// What we say that we can receive over UDP, and the most that we send: no fragments
/// (DNS flag day 2020).
pub const EDNS_UDP: u16 = 1232;
/// The longest query that we look at. A name has 255 octets, a header 12; the rest are
/// options that we ignore.
pub const MAX_QUERY: usize = 1232;

/// Types of records (IANA, "DNS parameters").
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// The start of a zone: says how long to keep a negative answer.
    pub const SOA: u16 = 6;
    /// A name for an address.
    pub const PTR: u16 = 12;
    /// An IPv6 address.
    pub const AAAA: u16 = 28;
    /// The pseudo record of EDNS.
    pub const OPT: u16 = 41;
    /// All records of a name.
    pub const ANY: u16 = 255;
}

/// The class of the Internet.
pub const CLASS_IN: u16 = 1;

/// Bits of the second header field.
pub mod flag {
    /// This is a response.
    pub const RESPONSE: u16 = 0x8000;
    /// The kind of query.
    pub const OPCODE: u16 = 0x7800;
    /// The answer is the owner's own.
    pub const AUTHORITATIVE: u16 = 0x0400;
    /// The message did not fit.
    pub const TRUNCATED: u16 = 0x0200;
    /// Recursion is wanted.
    pub const RECURSION_DESIRED: u16 = 0x0100;
    /// Recursion is to be had.
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    /// The data was validated, or the client would like to know.
    pub const AUTHENTIC: u16 = 0x0020;
    /// The client validates itself.
    pub const CHECKING_DISABLED: u16 = 0x0010;
    /// The result.
    pub const RCODE: u16 = 0x000f;
}

/// The result of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// No error; without answers the name has no records of this type.
    NoError,
    /// The query could not be read.
    FormErr,
    /// It could not be answered.
    ServFail,
    /// The name does not exist.
    NxDomain,
    /// This kind of query is not known.
    NotImp,
    /// Not for you.
    Refused,
    /// A version of EDNS that is not known.
    BadVersion,
}

impl Rcode {
    /// The low four bits, and the upper eight that only EDNS carries.
    fn bits(self) -> (u16, u8) {
        match self {
            Self::NoError => (0, 0),
            Self::FormErr => (1, 0),
            Self::ServFail => (2, 0),
            Self::NxDomain => (3, 0),
            Self::NotImp => (4, 0),
            Self::Refused => (5, 0),
            Self::BadVersion => (0, 1),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of record, see [`kind`].
    pub kind: u16,
    /// The class; [`CLASS_IN`] for all that is alive.
    pub class: u16,
}

/// What a client that speaks EDNS says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The longest UDP message that it takes.
    pub udp_size: u16,
    /// It wants DNSSEC records.
    pub dnssec: bool,
    /// The version; there is only 0.
    pub version: u8,
}

/// A query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The client's number for it.
    pub id: u16,
    /// The second header field.
    pub flags: u16,
    /// What it asks.
    pub question: Question,
    /// The question as the client spelled it.
    pub spelled: Vec<u8>,
    /// Whether and how it speaks EDNS.
    pub edns: Option<Edns>,
}

impl Query {
    /// The longest message that may be sent to this client over UDP.
    #[must_use]
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(PLAIN_UDP, |edns| {
            usize::from(edns.udp_size.min(EDNS_UDP)).max(PLAIN_UDP)
        })
    }
}

/// A message that is no query that can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// There is nobody to answer: it is too short, or itself a response.
    Drop,
    /// The header can be answered with an error.
    Answer {
        /// The client's number for it.
        id: u16,
        /// The second header field.
        flags: u16,
        /// What is wrong.
        rcode: Rcode,
    },
}

/// The 16-bit number at `at`.
pub(super) fn number16(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.last()?]))
}

/// Reads a query.
///
/// # Errors
/// What to do with a message that is none.
pub fn parse_query(message: &[u8]) -> Result<Query, Reject> {
    let (Some(id), Some(flags), true) = (
        number16(message, 0),
        number16(message, 2),
        message.len() >= HEADER,
    ) else {
        return Err(Reject::Drop);
    };
    if flags & flag::RESPONSE != 0 {
        return Err(Reject::Drop);
    }
    let wrong = |rcode| Reject::Answer { id, flags, rcode };
    if flags & flag::OPCODE != 0 {
        return Err(wrong(Rcode::NotImp));
    }
    if message.len() > MAX_QUERY {
        return Err(wrong(Rcode::FormErr));
    }
    let (question, end, edns) = parse_sections(message).ok_or(wrong(Rcode::FormErr))?;
    let spelled = message.get(HEADER..end).unwrap_or_default().to_vec();
    Ok(Query {
        id,
        flags,
        question,
        spelled,
        edns,
    })
}

/// The question, where it ends, and the EDNS record.
fn parse_sections(message: &[u8]) -> Option<(Question, usize, Option<Edns>)> {
    let counts = [4, 6, 8, 10].map(|at| number16(message, at).unwrap_or(u16::MAX));
    // Two additional records are a signature (TSIG) beside EDNS: no stub resolver sends more.
    let [1, 0, 0, additional @ 0..=2] = counts else {
        return None;
    };
    let (name, end) = Name::parse(message, HEADER)?;
    let question = Question {
        name,
        kind: number16(message, end)?,
        class: number16(message, end + 2)?,
    };
    let end = end + 4;
    let mut at = end;
    let mut edns = None;
    for _ in 0..additional {
        let fixed = skip_name(message, at)?;
        let head = message.get(fixed..fixed + 10)?;
        let kind = number16(head, 0)?;
        if kind == kind::OPT {
            // Its owner is the root, and there is one at most (RFC 6891, 6.1.1).
            if fixed != at + 1 || edns.is_some() {
                return None;
            }
            edns = Some(Edns {
                udp_size: number16(head, 2)?,
                version: *head.get(5)?,
                dnssec: *head.get(6)? & 0x80 != 0,
            });
        }
        at = fixed + 10 + usize::from(number16(head, 8)?);
        message.get(..at)?;
    }
    Some((question, end, edns))
}

/// A record of an answer that we make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// PTR.
    Pointer(Name),
}

/// Why a name was refused: an Extended DNS Error (RFC 8914).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The code; 15 is "blocked".
    pub code: u16,
    /// For people.
    pub text: &'static str,
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The result.
    pub rcode: Rcode,
    /// The records, all with the question's name.
    pub records: Vec<Record>,
    /// How long clients may keep them, in seconds.
    pub ttl: u32,
    /// More about an error.
    pub explanation: Option<Explanation>,
}

impl Answer {
    /// An answer without records.
    #[must_use]
    pub fn empty(rcode: Rcode) -> Self {
        Self {
            rcode,
            records: Vec::new(),
            ttl: 0,
            explanation: None,
        }
    }

    /// The message for the client. What does not fit into `limit` octets is left out, and
    /// the client told so.
    #[must_use]
    pub fn encode(&self, query: &Query, limit: usize) -> Vec<u8> {
        let (low, high) = self.rcode.bits();
        let authoritative = if matches!(self.rcode, Rcode::NoError | Rcode::NxDomain) {
            flag::AUTHORITATIVE
        } else {
            0
        };
        let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
        let mut flags =
            flag::RESPONSE | authoritative | flag::RECURSION_AVAILABLE | (query.flags & kept) | low;
        let option = query.edns.map(|edns| self.option_record(edns, high));
        let room = limit.saturating_sub(option.as_ref().map_or(0, Vec::len));
        let mut message = header(query.id, flags, 1);
        message.extend_from_slice(&query.spelled);
        let mut count = 0u16;
        for record in &self.records {
            let bytes = encode_record(record, query.question.class, self.ttl);
            if message.len() + bytes.len() > room {
                flags |= flag::TRUNCATED;
                break;
            }
            message.extend_from_slice(&bytes);
            count += 1;
        }
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&count.to_be_bytes());
        if let Some(option) = option {
            message[11] = 1;
            message.extend_from_slice(&option);
        }
        message
    }

    /// The OPT record of the answer.
    fn option_record(&self, edns: Edns, high: u8) -> Vec<u8> {
        let mut data = Vec::new();
        if let Some(explanation) = self.explanation {
            const EXTENDED_ERROR: u16 = 15;
            let length = u16::try_from(explanation.text.len() + 2).unwrap_or(2);
            for part in [EXTENDED_ERROR, length, explanation.code] {
                data.extend_from_slice(&part.to_be_bytes());
            }
            data.extend_from_slice(explanation.text.as_bytes());
        }
        let mut record = option_head(high, edns.dnssec);
        record.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        record.extend_from_slice(&data);
        record
    }
}

/// An OPT record up to the length of its data.
pub(super) fn option_head(high: u8, dnssec: bool) -> Vec<u8> {
    let mut record = vec![0];
    record.extend_from_slice(&kind::OPT.to_be_bytes());
    record.extend_from_slice(&EDNS_UDP.to_be_bytes());
    record.extend_from_slice(&[high, 0, if dnssec { 0x80 } else { 0 }, 0]);
    record
}

/// A header with one question or none, and nothing else yet.
pub(super) fn header(id: u16, flags: u16, questions: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(128);
    for field in [id, flags, questions, 0, 0, 0] {
        message.extend_from_slice(&field.to_be_bytes());
    }
    message
}

/// A record whose owner is the question's name, by a pointer to it.
fn encode_record(record: &Record, class: u16, ttl: u32) -> Vec<u8> {
    let (kind, data) = match record {
        Record::Address(IpAddr::V4(address)) => (kind::A, address.octets().to_vec()),
        Record::Address(IpAddr::V6(address)) => (kind::AAAA, address.octets().to_vec()),
        Record::Pointer(name) => (kind::PTR, name.as_bytes().to_vec()),
    };
    let mut bytes = vec![0xc0, 12];
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&class.to_be_bytes());
    bytes.extend_from_slice(&ttl.to_be_bytes());
    // A name has 255 octets at most.
    bytes.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&data);
    bytes
}

/// The answer to a message that could not be read further than its header.
#[must_use]
pub fn encode_reject(id: u16, flags: u16, rcode: Rcode) -> Vec<u8> {
    let kept = flags & (flag::OPCODE | flag::RECURSION_DESIRED);
    header(
        id,
        flag::RESPONSE | flag::RECURSION_AVAILABLE | kept | rcode.bits().0,
        0,
    )
}

#[cfg(test)]
mod tests;
