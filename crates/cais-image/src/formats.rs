//! Images outside of the store: OCI layouts, as directories and as archives, and Docker's
//! archives; recognised by what is in them, never by what they are called.
//!
//! Whatever an image can come from is a [`Source`], whatever it can go to a [`Sink`], and
//! [`copy`] moves one from any to any, byte for byte.

mod archive;
mod docker_archive;
mod docker_write;
mod error;
mod location;
mod oci_layout;
mod registry;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

pub use archive::{Archive, SpoolOptions};
pub use docker_archive::DockerArchive;
pub use docker_write::DockerArchiveSink;
pub use error::{FormatError, Result};
pub use location::{BadLocation, Location};
pub use oci_layout::{Directory, Files, OciArchiveSink, OciDirectory, OciDirectorySink, OciLayout};
pub use registry::{RegistrySink, RegistrySource};
pub use store::{Entered, Rebuild, StoreSink, StoreSource};
pub use transfer::{Copied, copy, read_document};
pub use verify::VerifyingReader;

use crate::descriptor::Descriptor;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// One thing that a source offers: an index or a manifest, with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its names as they stand there: full ones, or only a tag, or none.
    pub names: Vec<String>,
    /// What they name.
    pub target: Descriptor,
}

/// What an image can come from.
pub trait Source {
    /// What it offers.
    ///
    /// # Errors
    /// Where it cannot be read, or is not what it is to be.
    fn manifests(&self) -> Result<Vec<Entry>>;

    /// Whether it has a blob. A layout may lack some (image-spec, "Image Layout").
    ///
    /// # Errors
    /// Where it cannot be read.
    fn has(&self, blob: &Descriptor) -> Result<bool>;

    /// Opens a blob. Its bytes are not verified: see [`VerifyingReader`].
    ///
    /// # Errors
    /// [`FormatError::NoBlob`]; where it cannot be read.
    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>>;
}

/// What an image can go to.
pub trait Sink {
    /// Whether it has a blob, which then need not be written.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn has(&mut self, blob: &Descriptor) -> Result<bool>;

    /// Takes a blob. What a blob names comes before it.
    ///
    /// # Errors
    /// Where it cannot be written; what `content` fails with.
    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()>;

    /// Takes the names of something whose blobs were taken.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn enter(&mut self, entry: &Entry) -> Result<()>;

    /// Makes it whole. Without this call there may be nothing that can be read.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn finish(&mut self) -> Result<()>;
}

/// Opens a directory or file as what it is: an OCI layout, an archive of one, or Docker's
/// archive, the last two also compressed by gzip or zstd.
///
/// # Errors
/// [`FormatError::Unknown`]; where it cannot be read.
pub fn open_path(path: &Path, spool: &SpoolOptions) -> Result<Box<dyn Source>> {
    let file = File::open(path).map_err(FormatError::at("open", path))?;
    let metadata = file.metadata().map_err(FormatError::at("look at", path))?;
    if metadata.is_dir() {
        Ok(Box::new(OciDirectory::open_directory(path)?))
    } else {
        open_archive(file, spool)
    }
}

/// Opens an archive, which may be a pipe.
///
/// # Errors
/// As [`open_path`].
pub fn open_archive(file: File, spool: &SpoolOptions) -> Result<Box<dyn Source>> {
    let archive = Archive::open(file, spool)?;
    if archive.has("oci-layout") && archive.has("index.json") {
        Ok(Box::new(OciLayout::open(archive)?))
    } else if archive.has("manifest.json") {
        Ok(Box::new(DockerArchive::open(archive)?))
    } else if archive.has("repositories") {
        Err(FormatError::Unknown(
            "an archive by a Docker from before 1.10, which is not supported",
        ))
    } else {
        Err(FormatError::Unknown(
            "an archive, but neither with oci-layout and index.json nor with manifest.json",
        ))
    }
}
