//! nf_tables: one transaction that makes tables, sets, chains and rules or changes
//! elements, and questions about what is there (`linux/netfilter/nf_tables.h`).
//!
//! A transaction is a batch of messages between two marks. The kernel does all of it or
//! nothing.

mod ask;
mod expression;

pub use expression::Expression;
use expression::write_expression;

pub use ask::*;

use super::message::{APPEND, Attributes, Batch, CREATE, DUMP, Message};
use std::time::Duration;

const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const GETTABLE: u16 = SUBSYSTEM | 1;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const GETCHAIN: u16 = SUBSYSTEM | 4;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const GETSETELEM: u16 = SUBSYSTEM | 13;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const NEWGEN: u16 = SUBSYSTEM | 15;
const GETGEN: u16 = SUBSYSTEM | 16;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

/// Milliseconds after which the kernel frees elements that have expired. They count no more
/// before that.
const COLLECTED: u32 = 5000;

/// `NFPROTO_INET`: both families of IP.
const INET: u8 = 1;

/// `struct nfgenmsg`.
fn body(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// `struct nfgenmsg` of a mark: the subsystem in the network's order.
const MARK: [u8; 4] = [0, 0, 0, 10];

/// What a value in a set is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// The number of a protocol above IP.
    Protocol,
    /// A port.
    Port,
    /// The name of an interface.
    Interface,
    /// The number of a family of netfilter (`NFPROTO_*`).
    Family,
}

impl Field {
    /// Its bytes, padded as the kernel's registers are.
    #[must_use]
    pub const fn length(self) -> u32 {
        match self {
            Self::Ipv4 | Self::Protocol | Self::Port | Self::Family => 4,
            Self::Ipv6 | Self::Interface => 16,
        }
    }

    /// nft's number for the type: what `nft list` shows is read by it, the kernel does not
    /// look at it.
    const fn datatype(self) -> u32 {
        match self {
            Self::Family => 2,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Interface => 41,
        }
    }
}

fn length(fields: &[Field]) -> u32 {
    match fields {
        // A single value is not padded.
        [Field::Family | Field::Protocol] => 1,
        [Field::Port] => 2,
        _ => fields.iter().map(|field| field.length()).sum(),
    }
}

fn datatype(fields: &[Field]) -> u32 {
    fields
        .iter()
        .fold(0, |whole, field| (whole << 6) | field.datatype())
}

/// A set, or a map where it has values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// What a key is made of.
    pub key: &'static [Field],
    /// What a value is made of; empty for a set.
    pub value: &'static [Field],
    /// Whether keys are ranges.
    pub ranges: bool,
    /// Whether an element may be given an end ([`Transaction::expire_elements`]).
    pub expires: bool,
}

/// An element. Keys and values are padded as [`Field::length`] says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key, or the first of a range.
    pub key: Vec<u8>,
    /// The last of a range.
    pub last: Option<Vec<u8>>,
    /// The value, for maps.
    pub value: Vec<u8>,
    /// Whose it is: shown by nft as its comment.
    pub comment: String,
}

/// Where packets come by a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `NF_INET_*`: prerouting 0, input 1, forward 2, output 3, postrouting 4.
    pub number: u32,
    /// Lower ones come first.
    pub priority: i32,
}

/// `NF_DROP`.
pub const DROP: i32 = 0;
/// `NF_ACCEPT`.
pub const ACCEPT: i32 = 1;
/// `NFT_JUMP`.
pub const JUMP: i32 = -3;
/// `NFT_GOTO`.
pub const GOTO: i32 = -4;
/// `NFT_RETURN`.
pub const RETURN: i32 = -5;

/// A transaction.
#[derive(Debug)]
pub struct Transaction {
    batch: Batch,
    table: String,
}

impl Transaction {
    /// A transaction on `table`. With a generation it fails with `ERESTART` where the rule
    /// set has changed since ([`ask_generation`]).
    #[must_use]
    pub fn new(table: &str, generation: Option<u32>) -> Self {
        let mut batch = Batch::default();
        batch.message(BATCH_BEGIN, 0, &MARK, |attributes| {
            if let Some(generation) = generation {
                attributes.be32(1, generation);
            }
        });
        Self {
            batch,
            table: table.to_owned(),
        }
    }

