//! How a process is scheduled on the CPUs (sched(7), sched_setattr(2)): the OCI's
//! `process.scheduler`.

use crate::error::{Result, SysError};
use rustix::process::Pid;

pub use cais_sys::sched::SchedAttr;

/// A scheduling policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `SCHED_OTHER`: the usual one.
    Other,
    /// `SCHED_FIFO`.
    Fifo,
    /// `SCHED_RR`.
    RoundRobin,
    /// `SCHED_BATCH`.
    Batch,
    /// `SCHED_ISO`, which no kernel has; it is refused with `EINVAL`.
    Iso,
    /// `SCHED_IDLE`.
    Idle,
    /// `SCHED_DEADLINE`.
    Deadline,
}

impl Policy {
    /// Reads a name as the OCI writes it: `SCHED_FIFO`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "SCHED_OTHER" => Self::Other,
            "SCHED_FIFO" => Self::Fifo,
            "SCHED_RR" => Self::RoundRobin,
            "SCHED_BATCH" => Self::Batch,
            "SCHED_ISO" => Self::Iso,
            "SCHED_IDLE" => Self::Idle,
            "SCHED_DEADLINE" => Self::Deadline,
            _ => return None,
        })
    }

    /// Its number in linux/sched.h.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Other => 0,
            Self::Fifo => 1,
            Self::RoundRobin => 2,
            Self::Batch => 3,
            Self::Iso => 4,
            Self::Idle => 5,
            Self::Deadline => 6,
        }
    }
}

/// Reads a list of CPUs or memory nodes (cpuset(7), "List format": `0-2,5`) into a bit map
/// in whole 64-bit words. `None` for anything else, or a number above 8191.
#[must_use]
pub fn parse_cpu_list(list: &str) -> Option<Vec<u8>> {
    const LAST: usize = 8191;
    let mut mask = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > LAST {
            return None;
        }
        for number in first..=last {
            let length = (number / 64 + 1) * 8;
            if mask.len() < length {
                mask.resize(length, 0);
            }
            *mask.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    Some(mask)
}

/// The bit of a scheduler flag as the OCI writes it: `SCHED_FLAG_RESET_ON_FORK`.
#[must_use]
pub fn parse_flag(name: &str) -> Option<u64> {
    Some(match name {
        "SCHED_FLAG_RESET_ON_FORK" => 0x01,
        "SCHED_FLAG_RECLAIM" => 0x02,
        "SCHED_FLAG_DL_OVERRUN" => 0x04,
        "SCHED_FLAG_KEEP_POLICY" => 0x08,
        "SCHED_FLAG_KEEP_PARAMS" => 0x10,
        "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
        "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
        _ => return None,
    })
}

/// Sets policy and parameters of a process, which is `None` for the calling one.
///
/// # Errors
/// As sched_setattr(2): `EPERM` without `CAP_SYS_NICE` in the initial user namespace
/// for a real-time policy, `EBUSY` where a deadline cannot be admitted, `EINVAL`.
pub fn apply_scheduler(pid: Option<Pid>, attr: &SchedAttr) -> Result<()> {
    cais_sys::sched::sched_setattr(pid, attr)
        .map_err(|errno| SysError::new("sched_setattr", format!("{}, {attr:?}", Pid::as_raw(pid)), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn names() {
        assert_eq!(Policy::parse("SCHED_IDLE").map(Policy::number), Some(5));
        assert_eq!(Policy::parse("fifo"), None);
        assert_eq!(parse_flag("SCHED_FLAG_RECLAIM"), Some(2));
        assert_eq!(parse_flag("SCHED_FLAG_ALL"), None);
    }

    #[test]
    fn lists_of_cpus() {
        for (list, want) in [
            ("0", Some(vec![1, 0, 0, 0, 0, 0, 0, 0])),
            ("1-3,8", Some(vec![14, 1, 0, 0, 0, 0, 0, 0])),
            ("", None),
            ("3-1", None),
            ("a", None),
            ("8192", None),
            ("-1", None),
        ] {
            assert_eq!(parse_cpu_list(list), want, "{list:?}");
        }
        assert_eq!(parse_cpu_list("64").map(|mask| mask.len()), Some(16));
    }

    #[test]
    fn the_kernel_refuses_what_it_does_not_know() {
        let attr = SchedAttr {
            policy: Policy::Iso.number(),
            ..SchedAttr::default()
        };
        assert_eq!(apply_scheduler(None, &attr).unwrap_err().errno(), Errno::INVAL);
    }
}
