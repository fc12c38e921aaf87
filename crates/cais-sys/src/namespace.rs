//! setns(2) and unshare(2) as plain calls for a process with one thread.

use crate::syscall::{check, syscall6};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

const SETNS: usize = if cfg!(target_arch = "x86_64") { 308 } else { 268 };
const UNSHARE: usize = if cfg!(target_arch = "x86_64") { 272 } else { 97 };

/// Enters the namespaces `kinds` (`CLONE_NEW*`) of what `target` refers to: a
/// pidfd, or one namespace file (`kinds` may be 0 then).
///
/// # Errors
/// As setns(2).
pub fn enter(target: BorrowedFd<'_>, kinds: u32) -> Result<(), Errno> {
    let target = target.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: takes a descriptor and flags; memory is not touched.
    check(unsafe { syscall6(SETNS, [target, kinds as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Moves this process into new namespaces of the given kinds (`CLONE_NEW*`).
///
/// # Errors
/// As unshare(2).
pub fn leave(kinds: u32) -> Result<(), Errno> {
    // SAFETY: takes flags; with namespaces only, memory and descriptors stay shared as they were.
    check(unsafe { syscall6(UNSHARE, [kinds as usize, 0, 0, 0, 0, 0]) }).map(drop)
}

const IOCTL: usize = if cfg!(target_arch = "x86_64") { 16 } else { 29 };

/// The user namespace that a namespace belongs to (`NS_GET_USERNS`, ioctl_ns(2)).
///
/// # Errors
/// As ioctl(2): `EPERM` where it is none of this process's own or below.
pub fn owner(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: usize = 0xb701;
    let target = namespace.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: takes a descriptor and a number; memory is not touched.
    let fd = check(unsafe { syscall6(IOCTL, [target, NS_GET_USERNS, 0, 0, 0, 0]) })?;
    // SAFETY: the kernel has just made it (close-on-exec), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).or(Err(Errno::BADF))?) })
}

/// The kind of a namespace, as clone(2) has it (`NS_GET_NSTYPE`, ioctl_ns(2)).
///
/// # Errors
/// As ioctl(2): `ENOTTY` for what is no namespace.
pub fn kind(namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
    const NS_GET_NSTYPE: usize = 0xb703;
    let target = namespace.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: takes a descriptor and a number; memory is not touched.
    let kind = check(unsafe { syscall6(IOCTL, [target, NS_GET_NSTYPE, 0, 0, 0, 0]) })?;
    u32::try_from(kind).or(Err(Errno::OVERFLOW))
}

/// The number of a namespace that no other ever has, unlike its inode's, which the next one may
/// get (`NS_GET_ID`, linux/nsfs.h, Linux 6.18).
///
/// # Errors
/// As ioctl(2): `ENOTTY` where the kernel is older.
pub fn id(namespace: BorrowedFd<'_>) -> Result<u64, Errno> {
    const NS_GET_ID: usize = 0x8008_b70d;
    let mut number = 0u64;
    let target = namespace.as_raw_fd().cast_unsigned() as usize;
    let place = (&raw mut number).addr();
    // SAFETY: the kernel writes eight bytes to `number`, which lives until the call is over.
    check(unsafe { syscall6(IOCTL, [target, NS_GET_ID, place, 0, 0, 0]) })?;
    Ok(number)
}
