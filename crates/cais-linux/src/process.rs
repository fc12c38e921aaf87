//! Processes: the stub that becomes a container's first one, and descriptors of
//! processes (pidfd_open(2)).

pub mod channel;
pub mod file_tree;
pub mod pidfd;
pub mod start_time;
pub mod stub;
pub mod userns;
