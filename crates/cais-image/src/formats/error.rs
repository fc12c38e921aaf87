//! Why an image cannot be read from or written to somewhere.

use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::store::StoreError;
use std::io;
use std::path::Path;

/// The result of reading and writing images.
pub type Result<T> = std::result::Result<T, FormatError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// Nothing that is known.
    #[error("it is no image: {0}")]
    Unknown(&'static str),
    /// An archive that is damaged or hostile.
    #[error("the archive is refused at byte {offset}: {detail}")]
    Archive {
        /// Where in the archive, without compression.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
    /// A file of it that is not as it should be.
    #[error("{name}: {detail}")]
    File {
        /// Its name there.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// A manifest, index or configuration that is refused.
    #[error("{name}: {source}")]
    Manifest {
        /// Its name or digest.
        name: String,
        /// Why.
        source: ManifestError,
    },
    /// A blob that is not there.
    #[error("{0} is missing")]
    NoBlob(Digest),
    /// More than is taken.
    #[error("{name}: more than {limit} bytes")]
    TooBig {
        /// What.
        name: String,
        /// The most that is taken.
        limit: u64,
    },
    /// Something that this format cannot hold.
    #[error("this format cannot hold {0}")]
    Unsupported(String),
    /// A registry.
    #[error(transparent)]
    Registry(Box<crate::registry::RegistryError>),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FormatError {
    /// Wraps a failed reading or writing with what it was for.
    pub fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(super) fn at(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }

    pub(super) fn manifest(name: &str) -> impl FnOnce(ManifestError) -> Self {
        let name = name.to_owned();
        move |source| Self::Manifest { name, source }
    }

    pub(super) fn file(name: &str, detail: impl Into<String>) -> Self {
        Self::File {
            name: name.to_owned(),
            detail: detail.into(),
        }
    }
}
