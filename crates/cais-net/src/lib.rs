//! Networks of containers: bridges, addresses, the packet filter, published ports, names.

pub mod dns;
