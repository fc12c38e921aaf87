//! Docker's archive, written as Docker 25 and later do: an OCI layout and a `manifest.json`
//! that names the same blobs, in one archive, so that every Docker and every reader of OCI
//! layouts takes it.
//!
//! Layers are written without compression, since readers of `manifest.json` expect them so;
//! the diff_ids, and so the id of the image, stay the same.

use super::archive::{ArchiveWriter, SpoolOptions, decompress};
use super::docker_archive::Item;
use super::error::{FormatError, Result};
use super::oci_layout::{CONTAINERD_NAME, blob_name, empty_index, write_directories};
use super::transfer::is_manifest;
use super::{Entry, Sink};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::{Digest, Hasher};
use crate::manifest::{ImageManifest, Index, MAX_JSON, Manifest, parse_manifest};
use crate::store::{LAYOUT, REF_NAME};
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, Write};

/// Docker's archive that is written.
pub struct DockerArchiveSink<W: Write> {
    archive: ArchiveWriter<W>,
    spool: SpoolOptions,
    /// Manifests, indexes and configurations.
    documents: HashMap<Digest, Vec<u8>>,
    /// Layers by what they came as: what they are in the archive.
    layers: HashMap<Digest, Descriptor>,
    written: HashSet<Digest>,
    directories: HashSet<String>,
    items: Vec<Item>,
    index: Index,
}

impl<W: Write> std::fmt::Debug for DockerArchiveSink<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerArchiveSink")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<W: Write> DockerArchiveSink<W> {
    /// Writes an archive to a file or pipe. Layers are decompressed by way of `spool`.
    pub fn new(inner: W, spool: SpoolOptions) -> Self {
        Self {
            archive: ArchiveWriter::new(inner),
            spool,
            documents: HashMap::new(),
            layers: HashMap::new(),
            written: HashSet::new(),
            directories: HashSet::new(),
            items: Vec::new(),
            index: empty_index(),
        }
    }

    fn write_blob(&mut self, digest: &Digest, size: u64, content: &mut dyn Read) -> Result<()> {
        if self.written.insert(digest.clone()) {
            write_directories(&mut self.archive, &mut self.directories, digest.algorithm())?;
            self.archive.file(&blob_name(digest), size, content)?;
        }
        Ok(())
    }

    /// Writes a layer without its compression.
    fn put_layer(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let failed = || FormatError::io(format!("read {}", blob.digest));
        let (mut file, hasher, size) = {
            let (mut plain, is_compressed) = decompress(Box::new(&mut *content)).map_err(failed())?;
            if !is_compressed {
                self.layers.insert(blob.digest.clone(), blob.clone());
                return self.write_blob(&blob.digest, blob.size, &mut plain);
            }
            let mut hashing = Hashing {
                inner: plain,
                hasher: Hasher::sha256(),
                count: 0,
            };
            let file = self.spool.fill(&mut hashing, blob.digest.as_str())?;
            (file, hashing.hasher, hashing.count)
        };
        // What lies behind the compressed part is verified too.
        io::copy(content, &mut io::sink()).map_err(failed())?;
        file.rewind().map_err(failed())?;
        let is_docker = blob.media_type == MediaType::DOCKER_LAYER_GZIP;
        let media_type = if is_docker {
            MediaType::DOCKER_LAYER
        } else {
            MediaType::LAYER
        };
        let layer = Descriptor::new(media_type, hasher.finish(), size);
        self.write_blob(&layer.digest, size, &mut file)?;
        self.layers.insert(blob.digest.clone(), layer);
        Ok(())
    }

    /// The image of an entry: of an index, the first that is there.
    fn image(&self, target: &Descriptor) -> Result<(Vec<u8>, ImageManifest, Descriptor)> {
        let mut waiting = vec![target.clone()];
        while let Some(next) = waiting.pop() {
            let Some(bytes) = self.documents.get(&next.digest) else {
                continue;
            };
            match parse_manifest(bytes, Some(&next.media_type))
                .map_err(FormatError::manifest(next.digest.as_str()))?
            {
                Manifest::Image(image) => return Ok((bytes.clone(), *image, next)),
                Manifest::Index(index) => {
                    let manifests = index.manifests.into_iter().rev();
                    waiting.extend(manifests.filter(|manifest| is_manifest(&manifest.media_type)));
                }
            }
        }
        Err(FormatError::NoBlob(target.digest.clone()))
    }
}

struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    count: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        Ok(count)
    }
}

fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

impl<W: Write> Sink for DockerArchiveSink<W> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        Ok(self.layers.contains_key(&blob.digest) || self.documents.contains_key(&blob.digest))
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        if is_layer(&blob.media_type) {
            return self.put_layer(blob, content);
        }
        if blob.size > MAX_JSON {
            let what = format!("a {} of {} bytes", blob.media_type, blob.size);
            return Err(FormatError::Unsupported(what));
        }
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(FormatError::io(format!("read {}", blob.digest)))?;
        self.documents.insert(blob.digest.clone(), bytes);
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let (mut bytes, mut manifest, mut target) = self.image(&entry.target)?;
        let before = manifest.layers.clone();
        for layer in &mut manifest.layers {
            let found = self.layers.get(&layer.digest);
            let found = found.ok_or_else(|| FormatError::NoBlob(layer.digest.clone()))?;
            if found.digest != layer.digest {
                *layer = found.clone();
            }
        }
        if manifest.layers != before {
            bytes = cais_json::to_vec(&manifest)
                .map_err(|error| FormatError::file("manifest.json", error.to_string()))?;
            target = Descriptor::new(&target.media_type, Digest::of(&bytes), bytes.len() as u64);
        }
        let config = self.documents.get(&manifest.config.digest).cloned();
        let config = config.ok_or_else(|| FormatError::NoBlob(manifest.config.digest.clone()))?;
        self.write_blob(
            &manifest.config.digest,
            config.len() as u64,
            &mut config.as_slice(),
        )?;
        self.write_blob(&target.digest, bytes.len() as u64, &mut bytes.as_slice())?;
        // Docker takes names with tags only.
        let tags: Vec<String> = entry
            .names
            .iter()
            .filter(|name| !name.contains('@'))
            .cloned()
            .collect();
        for name in &tags {
            let mut named = target.clone();
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            named.annotations.insert(CONTAINERD_NAME.to_owned(), name.clone());
            named.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            self.index.manifests.push(named);
        }
        if tags.is_empty() {
            self.index.manifests.push(target);
        }
        self.items.push(Item {
            config: blob_name(&manifest.config.digest),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: Some(
                manifest
                    .layers
                    .iter()
                    .map(|layer| blob_name(&layer.digest))
                    .collect(),
            ),
        });
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let index = cais_json::to_vec(&self.index);
        let items = cais_json::to_vec(&self.items);
        for (name, bytes) in [
            ("index.json", index),
            ("manifest.json", items),
            ("oci-layout", Ok(LAYOUT.to_vec())),
        ] {
            let bytes = bytes.map_err(|error| FormatError::file(name, error.to_string()))?;
            self.archive
                .file(name, bytes.len() as u64, &mut bytes.as_slice())?;
        }
        self.archive.finish()
    }
}
