//! setns(2) and unshare(2) as plain calls for a process with one thread.

use crate::syscall::{check, syscall6};
use rustix::fd::{AsRawFd, BorrowedFd};
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
