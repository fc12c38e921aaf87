//! What this kernel can do.
//!
//! [`Features`] answers single questions, each asked once and only when it is needed:
//! that is for the way to a start. [`probe_all`] asks everything, for `cais doctor`.
//!
//! Where it can, a probe tries the call itself, on something that is attached nowhere
//! and gone with its descriptor; a version number says little about a kernel with
//! backports, or in a sandbox. What stays behind is at most a module that the kernel
//! loaded by itself, as the first use would have had it.

mod cgroups;
mod kernel;
mod mounts;
mod namespaces;
mod network;
mod security;

pub use cgroups::{CgroupMounts, Hierarchy, parse_cgroup_mounts};
pub use kernel::{KernelVersion, parse_kernel_version, read_kernel_version};
pub use mounts::{IdmapSupport, probe_idmap, probe_idmap_for_real};
pub use namespaces::UserNamespaces;

use crate::creds::capabilities::{CapSet, read_effective};
use std::cell::OnceCell;
use std::fmt;
use std::path::Path;

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Wholly.
    Present,
    /// With a restriction that the detail names.
    Partly,
    /// Not at all.
    Absent,
    /// It could not be found out; the detail says why.
    Unknown,
}

impl State {
    /// One word for a table.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Present => "yes",
            Self::Partly => "partly",
            Self::Absent => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl From<bool> for State {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// One line of `cais doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for.
    pub feature: &'static str,
    /// Whether it is there.
    pub state: State,
    /// What was seen; may be empty.
    pub detail: String,
    /// What cais does without it.
    pub without: &'static str,
}

impl Finding {
    fn new(
        feature: &'static str,
        state: impl Into<State>,
        detail: impl Into<String>,
        without: &'static str,
    ) -> Self {
        Self {
            feature,
            state: state.into(),
            detail: detail.into(),
            without,
        }
    }

    /// Whether the user should read it: something is missing or unclear.
    #[must_use]
    pub fn is_lack(&self) -> bool {
        self.state != State::Present
    }
}

/// Answers about the kernel, each found once.
#[derive(Debug, Default)]
pub struct Features {
    kernel: OnceCell<KernelVersion>,
    effective: OnceCell<CapSet>,
    into_cgroup: OnceCell<bool>,
    mount_api: OnceCell<bool>,
    overlay_descriptors: OnceCell<bool>,
    landlock: OnceCell<u32>,
}

impl Features {
    /// No answer yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The kernel's version (uname(2)).
    pub fn kernel(&self) -> KernelVersion {
        *self.kernel.get_or_init(read_kernel_version)
    }

    /// The capabilities of this thread; none where they cannot be read.
    pub fn effective_capabilities(&self) -> CapSet {
        *self
            .effective
            .get_or_init(|| read_effective().unwrap_or_default())
    }

    /// Whether a process can be made in a cgroup v2 directory (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub fn can_clone_into_cgroup(&self) -> bool {
        *self
            .into_cgroup
            .get_or_init(|| kernel::clone_into_cgroup().is_present())
    }

    /// Whether mounts can be made as descriptors (fsopen(2), Linux 5.2), by this process.
    pub fn can_make_detached_mounts(&self) -> bool {
        *self
            .mount_api
            .get_or_init(|| mounts::try_detached_tmpfs().is_ok())
    }

    /// Whether overlay takes its layers as descriptors (Linux 6.13).
    pub fn overlay_takes_descriptors(&self) -> bool {
        *self
            .overlay_descriptors
            .get_or_init(|| mounts::try_overlay_descriptor().is_ok())
    }

    /// The version of Landlock; 0 where there is none.
    pub fn landlock_abi(&self) -> u32 {
        *self
            .landlock
            .get_or_init(|| crate::lsm::landlock::read_abi().unwrap_or(0))
    }
}

/// Finds out everything, in the order in which a reader wants it. `state_dir` is where
/// containers and layers are kept: id-mapped mounts depend on its file system.
#[must_use]
pub fn probe_all(state_dir: &Path) -> Vec<Finding> {
    let mut findings = kernel::findings();
    findings.extend(namespaces::findings());
    findings.extend(mounts::findings(state_dir));
    findings.extend(cgroups::findings());
    findings.extend(security::findings());
    findings.extend(network::findings());
    findings
}

/// A one-line text of `/proc` or `/sys`, without the blanks around it.
fn read_setting(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
