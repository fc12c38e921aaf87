//! Why a layer was not unpacked.

use crate::tar::TarError;
use cais_linux::SysError;
use rustix::io::Errno;
use std::io;

/// A layer that was not unpacked. The staging directory holds a part of it.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged or cannot be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry that is refused or cannot be made.
    #[error("layer entry {entry:?} at offset {offset}: {problem}")]
    Entry {
        /// The name of the entry, bytes that are no UTF-8 replaced.
        entry: String,
        /// Where its header begins, in bytes from the beginning of the archive.
        offset: u64,
        /// What is wrong.
        problem: Problem,
    },
    /// Something failed that belongs to no entry.
    #[error("unpack a layer: {0}")]
    Staging(Problem),
}

/// What can be wrong with an entry of a layer.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A name without anything in it.
    #[error("the name is empty")]
    EmptyName,
    /// A name that leads out of the tree (CVE-2014-9356).
    #[error("the name {0:?} leads out of the layer")]
    Escapes(String),
    /// The root as anything but a directory (CVE-2021-29136).
    #[error("the root of a layer must be a directory")]
    RootNotDirectory,
    /// A whiteout of nothing, of the directory it stands in, or of the one above.
    #[error("the whiteout {0:?} names no file")]
    BadWhiteout(String),
    /// A name below one that is kept for whiteouts.
    #[error("{0:?} is a name for whiteouts")]
    InsideWhiteout(String),
    /// A file where a directory must be.
    #[error("{0:?} is no directory")]
    ParentNotDirectory(String),
    /// Symbolic links that lead to each other.
    #[error("too many symbolic links in {0:?}")]
    TooManyLinks(String),
    /// A link that points nowhere.
    #[error("the link points to nothing")]
    EmptyLink,
    /// A hard link that names itself, or something in itself.
    #[error("the hard link points to itself")]
    LinkToItself,
    /// A hard link to a directory.
    #[error("the hard link points to the directory {0:?}")]
    LinkToDirectory(String),
    /// The device by which overlayfs hides files (overlayfs.rst, "whiteouts and opaque
    /// directories").
    #[error("a character device 0:0 would hide a file")]
    WhiteoutDevice,
    /// The layer has more of something than is accepted.
    #[error("{what}: more than {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is accepted.
        limit: u64,
    },
    /// The archive cannot be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A call failed.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// The record of the archive cannot be written.
    #[error("write the record of the layer: {0}")]
    Record(io::Error),
}

impl Problem {
    /// A failed call about a path in the layer.
    pub(crate) fn sys(call: &'static str, path: &[u8], errno: Errno) -> Self {
        Self::Sys(SysError::new(call, format!("{:?}", lossy(path)), errno))
    }
}

/// A name for people.
pub(crate) fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
