//! What can go wrong in a use case, in words for the user.

use cais_linux::SysError;
use cais_runtime::error::CreateError;

/// The result of a use case.
pub type Result<T> = std::result::Result<T, EngineError>;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is no such container.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// Several containers begin with these digits.
    #[error("several containers have an id that begins with {0:?}: give more digits")]
    Ambiguous(String),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The short id of the container that has it.
        holder: String,
    },
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container's processes stand still.
    #[error("container {0} is paused: unpause it first")]
    Paused(String),
    /// The container runs.
    #[error("container {0} is running: stop it first, or use --force")]
    Running(String),
    /// Something that the user gave does not fit.
    #[error("{0}")]
    Invalid(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// A file of the store could not be read, written or understood.
    #[error("cannot {action}")]
    Store {
        /// What was to be done, on what.
        action: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A file of the store holds something else than it should.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A system call outside the container's set-up failed.
    #[error("cannot {action}")]
    System {
        /// What was to be done, on what.
        action: String,
        /// The call.
        source: SysError,
    },
    /// A cgroup could not be made, changed or removed.
    #[error("cannot {action}")]
    Cgroup {
        /// What was to be done, on what.
        action: String,
        /// The cause.
        source: cais_linux::cgroups::CgroupError,
    },
    /// The store of images.
    #[error("cannot {action}")]
    Image {
        /// What was to be done.
        action: String,
        /// The cause.
        source: Box<cais_image::store::StoreError>,
    },
    /// A registry.
    #[error("cannot {action}")]
    Registry {
        /// What was to be done.
        action: String,
        /// The cause.
        source: Box<cais_image::registry::RegistryError>,
    },
    /// The configuration of registries.
    #[error(transparent)]
    RegistryConfig(Box<cais_image::registry::ConfigError>),
    /// An archive or a layout of images.
    #[error("cannot {action}")]
    ImageFormat {
        /// What was to be done.
        action: String,
        /// The cause.
        source: Box<cais_image::formats::FormatError>,
    },
    /// A network.
    #[error(transparent)]
    Network(#[from] cais_net::NetError),
    /// The configuration cannot be planned.
    #[error("cannot plan the container")]
    Plan(#[source] cais_runtime::error::PlanError),
    /// The container, or a process in it, was not started.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The monitor of a detached container failed and said why.
    #[error("{message}")]
    Monitor {
        /// Its error, with causes, as it reported it.
        message: String,
        /// The exit code that it stands for.
        code: u8,
    },
}

impl EngineError {
    /// Whether a file could not be written because there is no room for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Store { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// Wraps a failed system call with what it was for.
    pub fn system(action: impl Into<String>) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System {
            action: action.into(),
            source,
        }
    }

    /// Wraps a failed cgroup operation with what it was for.
    pub fn cgroup(action: impl Into<String>) -> impl FnOnce(cais_linux::cgroups::CgroupError) -> Self {
        move |source| Self::Cgroup {
            action: action.into(),
            source,
        }
    }

    /// Wraps a failed operation of the store of images.
    pub fn image(action: impl Into<String>) -> impl FnOnce(cais_image::store::StoreError) -> Self {
        move |source| Self::Image {
            action: action.into(),
            source: Box::new(source),
        }
    }

    /// Wraps what a registry refused or could not.
    pub fn registry(action: impl Into<String>) -> impl FnOnce(cais_image::registry::RegistryError) -> Self {
        move |source| Self::Registry {
            action: action.into(),
            source: Box::new(source),
        }
    }

    /// Wraps a failed reading or writing of an archive of images.
    pub fn image_format(action: impl Into<String>) -> impl FnOnce(cais_image::formats::FormatError) -> Self {
        move |source| Self::ImageFormat {
            action: action.into(),
            source: Box::new(source),
        }
    }

    /// Wraps a failed file operation with what it was for.
    pub fn store(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Store {
            action: action.into(),
            source,
        }
    }
}
