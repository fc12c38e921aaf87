//! A process by descriptor: what it names cannot become another process.

use crate::error::{Result, SysError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(u8),
    /// This signal killed it.
    Killed(u8),
}

impl Ended {
    /// The status as a shell and Docker give it: 128 and the number for a signal.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => signal.saturating_add(128),
        }
    }
}

/// Opens a descriptor of process `pid`.
///
/// # Errors
/// `ESRCH` where there is none.
pub fn open(pid: Pid) -> Result<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| SysError::new("pidfd_open", pid.as_raw_nonzero().to_string(), errno))
}

/// Sends a signal.
///
/// # Errors
/// `ESRCH` where the process has ended and was waited for.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<()> {
    pidfd_send_signal(pidfd, signal)
        .map_err(|errno| SysError::new("pidfd_send_signal", format!("{}", signal.as_raw()), errno))
}

/// Waits for a child to end.
///
/// # Errors
/// `ECHILD` where it is no child of this process.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<Ended> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let byte = |value: Option<i32>| value.and_then(|value| u8::try_from(value & 0xff).ok());
                return Ok(match byte(status.terminating_signal()) {
                    Some(signal) => Ended::Killed(signal),
                    None => Ended::Exited(byte(status.exit_status()).unwrap_or(255)),
                });
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("waitid", "P_PIDFD, WEXITED", errno)),
        }
    }
}

/// Learns how a process that is no child of this one ended. Its parent must wait for it
/// first: that is given a moment.
///
/// # Errors
/// `ENOTTY`, `EINVAL` or `ESRCH` on kernels before 6.15, which do not tell; `ETIMEDOUT`
/// where its parent does not wait for it.
pub fn await_status(pidfd: BorrowedFd<'_>) -> Result<Ended> {
    use rustix::event::{PollFd, PollFlags, poll};
    let patience = rustix::time::Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    };
    loop {
        let status = cais_sys::pidfd::read_exit_status(pidfd)
            .map_err(|errno| SysError::new("ioctl", "PIDFD_GET_INFO, PIDFD_INFO_EXIT", errno))?;
        if let Some(status) = status {
            return Ok(parse_status(status));
        }
        // POLLHUP comes when it was waited for.
        let fd = pidfd.as_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::empty())], Some(&patience)) {
            Ok(0) => return Err(SysError::new("poll", "pidfd, POLLHUP", Errno::TIMEDOUT)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", "pidfd", errno)),
        }
    }
}

/// Understands a wait status (wait(2)).
fn parse_status(status: i32) -> Ended {
    let byte = |value: i32| u8::try_from(value & 0xff).unwrap_or(255);
    match byte(status & 0x7f) {
        0 => Ended::Exited(byte(status >> 8)),
        signal => Ended::Killed(signal),
    }
}

/// Waits until the process has ended, whoever's child it is.
///
/// # Errors
/// As poll(2).
pub fn await_end(pidfd: BorrowedFd<'_>, timeout: Option<std::time::Duration>) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, poll};
    let timeout = timeout.map(|duration| rustix::time::Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    });
    loop {
        let fd = pidfd.as_fd();
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(count) => return Ok(count > 0),
            Err(errno) => return Err(SysError::new("poll", "pidfd", errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        for (status, want) in [
            (0, Ended::Exited(0)),
            (0x0300, Ended::Exited(3)),
            (9, Ended::Killed(9)),
            (0x8b, Ended::Killed(11)),
        ] {
            assert_eq!(parse_status(status), want, "{status:#x}");
        }
    }
}
