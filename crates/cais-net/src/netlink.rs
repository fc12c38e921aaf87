//! Netlink: the kernel's own language for interfaces, addresses, routes, nf_tables and
//! conntrack. Messages are made in one buffer and sent together; answers are parsed within
//! their bounds.

pub mod address;
pub mod conntrack;
pub mod link;
pub mod message;
pub mod nftables;
pub mod qdisc;
pub mod route;
pub mod socket;

pub use message::{Attributes, Batch, Message, MessageReader};
pub use socket::{Protocol, Socket};
