//! The channel between a stub and the process that made it: a `SOCK_SEQPACKET`
//! pair, so that each message arrives whole (unix(7)).

use crate::error::{Result, SysError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// Both ends of a channel, close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| SysError::new("socketpair", "AF_UNIX, SOCK_SEQPACKET", errno))
}

/// Sends one message with descriptors. More than one message's worth of them go in
/// several messages with the same bytes.
///
/// # Errors
/// As sendmsg(2): `EPIPE` where the other side is gone.
pub fn send(channel: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    let send_one = |fds: &[BorrowedFd<'_>]| {
        cais_sys::socket::send_with_fds(channel, bytes, fds).map_err(|errno| {
            SysError::new(
                "sendmsg",
                format!("{} bytes, {} descriptors", bytes.len(), fds.len()),
                errno,
            )
        })
    };
    if fds.is_empty() {
        return send_one(&[]);
    }
    fds.chunks(cais_sys::socket::MAX_FDS).try_for_each(send_one)
}

/// Takes one message; `None` is the end. The descriptors that came with it are
/// appended to `fds`.
///
/// # Errors
/// As recvmsg(2).
pub fn receive<'b>(
    channel: BorrowedFd<'_>,
    buffer: &'b mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<Option<&'b [u8]>> {
    let mut resets = 0;
    let length = loop {
        match cais_sys::socket::receive_with_fds(channel.as_fd(), buffer, |fd| fds.push(fd)) {
            Ok(length) => break length,
            // The other side ended with a message unread. The kernel says so once, before
            // it hands over what that side had sent.
            Err(rustix::io::Errno::CONNRESET) if resets == 0 => resets += 1,
            Err(rustix::io::Errno::CONNRESET) => break 0,
            Err(errno) => return Err(SysError::new("recvmsg", "the channel", errno)),
        }
    };
    Ok(if length == 0 { None } else { buffer.get(..length) })
}
