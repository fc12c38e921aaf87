//! Registries as a source and as a sink.

use super::error::{FormatError, Result};
use super::transfer::is_manifest;
use super::{Entry, Sink, Source};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::reference::{Reference, Target};
use crate::registry::{Endpoint, RegistryError, Remote, Started};
use std::collections::HashMap;
use std::io::{Cursor, Read};

/// An image in a registry, or in one of its mirrors.
#[derive(Debug)]
pub struct RegistrySource<'a> {
    remote: &'a Remote,
    reference: &'a Reference,
}

impl<'a> RegistrySource<'a> {
    /// What a reference names.
    #[must_use]
    pub fn new(remote: &'a Remote, reference: &'a Reference) -> Self {
        Self { remote, reference }
    }
}

fn failed(error: RegistryError) -> FormatError {
    FormatError::Registry(Box::new(error))
}

impl Source for RegistrySource<'_> {
    fn manifests(&self) -> Result<Vec<Entry>> {
        let target = self
            .remote
            .head_manifest(&self.reference.target())
            .map_err(failed)?;
        Ok(vec![Entry {
            names: vec![self.reference.to_string()],
            target,
        }])
    }

    fn has(&self, blob: &Descriptor) -> Result<bool> {
        let asked = if is_manifest(&blob.media_type) {
            let target = Target::Digest(blob.digest.clone());
            self.remote.head_manifest(&target).map(drop)
        } else {
            self.remote.each(|endpoint| {
                let found = endpoint.registry.head_blob(&endpoint.repository, &blob.digest)?;
                found.map(drop).ok_or_else(|| RegistryError::NotFound {
                    registry: endpoint.registry.name().to_owned(),
                    what: format!("blob {}@{}", endpoint.repository, blob.digest),
                    said: crate::registry::Said::default(),
                })
            })
        };
        match asked {
            Ok(()) => Ok(true),
            Err(RegistryError::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        if is_manifest(&blob.media_type) {
            let fetched = self.remote.fetch_manifest_of(blob).map_err(failed)?;
            return Ok(Box::new(Cursor::new(fetched.bytes)));
        }
        let remote = self.remote;
        let first = remote.start_of_blob(blob).map_err(failed)?;
        Ok(Box::new(first))
    }
}

/// A repository of a registry as where an image goes. Blobs go by as they come: nothing is
/// kept here but a piece at a time.
#[derive(Debug)]
pub struct RegistrySink<'a> {
    to: &'a Endpoint,
    /// A repository of the same registry that may have the blobs.
    from: Option<String>,
    manifests: HashMap<Digest, Vec<u8>>,
}

impl<'a> RegistrySink<'a> {
    /// Into this repository. `from` is one of the same registry, out of which blobs are
    /// mounted.
    #[must_use]
    pub fn new(to: &'a Endpoint, from: Option<String>) -> Self {
        Self {
            to,
            from,
            manifests: HashMap::new(),
        }
    }
}

impl Sink for RegistrySink<'_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        let Endpoint {
            registry, repository, ..
        } = self.to;
        // Manifests are few and small, and their names are given with them.
        if is_manifest(&blob.media_type) {
            return Ok(false);
        }
        let there = registry.head_blob(repository, &blob.digest).map_err(failed)?;
        if there.is_some() {
            return Ok(true);
        }
        let Some(from) = &self.from else {
            return Ok(false);
        };
        match registry.mount_blob(repository, &blob.digest, Some(from)) {
            Ok(Started::Mounted) => Ok(true),
            Ok(Started::Upload(upload)) => {
                // It forgets it anyway.
                upload.cancel().unwrap_or_default();
                Ok(false)
            }
            Err(RegistryError::Auth { .. } | RegistryError::Refused { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let Endpoint {
            registry, repository, ..
        } = self.to;
        if !is_manifest(&blob.media_type) {
            return registry
                .push_stream(repository, blob, content)
                .map_err(|error| match error {
                    RegistryError::Source(error) => FormatError::io(format!("read {}", blob.digest))(error),
                    error => failed(error),
                });
        }
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(FormatError::io(format!("read {}", blob.digest)))?;
        let target = Target::Digest(blob.digest.clone());
        registry
            .put_manifest(repository, &target, &blob.media_type, &bytes)
            .map_err(failed)?;
        self.manifests.insert(blob.digest.clone(), bytes);
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let Endpoint {
            registry, repository, ..
        } = self.to;
        for name in &entry.names {
            let reference: Reference = name.parse().map_err(|error: crate::reference::BadReference| {
                FormatError::file("name", error.to_string())
            })?;
            let Target::Tag(tag) = reference.target() else {
                continue;
            };
            let bytes = self.manifests.get(&entry.target.digest);
            let bytes = bytes.ok_or_else(|| FormatError::NoBlob(entry.target.digest.clone()))?;
            registry
                .put_manifest(repository, &Target::Tag(tag), &entry.target.media_type, bytes)
                .map_err(failed)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
