//! The Linux kernel, typed and safe: one room for each kernel object. Knows
//! nothing of OCI, JSON or containers as users see them.

pub mod cgroups;
pub mod creds;
pub mod error;
pub mod idmap;
pub mod limits;
pub mod lsm;
pub mod mounts;
pub mod netdevice;
pub mod path;
pub mod probe;
pub mod process;
pub mod resctrl;
pub mod seccomp;

pub use error::{Result, SysError};
