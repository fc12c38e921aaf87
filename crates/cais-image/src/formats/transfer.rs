//! Moving an image from any source to any sink, untouched.

use super::error::{FormatError, Result};
use super::verify::VerifyingReader;
use super::{Entry, Sink, Source};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::manifest::{MAX_JSON, Manifest, parse_manifest};
use std::collections::HashSet;
use std::io::Read;

/// How deep indexes may lie in each other.
const MAX_DEPTH: u32 = 8;

/// What was moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs that were written, and their sizes.
    pub written: Vec<Descriptor>,
    /// Blobs that were there.
    pub present: Vec<Descriptor>,
    /// What the source lacks and may lack: manifests of an index for other platforms, and
    /// layers that are to be fetched from elsewhere.
    pub missing: Vec<Descriptor>,
}

/// Moves what an entry names with all below it, and enters its names. The sink still has to
/// be finished.
///
/// # Errors
/// What the source or the sink fails with; a blob that is not what its descriptor says.
pub fn copy(source: &dyn Source, sink: &mut dyn Sink, entry: &Entry) -> Result<Copied> {
    let mut transfer = Transfer {
        source,
        sink,
        seen: HashSet::new(),
        copied: Copied::default(),
    };
    transfer.tree(&entry.target, 0)?;
    let copied = transfer.copied;
    sink.enter(entry)?;
    Ok(copied)
}

/// Reads a manifest, index or configuration, verified, and at most [`MAX_JSON`] bytes of it
/// (CVE-2023-25153).
///
/// # Errors
/// [`FormatError::TooBig`]; [`FormatError::NoBlob`]; where it is not what the descriptor says.
pub fn read_document(source: &dyn Source, blob: &Descriptor) -> Result<Vec<u8>> {
    let name = blob.digest.to_string();
    if blob.size > MAX_JSON {
        let limit = MAX_JSON;
        return Err(FormatError::TooBig { name, limit });
    }
    let mut bytes = Vec::new();
    VerifyingReader::new(source.blob(blob)?, blob)
        .read_to_end(&mut bytes)
        .map_err(FormatError::io(format!("read {name}")))?;
    Ok(bytes)
}

/// Whether a media type is that of an index or a manifest.
pub(super) fn is_manifest(media_type: &str) -> bool {
    matches!(
        media_type,
        MediaType::INDEX | MediaType::DOCKER_INDEX | MediaType::MANIFEST | MediaType::DOCKER_MANIFEST
    )
}

struct Transfer<'a> {
    source: &'a dyn Source,
    sink: &'a mut dyn Sink,
    seen: HashSet<Digest>,
    copied: Copied,
}

impl Transfer<'_> {
    fn tree(&mut self, blob: &Descriptor, depth: u32) -> Result<()> {
        if !is_manifest(&blob.media_type) {
            return self.one(blob);
        }
        let bytes = read_document(self.source, blob)?;
        let manifest = parse_manifest(&bytes, Some(&blob.media_type))
            .map_err(FormatError::manifest(blob.digest.as_str()))?;
        match &manifest {
            Manifest::Index(_) if depth == MAX_DEPTH => {
                let detail = format!("more than {MAX_DEPTH} indexes in each other");
                return Err(FormatError::file(blob.digest.as_str(), detail));
            }
            Manifest::Index(index) => {
                let mut lacks_all = None;
                for child in &index.manifests {
                    if self.source.has(child)? {
                        self.tree(child, depth + 1)?;
                        lacks_all = Some(false);
                    } else {
                        self.copied.missing.push(child.clone());
                        lacks_all.get_or_insert(true);
                    }
                }
                if lacks_all == Some(true) {
                    return Err(FormatError::NoBlob(index.manifests[0].digest.clone()));
                }
            }
            Manifest::Image(image) => {
                for child in image.layers.iter().chain([&image.config]) {
                    let is_elsewhere =
                        child.media_type == MediaType::DOCKER_FOREIGN_LAYER || !child.urls.is_empty();
                    if is_elsewhere && !self.source.has(child)? {
                        self.copied.missing.push(child.clone());
                    } else {
                        self.one(child)?;
                    }
                }
            }
        }
        self.one(blob)
    }

    fn one(&mut self, blob: &Descriptor) -> Result<()> {
        if !self.seen.insert(blob.digest.clone()) {
            return Ok(());
        }
        if self.sink.has(blob)? {
            self.copied.present.push(blob.clone());
            return Ok(());
        }
        let mut content = VerifyingReader::new(self.source.blob(blob)?, blob);
        self.sink.put(blob, &mut content)?;
        self.copied.written.push(blob.clone());
        Ok(())
    }
}
