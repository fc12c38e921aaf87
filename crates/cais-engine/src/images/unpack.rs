//! Layers from blobs to directories, several at once.

use crate::error::{EngineError, Result};
use cais_image::layer::{Decoder, UnpackOptions, unpack_layer};
use cais_image::manifest::Manifest;
use cais_image::store::{Image, LayerClaim, LayerMeta, Lease, Staging};
use cais_image::{ContentStore, Descriptor, Digest};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The record from which a layer's archive is made again, beside its files.
pub(super) const RECORD: &str = "archive.zst";
/// How many layers are unpacked at once: inflating keeps a processor busy.
const AT_ONCE: usize = 4;

/// Unpacks the layers of an image that are not there yet.
pub(super) fn unpack(store: &ContentStore, lease: &Lease, image: &Image, rootless: bool) -> Result<()> {
    let manifest = store
        .manifest(&image.manifest)
        .map_err(EngineError::image("read the manifest"))?;
    let Manifest::Image(manifest) = manifest else {
        return Err(EngineError::Invalid(
            "the image's manifest is an index".to_owned(),
        ));
    };
    if manifest.layers.len() != image.diff_ids.len() {
        return Err(EngineError::Invalid(format!(
            "the image has {} layers and its configuration names {}",
            manifest.layers.len(),
            image.diff_ids.len()
        )));
    }
    let jobs: Vec<(&Descriptor, &Digest)> = manifest.layers.iter().zip(&image.diff_ids).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some((blob, diff_id)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            unpack_one(store, lease, blob, diff_id, rootless)?;
        }
        Ok(())
    };
    let threads = AT_ONCE.min(jobs.len());
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .map(|thread| {
                thread.join().unwrap_or_else(|_panic| {
                    Err(EngineError::Invalid(
                        "a layer was not unpacked: this is a bug in cais".to_owned(),
                    ))
                })
            })
            .collect::<Result<Vec<()>>>()
    })?;
    store.sync().map_err(EngineError::image("sync the layers"))
}

fn unpack_one(
    store: &ContentStore,
    lease: &Lease,
    blob: &Descriptor,
    diff_id: &Digest,
    rootless: bool,
) -> Result<()> {
    let action = || EngineError::image(format!("unpack layer {}", blob.digest));
    // The layer is claimed before its blob is opened: whoever waits holds nothing else.
    let staging = match store.claim_layer(lease, diff_id).map_err(action())? {
        LayerClaim::Present(_) => return Ok(()),
        LayerClaim::Missing(staging) => staging,
    };
    let content = store
        .open_blob(&blob.digest)
        .map_err(action())?
        .ok_or_else(|| EngineError::Invalid(format!("the blob {} of a layer is not there", blob.digest)))?;
    let meta = fill(&staging, content, blob, diff_id, rootless)?;
    store
        .commit_layer(lease, staging, diff_id, &meta)
        .map_err(action())?;
    // What is unpacked is made into the same archive again where somebody wants it.
    store.drop_blob(lease, &blob.digest).map_err(action())?;
    Ok(())
}

fn fill(
    staging: &Staging,
    content: File,
    blob: &Descriptor,
    diff_id: &Digest,
    rootless: bool,
) -> Result<LayerMeta> {
    let invalid = |error: &dyn std::error::Error| {
        EngineError::Invalid(format!("layer {}: {}", blob.digest, crate::run::chain(error)))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(staging.diff(), flags, Mode::empty())
        .map_err(|errno| cais_linux::SysError::new("open", format!("{:?}", staging.diff()), errno))
        .map_err(EngineError::system("open the place of a layer"))?;
    let path = staging.directory().join(RECORD);
    let mut record = File::create(&path).map_err(EngineError::store(format!("make {}", path.display())))?;
    let archive = Decoder::new(content, None).map_err(|error| invalid(&error))?;
    let options = if rootless {
        UnpackOptions::rootless()
    } else {
        UnpackOptions::privileged()
    };
    let unpacked = unpack_layer(archive, directory.as_fd(), Some(&mut record), &options)
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
    if let Some(link) = unpacked.deferred.first() {
        return Err(EngineError::Invalid(format!(
            "layer {}: {} is a hard link to {} of a layer below, which is not supported yet",
            blob.digest,
            link.path.display(),
            link.target.display()
        )));
    }
    Ok(LayerMeta {
        size: unpacked.content_bytes,
        tar_size: Some(unpacked.archive_bytes),
        blobs: vec![blob.clone()],
        ..LayerMeta::default()
    })
}
