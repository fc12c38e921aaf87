//! Replies of upstream servers: what they say, and how they age in the cache.

use super::message::{CLASS_IN, HEADER, Question, flag, kind, number16};
use super::name::{Name, skip_name};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The number of the query that it answers.
    pub id: u16,
    /// The result: the low four bits.
    pub rcode: u16,
    /// It did not fit, and holds less than all.
    pub truncated: bool,
    /// How long it may be kept, in seconds; absent where it must not be kept.
    pub ttl: Option<u32>,
    /// The addresses in the answer, and how long each holds, in seconds.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// One record of a message: where things are.
#[derive(Debug, Clone, Copy)]
struct RecordAt {
    kind: u16,
    class: u16,
    ttl_at: usize,
    ttl: u32,
    data: (usize, usize),
}

/// Reads a reply to this question.
///
/// `None` where it is none, answers another question, or is damaged.
#[must_use]
pub fn parse_reply(message: &[u8], question: &Question) -> Option<Reply> {
    let (id, flags) = (number16(message, 0)?, number16(message, 2)?);
    let is_reply = flags & (flag::RESPONSE | flag::OPCODE) == flag::RESPONSE;
    if !is_reply || number16(message, 4)? != 1 {
        return None;
    }
    let (name, end) = Name::parse(message, HEADER)?;
    let same = name == question.name
        && number16(message, end)? == question.kind
        && number16(message, end + 2)? == question.class;
    if !same {
        return None;
    }
    let mut reply = Reply {
        id,
        rcode: flags & flag::RCODE,
        truncated: flags & flag::TRUNCATED != 0,
        ttl: None,
        addresses: Vec::new(),
    };
    if reply.truncated {
        // Where it was cut is the server's business: nothing of it is used.
        return Some(reply);
    }
    let mut negative = None;
    let answers = number16(message, 6)?;
    let mut index = 0;
    for_each_record(message, end + 4, |record| {
        let (from, to) = record.data;
        let data = message.get(from..to).unwrap_or_default();
        if index < answers {
            reply.ttl = Some(reply.ttl.map_or(record.ttl, |ttl| ttl.min(record.ttl)));
            reply
                .addresses
                .extend(address(record, data).map(|address| (address, record.ttl)));
        } else if record.kind == kind::SOA && negative.is_none() {
            negative = minimum(data).map(|minimum| minimum.min(record.ttl));
        }
        index += 1;
    })?;
    if reply.ttl.is_none() {
        // RFC 2308, 5: without an SOA record a negative answer is not kept.
        reply.ttl = negative;
    }
    if !matches!(reply.rcode, 0 | 3) {
        reply.ttl = None;
    }
    Some(reply)
}

