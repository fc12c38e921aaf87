//! User and group ids of the calling thread: setgroups(2), setresuid(2), and the file
//! system ids of setfsuid(2), which rustix lacks.

use crate::syscall::{check, number, syscall6};
use rustix::io::Errno;

/// Sets the file system uid of this thread; the old one is returned.
///
/// The kernel drops the file system capabilities from the effective set when the
/// id leaves 0 (capabilities(7)); the caller restores them with capset(2).
pub fn set_thread_fs_uid(uid: u32) -> u32 {
    // SAFETY: takes a plain number and always succeeds.
    let old = unsafe { syscall6(number::SETFSUID, [uid as usize, 0, 0, 0, 0, 0]) };
    u32::try_from(old & 0xffff_ffff).unwrap_or(u32::MAX)
}

/// Sets the file system gid of this thread; the old one is returned.
pub fn set_thread_fs_gid(gid: u32) -> u32 {
    // SAFETY: takes a plain number and always succeeds.
    let old = unsafe { syscall6(number::SETFSGID, [gid as usize, 0, 0, 0, 0, 0]) };
    u32::try_from(old & 0xffff_ffff).unwrap_or(u32::MAX)
}

const SETGROUPS: usize = if cfg!(target_arch = "x86_64") { 116 } else { 159 };
const SETRESUID: usize = if cfg!(target_arch = "x86_64") { 117 } else { 147 };
const SETRESGID: usize = if cfg!(target_arch = "x86_64") { 119 } else { 149 };

/// Sets the supplementary groups of this thread: `groups` holds 32-bit numbers in
/// the byte order of the machine. See setgroups(2).
///
/// # Errors
/// As setgroups(2); `EINVAL` for a length that is no multiple of four.
pub fn set_groups(groups: &[u8]) -> Result<(), Errno> {
    // 65536 is the kernel's own limit (NGROUPS_MAX); plans keep far below.
    let mut list = [0u32; 1024];
    let count = groups.len() / 4;
    if !groups.len().is_multiple_of(4) || count > list.len() {
        return Err(Errno::INVAL);
    }
    for (slot, bytes) in list.iter_mut().zip(groups.chunks_exact(4)) {
        *slot = bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte));
    }
    // SAFETY: `count` numbers are read from the list.
    check(unsafe { syscall6(SETGROUPS, [count, list.as_ptr() as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Sets the three user ids of this thread. See setresuid(2).
///
/// # Errors
/// `EINVAL` for an id without a mapping, `EPERM`.
pub fn set_uid(uid: u32) -> Result<(), Errno> {
    let uid = uid as usize;
    // SAFETY: takes numbers.
    check(unsafe { syscall6(SETRESUID, [uid, uid, uid, 0, 0, 0]) }).map(drop)
}

/// Sets the three group ids of this thread. See setresgid(2).
///
/// # Errors
/// `EINVAL` for an id without a mapping, `EPERM`.
pub fn set_gid(gid: u32) -> Result<(), Errno> {
    let gid = gid as usize;
    // SAFETY: takes numbers.
    check(unsafe { syscall6(SETRESGID, [gid, gid, gid, 0, 0, 0]) }).map(drop)
}
