//! `cais pack`: from files of this machine to an image in the store.

use super::unpack::RECORD;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::time;
use cais_image::layer::{UnpackOptions, Unpacked, unpack_layer};
use cais_image::manifest::ImageManifest;
use cais_image::manifest::config::{ContainerConfig, History, ImageConfig, RootFs};
use cais_image::pack::{Archive, ArchiveOptions, CollectError, Collected, Host, Request, collect};
use cais_image::platform::Platform;
use cais_image::store::{LayerMeta, Lease, Staging};
use cais_image::{ContentStore, Descriptor, Digest, MediaType};
use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, OFlags, open};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a packed image is to be beside its files.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Its name; without one it has none.
    pub tag: Option<String>,
    /// What a container of it runs.
    pub config: ContainerConfig,
    /// How files are written down.
    pub archive: ArchiveOptions,
    /// How it was made, for its history.
    pub created_by: String,
}

/// An image that was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedImage {
    /// Its full name.
    pub name: Option<String>,
    /// Its id.
    pub id: Digest,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Bytes in files.
    pub size: u64,
}

/// The tree that things are packed from.
///
/// # Errors
/// Where it cannot be opened.
pub fn open_tree(root: &Path) -> Result<Host> {
    Host::open(root)
        .map_err(|errno| cais_linux::SysError::new("open", format!("{root:?}"), errno))
        .map_err(EngineError::system(format!("open {}", root.display())))
}

/// Collects what is asked for and what that needs.
///
/// # Errors
/// Where something that was asked for is not there or cannot be packed.
pub fn collect_files(host: &Host, request: &Request) -> Result<Collected> {
    collect(host, request).map_err(|error: CollectError| EngineError::Invalid(crate::run::chain(&error)))
}

/// Makes an image of files.
///
/// # Errors
/// Where a file changes meanwhile or cannot be read, or the store cannot be written.
pub fn pack(
    engine: &Engine,
    host: &Host,
    collected: &Collected,
    options: &PackOptions,
) -> Result<PackedImage> {
    engine.store.ensure()?;
    let name = options.tag.as_deref().map(super::full_name).transpose()?;
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let action = || EngineError::image("make the image");
    let staging = store.stage_layer().map_err(action())?;
    let archive = Archive::new(host, &collected.set, options.archive.clone());
    let unpacked = fill(&staging, archive, engine.rootless)?;
    let meta = LayerMeta {
        size: unpacked.content_bytes,
        tar_size: Some(unpacked.archive_bytes),
        ..LayerMeta::default()
    };
    store
        .commit_layer(&lease, staging, &unpacked.diff_id, &meta)
        .map_err(action())?;
    engine.checkpoints.pass("the layer of the image is there");
    let (manifest, id) = put_manifest(&store, &lease, collected, options, &unpacked)?;
    match &name {
        Some(name) => store.tag(name, &manifest, &manifest),
        None => store.keep_nameless(&manifest, &manifest),
    }
    .map_err(action())?;
    store.sync().map_err(EngineError::image("sync the layers"))?;
    if let Some(name) = &name {
        super::note_tag(engine, &store, &id, name.clone());
    }
    Ok(PackedImage {
        name,
        id,
        digest: manifest.digest,
        size: unpacked.content_bytes,
    })
}

/// Fills a layer with the files of an archive that is made meanwhile.
fn fill(staging: &Staging, archive: Archive<'_>, rootless: bool) -> Result<Unpacked> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = open(staging.diff(), flags, Mode::empty())
        .map_err(|errno| cais_linux::SysError::new("open", format!("{:?}", staging.diff()), errno))
        .map_err(EngineError::system("open the place of a layer"))?;
    let path = staging.directory().join(RECORD);
    let mut record = File::create(&path).map_err(EngineError::store(format!("make {}", path.display())))?;
    let options = if rootless {
        UnpackOptions::rootless()
    } else {
        UnpackOptions::privileged()
    };
    let unpacked = unpack_layer(archive, directory.as_fd(), Some(&mut record), &options)
        .map_err(|error| EngineError::Invalid(format!("cannot pack: {}", crate::run::chain(&error))))?;
    record
        .flush()
        .map_err(EngineError::store(format!("write {}", path.display())))?;
    Ok(unpacked)
}

/// Makes the configuration and the manifest. Returns the manifest and the image's id.
fn put_manifest(
    store: &ContentStore,
    lease: &Lease,
    collected: &Collected,
    options: &PackOptions,
    unpacked: &Unpacked,
) -> Result<(Descriptor, Digest)> {
    let action = || EngineError::image("make the image");
    let created = newest(collected, options.archive.latest);
    let platform = Platform::own();
    let config = ImageConfig {
        created: Some(created.clone()),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        config: options.config.clone(),
        rootfs: RootFs {
            diff_ids: vec![unpacked.diff_id.clone()],
            ..RootFs::default()
        },
        history: vec![History {
            created: Some(created),
            created_by: Some(options.created_by.clone()),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let bytes = to_json(&config)?;
    let config = store.put(lease, MediaType::CONFIG, &bytes).map_err(action())?;
    let id = config.digest.clone();
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MediaType::MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers: vec![Descriptor::new(
            MediaType::LAYER,
            unpacked.diff_id.clone(),
            unpacked.archive_bytes,
        )],
        subject: None,
        annotations: std::collections::BTreeMap::new(),
        other: cais_json::Map::new(),
    };
    let bytes = to_json(&manifest)?;
    let manifest = store.put(lease, MediaType::MANIFEST, &bytes).map_err(action())?;
    Ok((manifest, id))
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    cais_json::to_vec(value).map_err(|error| EngineError::Invalid(format!("cannot write JSON: {error}")))
}

/// When the newest of the files was modified: the same files give the same image, whenever it
/// is made.
fn newest(collected: &Collected, latest: Option<i64>) -> String {
    let files = collected.set.iter().map(|(_, item)| &item.node);
    let times = files
        .filter(|node| node.kind != FileType::Directory)
        .map(|node| node.mtime);
    let newest = times.max().unwrap_or(0);
    let newest = latest.map_or(newest, |latest| newest.min(latest));
    let since = Duration::from_secs(u64::try_from(newest).unwrap_or(0));
    time::format(SystemTime::UNIX_EPOCH + since)
}
