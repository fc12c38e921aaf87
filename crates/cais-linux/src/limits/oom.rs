//! The weight that the OOM killer gives to a process (proc_pid_oom_score_adj(5)).
//!
//! Lowering it below the inherited minimum needs `CAP_SYS_RESOURCE` in the initial
//! user namespace; raising it needs nothing.

use crate::error::{Result, SysError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, open, openat2};
use rustix::io::Errno;
use rustix::process::Pid;

/// Never killed.
pub const MIN: i32 = -1000;
/// Killed first.
pub const MAX: i32 = 1000;

/// The value to set, and whether it is the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomPlan {
    /// What to write.
    pub value: i32,
    /// What was asked for, where that cannot be had. To be reported to the user.
    pub refused: Option<i32>,
}

impl OomPlan {
    /// The sentence for the user, where the value is not the one asked for.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.refused.map(|asked| {
            format!(
                "oom-score-adj {asked} is raised to {}: lowering the value of this process needs CAP_SYS_RESOURCE",
                self.value
            )
        })
    }
}

/// A value outside [`MIN`] to [`MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("oom-score-adj {value} is out of range: use -1000 to 1000")]
pub struct OomRange {
    /// The value.
    pub value: i32,
}

/// Decides what to write. `current` is the caller's own value ([`read_own`]), which the
/// new process inherits.
///
/// # Errors
/// [`OomRange`].
pub fn plan_oom_score_adj(
    requested: i32,
    current: i32,
    has_cap_sys_resource: bool,
) -> std::result::Result<OomPlan, OomRange> {
    if !(MIN..=MAX).contains(&requested) {
        return Err(OomRange { value: requested });
    }
    Ok(if requested >= current || has_cap_sys_resource {
        OomPlan {
            value: requested,
            refused: None,
        }
    } else {
        OomPlan {
            value: current,
            refused: Some(requested),
        }
    })
}

/// The calling process's own value.
///
/// # Errors
/// As open(2) and read(2) of `/proc/self/oom_score_adj`; `EINVAL` for a text that is no number.
pub fn read_own() -> Result<i32> {
    const PATH: &str = "/proc/self/oom_score_adj";
    let fail = |error: &std::io::Error| SysError::from_io("read", format!("{PATH:?}"), error);
    let text = std::fs::read_to_string(PATH).map_err(|error| fail(&error))?;
    text.trim()
        .parse()
        .or(Err(SysError::new("read", format!("{PATH:?}"), Errno::INVAL)))
}

/// Opens `/proc/<pid>` of the caller's `/proc`, once verified to be procfs: a handle
/// that stays with this process and cannot be led elsewhere (CVE-2025-52881).
///
/// # Errors
/// As open(2): `ENOENT` where the process is gone; `EXDEV` where `/proc` is no procfs.
pub fn open_proc_pid(pid: Pid) -> Result<OwnedFd> {
    let path = format!("/proc/{}", pid.as_raw_nonzero());
    let fail = |call, errno| SysError::new(call, format!("{path:?}"), errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = open(&path, flags, Mode::empty()).map_err(|errno| fail("open", errno))?;
    let kind = fstatfs(&dir).map_err(|errno| fail("fstatfs", errno))?.f_type;
    if kind != PROC_SUPER_MAGIC {
        return Err(fail("fstatfs", Errno::XDEV));
    }
    Ok(dir)
}

/// Writes the value for the process whose `/proc/<pid>` is `proc_pid` ([`open_proc_pid`]).
///
/// # Errors
/// `EACCES` where the value is lowered without `CAP_SYS_RESOURCE`; `ENOENT` or `ESRCH`
/// where the process is gone.
pub fn apply_oom_score_adj(proc_pid: BorrowedFd<'_>, value: i32) -> Result<()> {
    const NAME: &str = "oom_score_adj";
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat2(proc_pid, NAME, flags, Mode::empty(), resolve)
        .map_err(|errno| SysError::new("openat2", format!("/proc/PID, {NAME:?}, O_WRONLY"), errno))?;
    let text = value.to_string();
    rustix::io::write(file.as_fd(), text.as_bytes())
        .map(drop)
        .map_err(|errno| SysError::new("write", format!("/proc/PID/{NAME}, {text:?}"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planning() {
        let set = |value| Ok(OomPlan { value, refused: None });
        for (requested, current, cap, want) in [
            (0, 0, false, set(0)),
            (500, 0, false, set(500)),
            (-500, 0, true, set(-500)),
            (
                -500,
                0,
                false,
                Ok(OomPlan {
                    value: 0,
                    refused: Some(-500),
                }),
            ),
            (
                100,
                200,
                false,
                Ok(OomPlan {
                    value: 200,
                    refused: Some(100),
                }),
            ),
            (1001, 0, true, Err(OomRange { value: 1001 })),
            (-1001, 0, true, Err(OomRange { value: -1001 })),
        ] {
            assert_eq!(
                plan_oom_score_adj(requested, current, cap),
                want,
                "{requested} {current} {cap}"
            );
        }
        let plan = plan_oom_score_adj(-5, 0, false).unwrap();
        assert!(
            plan.warning()
                .unwrap()
                .starts_with("oom-score-adj -5 is raised to 0")
        );
    }

    #[test]
    fn own_value_written_again() {
        let own = read_own().unwrap();
        let dir = open_proc_pid(rustix::process::getpid()).unwrap();
        apply_oom_score_adj(dir.as_fd(), own).unwrap();
        assert_eq!(read_own().unwrap(), own);
    }

    #[test]
    fn a_process_that_is_not_there() {
        let pid = Pid::from_raw(i32::MAX).unwrap();
        assert_eq!(open_proc_pid(pid).unwrap_err().errno(), Errno::NOENT);
        // A directory that is no /proc/<pid> has no such file.
        let other = open(c"/proc/self/fd", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(
            apply_oom_score_adj(other.as_fd(), 0).unwrap_err().errno(),
            Errno::NOENT
        );
    }
}
