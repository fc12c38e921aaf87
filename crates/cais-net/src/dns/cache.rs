//! Replies of upstream servers, for as long as they may be kept. Small: a monitor is to
//! fit beside many others.

use super::message::{Query, Question, flag};
use super::reply::age_reply;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is kept in all, in octets.
const CAPACITY: usize = 24 * 1024;
/// A longer reply is not kept.
const MAX_REPLY: usize = 4096;
/// No reply is kept longer.
const MAX_TTL: u32 = 3600;
/// What an entry takes beside its reply and its name.
const OVERHEAD: usize = 128;

/// What makes two queries the same: who asks for DNSSEC records gets another reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    question: Question,
    flags: u16,
    edns: Option<bool>,
}

impl Key {
    /// The key of this query.
    #[must_use]
    pub fn of(query: &Query) -> Self {
        let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED | flag::AUTHENTIC;
        Self {
            question: query.question.clone(),
            flags: query.flags & kept,
            edns: query.edns.map(|edns| edns.dnssec),
        }
    }
}

#[derive(Debug)]
struct Entry {
    key: Key,
    reply: Vec<u8>,
    stored: Instant,
    ttl: u32,
}

impl Entry {
    fn size(&self) -> usize {
        self.reply.len() + self.key.question.name.as_bytes().len() + OVERHEAD
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stored) < Duration::from_secs(u64::from(self.ttl))
    }
}

/// The cache.
#[derive(Debug, Default)]
pub struct Cache {
    entries: VecDeque<Entry>,
    size: usize,
}

impl Cache {
    /// The reply to this query, aged.
    #[must_use]
    pub fn find(&self, key: &Key, now: Instant) -> Option<Vec<u8>> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key == *key && entry.is_fresh(now))?;
        let mut reply = entry.reply.clone();
        let age = now.saturating_duration_since(entry.stored).as_secs();
        age_reply(&mut reply, u32::try_from(age).unwrap_or(u32::MAX));
        Some(reply)
    }

    /// Keeps a reply for this many seconds; the oldest ones make room.
    pub fn keep(&mut self, key: Key, reply: &[u8], ttl: u32, now: Instant) {
        if ttl == 0 || reply.len() > MAX_REPLY {
            return;
        }
        let entry = Entry {
            key,
            reply: reply.to_vec(),
            stored: now,
            ttl: ttl.min(MAX_TTL),
        };
        self.entries
            .retain(|known| known.key != entry.key && known.is_fresh(now));
        self.size = self.entries.iter().map(Entry::size).sum();
        while self.size + entry.size() > CAPACITY {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.size -= oldest.size();
        }
        self.size += entry.size();
        self.entries.push_back(entry);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{CLASS_IN, kind};
    use super::super::name::Name;
    use super::*;

    fn key(name: &str) -> Key {
        Key {
            question: Question {
                name: Name::from_text(name).unwrap(),
                kind: kind::A,
                class: CLASS_IN,
            },
            flags: 0,
            edns: None,
        }
    }

    #[test]
    fn a_reply_is_kept_for_its_time() {
        let mut cache = Cache::default();
        let now = Instant::now();
        cache.keep(key("a"), b"reply", 10, now);
        cache.keep(key("b"), b"reply", 0, now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(cache.find(&key("a"), later(9)).as_deref(), Some(&b"reply"[..]));
        assert_eq!(cache.find(&key("a"), later(10)), None);
        assert_eq!(cache.find(&key("b"), now), None);
        let dnssec = Key {
            edns: Some(true),
            ..key("a")
        };
        assert_eq!(cache.find(&dnssec, now), None);
    }

    #[test]
    fn it_does_not_grow() {
        let mut cache = Cache::default();
        let now = Instant::now();
        for number in 0..1000 {
            cache.keep(key(&format!("n{number}")), &[0; 500], 10, now);
            assert!(cache.size <= CAPACITY);
        }
        assert!(cache.find(&key("n999"), now).is_some());
        assert!(cache.find(&key("n0"), now).is_none());
        cache.keep(key("long"), &[0; MAX_REPLY + 1], 10, now);
        assert!(cache.find(&key("long"), now).is_none());
    }
}
