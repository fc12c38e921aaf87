//! Images as users see them: names, ids, and what goes when one is removed.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::gc::Marks;
use super::lease::Lease;
use super::places::{hold_layers, places};
use super::record::{Record, check_name};
use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::platform::Platform;
use cais_order::InOrder;
use std::collections::HashMap;

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its names; none for a dangling one.
    pub names: Vec<String>,
    /// What its names point at where they came from: an index or a manifest.
    pub target: Descriptor,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Its id: the digest of its configuration.
    pub id: Digest,
    /// The machine that it is for.
    pub platform: Platform,
    /// When it was made, as RFC 3339.
    pub created: Option<String>,
    /// Its layers, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// The sum of the sizes of its layers, of those that are there, in bytes.
    pub size: u64,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// The names that are gone.
    pub untagged: Vec<String>,
    /// The image that is gone with them, if it is. Its contents are removed by the next
    /// collection.
    pub deleted: Option<Digest>,
}

impl ContentStore {
    /// Gives an image a name. `target` is what the name points at where it came from, and
    /// `manifest` the one of its manifests that is meant; they are equal unless it is an
    /// index. Both must be in the store, with the configuration. An image that loses its last
    /// name by this becomes a dangling one.
    ///
    /// # Errors
    /// [`StoreError::BadName`]; [`StoreError::NoBlob`]; [`StoreError::Manifest`].
    pub fn tag(&self, name: &str, target: &Descriptor, manifest: &Descriptor) -> Result<Record> {
        check_name(name)?;
        let lease = self.lease()?;
        let mut record = self.describe(&lease, target, manifest)?;
        record.name = Some(name.to_owned());
        self.put_record(&record)?;
        drop(lease);
        self.refresh_index()?;
        Ok(record)
    }

    /// Keeps an image without giving it a name.
    ///
    /// # Errors
    /// As [`ContentStore::tag`].
    pub fn keep_nameless(&self, target: &Descriptor, manifest: &Descriptor) -> Result<Record> {
        let lease = self.lease()?;
        let record = self.describe(&lease, target, manifest)?;
        let records = self.sound_records()?;
        if !records
            .iter()
            .any(|other| other.manifest.digest == manifest.digest)
        {
            self.write_record(&record)?;
        }
        drop(lease);
        self.refresh_index()?;
        Ok(record)
    }

