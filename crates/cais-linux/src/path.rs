//! Files inside a tree that somebody else may write: opened by openat2(2) with the
//! tree as root, so that no link leads out of it.

use crate::error::{Result, SysError};
use rustix::buffer::spare_capacity;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::io::Read;
use std::path::Path;

/// Opens `path` inside `root`; links are followed within it.
///
/// # Errors
/// As openat2(2).
pub fn open_inside(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => {
                return other
                    .map_err(|errno| SysError::new("openat2", format!("{path:?}, RESOLVE_IN_ROOT"), errno));
            }
        }
    }
}

/// Reads a regular file inside `root`, at most `limit` bytes of it; `None` where
/// there is none. Opening does not block on a pipe or device that stands there.
///
/// # Errors
/// As openat2(2) and read(2); `EFBIG` for a longer file, `EINVAL` for no regular file.
pub fn read_inside(root: BorrowedFd<'_>, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other?,
    };
    let refuse = |errno| SysError::new("read", format!("{path:?}"), errno);
    let stat = fstat(&file).map_err(refuse)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(refuse(Errno::INVAL));
    }
    // Most fit in one read.
    let mut bytes = Vec::with_capacity(4096);
    let mut limited = std::fs::File::from(file).take(limit.saturating_add(1));
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| SysError::from_io("read", format!("{path:?}"), &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
        return Err(refuse(Errno::FBIG));
    }
    Ok(Some(bytes))
}

/// Reads a file of /proc or of a cgroup. They have no size, so that the standard library would
/// ask for one and begin with 32 bytes.
///
/// # Errors
/// As open(2) and read(2).
pub fn read_proc(path: &str) -> std::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    read_unsized(&file)
}

/// Reads what is left of a file without a size, as text.
///
/// # Errors
/// As read(2).
pub fn read_unsized(file: &OwnedFd) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        bytes.reserve(4096);
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    String::from_utf8(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
