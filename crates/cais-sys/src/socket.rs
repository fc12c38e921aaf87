//! Descriptors over a unix socket (unix(7), `SCM_RIGHTS`), in fixed buffers.

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
