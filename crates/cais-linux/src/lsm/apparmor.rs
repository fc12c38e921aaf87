//! AppArmor: the profile that a program gets at execve(2) (apparmor(7),
//! proc_pid_attr(5)).

use super::{ExecLabel, LabelError};
use crate::error::{Result, SysError};
use std::io::ErrorKind;
use std::path::Path;

const MODULE: &str = "AppArmor";
const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
/// The module's own directory of attributes (Linux 5.8), beside the one that SELinux shares.
const OWN_ATTRIBUTE: &str = "/proc/thread-self/attr/apparmor";

/// Whether the kernel has AppArmor and it is switched on.
///
/// # Errors
/// As open(2) and read(2); that there is no such file is no error.
pub fn probe() -> Result<bool> {
    match std::fs::read(ENABLED) {
        Ok(text) => Ok(text.starts_with(b"Y")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(SysError::from_io("read", format!("{ENABLED:?}"), &error)),
    }
}

/// What to write so that the next execve(2) runs under `profile`. `has_own_attribute` is
/// whether `/proc/self/attr/apparmor` exists.
///
/// # Errors
/// [`LabelError::Malformed`] for an empty name, or one with a control character.
pub fn plan_exec(profile: &str, has_own_attribute: bool) -> std::result::Result<ExecLabel, LabelError> {
    if profile.is_empty() || profile.chars().any(char::is_control) {
        return Err(LabelError::Malformed {
            module: MODULE,
            label: profile.to_owned(),
        });
    }
    let file = if has_own_attribute {
        "apparmor/exec"
    } else {
        "exec"
    };
    Ok(ExecLabel {
        file,
        text: format!("exec {profile}"),
    })
}

/// [`plan_exec`] for this kernel.
///
/// # Errors
/// [`LabelError::Absent`] where AppArmor is not enabled.
pub fn read_exec_label(profile: &str) -> std::result::Result<ExecLabel, LabelError> {
    match probe() {
        Ok(true) => plan_exec(profile, Path::new(OWN_ATTRIBUTE).exists()),
        Ok(false) => Err(LabelError::Absent {
            module: MODULE,
            label: profile.to_owned(),
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
    fn texts() {
        let label = plan_exec("cais-default", true).unwrap();
        assert_eq!(
            (label.file, label.text.as_str()),
            ("apparmor/exec", "exec cais-default")
        );
        assert_eq!(plan_exec("unconfined", false).unwrap().file, "exec");
        for bad in ["", "a\nb", "a\0"] {
            assert!(plan_exec(bad, true).is_err(), "{bad:?}");
        }
    }
}
