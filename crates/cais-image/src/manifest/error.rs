//! Why a manifest, an index or a configuration is refused.

use crate::digest::Digest;

/// A document that is refused. Where a `path` is given, it is the place in the JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// More than [`super::MAX_JSON`] bytes.
    #[error("{size} bytes of JSON: at most {limit} are read")]
    TooBig {
        /// Its size in bytes.
        size: u64,
        /// The most that is read.
        limit: u64,
    },
    /// Not JSON, or not of the form of the specification: a missing key, a negative size, a
    /// key twice.
    #[error("at {path}: {detail}")]
    Json {
        /// The place, `.` for the whole.
        path: String,
        /// What is wrong there.
        detail: String,
    },
    /// Both a list of manifests and an image, so that two readers may see two different
    /// images (CVE-2021-41190).
    #[error("the document can be read as two things: it has {first:?} and {second:?}")]
    Ambiguous {
        /// A key.
        first: String,
        /// The key that does not go with it.
        second: String,
    },
    /// It says to be something else than what it was fetched as (CVE-2021-41190).
    #[error("its mediaType is {found:?}, and {expected:?} was announced")]
    MediaTypeMismatch {
        /// As it was announced: the Content-Type, or the descriptor.
        expected: String,
        /// As it says itself.
        found: String,
    },
    /// Neither an index nor a manifest.
    #[error("{0:?} is neither an index nor an image manifest")]
    UnknownMediaType(String),
    /// Docker's schema 1, which has been out of use since 2016.
    #[error(
        "a manifest of Docker's schema 1, which is not supported: push the image again with a current tool"
    )]
    Schema1,
    /// An unknown version of the schema.
    #[error("schemaVersion is {0}, and 2 is known")]
    SchemaVersion(u32),
    /// It has not what makes it what it is to be.
    #[error("it is to be {kind}, and has no {key:?}")]
    Missing {
        /// `an index` or `an image manifest`.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A size that no file can have.
    #[error("at {path}: a size of {size} bytes")]
    Size {
        /// The place.
        path: String,
        /// The size.
        size: u64,
    },
    /// A content within a descriptor that is not the one that the descriptor names.
    #[error("at {path}: the embedded data is not {digest}: {detail}")]
    EmbeddedData {
        /// The place.
        path: String,
        /// What it is to be.
        digest: Digest,
        /// What is wrong.
        detail: String,
    },
    /// A configuration for another number of layers than the manifest has.
    #[error("the configuration has {diff_ids} diff_ids and the manifest {layers} layers")]
    LayerCount {
        /// How many the configuration has.
        diff_ids: usize,
        /// How many the manifest has.
        layers: usize,
    },
    /// A `rootfs` of an unknown type.
    #[error("at rootfs.type: {0:?}, and \"layers\" is known")]
    RootFsType(String),
}
