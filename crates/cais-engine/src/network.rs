//! Networks: what `cais network` does, and what a container takes from them when it starts
//! and gives back when it ends.
//!
//! The order in which a container is connected, and why:
//!
//! 1. `plan`: addresses are leased while the run is prepared, because `/etc/hosts` names
//!    them. A lease says who took it; without a state of the container and without its taker
//!    a sweep frees it.
//! 2. `connect`, while the stub works: ports are reserved (`keeping`), then everything is written down
//!    (`endpoints/<id>`), and only then is the kernel asked: bridge, table, interfaces, ports.
//! 3. `connect::disconnect`: the file is renamed, so that nobody counts the container any
//!    more, then ports are taken out of the table and leases freed. The interfaces go with
//!    their namespace.

pub(crate) mod attend;
pub mod change;
pub mod check;
pub mod cni;
pub(crate) mod connect;
pub mod create;
pub mod describe;
mod guard;
pub mod hold;
pub(crate) mod home;
pub(crate) mod keeping;
pub(crate) mod links;
pub(crate) mod plan;
pub mod ports;
mod proxy;
pub mod remove;
pub(crate) mod sweep;
mod uplink;

pub use create::{NewNetwork, NewPool, create};
