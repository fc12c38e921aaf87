//! A detached copy of a mount or of a directory of one: what becomes a bind mount.

use crate::error::{Result, SysError};
use cais_sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_IDMAP, MS_PRIVATE, MountAttr, mount_setattr};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::path::Path;

/// Opens a detached copy of what is at `path` on the host, with its submounts where
/// `recursive`.
///
/// The copy is made private: a copy of a shared mount would be a member of the same
/// peer group, and what the container mounts below it would appear on the host.
///
/// # Errors
/// As open_tree(2): `ENOENT` where there is nothing at `path`.
pub fn open_detached(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let tree = open_peer(path, recursive)?;
    let attr = MountAttr {
        propagation: MS_PRIVATE,
        ..MountAttr::default()
    };
    set_attributes(tree.as_fd(), &attr, recursive)?;
    Ok(tree)
}

/// The same for a path that a process (`/proc/PID`) sees in its own mount namespace: the
/// kernel copies only mounts of the namespace that the caller is in.
///
/// # Errors
/// As open_tree(2) and setns(2).
pub fn open_detached_of(process: &Path, path: &Path) -> Result<OwnedFd> {
    let visit = super::visit::Visit::to_process(process)?;
    let tree = open_detached(path, true);
    visit.leave()?;
    tree
}

/// The same as [`open_detached`], but the copy stays in the peer group of the original: for binds whose
/// propagation the user set to shared or slave.
///
/// # Errors
/// As [`open_detached`].
pub fn open_peer(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags).map_err(|errno| {
        let flags = if recursive {
            "OPEN_TREE_CLONE|AT_RECURSIVE"
        } else {
            "OPEN_TREE_CLONE"
        };
        SysError::new("open_tree", format!("AT_FDCWD, {path:?}, {flags}"), errno)
    })
}

/// Refuses a path whose last component is a symbolic link.
///
/// # Errors
/// `ELOOP` for a link, and as statx(2).
pub fn refuse_link(path: &Path) -> Result<()> {
    let wrong = |errno| SysError::new("lstat", format!("{path:?}"), errno);
    let stat = rustix::fs::lstat(path).map_err(wrong)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Symlink => Err(wrong(Errno::LOOP)),
        _ => Ok(()),
    }
}

/// Sets or clears `MOUNT_ATTR_*` of a detached tree.
///
/// # Errors
/// As mount_setattr(2).
pub fn set_attributes(tree: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> Result<()> {
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(tree, c"", flags, attr).map_err(|errno| {
        let arguments = format!(
            "{}, \"\", AT_EMPTY_PATH{}, {{attr_set={:#x}, attr_clr={:#x}, propagation={:#x}}}",
            tree.as_raw_fd(),
            if recursive { "|AT_RECURSIVE" } else { "" },
            attr.attr_set,
            attr.attr_clr,
            attr.propagation
        );
        SysError::new("mount_setattr", arguments, errno)
    })
}

/// Maps the owners of everything in a detached tree through `userns`: what belongs to
/// id 0 on disk belongs to the id that 0 of the namespace stands for. Nothing is
/// written (mount_setattr(2), "ID-mapped mounts").
///
/// # Errors
/// `EINVAL` for a file system that cannot do it, or a tree that is already mapped.
pub fn map_ids(tree: BorrowedFd<'_>, userns: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        userns_fd: u64::from(userns.as_raw_fd().cast_unsigned()),
        ..MountAttr::default()
    };
    set_attributes(tree, &attr, recursive)
}

/// Opens a device of the host that is to appear in a container, and verifies that it
/// is the one meant (CVE-2025-31133: a link or another file in its place).
///
/// # Errors
/// As open_tree(2); `ENODEV` for another device or no device at all.
pub fn open_device(path: &Path, kind: rustix::fs::FileType, major: u32, minor: u32) -> Result<OwnedFd> {
    let tree = open_detached(path, false)?;
    let stat = rustix::fs::fstat(tree.as_fd())
        .map_err(|errno| SysError::new("fstat", format!("{path:?}"), errno))?;
    let found = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    let number = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if found != kind || number != (major, minor) {
        return Err(SysError::new(
            "fstat",
            format!("{path:?} is not device {major}:{minor}"),
            Errno::NODEV,
        ));
    }
    Ok(tree)
}

/// Opens a directory of the host without following a link in its last component.
///
/// # Errors
/// As open(2).
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}, O_PATH|O_DIRECTORY"), errno))
}
