//! What can go wrong between a plan and a running program.

use cais_linux::SysError;
use rustix::io::Errno;

/// Why a container, or a process in one, was not started.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// What the caller was to do failed.
    #[error(transparent)]
    Caller(Box<dyn std::error::Error + Send + Sync>),
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

/// Why a configuration cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Something that is needed is not there.
    #[error("{path}: missing {what}")]
    Missing {
        /// The JSON path.
        path: &'static str,
        /// What should be there.
        what: &'static str,
    },
    /// Something that this runtime does not do.
    #[error("{path}: {what} is not supported")]
    Unsupported {
        /// The JSON path.
        path: &'static str,
        /// What was asked.
        what: &'static str,
    },
    /// A value that is none of those known.
    #[error("{path}: unknown value {value:?}")]
    Unknown {
        /// The JSON path.
        path: &'static str,
        /// The value.
        value: String,
    },
    /// More things to open than one plan can carry.
    #[error(
        "the configuration needs {count} descriptors, and a plan carries at most {limit}: use fewer mounts and devices"
    )]
    TooMany {
        /// How many it needs.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A mount option that cannot be.
    #[error("mount at {destination}")]
    MountOption {
        /// The mount.
        destination: String,
        /// What is wrong with it.
        source: crate::mount_options::MountOptionError,
    },
    /// A capability that is none.
    #[error("process.capabilities")]
    Capability(#[source] cais_linux::creds::capabilities::UnknownCapability),
    /// A limit that is none.
    #[error("process.rlimits: unknown limit {0:?}")]
    Rlimit(String),
    /// Limits that contradict themselves.
    #[error("process.rlimits")]
    RlimitRange(#[source] cais_linux::limits::rlimit::RlimitError),
    /// A level of I/O priority out of range.
    #[error("process.ioPriority")]
    IoPriority(#[source] cais_linux::limits::ioprio::LevelRange),
    /// Two things that exclude each other, or one that needs another.
    #[error("{path}: {problem}")]
    Conflict {
        /// The JSON path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A weight for the OOM killer out of range.
    #[error("process.oomScoreAdj")]
    OomScore(#[source] cais_linux::limits::oom::OomRange),
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
