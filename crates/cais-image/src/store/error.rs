//! Why the store could not do something.

use crate::digest::Digest;
use crate::manifest::ManifestError;
use std::io;
use std::path::Path;

/// The result of an operation on the store.
pub type Result<T> = std::result::Result<T, StoreError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// A file of the store is not as it was written.
    #[error("{path} is damaged: {detail} (see cais system check --repair)")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        detail: String,
    },
    /// A content is another than its name says.
    #[error("the content is {found} and not {wanted}")]
    DigestMismatch {
        /// What it is to be.
        wanted: Digest,
        /// What it is.
        found: Digest,
        /// Whether a part of it came from an earlier attempt, so that another one from the
        /// start may succeed.
        resumed: bool,
    },
    /// A content has another size than its descriptor says.
    #[error("{digest} has {found} bytes and not {wanted}")]
    SizeMismatch {
        /// The content.
        digest: Digest,
        /// Its size by the descriptor.
        wanted: u64,
        /// Its size, or what there was of it.
        found: u64,
    },
    /// More than is read into memory.
    #[error("{digest} has {size} bytes, and at most {limit} are read")]
    TooBig {
        /// The content.
        digest: Digest,
        /// Its size.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A content is not there.
    #[error("{0} is not in the store")]
    NoBlob(Digest),
    /// A manifest or configuration that is refused.
    #[error("{digest}: {source}")]
    Manifest {
        /// The document.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// There is no such image.
    #[error("no such image: {0}")]
    NoImage(String),
    /// A short id fits several images.
    #[error("{text:?} fits {} images: {}", .images.len(), .images.join(", "))]
    AmbiguousId {
        /// What was asked for.
        text: String,
        /// What it fits.
        images: Vec<String>,
    },
    /// The image is used by a container.
    #[error("image {0} is used by a container")]
    InUse(String),
    /// The caller could not tell what is in use.
    #[error("cannot tell what containers use: {0}")]
    Caller(String),
    /// No name for an image.
    #[error("{0:?} cannot name an image")]
    BadName(String),
}

impl StoreError {
    /// Turns a failure of the standard library into one with the action that failed.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// The same, for an action on a path.
    pub(super) fn at(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("{verb} {}", path.display()))
    }

    pub(super) fn damaged(path: &Path, detail: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.display().to_string(),
            detail: detail.into(),
        }
    }

    pub(super) fn manifest(digest: &Digest) -> impl FnOnce(ManifestError) -> Self {
        let digest = digest.clone();
        move |source| Self::Manifest { digest, source }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}
