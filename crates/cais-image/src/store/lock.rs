//! Locks of single objects: a flock(2) on a file or directory that has the object's name.
//! The kernel frees it when its holder dies.

use super::error::{Result, StoreError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, open, statat};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether to wait for who has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Until it is free.
    Yes,
    /// Not at all.
    No,
}

/// A lock on a file that is there only while somebody has or wants the lock.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    // Held until the file is gone.
    _file: OwnedFd,
}

impl LockFile {
    /// Waits for the lock.
    pub(super) fn acquire(path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            if let Some(file) = open_locked(&path, flags, Wait::Yes)? {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While it is held: who waits for it sees that the file has lost its name, and makes
        // a new one.
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

/// Opens and locks what is at `path`. `None` where it is gone or another by the time that
/// the lock is had; with [`Wait::No`] also where somebody else has it.
pub(super) fn open_locked(path: &Path, flags: OFlags, wait: Wait) -> Result<Option<OwnedFd>> {
    let mode = Mode::from_raw_mode(0o644);
    let file = match open(path, flags, mode) {
        // With O_CREAT it is the directory that is missing.
        Err(Errno::NOENT) if !flags.contains(OFlags::CREATE) => return Ok(None),
        other => other.map_err(|errno| StoreError::at("open", path)(errno.into()))?,
    };
    if lock(&file, wait).map_err(|errno| StoreError::at("lock", path)(errno.into()))? && is_at(&file, path) {
        Ok(Some(file))
    } else {
        Ok(None)
    }
}

/// Locks a file. `false` where somebody else has it and there is to be no waiting.
pub(super) fn lock(file: impl AsFd, wait: Wait) -> rustix::io::Result<bool> {
    let operation = match wait {
        Wait::Yes => FlockOperation::LockExclusive,
        Wait::No => FlockOperation::NonBlockingLockExclusive,
    };
    match rustix::io::retry_on_intr(|| flock(&file, operation)) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Whether somebody has a lock on what is at `path`. Asks by a lock of its own, a shared one
/// so that two who ask are not taken for holders.
pub(super) fn is_locked(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(file) = open(path, flags, Mode::empty()) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
}

/// Whether this open file is what the path names now.
pub(super) fn is_at(file: impl AsFd, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (
        fstat(file),
        statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW),
    ) else {
        return false;
    };
    (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
}
