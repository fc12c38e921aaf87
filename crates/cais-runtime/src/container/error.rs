//! What can go wrong with a container. Several texts are runc's own words: containerd, Docker
//! and Podman look for them.

use super::state::Status;
use crate::error::{CreateError, PlanError};
use cais_linux::SysError;
use cais_linux::cgroups::CgroupError;
use cais_linux::cgroups::systemd::SystemdError;
use std::path::PathBuf;

/// The result of anything done with a container.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The id is none.
    #[error(
        "invalid container ID {0:?}: it may hold letters, digits and _+-. and at most 1024 of them, and is not . or .."
    )]
    BadId(String),
    /// There is a container with this id.
    #[error("container with given ID already exists: {0:?}")]
    Exists(String),
    /// There is no container with this id.
    #[error("container does not exist: {0:?}")]
    NotFound(String),
    /// The container is not in a state in which this can be done.
    #[error("{0}")]
    Wrong(String),
    /// A file of JSON is not what it should be.
    #[error("{}", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the JSON path.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Arguments that exclude each other, or that are missing.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("cannot {action}")]
    File {
        /// What was to be done, on what.
        action: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A system call failed.
    #[error("cannot {action}")]
    System {
        /// What was to be done, on what.
        action: String,
        /// The call.
        source: SysError,
    },
    /// A cgroup.
    #[error("cannot {action}")]
    Cgroup {
        /// What was to be done.
        action: String,
        /// Why not.
        source: CgroupError,
    },
    /// systemd, which makes the cgroup.
    #[error("cannot {action}")]
    Systemd {
        /// What was to be done.
        action: String,
        /// Why not.
        source: SystemdError,
    },
    /// CRIU refused.
    #[error("{problem}{}\nlog file: {}", said.iter().map(|line| format!("\n{line}")).collect::<String>(), log.display())]
    Criu {
        /// What it answered.
        problem: String,
        /// The lines of its log that tell of errors.
        said: Vec<String>,
        /// Its log.
        log: PathBuf,
    },
    /// A hook failed.
    #[error("error running {kind} hook #{index}: {path}: {problem}")]
    Hook {
        /// The kind: `prestart`.
        kind: &'static str,
        /// Which of them.
        index: usize,
        /// The program.
        path: String,
        /// What happened, and what it said.
        problem: String,
    },
    /// The configuration cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The process was not started.
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl RuntimeError {
    /// Wraps a failed call with what it was for.
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System {
            action: action.into(),
            source,
        }
    }

    /// Wraps an error of the standard library with what it was for.
    pub(crate) fn file(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::File {
            action: action.into(),
            source,
        }
    }

    /// Wraps a failed cgroup operation with what it was for.
    pub(crate) fn cgroup(action: impl Into<String>) -> impl FnOnce(CgroupError) -> Self {
        move |source| Self::Cgroup {
            action: action.into(),
            source,
        }
    }

    /// The container is `status`, and `what` cannot be done then.
    pub(crate) fn wrong(what: &str, status: Status) -> Self {
        Self::Wrong(format!("{what}: it is {status}"))
    }
}
