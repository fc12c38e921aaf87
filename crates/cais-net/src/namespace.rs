//! A moment in a network namespace (network_namespaces(7)).

use crate::error::{NetError, Result};
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};

const NEWNET: u32 = 0x4000_0000;

/// Opens the network namespace of a process.
///
/// # Errors
/// As open(2).
pub fn open_of(pid: i32) -> Result<OwnedFd> {
    open_at(&format!("/proc/{pid}/ns/net"))
}

/// Opens a network namespace.
///
/// # Errors
/// As open(2).
pub fn open_at(path: &str) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
        .map_err(NetError::system("open a network namespace"))
}

/// Does something in this namespace; sockets that it opens stay there. This thread goes
/// back on every way out. Only for processes with one thread, or threads of one's own.
///
/// # Errors
/// As setns(2), and what `action` meets.
pub fn inside<T>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let own = open_at("/proc/thread-self/ns/net")?;
    let enter = |target: BorrowedFd<'_>| {
        cais_sys::namespace::enter(target, NEWNET)
            .map_err(|errno| SysError::new("setns", "a network namespace", errno))
            .map_err(NetError::system("enter a network namespace"))
    };
    enter(namespace)?;
    let done = action();
    enter(own.as_fd())?;
    done
}
