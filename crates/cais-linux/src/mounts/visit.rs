//! A visit to another mount namespace: there, one call, and back. The process has one
//! thread meanwhile (setns(2), mount namespaces).

use crate::error::{Result, SysError};
use cais_sys::mount::{AT_RECURSIVE, MS_PRIVATE, MountAttr, mount_setattr};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::path::Path;

const CLONE_NEWNS: u32 = 0x0002_0000;

/// The way back.
#[derive(Debug)]
pub(super) struct Visit {
    home: OwnedFd,
    directory: OwnedFd,
}

fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
}

impl Visit {
    fn prepare() -> Result<Self> {
        let home = open(Path::new("/proc/thread-self/ns/mnt"), OFlags::RDONLY)?;
        let directory = open(Path::new("."), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Self { home, directory })
    }

    /// Enters a fresh copy of this mount namespace, from which nothing travels back.
    pub(super) fn to_private_tree() -> Result<Self> {
        let visit = Self::prepare()?;
        cais_sys::namespace::leave(CLONE_NEWNS)
            .map_err(|errno| SysError::new("unshare", "CLONE_NEWNS", errno))?;
        let attr = MountAttr {
            propagation: MS_PRIVATE,
            ..MountAttr::default()
        };
        mount_setattr(CWD, c"/", AT_RECURSIVE, &attr)
            .map_err(|errno| SysError::new("mount_setattr", "\"/\", AT_RECURSIVE, MS_PRIVATE", errno))?;
        Ok(visit)
    }

    /// Enters the mount namespace of a process (`/proc/PID`).
    pub(super) fn to_process(process: &Path) -> Result<Self> {
        let visit = Self::prepare()?;
        let path = process.join("ns/mnt");
        let namespace = open(&path, OFlags::RDONLY)?;
        cais_sys::namespace::enter(namespace.as_fd(), CLONE_NEWNS)
            .map_err(|errno| SysError::new("setns", format!("{path:?}, CLONE_NEWNS"), errno))?;
        Ok(visit)
    }

    /// Comes back to the namespace and the directory of before.
    pub(super) fn leave(self) -> Result<()> {
        cais_sys::namespace::enter(self.home.as_fd(), CLONE_NEWNS)
            .map_err(|errno| SysError::new("setns", "the mount namespace of before", errno))?;
        rustix::process::fchdir(&self.directory)
            .map_err(|errno| SysError::new("fchdir", "the directory of before", errno))
    }
}
