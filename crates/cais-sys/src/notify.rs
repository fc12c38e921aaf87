//! The ioctls of a seccomp notification descriptor (seccomp_unotify(2)).

use crate::syscall::{check, number, syscall6};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// `SECCOMP_IOCTL_NOTIF_RECV`: `_IOWR('!', 0, struct seccomp_notif)`.
const RECEIVE: usize = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`: `_IOWR('!', 1, struct seccomp_notif_resp)`.
const SEND: usize = 0xc018_2101;
/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: `_IOW('!', 2, __u64)`.
const ID_VALID: usize = 0x4008_2102;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE` (Linux 5.5).
const CONTINUE: u32 = 1;

/// A system call that waits for an answer: `struct seccomp_notif` with the
/// `struct seccomp_data` that is part of it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notification {
    /// Which one.
    pub id: u64,
    /// The thread, as the pid namespace of the receiver has it; 0 where it has none.
    pub pid: u32,
    /// None so far.
    pub flags: u32,
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call is made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

fn descriptor(fd: BorrowedFd<'_>) -> Result<usize, Errno> {
    usize::try_from(fd.as_raw_fd()).or(Err(Errno::BADF))
}

/// Takes the next notification; waits for one.
///
/// # Errors
/// `ENOENT` where the thread was killed or interrupted meanwhile, `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    let arguments = [
        descriptor(listener)?,
        RECEIVE,
        core::ptr::from_mut(&mut notification) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the number of the ioctl says how many bytes the kernel writes: the size of
    // `Notification`, which outlives the call and is zero as the kernel demands.
    let result = unsafe { syscall6(number::IOCTL, arguments) };
    check(result).map(|_zero| notification)
}

/// Lets the system call of a notification go on as if nobody had asked.
///
/// # Errors
/// `ENOENT` where the thread is gone or interrupted.
pub fn go_on(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    let response = Response {
        id,
        value: 0,
        error: 0,
        flags: CONTINUE,
    };
    let arguments = [
        descriptor(listener)?,
        SEND,
        core::ptr::from_ref(&response) as usize,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the 24 bytes of `response`, which outlives the call.
    let result = unsafe { syscall6(number::IOCTL, arguments) };
    check(result).map(|_zero| ())
}

/// Whether the thread of a notification still waits: what was read of it by its id until now
/// was of that thread.
#[must_use]
pub fn is_valid(listener: BorrowedFd<'_>, id: u64) -> bool {
    let Ok(fd) = descriptor(listener) else {
        return false;
    };
    let arguments = [fd, ID_VALID, core::ptr::from_ref(&id) as usize, 0, 0, 0];
    // SAFETY: the kernel reads the 8 bytes of `id`, which outlives the call.
    let result = unsafe { syscall6(number::IOCTL, arguments) };
    check(result).is_ok()
}