    /// The finished batch. What was added last is acknowledged, and so all of it.
    #[must_use]
    pub fn finish(mut self) -> Batch {
        self.batch.acknowledge();
        self.batch.message(BATCH_END, 0, &MARK, |_| {});
        self.batch
    }

    fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Attributes<'_>)) {
        let table = &self.table;
        self.batch.message(kind, flags, &body(INET), |attributes| {
            attributes.text(1, table);
            write(attributes);
        });
    }

    /// Makes the table; one that is there stays.
    pub fn add_table(&mut self) {
        self.message(NEWTABLE, CREATE, |_| {});
    }

    /// Removes the table with all that is in it.
    pub fn delete_table(&mut self) {
        self.message(DELTABLE, 0, |_| {});
    }

    /// Makes a chain.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        self.message(NEWCHAIN, CREATE, |attributes| {
            attributes.text(3, name);
            if let Some(hook) = hook {
                attributes.nest(4, |nest| {
                    nest.be32(1, hook.number);
                    nest.be32(2, hook.priority.cast_unsigned());
                });
                attributes.be32(5, ACCEPT.cast_unsigned());
                attributes.text(7, hook.kind);
            }
        });
    }

    /// Makes a set whose elements may have an end of their own.
    pub fn add_timed_set(&mut self, set: &Set, id: u32) {
        const TIMEOUT: u32 = 0x10;
        self.add_plain_set(set, id, TIMEOUT, |_| {});
    }

    /// Makes a set that packets are counted in: `size` elements at most, each for `kept`
    /// after it was last counted.
    pub fn add_counting_set(&mut self, set: &Set, id: u32, size: u32, kept: Duration) {
        const TIMEOUT: u32 = 0x10;
        const EVAL: u32 = 0x20;
        self.add_plain_set(set, id, TIMEOUT | EVAL, |attributes| {
            attributes.nest(9, |description| description.be32(1, size));
            attributes.be64(11, milliseconds(kept));
        });
    }

    /// Makes a set of single values.
    fn add_plain_set(&mut self, set: &Set, id: u32, flags: u32, more: impl FnOnce(&mut Attributes<'_>)) {
        self.message(NEWSET, CREATE, |attributes| {
            attributes.text(2, set.name);
            attributes.be32(3, flags);
            attributes.be32(4, datatype(set.key));
            attributes.be32(5, length(set.key));
            more(attributes);
            attributes.be32(10, id);
        });
    }

    /// Makes a set or a map.
    pub fn add_set(&mut self, set: &Set, id: u32) {
        const MAP: u32 = 8;
        const INTERVAL: u32 = 4;
        const TIMEOUT: u32 = 0x10;
        const CONCAT: u32 = 0x80;
        let joined = set.ranges && set.key.len() > 1;
        let flags = u32::from(!set.value.is_empty()) * MAP
            + u32::from(set.ranges) * INTERVAL
            + u32::from(set.expires) * TIMEOUT
            + u32::from(joined) * CONCAT;
        self.message(NEWSET, CREATE, |attributes| {
            attributes.text(2, set.name);
            attributes.be32(3, flags);
            attributes.be32(4, datatype(set.key));
            attributes.be32(5, length(set.key));
            if !set.value.is_empty() {
                attributes.be32(6, datatype(set.value));
                attributes.be32(7, length(set.value));
            }
            if joined {
                attributes.nest(9, |description| {
                    description.nest(2, |fields| {
                        for field in set.key {
                            fields.nest(1, |element| element.be32(1, field.length()));
                        }
                    });
                });
            }
            attributes.be32(10, id);
            if set.expires {
                attributes.be32(12, COLLECTED);
            }
            if let [Field::Interface] = set.key {
                // For nft alone: its keys are in the host's order.
                attributes.bytes(13, &[0, 4, 1, 0, 0, 0]);
            }
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, expressions: &[Expression]) {
        self.message(NEWRULE, CREATE | APPEND, |attributes| {
            attributes.text(2, chain);
            attributes.nest(4, |list| {
                for expression in expressions {
                    list.nest(1, |element| write_expression(element, expression));
                }
            });
        });
    }

    /// Adds elements. One that is there already with the same value is no error.
    pub fn add_elements(&mut self, set: &Set, elements: &[Element]) {
        self.elements((NEWSETELEM, CREATE), set, elements, None);
    }

    /// Gives elements of a set that [`Set::expires`] an end, `after` which they count no
    /// more. Kernels before 6.12 leave those that are there as they are.
    pub fn expire_elements(&mut self, set: &Set, elements: &[Element], after: Duration) {
        self.elements((NEWSETELEM, CREATE), set, elements, Some(after));
    }

    /// Adds single elements to a set of [`Self::add_timed_set`], each for so long. Where one
    /// is there already, kernels before 6.12 leave its end as it is.
    pub fn add_timed_elements(&mut self, set: &Set, elements: &[(Vec<u8>, Duration)]) {
        self.message(NEWSETELEM, CREATE, |attributes| {
            attributes.text(2, set.name);
            attributes.nest(3, |list| {
                for (key, kept) in elements {
                    list.nest(1, |element| {
                        write_data(element, 1, key);
                        element.be64(4, milliseconds(*kept));
                    });
                }
            });
        });
    }

    /// Removes elements: each must be there.
    pub fn delete_elements(&mut self, set: &Set, elements: &[Element]) {
        self.elements((DELSETELEM, 0), set, elements, None);
    }

    fn elements(
        &mut self,
        (kind, flags): (u16, u16),
        set: &Set,
        elements: &[Element],
        after: Option<Duration>,
    ) {
        // A list is one attribute, whose length is a number of 16 bits.
        const AT_ONCE: usize = 250;
        for some in elements.chunks(AT_ONCE) {
            self.message(kind, flags, |attributes| {
                attributes.text(2, set.name);
                attributes.nest(3, |list| {
                    for element in some {
                        write_element(list, set, element, after);
                    }
                });
            });
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn write_data(attributes: &mut Attributes<'_>, kind: u16, value: &[u8]) {
    attributes.nest(kind, |data| data.bytes(1, value));
}

fn write_element(list: &mut Attributes<'_>, set: &Set, element: &Element, after: Option<Duration>) {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const TIMEOUT: u16 = 4;
    const USERDATA: u16 = 6;
    const KEY_END: u16 = 10;
    const INTERVAL_END: u32 = 1;
    let joined = set.key.len() > 1;
    list.nest(1, |attributes| {
        write_data(attributes, KEY, &element.key);
        if let (Some(last), true) = (&element.last, joined) {
            write_data(attributes, KEY_END, last);
        }
        if !element.value.is_empty() {
            write_data(attributes, DATA, &element.value);
        }
        if let Some(after) = after {
            attributes.be64(TIMEOUT, milliseconds(after));
        }
        if !element.comment.is_empty() {
            // nft's form of a comment: type, length, text.
            let mut bytes = vec![0, u8::try_from(element.comment.len() + 1).unwrap_or(u8::MAX)];
            bytes.extend_from_slice(element.comment.as_bytes());
            bytes.push(0);
            attributes.bytes(USERDATA, &bytes);
        }
    });
    // A range of single keys is two elements: its first, and the first after it.
    if let (Some(last), false) = (&element.last, joined)
        && let Some(after) = successor(last)
    {
        list.nest(1, |attributes| {
            write_data(attributes, KEY, &after);
            attributes.be32(FLAGS, INTERVAL_END);
        });
    }
}

/// The number after this one; `None` where there is none of its width.
fn successor(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

fn named(attributes: &mut Attributes<'_>, name: &str, write: impl FnOnce(&mut Attributes<'_>)) {
    attributes.text(1, name);
    attributes.nest(2, write);
}

#[cfg(test)]
mod tests;
