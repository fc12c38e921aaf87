//! The priority of a process for block I/O (ioprio_set(2)): the OCI's `process.ioPriority`.

use crate::error::{Result, SysError};
use rustix::process::Pid;

/// A class of I/O priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `IOPRIO_CLASS_RT`; needs `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
    RealTime,
    /// `IOPRIO_CLASS_BE`: the usual one.
    BestEffort,
    /// `IOPRIO_CLASS_IDLE`.
    Idle,
}

impl Class {
    /// Reads a name as the OCI writes it: `IOPRIO_CLASS_BE`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "IOPRIO_CLASS_RT" => Self::RealTime,
            "IOPRIO_CLASS_BE" => Self::BestEffort,
            "IOPRIO_CLASS_IDLE" => Self::Idle,
            _ => return None,
        })
    }
}

/// A class and a level, 0 (first) to 7 (last), as ioprio_set(2) takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority(u16);

/// A level above 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("I/O priority {level} is out of range: use 0 (first) to 7 (last)")]
pub struct LevelRange {
    /// The level.
    pub level: i64,
}

impl IoPriority {
    /// Puts class and level together.
    ///
    /// # Errors
    /// [`LevelRange`].
    pub fn new(class: Class, level: i64) -> std::result::Result<Self, LevelRange> {
        const CLASS_SHIFT: u16 = 13;
        let class: u16 = match class {
            Class::RealTime => 1,
            Class::BestEffort => 2,
            Class::Idle => 3,
        };
        match u16::try_from(level) {
            Ok(bits @ 0..=7) => Ok(Self(class << CLASS_SHIFT | bits)),
            _ => Err(LevelRange { level }),
        }
    }

    /// The number for the kernel.
    #[must_use]
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// Sets the priority of a process, which is `None` for the calling thread.
///
/// # Errors
/// As ioprio_set(2): `EPERM` for the real-time class without the capability.
pub fn apply_io_priority(pid: Option<Pid>, priority: IoPriority) -> Result<()> {
    cais_sys::sched::ioprio_set(pid, priority.bits()).map_err(|errno| {
        let arguments = format!("IOPRIO_WHO_PROCESS, {}, {:#x}", Pid::as_raw(pid), priority.bits());
        SysError::new("ioprio_set", arguments, errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (name, level, want) in [
            ("IOPRIO_CLASS_RT", 0, Ok(0x2000)),
            ("IOPRIO_CLASS_BE", 4, Ok(0x4004)),
            ("IOPRIO_CLASS_IDLE", 7, Ok(0x6007)),
            ("IOPRIO_CLASS_BE", 8, Err(LevelRange { level: 8 })),
            ("IOPRIO_CLASS_BE", -1, Err(LevelRange { level: -1 })),
        ] {
            let class = Class::parse(name).unwrap();
            assert_eq!(IoPriority::new(class, level).map(IoPriority::bits), want);
        }
        assert_eq!(Class::parse("best-effort"), None);
    }

    #[test]
    fn own_thread_accepts_the_usual_priority() {
        // The test's thread alone is changed, to the value that nice 0 stands for.
        apply_io_priority(None, IoPriority::new(Class::BestEffort, 4).unwrap()).unwrap();
    }
}
