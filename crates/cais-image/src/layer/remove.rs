//! Removes trees through descriptors, so that no link leads anywhere else.

use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, openat, unlinkat};
use rustix::io::Errno;

/// Opens a directory that must be one and no link.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// The names in a directory.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Removes `name` in `parent` and everything below it. What is not there is no error.
///
/// # Errors
/// As unlinkat(2) and openat(2).
pub fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), SysError> {
    remove_each(parent, name, &mut |_, _| Ok(()))
        .map_err(|errno| SysError::new("unlinkat", format!("{:?}", String::from_utf8_lossy(name)), errno))
}

/// Empties a directory.
///
/// # Errors
/// As unlinkat(2) and openat(2).
pub fn remove_children(directory: BorrowedFd<'_>) -> Result<(), SysError> {
    let failed = |errno| SysError::new("getdents64", "", errno);
    for name in names(directory).map_err(failed)? {
        remove_tree(directory, &name)?;
    }
    Ok(())
}

/// Called with a directory and a name in it, before that is removed.
pub(crate) type BeforeRemoval<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, &[u8]) -> Result<(), Errno>;

pub(crate) fn remove_each(
    parent: BorrowedFd<'_>,
    name: &[u8],
    before: BeforeRemoval<'_>,
) -> Result<(), Errno> {
    before(parent, name)?;
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // POSIX has EPERM for a directory, Linux has EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let directory = open_writable(parent, name)?;
    for name in names(directory.as_fd())? {
        remove_each(directory.as_fd(), &name, before)?;
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Opens a directory in which to remove names: without privilege its mode may forbid it.
fn open_writable(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let owner = Mode::RWXU;
    let directory = match open_directory(parent, name) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let path = openat(parent, name, flags, Mode::empty())?;
            rustix::fs::chmod(super::marker::proc_descriptor(&path), owner)?;
            open_directory(parent, name)?
        }
        other => other?,
    };
    let stat = fstat(&directory)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory && !mode.contains(owner) {
        fchmod(&directory, mode | owner)?;
    }
    Ok(directory)
}