fn address(record: RecordAt, data: &[u8]) -> Option<IpAddr> {
    match (record.class, record.kind) {
        (CLASS_IN, kind::A) => <[u8; 4]>::try_from(data)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        (CLASS_IN, kind::AAAA) => <[u8; 16]>::try_from(data)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

/// The last field of an SOA record.
fn minimum(data: &[u8]) -> Option<u32> {
    data.last_chunk::<4>().copied().map(u32::from_be_bytes)
}

/// Calls `see` for each record of all sections; `None` where the message is damaged.
fn for_each_record(message: &[u8], start: usize, mut see: impl FnMut(RecordAt)) -> Option<usize> {
    let mut at = start;
    let counts = [6, 8, 10].map(|field| number16(message, field).map_or(0, u32::from));
    for _ in 0..counts.iter().sum() {
        let fixed = skip_name(message, at)?;
        let head = message.get(fixed..fixed + 10)?;
        let ttl = head
            .get(4..)?
            .first_chunk::<4>()
            .copied()
            .map(u32::from_be_bytes)?;
        let end = fixed + 10 + usize::from(number16(head, 8)?);
        message.get(..end)?;
        see(RecordAt {
            kind: number16(head, 0)?,
            class: number16(head, 2)?,
            ttl_at: fixed + 4,
            // RFC 2181, 8: with the highest bit it counts as zero.
            ttl: if ttl > i32::MAX.cast_unsigned() { 0 } else { ttl },
            data: (fixed + 10, end),
        });
        at = end;
    }
    Some(at)
}

/// Takes this many seconds from the time that each record of a reply holds.
pub fn age_reply(message: &mut [u8], seconds: u32) {
    let mut fields = Vec::new();
    let start = skip_name(message, HEADER).map_or(message.len(), |end| end + 4);
    // A damaged message never came into the cache.
    for_each_record(message, start, |record| {
        if record.kind != kind::OPT {
            fields.push((record.ttl_at, record.ttl.saturating_sub(seconds)));
        }
    })
    .unwrap_or_default();
    for (at, ttl) in fields {
        if let Some(field) = message.get_mut(at..at + 4) {
            field.copy_from_slice(&ttl.to_be_bytes());
        }
    }
}

/// Where the question of a message ends, and its records begin.
#[must_use]
pub fn question_end(message: &[u8]) -> usize {
    skip_name(message, HEADER).map_or(message.len(), |end| (end + 4).min(message.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question {
            name: Name::from_text("web.example").unwrap(),
            kind: kind::A,
            class: CLASS_IN,
        }
    }

    /// A reply with this second header field, these counts and these records.
    fn reply(flags: u16, counts: [u8; 3], records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0, 7];
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, counts[0], 0, counts[1], 0, counts[2]]);
        bytes.extend_from_slice(b"\x03WEB\x07example\0\0\x01\0\x01");
        bytes.extend(records.concat());
        bytes
    }

    const ALIAS: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 30, 0, 3, 1, b'a', 0];
    const ADDRESS: &[u8] = &[1, b'a', 0, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3];
    const SOA: &[u8] = &[0, 0, 6, 0, 1, 0, 0, 1, 0, 0, 6, 0, 0, 0, 0, 0, 20];
    const OPT: &[u8] = &[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];

    #[test]
    fn what_replies_say() {
        let address: IpAddr = "10.1.2.3".parse().unwrap();
        for (message, rcode, ttl, addresses) in [
            (
                reply(0x8180, [2, 0, 1], &[ALIAS, ADDRESS, OPT]),
                0,
                Some(30),
                vec![(address, 60)],
            ),
            (reply(0x8183, [0, 1, 0], &[SOA]), 3, Some(20), vec![]),
            (reply(0x8180, [0, 1, 0], &[SOA]), 0, Some(20), vec![]),
            (reply(0x8183, [0, 0, 0], &[]), 3, None, vec![]),
            (reply(0x8182, [0, 1, 0], &[SOA]), 2, None, vec![]),
        ] {
            let read = parse_reply(&message, &question()).unwrap();
            assert_eq!(
                (read.id, read.rcode, read.ttl, read.addresses),
                (7, rcode, ttl, addresses)
            );
        }
        let cut = parse_reply(&reply(0x8380, [9, 9, 9], &[ALIAS]), &question()).unwrap();
        assert!(cut.truncated && cut.ttl.is_none());
    }

    #[test]
    fn what_is_no_reply_to_this_question() {
        let good = reply(0x8180, [1, 0, 0], &[ADDRESS]);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            bytes
        };
        for wrong in [
            // A query; another name, type, class; no question; a compressed one.
            with(2, 1),
            with(13, b'x'),
            with(26, 28),
            with(28, 3),
            with(5, 0),
            with(12, 0xc0),
            // More records than there are, and data beyond the end.
            with(7, 2),
            with(good.len() - 5, 200),
            good[..good.len() - 1].to_vec(),
            vec![],
        ] {
            assert_eq!(parse_reply(&wrong, &question()), None, "{wrong:02x?}");
        }
    }

    #[test]
    fn a_reply_ages_and_its_options_do_not() {
        let mut message = reply(0x8180, [2, 0, 1], &[ALIAS, ADDRESS, OPT]);
        let before = message.clone();
        age_reply(&mut message, 40);
        let read = parse_reply(&message, &question()).unwrap();
        assert_eq!((read.ttl, read.addresses[0].1), (Some(0), 20));
        assert!(message.ends_with(OPT));
        assert_eq!(message.len(), before.len());
    }

    #[test]
    fn a_negative_time_is_none() {
        let mut record = ADDRESS.to_vec();
        record[7] = 0x80;
        let read = parse_reply(&reply(0x8180, [1, 0, 0], &[&record]), &question()).unwrap();
        assert_eq!(read.ttl, Some(0));
    }

    #[test]
    fn damaged_replies_do_no_harm() {
        let good = reply(0x8180, [2, 1, 1], &[ALIAS, ADDRESS, SOA, OPT]);
        for at in 0..good.len() {
            for value in 0..=255 {
                let mut bytes = good.clone();
                bytes[at] = value;
                drop(parse_reply(&bytes, &question()));
                age_reply(&mut bytes, 5);
                drop(parse_reply(&bytes[..at], &question()));
            }
        }
    }
}
