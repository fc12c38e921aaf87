//! Control groups: limits on what a set of processes uses, and the means to count and
//! end it. Version 1 (a hierarchy for each controller or few), version 2 (one for all),
//! and both beside each other. Kernel documentation: admin-guide/cgroup-v1,
//! admin-guide/cgroup-v2.rst; cgroups(7).
//!
//! [`Layout`] says which hierarchies are mounted, [`plan`] turns limits into writes
//! (pure), [`Group`] makes, joins and removes.

pub mod detect;
mod group;
mod make;
mod operate;
pub mod plan;
pub mod resources;
pub mod stats;
pub mod systemd;
pub mod v1;
pub mod v2;

pub use detect::{Hierarchy, Layout, parse_layout};
pub use group::Group;
pub use make::Making;
pub use operate::list_groups;
pub use resources::Resources;

use crate::error::SysError;

/// Why a cgroup cannot be made, limited or removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CgroupError {
    /// A system call failed.
    #[error(transparent)]
    System(#[from] SysError),
    /// A limit whose controller is not there.
    #[error(
        "the limit on {limit} needs the cgroup controller {controller}, which this machine does not offer: mount or enable it, or leave the limit out"
    )]
    NoController {
        /// What was to be limited.
        limit: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// A limit that this version of cgroups does not have.
    #[error("{limit} cannot be set with cgroup {version}: {instead}")]
    NotInVersion {
        /// What was to be set.
        limit: &'static str,
        /// `v1` or `v2`.
        version: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// The kernel refused a value.
    #[error("cgroup {file} does not take {value:?}{}", hint(*errno))]
    Refused {
        /// The file, below the group.
        file: String,
        /// What was written.
        value: String,
        /// The errno.
        errno: rustix::io::Errno,
    },
    /// A file of `unified` that is no name.
    #[error("the cgroup file {0:?} is not a plain name")]
    UnifiedName(String),
    /// A group that is to be made anew holds processes.
    #[error("the cgroup {0:?} already holds processes: give another linux.cgroupsPath")]
    InUse(String),
    /// A limit below what is in use already.
    #[error("the memory limit of {limit} bytes is below the {usage} bytes in use")]
    BelowUsage {
        /// The limit.
        limit: i64,
        /// What is in use.
        usage: u64,
    },
    /// A device rule that is none.
    #[error("the device rule {0:?} is not understood")]
    DeviceRule(String),
}

fn hint(errno: rustix::io::Errno) -> &'static str {
    use rustix::io::Errno;
    match errno {
        Errno::INVAL => ": it is out of range, or above what the parent group has",
        Errno::BUSY => {
            ": more is in use already, or processes stand in a group above (cgroup v2 allows them only at the ends of the tree)"
        }
        Errno::NODEV | Errno::NXIO => ": there is no such device",
        Errno::OPNOTSUPP => ": the kernel or the device's I/O scheduler does not support it",
        Errno::ACCESS | Errno::PERM => ": permission denied",
        _ => "",
    }
}
