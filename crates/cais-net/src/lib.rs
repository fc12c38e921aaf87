//! Networks of containers: bridges, addresses, the packet filter, published ports, names.
//!
//! What is asked of the kernel is asked in netlink messages of our own ([`netlink`]); no
//! program is executed. The files are [`network`] (what the user made), [`lease`] (which
//! address is whose) and [`endpoint`] (what a container has now); [`table`] is a pure
//! function of them.

pub mod bridge;
pub mod cni;
pub mod dns;
pub mod egress;
pub mod endpoint;
pub mod error;
pub mod firewall;
pub mod host;
pub mod lease;
pub mod mac;
pub mod namespace;
pub mod netlink;
pub mod network;
pub mod publish;
pub mod reserve;
pub mod shape;
pub mod subnet;
pub mod table;
pub mod transparent;
pub mod veth;
pub mod watch;

pub use error::{NetError, Result};
