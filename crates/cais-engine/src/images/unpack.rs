//! Layers from blobs to directories, several at once.

use super::growing::Growing;
use super::watch::{Step, Watch};
use crate::error::{EngineError, Result};
use cais_image::layer::{Decoder, UnpackOptions, unpack_layer};
use cais_image::manifest::ImageManifest;
use cais_image::store::{LayerClaim, LayerMeta, Lease, Staging};
use cais_image::{ContentStore, Descriptor, Digest};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, open};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The record from which a layer's archive is made again, beside its files.
pub(super) const RECORD: &str = "archive.zst";
/// The directories that the archive does not describe, until they have the attributes of the
/// layers below.
const IMPLIED: &str = "implied";
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

/// Unpacks the layers of an image that are not there yet.
pub(super) fn unpack(unpacker: &Unpacker<'_>, manifest: &ImageManifest, diff_ids: &[Digest]) -> Result<()> {
    if manifest.layers.len() != diff_ids.len() {
        return Err(EngineError::Invalid(format!(
            "the image has {} layers and its configuration names {}",
            manifest.layers.len(),
            diff_ids.len()
        )));
    }
    let jobs: Vec<(&Descriptor, &Digest)> = manifest.layers.iter().zip(diff_ids).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some((blob, diff_id)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let step = unpack_one(unpacker, blob, diff_id)?;
            unpacker.watch.blob(blob, step);
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
    patch_implied(unpacker.store, diff_ids)?;
    unpacker
        .store
        .sync()
        .map_err(EngineError::image("sync the layers"))
}

/// Directories that a layer's archive does not describe get the attributes that the layers
/// below give them: overlayfs would show ours (facts: `/tmp` with 0755).
fn patch_implied(store: &ContentStore, diff_ids: &[Digest]) -> Result<()> {
    let mut below: Vec<PathBuf> = Vec::new();
    for diff_id in diff_ids {
        let action = || EngineError::image(format!("find layer {diff_id}"));
        let Some(path) = store.layer_path(diff_id).map_err(action())? else {
            continue;
        };
        let list = path.with_file_name(IMPLIED);
        if let Ok(text) = std::fs::read_to_string(&list) {
            for name in text.split('\0').filter(|name| !name.is_empty()) {
                let found = below
                    .iter()
                    .rev()
                    .find_map(|layer| read_attributes(layer, Path::new(name)));
                if let Some(stat) = found {
                    set_attributes(&path, Path::new(name), &stat).map_err(EngineError::system(format!(
                        "give {name} the attributes of the layer below"
                    )))?;
                }
            }
            std::fs::remove_file(&list).map_err(EngineError::store(format!("remove {}", list.display())))?;
        }
        below.push(path);
    }
    Ok(())
}

fn read_attributes(layer: &Path, name: &Path) -> Option<rustix::fs::Stat> {
    let root = cais_linux::mounts::tree::open_directory(layer).ok()?;
    let directory = open_below(root.as_fd(), name).ok()?;
    rustix::fs::fstat(&directory).ok()
}

fn set_attributes(layer: &Path, name: &Path, stat: &rustix::fs::Stat) -> cais_linux::error::Result<()> {
    let root = cais_linux::mounts::tree::open_directory(layer)?;
    let failed = |call, errno| cais_linux::SysError::new(call, format!("{name:?}"), errno);
    let directory = open_below(root.as_fd(), name).map_err(|errno| failed("openat2", errno))?;
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(stat.st_uid),
        rustix::fs::Gid::from_raw(stat.st_gid),
    );
    rustix::fs::fchown(&directory, Some(uid), Some(gid)).map_err(|errno| failed("fchown", errno))?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777))
        .map_err(|errno| failed("fchmod", errno))
}

/// Opens a directory of a layer without following any link.
fn open_below(root: BorrowedFd<'_>, name: &Path) -> std::result::Result<OwnedFd, rustix::io::Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, name, flags, Mode::empty(), resolve)
}

fn unpack_one(unpacker: &Unpacker<'_>, blob: &Descriptor, diff_id: &Digest) -> Result<Step> {
    let Unpacker { store, lease, .. } = *unpacker;
    let action = || EngineError::image(format!("unpack layer {}", blob.digest));
    // What a registry sent wrong once is unpacked from the store when it is whole.
    let (staging, mut meta) = loop {
        // The layer is claimed before its blob is opened: whoever waits holds nothing else.
        let staging = match store.claim_layer(lease, diff_id).map_err(action())? {
            LayerClaim::Present(_) => return Ok(Step::Present),
            LayerClaim::Missing(staging) => staging,
        };
        let meta = match store.open_blob(&blob.digest).map_err(action())? {
            Some(content) => Some(fill(&staging, content, blob, diff_id, unpacker.rootless)?),
            None => fill_while_fetching(unpacker, &staging, blob, diff_id)?,
        };
        if let Some(meta) = meta {
            break (staging, meta);
        }
    };
    meta.sources.extend(unpacker.source.map(str::to_owned));
    store
        .commit_layer(lease, staging, diff_id, &meta)
        .map_err(action())?;
    // What is unpacked is made into the same archive again where somebody wants it.
    store.drop_blob(lease, &blob.digest).map_err(action())?;
    Ok(Step::Unpacked)
}

/// Unpacks a layer as it arrives. What was wrong with the blob is said rather than what came
/// of it. `None` where the blob is in the store now, but was begun anew meanwhile.
fn fill_while_fetching(
    unpacker: &Unpacker<'_>,
    staging: &Staging,
    blob: &Descriptor,
    diff_id: &Digest,
) -> Result<Option<LayerMeta>> {
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
    content: impl Read,
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
    if !unpacked.implied.is_empty() {
        let names: Vec<&[u8]> = unpacked
            .implied
            .iter()
            .map(|path| path.as_os_str().as_bytes())
            .collect();
        let list = staging.directory().join(IMPLIED);
        std::fs::write(&list, names.join(&0))
            .map_err(EngineError::store(format!("write {}", list.display())))?;
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
