//! The ioctls of ioctl_tty(2) and netdevice(7) that rustix lacks.

use crate::syscall::{check, number, syscall6};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::process::Pid;

const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const IFF_UP: i16 = 1;

/// `struct ifreq` of netdevice(7) with the flags member.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Brings the loopback interface of the current network namespace up.
/// `socket` is any socket of that namespace.
///
/// # Errors
/// As netdevice(7): `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn bring_loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut request = InterfaceFlags {
        name: [0; 16],
        flags: 0,
        rest: [0; 22],
    };
    request.name[..2].copy_from_slice(b"lo");
    interface_ioctl(socket, SIOCGIFFLAGS, &mut request)?;
    request.flags |= IFF_UP;
    interface_ioctl(socket, SIOCSIFFLAGS, &mut request)
}

fn interface_ioctl(socket: BorrowedFd<'_>, call: usize, request: &mut InterfaceFlags) -> Result<(), Errno> {
    let socket = socket.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: both calls read and write one struct ifreq, which this is.
    let result = unsafe {
        syscall6(
            number::IOCTL,
            [socket, call, core::ptr::from_mut(request) as usize, 0, 0, 0],
        )
    };
    check(result).map(drop)
}

/// Makes `group` the foreground process group of the terminal at standard input.
///
/// # Errors
/// As tcsetpgrp(3): `ENOTTY` where standard input is none or not the controlling one.
pub fn set_foreground_of_stdin(group: Pid) -> Result<(), Errno> {
    const TIOCSPGRP: usize = 0x5410;
    let group = group.as_raw_nonzero().get();
    // SAFETY: the call reads one number.
    let result = unsafe {
        syscall6(
            number::IOCTL,
            [0, TIOCSPGRP, core::ptr::from_ref(&group) as usize, 0, 0, 0],
        )
    };
    check(result).map(drop)
}
