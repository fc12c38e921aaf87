//! SELinux: the context that a program gets at execve(2) (selinux(8), setexeccon(3)).

use super::{ExecLabel, LabelError};
use crate::error::{Result, SysError};
use rustix::fs::statfs;
use rustix::io::Errno;

const MODULE: &str = "SELinux";
const MOUNT: &str = "/sys/fs/selinux";
/// `SELINUX_MAGIC` of linux/magic.h.
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;

/// Whether the kernel has SELinux and a policy can be asked: selinuxfs is mounted.
///
/// # Errors
/// As statfs(2); that there is no such directory is no error.
pub fn probe() -> Result<bool> {
    match statfs(MOUNT) {
        Ok(found) => Ok(found.f_type == SELINUX_MAGIC),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(SysError::new("statfs", format!("{MOUNT:?}"), errno)),
    }
}

/// What to write so that the next execve(2) runs in `context`: `user:role:type`, with
/// an optional level (`:s0:c1,c2`).
///
/// # Errors
/// [`LabelError::Malformed`].
pub fn plan_exec(context: &str) -> std::result::Result<ExecLabel, LabelError> {
    let mut fields = context.splitn(4, ':');
    let three = (0..3).all(|_| fields.next().is_some_and(|field| !field.is_empty()));
    let level = fields.next().is_none_or(|level| !level.is_empty());
    if !three
        || !level
        || context
            .chars()
            .any(|character| character.is_control() || character == ' ')
    {
        return Err(LabelError::Malformed {
            module: MODULE,
            label: context.to_owned(),
        });
    }
    Ok(ExecLabel {
        file: "exec",
        text: context.to_owned(),
    })
}

/// [`plan_exec`] for this kernel.
///
/// # Errors
/// [`LabelError::Absent`] where SELinux is not enabled.
pub fn read_exec_label(context: &str) -> std::result::Result<ExecLabel, LabelError> {
    match probe() {
        Ok(true) => plan_exec(context),
        Ok(false) => Err(LabelError::Absent {
            module: MODULE,
            label: context.to_owned(),
        }),
        Err(source) => Err(LabelError::Probe {
            module: MODULE,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts() {
        for good in [
            "system_u:system_r:container_t",
            "system_u:system_r:container_t:s0:c1,c2",
        ] {
            assert_eq!(plan_exec(good).unwrap().text, good);
        }
        for bad in ["", "container_t", "a:b", "a::c", "a:b:c:", "a:b:c d", "a:b:c\n"] {
            assert!(plan_exec(bad).is_err(), "{bad:?}");
        }
    }
}