    /// Takes a name away; the image stays, dangling if it was the last. `false` where there
    /// was no such name.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn untag(&self, name: &str) -> Result<bool> {
        let lock = self.name_lock(name)?;
        let Some(record) = self.record(name)? else {
            return Ok(false);
        };
        let lease = self.keep_dangling(&record)?;
        self.remove_record(&record)?;
        self.keep_dangling_after(&record, lease)?;
        drop(lock);
        self.refresh_index_if_there_is_room()?;
        Ok(true)
    }

    /// Takes a name away, and with the last one the image. `in_use` names what containers
    /// use, by manifest, by configuration or by what was pulled.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; [`StoreError::InUse`] where it is the last name of an image
    /// that is used.
    pub fn remove_name(&self, name: &str, in_use: &[Digest]) -> Result<Removed> {
        let lock = self.name_lock(name)?;
        let record = self
            .record(name)?
            .ok_or_else(|| StoreError::NoImage(name.to_owned()))?;
        let is_last = !self.has_other_name(&record)?;
        if is_last && is_used(&record, in_use) {
            return Err(StoreError::InUse(name.to_owned()));
        }
        self.remove_record(&record)?;
        drop(lock);
        self.refresh_index_if_there_is_room()?;
        Ok(Removed {
            untagged: vec![name.to_owned()],
            deleted: is_last.then_some(record.manifest.digest),
        })
    }

    /// Removes an image with all its names.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; [`StoreError::InUse`].
    pub fn remove_image(&self, manifest: &Digest, in_use: &[Digest]) -> Result<Removed> {
        let mut records = self.sound_records()?;
        records.retain(|record| record.manifest.digest == *manifest);
        if records.is_empty() {
            return Err(StoreError::NoImage(manifest.to_string()));
        }
        if records.iter().any(|record| is_used(record, in_use)) {
            return Err(StoreError::InUse(manifest.to_string()));
        }
        let mut removed = Removed::default();
        for record in records {
            // A name may have moved on since.
            let lock = record
                .name
                .as_deref()
                .map(|name| self.name_lock(name))
                .transpose()?;
            let now = match record.name.as_deref() {
                Some(name) => self.record(name)?,
                None => Some(record.clone()),
            };
            if now.is_some_and(|now| now.manifest.digest == *manifest) {
                self.remove_record(&record)?;
                removed.untagged.extend(record.name);
            }
            drop(lock);
        }
        removed.deleted = Some(manifest.clone());
        self.refresh_index_if_there_is_room()?;
        Ok(removed)
    }

    /// All images, those with a damaged record left out; sorted by manifest.
    ///
    /// # Errors
    /// As readdir(3) and read(2).
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut sizes = HashMap::new();
        let found = self.read_records()?.into_iter();
        let mut records: Vec<Record> = found.filter_map(|found| found.record.ok()).collect();
        // In the order of their names among those of one manifest, as they were read.
        records.order_by(|one, other| one.manifest.digest.cmp(&other.manifest.digest));
        let mut images: Vec<Image> = Vec::with_capacity(records.len());
        for record in records {
            let known = images.last_mut();
            if let Some(image) = known.filter(|image| image.manifest.digest == record.manifest.digest) {
                image.names.extend(record.name);
                continue;
            }
            let size = match record.size {
                Some(size) => size,
                None => self.layers_size(&record.diff_ids, &mut sizes)?.0,
            };
            images.push(Image::new(record, size));
        }
        Ok(images)
    }

    /// Images that no name leads to.
    ///
    /// # Errors
    /// As [`ContentStore::images`].
    pub fn dangling(&self) -> Result<Vec<Image>> {
        let mut images = self.images()?;
        images.retain(|image| image.names.is_empty());
        Ok(images)
    }

    /// Finds an image by its full name; by the digest of its manifest, its configuration or
    /// what was pulled, with or without `sha256:`, in full or the first digits of it; or by
    /// `name@digest`. A name wins over an id.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; [`StoreError::AmbiguousId`].
    pub fn resolve(&self, text: &str) -> Result<Image> {
        if let Some(record) = self.record(text)? {
            let size = match record.size {
                Some(size) => size,
                None => self.layers_size(&record.diff_ids, &mut HashMap::new())?.0,
            };
            return Ok(Image::new(record, size));
        }
        let (name, id) = match text.split_once('@') {
            Some((name, digest)) => (Some(name), digest),
            None => (None, text),
        };
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        let is_hex = !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut found = if is_hex { self.images()? } else { Vec::new() };
        found.retain(|image| {
            let digests = [&image.id, &image.manifest.digest, &image.target.digest];
            let has_name = |name: &str| {
                let of_repository = |own: &String| {
                    let rest = own.strip_prefix(name);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '@']))
                };
                image.names.iter().any(of_repository)
            };
            digests.iter().any(|digest| digest.hex().starts_with(hex)) && name.is_none_or(has_name)
        });
        // One image that came in several forms, pulled and loaded for instance, has one id and
        // several manifests.
        let is_one = found.windows(2).all(|pair| pair[0].id == pair[1].id);
        match found.len() {
            0 => Err(StoreError::NoImage(text.to_owned())),
            1 => Ok(found.remove(0)),
            _ if is_one => {
                let named = found.iter().position(|image| !image.names.is_empty());
                Ok(found.swap_remove(named.unwrap_or(0)))
            }
            _ => Err(StoreError::AmbiguousId {
                text: text.to_owned(),
                images: found.iter().map(|image| image.id.to_string()).collect(),
            }),
        }
    }

    /// Notes that an image is used now, for whoever removes the least recently used.
    ///
    /// # Errors
    /// [`StoreError::NoImage`]; as futimens(2).
    pub fn mark_used(&self, name: &str) -> Result<()> {
        let record = self
            .record(name)?
            .ok_or_else(|| StoreError::NoImage(name.to_owned()))?;
        self.touch_record(&record)
    }

    /// Takes hold of all that belongs to an image, for whoever is about to run, push or save
    /// it. What is missing then was missing before; what is there stays.
    ///
    /// # Errors
    /// As [`Lease::claim`].
    pub fn hold(&self, lease: &Lease, image: &Image) -> Result<()> {
        let own = [&image.target.digest, &image.manifest.digest, &image.id];
        self.hold_all(lease, own, &image.diff_ids)
    }

    fn hold_all(&self, lease: &Lease, own: [&Digest; 3], diff_ids: &[Digest]) -> Result<()> {
        let mut marks = Marks::default();
        for digest in own {
            // Claimed before it is read, so that what it names is not lost in between.
            lease.claim(digest)?;
            self.mark(&mut marks, digest)?;
        }
        hold_layers(&mut marks.held, diff_ids);
        marks.held.iter().try_for_each(|digest| lease.claim(digest))
    }

    /// Whether all layers of an image are there, unpacked and whole.
    ///
    /// # Errors
    /// As open(2).
    pub fn is_unpacked(&self, image: &Image) -> Result<bool> {
        let layers = self.find_layers(&image.diff_ids)?;
        Ok(layers.iter().all(Option::is_some))
    }

    /// Reads what a record says of an image, and takes hold of all of it.
    fn describe(&self, lease: &Lease, target: &Descriptor, manifest: &Descriptor) -> Result<Record> {
        for blob in [target, manifest] {
            lease.claim(&blob.digest)?;
            if !self.has_blob(blob)? {
                return Err(StoreError::NoBlob(blob.digest.clone()));
            }
        }
        let mut marks = Marks::default();
        for root in [&target.digest, &manifest.digest] {
            self.mark(&mut marks, root)?;
        }
        for digest in &marks.held {
            lease.claim(digest)?;
        }
        let parsed = self.manifest(manifest)?;
        // An index may be kept as such, of artifacts for instance.
        let (config, media_type) = match &parsed {
            Manifest::Image(image) => (image.config.digest.clone(), image.config.media_type.as_str()),
            Manifest::Index(_) => (manifest.digest.clone(), ""),
        };
        let mut record = Record {
            name: None,
            target: target.clone(),
            manifest: manifest.clone(),
            config,
            platform: Platform::default(),
            created: None,
            diff_ids: Vec::new(),
            size: None,
        };
        if matches!(media_type, MediaType::CONFIG | MediaType::DOCKER_CONFIG) {
            let config = self.config(&record.config)?;
            record.platform = config.platform();
            record.created = config.created;
            record.diff_ids = config.rootfs.diff_ids;
            let (size, is_whole) = self.layers_size(&record.diff_ids, &mut HashMap::new())?;
            record.size = is_whole.then_some(size);
        }
        Ok(record)
    }

    fn put_record(&self, record: &Record) -> Result<()> {
        let Some(name) = &record.name else {
            return self.write_record(record);
        };
        let lock = self.name_lock(name)?;
        // One that is damaged holds nothing that could be kept.
        let old = self.record(name).ok().flatten();
        let old = old.filter(|old| old.manifest.digest != record.manifest.digest);
        let held = old.map(|old| Ok((self.keep_dangling(&old)?, old))).transpose()?;
        self.write_record(record)?;
        if let Some((lease, old)) = held {
            self.keep_dangling_after(&old, lease)?;
        }
        let mut nameless = record.clone();
        nameless.name = None;
        self.remove_record(&nameless)?;
        drop(lock);
        Ok(())
    }

    /// Makes a record without a name for an image that is about to lose its last one. The image
    /// is held by what is returned: a collection that listed the names before that record came,
    /// and reads the old one when it has moved on, finds the image by neither.
    fn keep_dangling(&self, record: &Record) -> Result<Option<Lease>> {
        let hold = || {
            let lease = self.lease()?;
            let own = [&record.target.digest, &record.manifest.digest, &record.config];
            self.hold_all(&lease, own, &record.diff_ids)?;
            Ok(lease)
        };
        let lease = hold();
        if self.has_other_name(record)? {
            // Which is enough where nothing has room any more.
            return Ok(lease.ok());
        }
        let lease = lease?;
        self.write_nameless(record)?;
        Ok(Some(lease))
    }

    /// The same once it has lost the name: somebody else may have taken the other one meanwhile,
    /// who saw this one.
    fn keep_dangling_after(&self, record: &Record, lease: Option<Lease>) -> Result<()> {
        if !self.has_other_name(record)? {
            self.write_nameless(record)?;
        }
        drop(lease);
        Ok(())
    }

    fn write_nameless(&self, record: &Record) -> Result<()> {
        let mut nameless = record.clone();
        nameless.name = None;
        self.write_record(&nameless)
    }

    fn has_other_name(&self, record: &Record) -> Result<bool> {
        Ok(self
            .read_records()?
            .into_iter()
            .filter_map(|found| found.record.ok())
            .any(|other| other.name != record.name && other.manifest.digest == record.manifest.digest))
    }

    /// The sum of the sizes of layers, and whether all are there.
    fn layers_size(
        &self,
        diff_ids: &[Digest],
        known: &mut HashMap<Digest, Option<u64>>,
    ) -> Result<(u64, bool)> {
        let (mut sum, mut is_whole) = (0, true);
        let mut all_places = None;
        for (index, diff_id) in diff_ids.iter().enumerate() {
            let size = match known.get(diff_id) {
                Some(size) => *size,
                None => {
                    // A layer whose meta is damaged is found by the check, not here.
                    let size_of =
                        |digest: &Digest| self.own_meta(digest).ok().flatten().map(|meta| meta.size);
                    let mut size = size_of(diff_id);
                    if size.is_none() {
                        let all = all_places.get_or_insert_with(|| places(diff_ids));
                        size = all.get(index).and_then(size_of);
                    }
                    *known.entry(diff_id.clone()).or_insert(size)
                }
            };
            sum += size.unwrap_or(0);
            is_whole &= size.is_some();
        }
        Ok((sum, is_whole))
    }
}

impl Image {
    fn new(record: Record, size: u64) -> Self {
        Self {
            names: record.name.into_iter().collect(),
            target: record.target,
            manifest: record.manifest,
            id: record.config,
            platform: record.platform,
            created: record.created,
            diff_ids: record.diff_ids,
            size,
        }
    }
}

fn is_used(record: &Record, in_use: &[Digest]) -> bool {
    let digests = [&record.manifest.digest, &record.target.digest, &record.config];
    in_use.iter().any(|used| digests.contains(&used))
}
