//! Garbage collection: what no name, no container and no lease leads to is removed. Why that
//! is safe while others pull is told in `lease.rs`.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{remove_file, remove_tree};
use super::places::hold_layers;
use super::usage::{Size, Walk};
use crate::digest::Digest;
use crate::manifest::{MAX_JSON, Manifest, parse_config, parse_manifest};
use std::collections::HashSet;
use std::time::Duration;

/// What a collection is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcOptions {
    /// Only tell what would be removed.
    pub dry_run: bool,
    /// How long a blob that was cut off is kept for another attempt.
    pub keep_partials: Duration,
}

impl Default for GcOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            keep_partials: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What a collection removed, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs and their sizes.
    pub blobs: Vec<(Digest, Size)>,
    /// Layers and their sizes.
    pub layers: Vec<(Digest, Size)>,
    /// What killed or failed processes left: layers half-made, blobs cut off, locks, leases.
    pub leftovers: usize,
    /// The sum of all sizes.
    pub freed: Size,
}

/// What is held.
#[derive(Debug, Default)]
pub(super) struct Marks {
    pub(super) held: HashSet<Digest>,
    expanded: HashSet<Digest>,
}

impl ContentStore {
    /// Removes what nothing leads to. `in_use` answers the manifests, configurations and
    /// layers that containers use. It is asked after the names were read, and is to wait for
    /// whoever is making a container of an image that was looked up before: then that image
    /// was among the names, or its container is among the answers.
    ///
    /// # Errors
    /// As unlink(2); [`StoreError::Damaged`] where a record cannot be read: then what it
    /// held is not known, and nothing is removed.
    pub fn collect(&self, options: GcOptions, in_use: &dyn Fn() -> Result<Vec<Digest>>) -> Result<GcReport> {
        let announcement = self.announce_collection()?;
        let mut marks = Marks::default();
        let mut gone = HashSet::new();
        for lease in self.read_leases()? {
            if lease.is_dead {
                gone.insert(lease.name);
            } else {
                for digest in &lease.digests {
                    self.mark(&mut marks, digest)?;
                }
            }
        }
        self.mark_images(&mut marks)?;
        for digest in in_use()? {
            self.mark(&mut marks, &digest)?;
        }

        let mut report = GcReport::default();
        let mut walk = Walk::default();
        for digest in self.digests_below(&self.oci().join("blobs"))? {
            if !marks.held.contains(&digest) {
                let size = walk.size_of(&self.blob_path(&digest))?;
                if options.dry_run
                    || self.remove_unless_leased(&digest, &gone, || remove_file(&self.blob_path(&digest)))?
                {
                    report.freed += size;
                    report.blobs.push((digest, size));
                }
            }
        }
        for diff_id in self.layers()? {
            if !marks.held.contains(&diff_id) {
                self.collect_layer(&diff_id, options, &gone, &mut report)?;
            }
        }
        let sweep_leases = announcement.is_alone(self)?.then_some(&gone);
        self.sweep_leftovers(options, sweep_leases, &mut report)?;
        let removed = !(report.layers.is_empty() && report.blobs.is_empty());
        if removed && !options.dry_run {
            self.refresh_index_if_there_is_room()?;
        }
        drop(announcement);
        Ok(report)
    }

    fn collect_layer(
        &self,
        diff_id: &Digest,
        options: GcOptions,
        gone: &HashSet<String>,
        report: &mut GcReport,
    ) -> Result<()> {
        let mut path = self.layer_directory(diff_id);
        if !options.dry_run {
            // Renamed under the lock, removed without it.
            let mut trash = None;
            self.remove_unless_leased(diff_id, gone, || {
                trash = self.rename_to_trash(&path)?;
                Ok(())
            })?;
            match trash {
                Some(trash) => path = trash,
                None => return Ok(()),
            }
        }
        let size = Walk::default().size_of(&path)?;
        if !options.dry_run {
            remove_tree(&path)?;
        }
        report.freed += size;
        report.layers.push((diff_id.clone(), size));
        Ok(())
    }

    /// Removes an object under its lock, unless a lease has come to hold it. `gone` are the
    /// leases that were dead when the marking began.
    fn remove_unless_leased(
        &self,
        digest: &Digest,
        gone: &HashSet<String>,
        remove: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let lock = self.object_lock(digest)?;
        let is_leased = self
            .read_leases()?
            .iter()
            .any(|lease| !gone.contains(&lease.name) && lease.digests.contains(digest));
        if !is_leased {
            remove()?;
        }
        drop(lock);
        Ok(!is_leased)
    }

    /// Marks what the names hold.
    pub(super) fn mark_images(&self, marks: &mut Marks) -> Result<()> {
        for record in self.sound_records()? {
            for digest in [&record.target.digest, &record.manifest.digest, &record.config] {
                self.mark(marks, digest)?;
            }
            hold_layers(&mut marks.held, &record.diff_ids);
        }
        Ok(())
    }

    /// Marks a digest and, where it is a manifest, an index or a configuration that is there,
    /// all that it names. What is nested too deep is marked once, by its name.
    pub(super) fn mark(&self, marks: &mut Marks, root: &Digest) -> Result<()> {
        let mut waiting = vec![root.clone()];
        while let Some(digest) = waiting.pop() {
            marks.held.insert(digest.clone());
            if !marks.expanded.insert(digest.clone()) {
                continue;
            }
            let Some(bytes) = self.read_document(&digest)? else {
                continue;
            };
            match parse_manifest(&bytes, None) {
                Ok(Manifest::Index(index)) => {
                    waiting.extend(index.manifests.into_iter().map(|manifest| manifest.digest));
                }
                Ok(Manifest::Image(image)) => {
                    marks
                        .held
                        .extend(image.layers.into_iter().map(|layer| layer.digest));
                    waiting.push(image.config.digest);
                }
                Err(_) => {
                    if let Ok(config) = parse_config(&bytes) {
                        hold_layers(&mut marks.held, &config.rootfs.diff_ids);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a blob that may be JSON; `None` for what is not there, is damaged or is
    /// something else.
    fn read_document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        use std::io::{Read, Seek};
        let Some(mut file) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let mut first = [0];
        let failed = || StoreError::io(format!("read {digest}"));
        let length = file.metadata().map_err(failed())?.len();
        let count = file.read(&mut first).map_err(failed())?;
        // The documents of the specifications are objects, and Go's start with a brace.
        if count == 0 || !(first[0] == b'{' || first[0].is_ascii_whitespace()) || length > MAX_JSON {
            return Ok(None);
        }
        file.rewind().map_err(failed())?;
        let mut bytes = Vec::new();
        file.take(MAX_JSON).read_to_end(&mut bytes).map_err(failed())?;
        Ok(Some(bytes))
    }
}
