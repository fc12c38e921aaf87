//! mount_setattr(2): flags, propagation and id mapping of a mount.

use crate::syscall::{check, number, syscall6};
use core::ffi::CStr;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clr: u64,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE` or 0 for no change.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

/// `MOUNT_ATTR_RDONLY` of mount_setattr(2).
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: the field that holds the access time rule.
pub const MOUNT_ATTR_ATIME: u64 = 0x70;
/// `MOUNT_ATTR_NOATIME`.
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
/// `MOUNT_ATTR_STRICTATIME`.
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
/// `MOUNT_ATTR_NODIRATIME`.
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;
/// `MOUNT_ATTR_IDMAP`.
pub const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// `MOUNT_ATTR_NOSYMFOLLOW`.
pub const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;
/// `AT_RECURSIVE` of mount_setattr(2) and open_tree(2).
pub const AT_RECURSIVE: u32 = 0x8000;
/// `AT_EMPTY_PATH`.
pub const AT_EMPTY_PATH: u32 = 0x1000;
/// `MS_PRIVATE` as mount_setattr(2) takes it.
pub const MS_PRIVATE: u64 = 1 << 18;
/// `MS_SLAVE`.
pub const MS_SLAVE: u64 = 1 << 19;
/// `MS_SHARED`.
pub const MS_SHARED: u64 = 1 << 20;
/// `MS_UNBINDABLE`.
pub const MS_UNBINDABLE: u64 = 1 << 17;

/// Changes the mount at `path` relative to `dir`, or `dir` itself with `AT_EMPTY_PATH`.
///
/// # Errors
/// As mount_setattr(2): `EINVAL` where the file system cannot be id-mapped,
/// `EPERM` for a locked flag.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, flags: u32, attr: &MountAttr) -> Result<(), Errno> {
    let arguments = [
        dir.as_raw_fd().cast_unsigned() as usize,
        path.as_ptr() as usize,
        flags as usize,
        core::ptr::from_ref(attr) as usize,
        size_of::<MountAttr>(),
        0,
    ];
    // SAFETY: the path is nul-terminated and the attributes are read only,
    // both live for the call; the size is that of the structure.
    let result = unsafe { syscall6(number::MOUNT_SETATTR, arguments) };
    check(result).map(drop)
}
