//! `load` and `save`: images from and to archives.

use super::unpack::{RECORD, unpack};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use cais_image::formats::{
    DockerArchiveSink, Entry, FormatError, OciArchiveSink, Sink, SpoolOptions, StoreSink, StoreSource, copy,
    open_archive, open_path,
};
use cais_image::layer::assemble_layer;
use cais_image::manifest::{Index, Manifest};
use cais_image::platform::Platform;
use cais_image::{ContentStore, Descriptor, Digest};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

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
pub fn load(engine: &Engine, path: Option<&Path>, input: File) -> Result<Vec<Loaded>> {
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
    let select = |index: &Index| {
        let ranked = Platform::own().select(&index.manifests).ok()?;
        ranked.first().map(|descriptor| (*descriptor).clone())
    };
    let mut loaded = Vec::new();
    for entry in source.manifests().map_err(action())? {
        let entry = Entry {
            names: entry
                .names
                .iter()
                .filter_map(|name| super::full_name(name).ok())
                .collect(),
            ..entry
        };
        let mut sink = StoreSink::new(&store, &lease, Some(&select));
        copy(&*source, &mut sink, &entry).map_err(action())?;
        sink.finish().map_err(action())?;
        for record in sink.records() {
            let image = store
                .resolve(record.manifest.digest.as_str())
                .map_err(EngineError::image("find the image that was loaded"))?;
            unpack(&store, &lease, &image, engine.rootless)?;
            loaded.push(Loaded {
                names: entry.names.clone(),
                id: image.id,
            });
        }
    }
    loaded.dedup();
    Ok(loaded)
}

/// Gives out images as one archive: `docker save`'s, which is an OCI archive too, or with
/// `oci` the latter alone.
///
/// # Errors
/// Where there is no such image, or `output` cannot be written.
pub fn save(engine: &Engine, images: &[String], oci: bool, output: impl Write) -> Result<()> {
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let mut entries = Vec::new();
    let mut diff_ids = HashMap::new();
    for text in images {
        let image = super::find(&store, text)?;
        store
            .hold(&lease, &image)
            .map_err(EngineError::image("hold the image"))?;
        if let Manifest::Image(manifest) = store
            .manifest(&image.manifest)
            .map_err(EngineError::image("read the manifest"))?
        {
            let pairs = manifest.layers.iter().zip(&image.diff_ids);
            diff_ids.extend(pairs.map(|(blob, diff_id)| (blob.digest.clone(), diff_id.clone())));
        }
        let names = match super::full_name(text) {
            Ok(name) if image.names.contains(&name) => vec![name],
            _ => Vec::new(),
        };
        entries.push(Entry {
            names,
            target: image.manifest,
        });
    }
    let rebuild = |blob: &Descriptor| rebuild_layer(&store, &diff_ids, blob);
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
    sink.finish().map_err(action())
}

/// Makes the blob of a layer again from its files. Bit for bit, where the blob was the archive
/// itself or its gzip is one that can be made again.
fn rebuild_layer<'a>(
    store: &ContentStore,
    diff_ids: &HashMap<Digest, Digest>,
    blob: &Descriptor,
) -> std::result::Result<Option<Box<dyn Read + 'a>>, FormatError> {
    let Some(diff_id) = diff_ids.get(&blob.digest) else {
        return Ok(None);
    };
    let Some(path) = store.layer_path(diff_id)? else {
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
    if blob.digest == *diff_id {
        return Ok(Some(Box::new(archive)));
    }
    for level in [6, 9, 1, 5] {
        archive.rewind().map_err(io("read"))?;
        let mut compressed =
            flate2::write::GzEncoder::new(unnamed_file(store)?, flate2::Compression::new(level));
        std::io::copy(&mut archive, &mut compressed).map_err(io("compress"))?;
        let mut file = compressed.finish().map_err(io("compress"))?;
        if digest_of(&mut file).map_err(io("read"))? == blob.digest {
            file.rewind().map_err(io("read"))?;
            return Ok(Some(Box::new(file)));
        }
    }
    Ok(None)
}

fn digest_of(file: &mut File) -> std::io::Result<Digest> {
    file.rewind()?;
    let mut hasher = cais_image::Hasher::sha256();
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(buffer.get(..length).unwrap_or(&[]));
    }
}

/// A file without a name, on the disk of the store.
fn unnamed_file(store: &ContentStore) -> std::result::Result<File, FormatError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    open(store.base(), flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|errno| FormatError::io(format!("make a file in {}", store.base().display()))(errno.into()))
}
