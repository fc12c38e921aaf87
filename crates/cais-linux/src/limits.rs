//! Limits of one process that are no cgroup's: resources, the weight for the OOM
//! killer, CPU scheduling, I/O priority.

pub mod ioprio;
pub mod oom;
pub mod rlimit;
pub mod sched;
