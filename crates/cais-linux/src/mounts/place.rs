//! Places to mount on, for a program that does the mounting itself: a root that is a mount
//! point in a tree of its own, and what is missing in it.

use super::visit::Visit;
use crate::error::{Result, SysError};
use crate::path::open_inside;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use std::path::Path;

/// A stay in a private copy of the mounts, where a directory is a mount point.
#[derive(Debug)]
pub struct PrivateRoot(Visit);

impl PrivateRoot {
    /// Enters the copy and binds `directory` to itself there. The process has one thread
    /// meanwhile; what it executes stays in the copy.
    ///
    /// # Errors
    /// As unshare(2) and mount(2); the process is where it was then.
    pub fn enter(directory: &Path) -> Result<Self> {
        let visit = Visit::to_private_tree()?;
        match rustix::mount::mount_bind_recursive(directory, directory) {
            Ok(()) => Ok(Self(visit)),
            Err(errno) => {
                visit.leave()?;
                Err(SysError::new(
                    "mount",
                    format!("{directory:?}, MS_BIND|MS_REC"),
                    errno,
                ))
            }
        }
    }

    /// Comes back.
    ///
    /// # Errors
    /// As setns(2).
    pub fn leave(self) -> Result<()> {
        self.0.leave()
    }
}

/// Makes `path` inside `root` where it is missing: a directory, or an empty file in one. Each
/// component is opened inside the root, so that no link leads out of it.
///
/// # Errors
/// As openat2(2), mkdirat(2) and openat(2).
pub fn ensure_place(root: BorrowedFd<'_>, path: &str, is_file: bool) -> Result<()> {
    if open_inside(root, Path::new(path), OFlags::PATH).is_ok() {
        return Ok(());
    }
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    let mut so_far = String::from(".");
    while let Some(part) = parts.next() {
        let parent = open_inside(root, Path::new(&so_far), OFlags::PATH | OFlags::DIRECTORY)?;
        let made = if is_file && parts.peek().is_none() {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            openat(parent.as_fd(), part, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            mkdirat(parent.as_fd(), part, Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(SysError::new("mkdirat", format!("{path:?}, {part:?}"), errno)),
        }
        so_far = format!("{so_far}/{part}");
    }
    Ok(())
}
