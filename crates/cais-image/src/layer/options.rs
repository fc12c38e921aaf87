//! How to unpack, and how much is accepted.

use super::marker::{Form, Whiteouts};
use crate::tar::Limits;

/// How much a layer may contain. More is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Entries.
    pub entries: u64,
    /// Directories in each other. Each costs a descriptor while a tree is removed.
    pub depth: usize,
    /// Bytes of contents in all.
    pub bytes: u64,
    /// Bytes of contents that only the record has room for: those of files that a later
    /// entry replaces, of whiteouts, and what follows the end of the archive.
    pub inline: u64,
    /// Bytes of memory for what is kept to the end: times of directories, and the lists of
    /// the result.
    pub memory: u64,
    /// What the archive may contain.
    pub tar: Limits,
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            depth: 256,
            bytes: 256 << 30,
            inline: 64 << 20,
            memory: 128 << 20,
            tar: Limits::default(),
        }
    }
}

/// How to unpack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Whose attributes and owners.
    pub form: Form,
    /// How hidden files are written down.
    pub whiteouts: Whiteouts,
    /// What is accepted.
    pub limits: UnpackLimits,
}

impl UnpackOptions {
    /// For layers that root mounts.
    #[must_use]
    pub fn privileged() -> Self {
        Self {
            form: Form::Privileged,
            whiteouts: Whiteouts::Devices,
            limits: UnpackLimits::default(),
        }
    }

    /// For layers that somebody without privilege mounts with `userxattr`.
    #[must_use]
    pub fn rootless() -> Self {
        Self {
            form: Form::Rootless,
            whiteouts: Whiteouts::Attributes,
            limits: UnpackLimits::default(),
        }
    }
}
