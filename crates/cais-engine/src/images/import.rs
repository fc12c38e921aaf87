//! `load` and `save`: images from and to archives.

use super::unpack::{RECORD, Unpacker, unpack};
use super::watch::{Watch, WatchedSink};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::formats::{
    DockerArchiveSink, Entry, FormatError, OciArchiveSink, Sink, Source, SpoolOptions, StoreSink,
    StoreSource, copy, open_archive, open_path,
};
use cais_image::layer::assemble_layer;
use cais_image::manifest::{Index, Manifest};
use cais_image::platform::Platform;
use cais_image::store::{Image, Lease};
use cais_image::{ContentStore, Descriptor, Digest, MediaType};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Manifests that were made and are in no store.
pub(super) type Documents = HashMap<Digest, Vec<u8>>;

/// An image that was taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its names.
    pub names: Vec<String>,
    /// Its id.
    pub id: Digest,
}

/// Takes in the images of an archive or a layout: `docker save`'s, an OCI archive or
/// directory, recognised by content. Without a path they come from `input`.
///
/// # Errors
/// Where it is none of these, is damaged, or cannot be unpacked.
pub fn load(
    engine: &Engine,
    path: Option<&Path>,
    input: File,
    platform: Option<&Platform>,
    watch: &dyn Watch,
) -> Result<Vec<Loaded>> {
    engine.store.ensure()?;
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let spool = SpoolOptions::new(engine.store.data());
    let action = || EngineError::image_format("read the archive of images");
    let source = match path {
        Some(path) => open_path(path, &spool),
        None => open_archive(input, &spool),
    }
    .map_err(action())?;
    let mut loaded = Vec::new();
    for entry in source.manifests().map_err(action())? {
        let names = entry.names.iter();
        let names = names.filter_map(|name| super::full_name(name).ok()).collect();
        let entry = Entry { names, ..entry };
        let taker = Taker {
            engine,
            store: &store,
            lease: &lease,
            platform: platform.cloned().unwrap_or_else(Platform::own),
        };
        loaded.extend(taker.take(&*source, &entry, watch)?);
    }
    loaded.dedup();
    store.sync().map_err(EngineError::image("sync the images"))?;
    for image in &loaded {
        super::note_id(engine, &store, &image.id, "load");
    }
    Ok(loaded)
}

/// Takes images into the store.
pub(super) struct Taker<'a> {
    pub(super) engine: &'a Engine,
    pub(super) store: &'a ContentStore,
    pub(super) lease: &'a Lease,
    /// The machine that an image of several is wanted for.
    pub(super) platform: Platform,
}

impl Taker<'_> {
    /// Takes what an entry names and unpacks it.
    pub(super) fn take(&self, source: &dyn Source, entry: &Entry, watch: &dyn Watch) -> Result<Vec<Loaded>> {
        let select = |index: &Index| {
            let ranked = self.platform.select(&index.manifests).ok()?;
            ranked.first().map(|descriptor| (*descriptor).clone())
        };
        let action = || EngineError::image_format("take in the image");
        let mut sink = StoreSink::new(self.store, self.lease, Some(&select));
        copy(source, &mut WatchedSink::new(&mut sink, watch, false), entry).map_err(action())?;
        let mut loaded = Vec::new();
        for entered in sink.entered() {
            loaded.push(Loaded {
                names: entry.names.clone(),
                id: self.unpack(&entered.manifest, watch)?,
            });
        }
        // The names come last: what has one is whole, and nothing is lost where somebody takes
        // it away at once.
        sink.finish().map_err(action())?;
        Ok(loaded)
    }

    /// Unpacks an image of which all blobs are there. Returns its id.
    fn unpack(&self, manifest: &Descriptor, watch: &dyn Watch) -> Result<Digest> {
        let read = |what| EngineError::image(format!("read the {what} of the image"));
        let parsed = self.store.manifest(manifest).map_err(read("manifest"))?;
        let Manifest::Image(image) = parsed else {
            return Ok(manifest.digest.clone());
        };
        let id = image.config.digest.clone();
        let kind = image.config.media_type.as_str();
        let diff_ids = match kind {
            MediaType::CONFIG | MediaType::DOCKER_CONFIG => {
                let config = self.store.config(&id).map_err(read("configuration"))?;
                config.rootfs.diff_ids
            }
            _ => Vec::new(),
        };
        let unpacker = Unpacker {
            store: self.store,
            lease: self.lease,
            rootless: self.engine.rootless,
            fetch: None,
            watch,
            source: None,
        };
        unpack(&unpacker, &image, &diff_ids)?;
        Ok(id)
    }
}

/// Gives out images as one archive: `docker save`'s, which is an OCI archive too, or with
/// `oci` the latter alone.
///
/// # Errors
/// Where there is no such image, or `output` cannot be written.
pub fn save(engine: &Engine, images: &[String], oci: bool, output: impl Write) -> Result<()> {
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let (entries, documents, ids) = plan_entries(&store, &lease, images)?;
    let rebuild = |blob: &Descriptor| rebuild_blob(&store, &documents, blob);
    let source = StoreSource::new(&store, entries.clone(), Some(&rebuild));
    let spool = SpoolOptions::new(engine.store.data());
    let mut sink: Box<dyn Sink> = if oci {
        Box::new(OciArchiveSink::new(output))
    } else {
        Box::new(DockerArchiveSink::new(output, spool))
    };
    let action = || EngineError::image_format("write the archive of images");
    for entry in &entries {
        copy(&source, &mut *sink, entry).map_err(action())?;
    }
    sink.finish().map_err(action())?;
    for id in &ids {
        super::note_id(engine, &store, id, "save");
    }
    Ok(())
}

