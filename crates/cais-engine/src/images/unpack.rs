//! Layers from blobs to directories, several at once.

use super::growing::Growing;
use super::watch::{Step, Watch};
use crate::error::{EngineError, Result};
use cais_image::layer::{
    Compression, Decoder, DeferredLink, Expansion, UnpackOptions, Unpacked, place_layer, unpack_layer,
    unpack_layer_ahead,
};
use cais_image::manifest::ImageManifest;
use cais_image::store::{LayerClaim, LayerMeta, Lease, Staging, places};
use cais_image::{ContentStore, Descriptor, Digest};
use cais_order::InOrder;
use rustix::fd::{AsFd, OwnedFd};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The record from which a layer's archive is made again, beside its files.
pub(super) const RECORD: &str = "archive.zst";
/// More than this is taken for a bomb. No layer in earnest has so many zeros, above a size
/// that does no harm.
const EXPANSION: Expansion = Expansion {
    bytes: 256 << 30,
    ratio: 200,
    free: 4 << 30,
};
/// How many layers are unpacked at once: inflating keeps a processor busy.
const AT_ONCE: usize = 4;

/// Brings a blob into the store.
pub(super) type Fetch<'a> = dyn Fn(&Descriptor, &Growing) -> Result<()> + Sync + 'a;

/// How layers are unpacked.
pub(super) struct Unpacker<'a> {
    pub(super) store: &'a ContentStore,
    pub(super) lease: &'a Lease,
    /// Whether owners and marks are those of an ordinary user.
    pub(super) rootless: bool,
    /// Brings the blob of a layer into the store, and gives it to be read meanwhile. Without,
    /// all blobs are there.
    pub(super) fetch: Option<&'a Fetch<'a>>,
    /// Hears of each layer.
    pub(super) watch: &'a dyn Watch,
    /// The repository that they come from, for mounting them across at a push.
    pub(super) source: Option<&'a str>,
}

/// A layer that takes something from those below it: unpacked, and not named yet.
struct Waiting {
    staging: Staging,
    meta: LayerMeta,
    implied: Vec<PathBuf>,
    deferred: Vec<DeferredLink>,
}

/// Unpacks the layers of an image that are not there yet, several at once and each without
/// the others. What some of them take from those below comes last, in order. Nothing is
/// synced.
pub(super) fn unpack(unpacker: &Unpacker<'_>, manifest: &ImageManifest, diff_ids: &[Digest]) -> Result<()> {
    if manifest.layers.len() != diff_ids.len() {
        return Err(EngineError::Invalid(format!(
            "the image has {} layers and its configuration names {}",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    let places = places(diff_ids);
    let jobs: Vec<Job<'_>> = manifest
        .layers
        .iter()
        .zip(diff_ids)
        .zip(&places)
        .map(|((blob, diff_id), place)| Job { blob, diff_id, place })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || -> Result<Vec<(usize, Waiting)>> {
        let mut waiting = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { break };
            let unpacked = unpack_one(unpacker, job).inspect_err(|_error| {
                // The others finish what they have begun, and begin nothing more.
                failed.store(true, Ordering::Relaxed);
            })?;
            waiting.extend(unpacked.map(|unpacked| (index, unpacked)));
        }
        Ok(waiting)
    };
    let threads = AT_ONCE.min(jobs.len());
    let waiting = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_panic| {
                    Err(EngineError::Invalid(
                        "a layer was not unpacked: this is a bug in cais".to_owned(),
                    ))
                })
            })
            .collect::<Result<Vec<_>>>()
    })?;
    let mut waiting: Vec<(usize, Waiting)> = waiting.into_iter().flatten().collect();
    waiting.order_by_key(|(index, _)| *index);
    for (index, waiting) in waiting {
        place(unpacker, &jobs, diff_ids, index, waiting)?;
    }
    Ok(())
}

struct Job<'a> {
    blob: &'a Descriptor,
    diff_id: &'a Digest,
    place: &'a Digest,
}

