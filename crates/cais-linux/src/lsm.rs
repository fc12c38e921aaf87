//! Linux security modules: what restricts a process beside its ids and capabilities.

pub mod apparmor;
pub mod landlock;
pub mod selinux;

use crate::error::SysError;

/// Why a security label cannot be given to a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The module is not there.
    #[error(
        "{module} is not enabled in this kernel: leave out the option that asks for {label:?}, or enable it"
    )]
    Absent {
        /// `AppArmor` or `SELinux`.
        module: &'static str,
        /// The label that was asked for.
        label: String,
    },
    /// The text cannot be a label.
    #[error("{label:?} is not a label of {module}")]
    Malformed {
        /// `AppArmor` or `SELinux`.
        module: &'static str,
        /// The text.
        label: String,
    },
    /// Whether the module is there could not be found out.
    #[error("cannot find out whether {module} is enabled")]
    Probe {
        /// `AppArmor` or `SELinux`.
        module: &'static str,
        /// The system call that failed.
        source: SysError,
    },
}

/// What is to be written below `/proc/self/attr` before execve(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecLabel {
    /// The file, relative to `/proc/self/attr`.
    pub file: &'static str,
    /// What to write, by one write(2).
    pub text: String,
}
