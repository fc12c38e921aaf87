//! `oci-layout` and `index.json`, so that every tool that reads an OCI layout reads the
//! store. Nothing of the store reads `index.json`: it is made from `images/`.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{read_file, write_file};
use super::lock::LockFile;
use super::record::Record;
use crate::descriptor::MediaType;
use crate::manifest::{Index, MAX_JSON};
use std::path::Path;

/// The content of `oci-layout` (image-spec, "Image Layout").
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The annotation of a name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

impl ContentStore {
    /// Writes `index.json` anew. Under its own lock, so that of two who do it the later one
    /// reads what the earlier one's names were.
    pub(super) fn refresh_index(&self) -> Result<()> {
        let lock = LockFile::acquire(self.locks_directory().join("index"))?;
        let path = self.oci().join("index.json");
        let bytes = self.render_index()?;
        if read_file(&path, MAX_INDEX)?.as_deref() != Some(bytes.as_slice()) {
            write_file(self, &path, &bytes)?;
        }
        drop(lock);
        Ok(())
    }

    /// The same after a removal: with a full disk, what is to make room must not fail for want
    /// of it. A collection writes it then.
    pub(super) fn refresh_index_if_there_is_room(&self) -> Result<()> {
        match self.refresh_index() {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            other => other,
        }
    }

    /// Whether `index.json` says what the names say.
    pub(super) fn is_index_current(&self) -> Result<bool> {
        let lock = LockFile::acquire(self.locks_directory().join("index"))?;
        let found = read_file(&self.oci().join("index.json"), MAX_INDEX)?;
        let is_current = found.as_deref() == Some(self.render_index()?.as_slice());
        drop(lock);
        Ok(is_current)
    }

    fn render_index(&self) -> Result<Vec<u8>> {
        let mut index = Index {
            schema_version: 2,
            media_type: Some(MediaType::INDEX.to_owned()),
            ..Index::default()
        };
        let records = self.read_records()?;
        let sound = records.into_iter().filter_map(|found| found.record.ok());
        index.manifests = sound
            .map(|Record { name, mut target, .. }| {
                target.annotations.remove(REF_NAME);
                if let Some(name) = name {
                    target.annotations.insert(REF_NAME.to_owned(), name);
                }
                target
            })
            .collect();
        cais_json::to_vec(&index).map_err(|error| StoreError::damaged(&self.oci(), error.to_string()))
    }
}

/// Our own index may list many images.
const MAX_INDEX: u64 = 32 * MAX_JSON;

/// Checks `oci-layout`, or writes it where it is missing.
pub(super) fn ensure_layout(store: &ContentStore, path: &Path) -> Result<()> {
    match read_file(path, MAX_JSON)? {
        None => write_file(store, path, LAYOUT),
        // As a power cut may leave it.
        Some(bytes) if bytes.is_empty() => write_file(store, path, LAYOUT),
        Some(bytes) => check_layout(&bytes).map_err(|detail| StoreError::damaged(path, detail)),
    }
}

/// Checks the content of an `oci-layout`.
pub(crate) fn check_layout(bytes: &[u8]) -> std::result::Result<(), String> {
    let value: cais_json::Value = cais_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match value["imageLayoutVersion"].as_str() {
        Some("1.0.0") => Ok(()),
        other => Err(format!("imageLayoutVersion is {other:?}, and 1.0.0 is known")),
    }
}
