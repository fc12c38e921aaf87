//! Containers as an OCI runtime has them: made in one command, started by another, looked
//! after by a third, and known in between by a directory with a state file.
//!
//! `create` makes the first process and everything around it and leaves it waiting at a
//! socket in that directory; `start` connects. What stands in the state file is what cannot
//! be asked of the kernel; whether the container runs is asked each time.

pub mod cgroups;
pub mod checkpoint;
pub mod create;
pub mod criu;
pub mod delete;
pub mod error;
pub mod events;
pub mod exec;
pub mod facts;
pub mod features;
pub mod handover;
pub mod hooks;
mod netdevices;
pub mod notify;
pub mod restore;
pub mod signal;
pub mod start;
pub mod state;
pub mod systemd;
pub mod template;
pub mod update;

pub use error::{Result, RuntimeError};
pub use state::{State, Status};

use crate::checkpoint::Checkpoints;
use std::path::PathBuf;

/// The runtime of one command.
#[derive(Debug)]
pub struct Runtime {
    /// The directory of the states: `--root`.
    pub root: PathBuf,
    /// Where compiled system call filters are kept.
    pub seccomp_cache: PathBuf,
    /// Whether cgroups are made by systemd.
    pub systemd: bool,
    /// Whether containers get no cgroup of their own.
    pub no_cgroups: bool,
    /// The executable of CRIU.
    pub criu: PathBuf,
    /// Whether this process has no privilege on the host.
    pub rootless: bool,
    /// Whether it is in a user namespace other than the machine's first, or no root: then
    /// devices, cgroups and hard limits are out of reach.
    pub confined: bool,
    /// The moments at which tests kill it.
    pub checkpoints: Checkpoints,
}