/// Images of the store as things that can be given out, the manifests that had to be made for
/// that, and the ids of the images.
pub(super) fn plan_entries(
    store: &ContentStore,
    lease: &Lease,
    images: &[String],
) -> Result<(Vec<Entry>, Documents, Vec<Digest>)> {
    let mut ids = Vec::with_capacity(images.len());
    let mut entries: Vec<Entry> = Vec::new();
    let mut documents = Documents::new();
    for text in images {
        let image = super::find(store, text)?;
        store
            .hold(lease, &image)
            .map_err(EngineError::image("hold the image"))?;
        let names = match super::full_name(text) {
            Ok(name) if image.names.contains(&name) => vec![name],
            _ => Vec::new(),
        };
        let target = manifest_to_give(store, &image, &mut documents)?;
        // One image by several names is given out once.
        match entries
            .iter_mut()
            .find(|entry| entry.target.digest == target.digest)
        {
            Some(entry) => entry.names.extend(names),
            None => entries.push(Entry { names, target }),
        }
        ids.push(image.id);
    }
    Ok((entries, documents, ids))
}

/// A blob that is not in the store: one of these documents, or the archive of a layer.
pub(super) fn rebuild_blob<'a>(
    store: &ContentStore,
    documents: &Documents,
    blob: &Descriptor,
) -> std::result::Result<Option<Box<dyn Read + 'a>>, FormatError> {
    match documents.get(&blob.digest) {
        Some(bytes) => Ok(Some(Box::new(std::io::Cursor::new(bytes.clone())))),
        None => rebuild_layer(store, &blob.digest),
    }
}

/// The manifest with which an image is given out: its own, where all its blobs are there or
/// are plain archives. Compressed blobs that are gone come out as what was in them: the same
/// image by its configuration and the digests of its layers, in another manifest.
fn manifest_to_give(store: &ContentStore, image: &Image, documents: &mut Documents) -> Result<Descriptor> {
    let action = || EngineError::image("read the manifest");
    let bytes = store.read_blob(&image.manifest.digest).map_err(action())?;
    let Manifest::Image(manifest) = store.manifest(&image.manifest).map_err(action())? else {
        return Ok(image.manifest.clone());
    };
    let mut value: cais_json::Value = cais_json::from_slice(&bytes)
        .map_err(|error| EngineError::Invalid(format!("the manifest {}: {error}", image.manifest.digest)))?;
    let mut changed = false;
    for (index, (blob, diff_id)) in manifest.layers.iter().zip(&image.diff_ids).enumerate() {
        if blob.digest == *diff_id || store.has_blob(blob).map_err(action())? {
            continue;
        }
        let meta = store.layer_meta(diff_id).map_err(action())?;
        let Some(size) = meta.and_then(|meta| meta.tar_size) else {
            continue;
        };
        let media_type = if blob.media_type.contains("docker") {
            MediaType::DOCKER_LAYER
        } else {
            MediaType::LAYER
        };
        value["layers"][index] = cais_json::json!(Descriptor::new(media_type, diff_id.clone(), size));
        changed = true;
    }
    if !changed {
        return Ok(image.manifest.clone());
    }
    let bytes = value.to_string().into_bytes();
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let descriptor = Descriptor::new(&image.manifest.media_type, Digest::of(&bytes), size);
    documents.insert(descriptor.digest.clone(), bytes);
    Ok(descriptor)
}

/// Makes the plain archive of a layer again from its files, bit for bit.
pub(super) fn rebuild_layer<'a>(
    store: &ContentStore,
    diff_id: &Digest,
) -> std::result::Result<Option<Box<dyn Read + 'a>>, FormatError> {
    // Of a layer that is kept by its place any will do: all have the same archive.
    let path = match store.layer_path(diff_id)? {
        Some(path) => Some(path),
        None => match store.any_place(diff_id)? {
            Some(place) => store.layer_path(&place)?,
            None => None,
        },
    };
    let Some(path) = path else {
        return Ok(None);
    };
    let Some(directory) = path.parent() else {
        return Ok(None);
    };
    let io = |action: &str| FormatError::io(format!("{action} layer {diff_id}"));
    let record = File::open(directory.join(RECORD)).map_err(io("read the record of"))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let tree = open(&path, flags, Mode::empty()).map_err(|errno| io("open")(errno.into()))?;
    let mut archive = unnamed_file(store)?;
    assemble_layer(tree.as_fd(), record, &mut archive)
        .map_err(|error| io("make again")(std::io::Error::other(error)))?;
    archive.rewind().map_err(io("read"))?;
    Ok(Some(Box::new(archive)))
}

/// A file without a name, on the disk of the store.
pub(super) fn unnamed_file(store: &ContentStore) -> std::result::Result<File, FormatError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(store.base(), flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|errno| FormatError::io(format!("make a file in {}", store.base().display()))(errno.into()))
}
