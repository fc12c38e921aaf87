//! Version 2: one room for each controller.

pub mod cpu;
pub mod cpuset;
pub mod devices;
pub mod hugetlb;
pub mod io;
pub mod memory;
pub mod pids;

/// The controllers that a container may need, enabled for the groups below on the way
/// down to it.
pub const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"];
