//! Docker's archives, as `docker save` before version 25, podman and skopeo write them: a
//! `manifest.json` that names a configuration and layers by their names in the archive (moby,
//! "Docker Image Specification v1.2"). From 25 on they are OCI layouts too, and read as such.
//!
//! There is no manifest in it; one of Docker's schema 2 is made, which is what keeps the keys
//! that only Docker has.

use super::archive::Archive;
use super::error::{FormatError, Result};
use super::oci_layout::read_small;
use super::{Entry, Source};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::{Digest, Hasher};
use crate::manifest::{ImageManifest, parse_config};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};

/// An image as `manifest.json` has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
}

/// Docker's archive, read.
#[derive(Debug)]
pub struct DockerArchive {
    archive: Archive,
    entries: Vec<Entry>,
    blobs: HashMap<Digest, Content>,
}

#[derive(Debug)]
enum Content {
    /// Made here.
    Bytes(Vec<u8>),
    /// In the archive, by its name there.
    Named(String),
}

impl DockerArchive {
    /// Reads what is in an archive.
    ///
    /// # Errors
    /// [`FormatError::File`] where `manifest.json` does not fit what is there;
    /// [`FormatError::Manifest`].
    pub fn open(archive: Archive) -> Result<Self> {
        let name = "manifest.json";
        let bytes = read_small(&archive, name)?;
        let bytes = bytes.ok_or(FormatError::Unknown("there is no manifest.json in it"))?;
        let items: Vec<Item> =
            cais_json::from_slice(&bytes).map_err(|error| FormatError::file(name, error.to_string()))?;
        let mut docker = Self {
            archive,
            entries: Vec::new(),
            blobs: HashMap::new(),
        };
        for item in items {
            docker.add(item)?;
        }
        Ok(docker)
    }

    fn add(&mut self, item: Item) -> Result<()> {
        let missing =
            |name: &str| FormatError::file("manifest.json", format!("{name:?} is not in the archive"));
        let bytes = read_small(&self.archive, &item.config)?.ok_or_else(|| missing(&item.config))?;
        let parsed = parse_config(&bytes).map_err(FormatError::manifest(&item.config))?;
        let config = Descriptor::new(MediaType::DOCKER_CONFIG, Digest::of(&bytes), bytes.len() as u64);
        let names = item.layers.unwrap_or_default();
        let mut layers = Vec::new();
        for (number, name) in names.iter().enumerate() {
            if !self.archive.has(name) {
                return Err(missing(name));
            }
            let diff_id = parsed.rootfs.diff_ids.get(number);
            let layer = self.layer(name, diff_id)?;
            self.blobs
                .insert(layer.digest.clone(), Content::Named(name.clone()));
            layers.push(layer);
        }
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(MediaType::DOCKER_MANIFEST.to_owned()),
            artifact_type: None,
            config: config.clone(),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            other: cais_json::Map::new(),
        };
        parsed
            .check_against(&manifest)
            .map_err(FormatError::manifest(&item.config))?;
        let made = cais_json::to_vec(&manifest)
            .map_err(|error| FormatError::file("manifest.json", error.to_string()))?;
        let target = Descriptor::new(MediaType::DOCKER_MANIFEST, Digest::of(&made), made.len() as u64);
        self.blobs.insert(config.digest, Content::Bytes(bytes));
        self.blobs.insert(target.digest.clone(), Content::Bytes(made));
        let names = item.repo_tags.unwrap_or_default();
        match self.entries.iter_mut().find(|entry| entry.target == target) {
            Some(entry) => entry.names.extend(names),
            None => self.entries.push(Entry { names, target }),
        }
        Ok(())
    }

    /// The descriptor of a layer. One that is not compressed is the diff_id, which is verified
    /// when it is read; for another one its digest is computed here.
    fn layer(&self, name: &str, diff_id: Option<&Digest>) -> Result<Descriptor> {
        let failed = || FormatError::io(format!("read {name}"));
        let section = || {
            let file = self.archive.file(name);
            file.ok_or_else(|| FormatError::file(name, "it is not in the archive"))
        };
        let size = self.archive.size(name).unwrap_or(0);
        let mut head = Vec::new();
        section()?.take(4).read_to_end(&mut head).map_err(failed())?;
        let media_type = if head.starts_with(&[0x1f, 0x8b]) {
            MediaType::DOCKER_LAYER_GZIP
        } else if head == [0x28, 0xb5, 0x2f, 0xfd] {
            MediaType::LAYER_ZSTD
        } else if let Some(diff_id) = diff_id {
            return Ok(Descriptor::new(MediaType::DOCKER_LAYER, diff_id.clone(), size));
        } else {
            MediaType::DOCKER_LAYER
        };
        let (mut content, mut hasher) = (section()?, Hasher::sha256());
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = content.read(&mut buffer).map_err(failed())?;
            if count == 0 {
                return Ok(Descriptor::new(media_type, hasher.finish(), size));
            }
            hasher.update(&buffer[..count]);
        }
    }
}

impl Source for DockerArchive {
    fn manifests(&self) -> Result<Vec<Entry>> {
        Ok(self.entries.clone())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.blobs.contains_key(&blob.digest))
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let missing = || FormatError::NoBlob(blob.digest.clone());
        match self.blobs.get(&blob.digest).ok_or_else(missing)? {
            Content::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes))),
            Content::Named(name) => Ok(Box::new(self.archive.file(name).ok_or_else(missing)?)),
        }
    }
}
