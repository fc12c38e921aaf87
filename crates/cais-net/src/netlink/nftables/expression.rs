//! The expressions of rules (linux/netfilter/nf_tables.h).

use super::*;

/// One instruction of a rule, in the words of nf_tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expression {
    /// Loads a property of the packet (`NFT_META_*`) into a register.
    Meta {
        /// Which.
        key: u32,
        /// The register.
        register: u32,
    },
    /// Loads a property of its connection (`NFT_CT_*`).
    Connection {
        /// Which.
        key: u32,
        /// The register.
        register: u32,
    },
    /// Loads bytes of a header (`NFT_PAYLOAD_*_HEADER`).
    Payload {
        /// 1 network, 2 transport.
        base: u32,
        /// Where they begin.
        offset: u32,
        /// How many.
        length: u32,
        /// The register.
        register: u32,
    },
    /// Loads the kind of the destination address (`RTN_*`).
    DestinationKind {
        /// The register.
        register: u32,
    },
    /// Loads whether the packet is for a socket with an address of others (`IP_TRANSPARENT`).
    SocketIsTransparent {
        /// The register.
        register: u32,
    },
    /// Makes what the register holds the mark of the packet.
    SetMark {
        /// The register.
        register: u32,
    },
    /// Keeps some bits of four bytes.
    And {
        /// The register.
        register: u32,
        /// The bits, in the host's order.
        mask: u32,
    },
    /// Goes on only if the register holds these bytes, or does not.
    Compare {
        /// The register.
        register: u32,
        /// Whether it must.
        equal: bool,
        /// The bytes.
        value: &'static [u8],
    },
    /// Goes on only if a set has the value of the register, or has not. A map puts its value
    /// into register 1.
    Lookup {
        /// The set.
        set: &'static Set,
        /// The register.
        register: u32,
        /// Whether it must not have it.
        inverted: bool,
    },
    /// Gives the packet the destination in these registers.
    Destination {
        /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
        family: u32,
        /// The register of the address.
        address: u32,
        /// The register of the port; 0 where the port stays.
        port: u32,
    },
    /// Gives the packet the address of the interface by which it leaves as its source.
    Masquerade,
    /// Counts what comes here.
    Counter,
    /// Puts the value of the register into a set, with a counter, or counts it there.
    Count {
        /// The set, made by [`Transaction::add_counting_set`].
        set: &'static Set,
        /// The register.
        register: u32,
    },
    /// Refuses the packet, and tells its sender that it is forbidden.
    Reject,
    /// Ends the rule (`NF_*`, `NFT_*`), going to a chain where it names one.
    Verdict {
        /// The code.
        code: i32,
        /// The chain.
        chain: &'static str,
    },
}

pub(super) fn write_expression(attributes: &mut Attributes<'_>, expression: &Expression) {
    match *expression {
        Expression::Meta { key, register } => named(attributes, "meta", |data| {
            data.be32(1, register);
            data.be32(2, key);
        }),
        Expression::Connection { key, register } => named(attributes, "ct", |data| {
            data.be32(1, register);
            data.be32(2, key);
        }),
        Expression::Payload {
            base,
            offset,
            length,
            register,
        } => named(attributes, "payload", |data| {
            data.be32(1, register);
            data.be32(2, base);
            data.be32(3, offset);
            data.be32(4, length);
        }),
        Expression::DestinationKind { register } => named(attributes, "fib", |data| {
            data.be32(1, register);
            data.be32(2, 3);
            data.be32(3, 2);
        }),
        Expression::SocketIsTransparent { register } => named(attributes, "socket", |data| {
            data.be32(1, 0);
            data.be32(2, register);
        }),
        Expression::And { register, mask } => named(attributes, "bitwise", |data| {
            data.be32(1, register);
            data.be32(2, register);
            data.be32(3, 4);
            write_data(data, 4, &mask.to_ne_bytes());
            write_data(data, 5, &[0; 4]);
        }),
        Expression::Compare {
            register,
            equal,
            value,
        } => named(attributes, "cmp", |data| {
            data.be32(1, register);
            data.be32(2, u32::from(!equal));
            write_data(data, 3, value);
        }),
        Expression::Lookup {
            set,
            register,
            inverted,
        } => named(attributes, "lookup", |data| {
            data.text(1, set.name);
            data.be32(2, register);
            if !set.value.is_empty() {
                data.be32(3, 1);
            }
            if inverted {
                data.be32(5, 1);
            }
        }),
        Expression::Destination { .. }
        | Expression::SetMark { .. }
        | Expression::Masquerade
        | Expression::Counter
        | Expression::Count { .. }
        | Expression::Reject
        | Expression::Verdict { .. } => write_action(attributes, expression),
    }
}

/// What does something with the packet.
fn write_action(attributes: &mut Attributes<'_>, expression: &Expression) {
    match *expression {
        Expression::Destination {
            family,
            address,
            port,
        } => named(attributes, "nat", |data| {
            data.be32(1, 1);
            data.be32(2, family);
            data.be32(3, address);
            if port != 0 {
                data.be32(5, port);
            }
        }),
        Expression::SetMark { register } => named(attributes, "meta", |data| {
            data.be32(2, 3);
            data.be32(3, register);
        }),
        Expression::Masquerade => named(attributes, "masq", |_| {}),
        Expression::Counter => named(attributes, "counter", |_| {}),
        Expression::Count { set, register } => named(attributes, "dynset", |data| {
            const UPDATE: u32 = 1;
            data.text(1, set.name);
            data.be32(3, UPDATE);
            data.be32(4, register);
            data.nest(7, |counter| named(counter, "counter", |_| {}));
        }),
        Expression::Reject => named(attributes, "reject", |data| {
            // NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED
            data.be32(1, 2);
            data.u8(2, 3);
        }),
        Expression::Verdict { code, chain } => named(attributes, "immediate", |data| {
            data.be32(1, 0);
            data.nest(2, |value| {
                value.nest(2, |verdict| {
                    verdict.be32(1, code.cast_unsigned());
                    if !chain.is_empty() {
                        verdict.text(2, chain);
                    }
                });
            });
        }),
        Expression::Meta { .. }
        | Expression::Connection { .. }
        | Expression::Payload { .. }
        | Expression::DestinationKind { .. }
        | Expression::SocketIsTransparent { .. }
        | Expression::And { .. }
        | Expression::Compare { .. }
        | Expression::Lookup { .. } => {}
    }
}