/// Gives a layer what it takes from those below, which are all there by now, and names it.
fn place(
    unpacker: &Unpacker<'_>,
    jobs: &[Job<'_>],
    diff_ids: &[Digest],
    index: usize,
    waiting: Waiting,
) -> Result<()> {
    let Unpacker { store, lease, .. } = *unpacker;
    let Some(job) = jobs.get(index) else { return Ok(()) };
    let action = || EngineError::image(format!("place layer {}", job.diff_id));
    let mut below = Vec::with_capacity(index);
    for found in store
        .find_layers(diff_ids.get(..index).unwrap_or_default())
        .map_err(action())?
    {
        let path = match found {
            Some(layer) => store.layer_path(&layer).map_err(action())?,
            None => None,
        };
        let path = path.ok_or_else(|| {
            EngineError::Invalid(format!("a layer below {} is not there any more", job.diff_id))
        })?;
        below.push(open_directory(&path)?);
    }
    let layer = open_directory(&waiting.staging.diff())?;
    let form = options(unpacker.rootless).form;
    place_layer(layer.as_fd(), &below, (&waiting.implied, &waiting.deferred), form)
        .map_err(|error| invalid(job.blob, &error))?;
    store
        .commit_layer(lease, waiting.staging, job.place, &waiting.meta)
        .map_err(action())?;
    store
        .drop_blob(lease, &job.blob.digest)
        .map(drop)
        .map_err(action())
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    cais_linux::mounts::tree::open_directory(path).map_err(EngineError::system("open the place of a layer"))
}

fn options(rootless: bool) -> UnpackOptions {
    if rootless {
        UnpackOptions::rootless()
    } else {
        UnpackOptions::privileged()
    }
}

fn invalid(blob: &Descriptor, error: &dyn std::error::Error) -> EngineError {
    EngineError::Invalid(format!("layer {}: {}", blob.digest, crate::run::chain(error)))
}

/// Unpacks a layer and names it, unless it has to wait for those below.
fn unpack_one(unpacker: &Unpacker<'_>, job: &Job<'_>) -> Result<Option<Waiting>> {
    let Unpacker { store, lease, .. } = *unpacker;
    let Job { blob, diff_id, place } = *job;
    let action = || EngineError::image(format!("unpack layer {}", blob.digest));
    let is_placed = || -> Result<bool> {
        lease.claim(place).map_err(action())?;
        Ok(store.layer_path(place).map_err(action())?.is_some())
    };
    // What a registry sent wrong once is unpacked from the store when it is whole.
    let (mut staging, mut meta, unpacked) = loop {
        let is_there = || {
            unpacker.watch.blob(blob, Step::Present);
            // An archive of images brings along the blobs of layers that are here.
            if store.has_blob(blob).map_err(action())? {
                store.drop_blob(lease, &blob.digest).map_err(action())?;
            }
            Ok(None)
        };
        if is_placed()? {
            return is_there();
        }
        // The layer is claimed before its blob is opened: whoever waits holds nothing else.
        let staging = match store.claim_layer(lease, diff_id).map_err(action())? {
            LayerClaim::Present(_) => return is_there(),
            LayerClaim::Missing(staging) => staging,
        };
        // Whoever had the claim before may have placed it.
        if is_placed()? {
            return is_there();
        }
        let filled = match store.open_blob(&blob.digest).map_err(action())? {
            Some(content) => Some(fill(&staging, content, blob, diff_id, unpacker.rootless)?),
            None => fill_while_fetching(unpacker, &staging, blob, diff_id)?,
        };
        if let Some((meta, unpacked)) = filled {
            break (staging, meta, unpacked);
        }
    };
    meta.sources.extend(unpacker.source.map(str::to_owned));
    if !unpacked.implied.is_empty() || !unpacked.deferred.is_empty() {
        staging.detach().map_err(action())?;
        unpacker.watch.blob(blob, Step::Unpacked);
        return Ok(Some(Waiting {
            staging,
            meta: LayerMeta {
                diff_id: Some(diff_id.clone()),
                ..meta
            },
            implied: unpacked.implied,
            deferred: unpacked.deferred,
        }));
    }
    store
        .commit_layer(lease, staging, diff_id, &meta)
        .map_err(action())?;
    // What is unpacked is made into the same archive again where somebody wants it.
    store.drop_blob(lease, &blob.digest).map_err(action())?;
    unpacker.watch.blob(blob, Step::Unpacked);
    Ok(None)
}

/// Unpacks a layer as it arrives. What was wrong with the blob is said rather than what came
/// of it. `None` where the blob is in the store now, but was begun anew meanwhile.
fn fill_while_fetching(
    unpacker: &Unpacker<'_>,
    staging: &Staging,
    blob: &Descriptor,
    diff_id: &Digest,
) -> Result<Option<(LayerMeta, Unpacked)>> {
    let missing = || EngineError::Invalid(format!("the blob {} of a layer is not there", blob.digest));
    let fetch = unpacker.fetch.ok_or_else(missing)?;
    let growing = Growing::default();
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| {
            let fetched = fetch(blob, &growing);
            growing.end();
            fetched
        });
        let filled = growing
            .follow()
            .ok_or_else(missing)
            .and_then(|content| fill(staging, content, blob, diff_id, unpacker.rootless));
        match fetching.join() {
            Ok(Ok(())) if growing.is_void() => Ok(None),
            Ok(fetched) => fetched.and(filled).map(Some),
            Err(_panic) => Err(missing()),
        }
    })
}

fn fill(
    staging: &Staging,
    content: impl Read + Send,
    blob: &Descriptor,
    diff_id: &Digest,
    rootless: bool,
) -> Result<(LayerMeta, Unpacked)> {
    let invalid = |error: &dyn std::error::Error| invalid(blob, error);
    let directory = open_directory(&staging.diff())?;
    let path = staging.directory().join(RECORD);
    let mut record = File::create(&path).map_err(EngineError::store(format!("make {}", path.display())))?;
    let archive = Decoder::new(content, Some(EXPANSION)).map_err(|error| invalid(&error))?;
    let options = options(rootless);
    let unpacked = match archive.compression() {
        Compression::Plain => unpack_layer(archive, directory.as_fd(), Some(&mut record), &options),
        _ => unpack_layer_ahead(archive, directory.as_fd(), Some(&mut record), &options),
    }
    .map_err(|error| invalid(&error))?;
    record
        .flush()
        .map_err(EngineError::store(format!("write {}", path.display())))?;
    if unpacked.diff_id != *diff_id {
        return Err(EngineError::Invalid(format!(
            "layer {} is {} without compression, and the image's configuration says {diff_id}",
            blob.digest, unpacked.diff_id
        )));
    }
    let meta = LayerMeta {
        size: unpacked.content_bytes,
        tar_size: Some(unpacked.archive_bytes),
        blobs: vec![blob.clone()],
        ..LayerMeta::default()
    };
    Ok((meta, unpacked))
}
