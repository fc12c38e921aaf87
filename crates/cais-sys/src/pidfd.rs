//! What a pidfd tells of a process that has ended and was waited for by somebody else:
//! ioctl(2) `PIDFD_GET_INFO`, since Linux 6.15 with the exit status.

use crate::syscall::{check, syscall6};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;

/// `_IOWR(0xFF, 11, struct pidfd_info)` with the first published size, 64 bytes.
const PIDFD_GET_INFO: usize = 0xc040_ff0b;
/// Asks for, and says that there is, the exit status (linux/pidfd.h).
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `struct pidfd_info` (linux/pidfd.h), its first published part.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// The wait status (wait(2)) of a process that has ended and was waited for. `None` while it
/// was not waited for yet.
///
/// # Errors
/// `ENOTTY`, `EINVAL` or `ESRCH` on kernels that do not tell.
pub fn read_exit_status(pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    const IOCTL: usize = if cfg!(target_arch = "x86_64") { 16 } else { 29 };
    let mut info = Info {
        mask: PIDFD_INFO_EXIT,
        ..Info::default()
    };
    let fd = usize::try_from(pidfd.as_raw_fd()).or(Err(Errno::BADF))?;
    let argument = core::ptr::from_mut(&mut info) as usize;
    // SAFETY: the kernel reads and writes at most the 64 bytes that the number names, which
    // are those of `info`.
    check(unsafe { syscall6(IOCTL, [fd, PIDFD_GET_INFO, argument, 0, 0, 0]) })?;
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code))
}
