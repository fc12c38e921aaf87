//! The store as a source and as a sink.

use super::error::{FormatError, Result};
use super::transfer::is_manifest;
use super::{Entry, Sink, Source};
use crate::descriptor::Descriptor;
use crate::manifest::{Index, Manifest};
use crate::store::{Claim, ContentStore, Lease, Record};
use std::io::{self, Read};

/// Makes a layer's blob again, of which only the unpacked form is kept, bit for bit; `None`
/// where that cannot be done.
pub type Rebuild<'a> = dyn Fn(&Descriptor) -> Result<Option<Box<dyn Read + 'a>>> + 'a;

/// Images of the store.
pub struct StoreSource<'a> {
    store: &'a ContentStore,
    entries: Vec<Entry>,
    rebuild: Option<&'a Rebuild<'a>>,
}

impl std::fmt::Debug for StoreSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSource")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl<'a> StoreSource<'a> {
    /// These of its images. The caller holds a lease on them. `rebuild` is asked for blobs
    /// that are not there.
    #[must_use]
    pub fn new(store: &'a ContentStore, entries: Vec<Entry>, rebuild: Option<&'a Rebuild<'a>>) -> Self {
        Self {
            store,
            entries,
            rebuild,
        }
    }

    fn open(&self, blob: &Descriptor) -> Result<Option<Box<dyn Read + 'a>>> {
        if self.store.has_blob(blob)?
            && let Some(file) = self.store.open_blob(&blob.digest)?
        {
            return Ok(Some(Box::new(file)));
        }
        self.rebuild.map_or(Ok(None), |rebuild| rebuild(blob))
    }
}

impl Source for StoreSource<'_> {
    fn manifests(&self) -> Result<Vec<Entry>> {
        Ok(self.entries.clone())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.open(blob)?.is_some())
    }

    fn blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + '_>> {
        match self.open(blob)? {
            Some(content) => Ok(content),
            None => Err(FormatError::NoBlob(blob.digest.clone())),
        }
    }
}

/// Chooses the manifest of an index for this machine.
type Select<'a> = dyn Fn(&Index) -> Option<Descriptor> + 'a;

/// An image that is in the store and has no name there yet.
#[derive(Debug)]
pub struct Entered {
    /// What it is to be called, and what its names point at.
    pub entry: Entry,
    /// The manifest that was chosen.
    pub manifest: Descriptor,
}

/// The store as where an image goes. Layers go in as blobs; to unpack them is another step.
/// Names are given when it is finished: what has one can be run, and whoever takes it away
/// does not disturb what is done before.
pub struct StoreSink<'a> {
    store: &'a ContentStore,
    lease: &'a Lease,
    select: Option<&'a Select<'a>>,
    entered: Vec<Entered>,
    records: Vec<Record>,
}

impl std::fmt::Debug for StoreSink<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSink")
            .field("entered", &self.entered)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl<'a> StoreSink<'a> {
    /// Into this store. `select` chooses from an index; without it, the first manifest that is
    /// there is taken.
    #[must_use]
    pub fn new(store: &'a ContentStore, lease: &'a Lease, select: Option<&'a Select<'a>>) -> Self {
        Self {
            store,
            lease,
            select,
            entered: Vec::new(),
            records: Vec::new(),
        }
    }

    /// What was entered and is to be named.
    #[must_use]
    pub fn entered(&self) -> &[Entered] {
        &self.entered
    }

    /// What was named.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    fn choose(&self, target: &Descriptor) -> Result<Descriptor> {
        let mut chosen = target.clone();
        // As deep as a transfer goes.
        for _ in 0..8 {
            let Manifest::Index(index) = self.store.manifest(&chosen)? else {
                return Ok(chosen);
            };
            let next = match self.select {
                Some(select) => select(&index),
                None => self.first_present(&index)?,
            };
            chosen = next.ok_or_else(|| FormatError::NoBlob(chosen.digest.clone()))?;
        }
        Err(FormatError::NoBlob(target.digest.clone()))
    }

    fn first_present(&self, index: &Index) -> Result<Option<Descriptor>> {
        for manifest in &index.manifests {
            let platform = manifest.platform.as_ref();
            let is_attestation = platform.is_some_and(|platform| platform.os == "unknown");
            if is_manifest(&manifest.media_type) && !is_attestation && self.store.has_blob(manifest)? {
                return Ok(Some(manifest.clone()));
            }
        }
        Ok(None)
    }
}

impl Sink for StoreSink<'_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        self.lease.claim(&blob.digest)?;
        Ok(self.store.has_blob(blob)?)
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        if let Claim::Missing(mut ingest) = self.store.ingest(self.lease, blob)? {
            // A source is read from its start.
            ingest.restart()?;
            io::copy(content, &mut ingest).map_err(FormatError::io(format!("take in {}", blob.digest)))?;
            drop(ingest.finish()?);
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        let (entry, manifest) = (entry.clone(), self.choose(&entry.target)?);
        self.entered.push(Entered { entry, manifest });
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for Entered { entry, manifest } in self.entered.drain(..) {
            if entry.names.is_empty() {
                self.records
                    .push(self.store.keep_nameless(&entry.target, &manifest)?);
            }
            for name in &entry.names {
                self.records.push(self.store.tag(name, &entry.target, &manifest)?);
            }
        }
        Ok(self.store.sync()?)
    }
}
