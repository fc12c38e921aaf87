//! Who a process is and what it may do: capabilities(7) and credentials(7).

pub mod capabilities;
pub mod group;
pub mod ids;
pub mod passwd;
