//! Descriptors over a unix socket (unix(7), `SCM_RIGHTS`), in fixed buffers.

use crate::syscall::{check, syscall6};
use core::mem::MaybeUninit;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// The most descriptors that one message can carry (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// Sends `bytes` with `fds` as one message.
///
/// # Errors
/// As sendmsg(2); `E2BIG` for more than [`MAX_FDS`] descriptors.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOBIG);
    }
    rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL))
        .map(drop)
}

/// Receives one message into `bytes` and hands each descriptor (close-on-exec)
/// to `take`; returns the length. Zero is the end: the other side is closed.
///
/// # Errors
/// As recvmsg(2).
pub fn receive_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    mut take: impl FnMut(OwnedFd),
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(
            socket,
            &mut [IoSliceMut::new(bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            fds.for_each(&mut take);
        }
    }
    Ok(message.bytes)
}

const SETSOCKOPT: usize = if cfg!(target_arch = "x86_64") { 54 } else { 208 };

/// Lets only those datagrams come that the classic BPF program takes (socket(7),
/// `SO_ATTACH_FILTER`).
///
/// # Errors
/// As setsockopt(2): `EINVAL` for a program that the kernel does not accept.
pub fn attach_filter(socket: BorrowedFd<'_>, program: &[crate::seccomp::SockFilter]) -> Result<(), Errno> {
    const SOL_SOCKET: usize = 1;
    const SO_ATTACH_FILTER: usize = 26;
    /// `struct sock_fprog`.
    #[repr(C)]
    struct Program {
        length: u16,
        filter: *const crate::seccomp::SockFilter,
    }
    let described = Program {
        length: u16::try_from(program.len()).ok().ok_or(Errno::TOOBIG)?,
        filter: program.as_ptr(),
    };
    let arguments = [
        rustix::fd::AsRawFd::as_raw_fd(&socket).cast_unsigned() as usize,
        SOL_SOCKET,
        SO_ATTACH_FILTER,
        core::ptr::from_ref(&described).addr(),
        size_of::<Program>(),
        0,
    ];
    // SAFETY: the kernel reads the description and the instructions, which both live longer
    // than the call, and copies them.
    check(unsafe { syscall6(SETSOCKOPT, arguments) }).map(drop)
}

/// Lets a socket have an address that is not the machine's (`IP_TRANSPARENT`, ip(7)).
///
/// # Errors
/// As setsockopt(2): `EPERM` without CAP_NET_ADMIN over its network namespace.
pub fn set_transparent(socket: BorrowedFd<'_>, ipv6: bool) -> Result<(), Errno> {
    const SETSOCKOPT: usize = if cfg!(target_arch = "x86_64") { 54 } else { 208 };
    /// `SOL_IP`, `IP_TRANSPARENT`, and their kin of IPv6.
    const NAMES: [(usize, usize); 2] = [(0, 19), (41, 75)];
    let (level, name) = NAMES[usize::from(ipv6)];
    let on = 1i32;
    let arguments = [
        rustix::fd::AsRawFd::as_raw_fd(&socket).cast_unsigned() as usize,
        level,
        name,
        core::ptr::from_ref(&on).addr(),
        size_of::<i32>(),
        0,
    ];
    // SAFETY: the kernel reads one number, which lives longer than the call.
    check(unsafe { syscall6(SETSOCKOPT, arguments) }).map(drop)
}
