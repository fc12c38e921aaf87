//! What can go wrong between a plan and a running program.

use cais_linux::SysError;
use rustix::io::Errno;

/// Why a container, or a process in one, was not started.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Something outside the container could not be prepared.
    #[error("cannot {action}")]
    Prepare {
        /// What was to be done, on what.
        action: String,
        /// The system call that failed.
        source: SysError,
    },
    /// A step inside the container failed.
    #[error("cannot set up the container: step {number} of {of}, {name}: {detail}: {}", reason(*errno))]
    Step {
        /// Which step, counted from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// The step's name.
        name: &'static str,
        /// The system call and its subject, as the stub reported them.
        detail: String,
        /// The errno.
        errno: Errno,
    },
    /// The program itself could not be executed.
    #[error("cannot execute {program:?}: {}", reason(*errno))]
    Execute {
        /// The program as the user wrote it.
        program: String,
        /// The errno of execve(2).
        errno: Errno,
    },
    /// The first process died before it executed the program.
    #[error("the container's first process was killed by signal {signal} while it was being set up")]
    Killed {
        /// The signal's number.
        signal: u8,
    },
    /// The first process ended, or spoke, in a way that it never should.
    #[error("the init stub ended without saying why (status {status}): this is a bug in cais")]
    Silent {
        /// Its exit status.
        status: u8,
    },
}

impl CreateError {
    /// Wraps a failed call with what it was for.
    pub(crate) fn prepare(action: impl Into<String>) -> impl FnOnce(SysError) -> Self {
        move |source| Self::Prepare {
            action: action.into(),
            source,
        }
    }
}

/// The errno's text without the standard library's number.
#[must_use]
pub fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_ascii_lowercase()
}
