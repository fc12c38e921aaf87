//! Images as trees of files: `import`, `export`, `image mount`.

use super::unpack::RECORD;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::RootSource;
use crate::rootless::in_user_namespace;
use crate::state::Container;
use crate::store::ensure_directory;
use crate::time;
use cais_image::layer::{Decoder, Form, PackOptions, UnpackOptions, Unpacked, pack_layer, unpack_layer};
use cais_image::manifest::ImageManifest;
use cais_image::manifest::config::{ContainerConfig, History, ImageConfig, RootFs};
use cais_image::platform::Platform;
use cais_image::store::{LayerMeta, Staging};
use cais_image::{Descriptor, Digest, MediaType};
use cais_linux::SysError;
use cais_linux::mounts::{overlay, tree};
use cais_order::InOrder;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// What becomes of a tree that is taken in.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The image's name; without one it has none.
    pub name: Option<String>,
    /// What a container of it runs.
    pub config: ContainerConfig,
    /// A word on it, for its history.
    pub message: String,
    /// The machine that it is for; this one unless given.
    pub platform: Option<Platform>,
}

/// Makes an image of one layer of an archive of files. Returns its id.
///
/// # Errors
/// Where the archive is damaged or hostile, or the store cannot be written.
pub fn import(engine: &Engine, input: impl Read + Send, options: &ImportOptions) -> Result<Digest> {
    engine.store.ensure()?;
    let name = options.name.as_deref().map(super::full_name).transpose()?;
    let store = super::open(engine)?;
    let lease = store.lease().map_err(EngineError::image("take a lease"))?;
    let action = || EngineError::image("make the image");
    let staging = store.stage_layer().map_err(action())?;
    let unpacked = fill(&staging, input, engine.rootless)?;
    let meta = LayerMeta {
        size: unpacked.content_bytes,
        tar_size: Some(unpacked.archive_bytes),
        ..LayerMeta::default()
    };
    store
        .commit_layer(&lease, staging, &unpacked.diff_id, &meta)
        .map_err(action())?;
    engine.checkpoints.pass("the layer of the image is there");
    let (config, manifest) = documents(options, &unpacked);
    let config = to_json(&config)?;
    let config = store.put(&lease, MediaType::CONFIG, &config).map_err(action())?;
    let id = config.digest.clone();
    let manifest = to_json(&ImageManifest { config, ..manifest })?;
    let manifest = store
        .put(&lease, MediaType::MANIFEST, &manifest)
        .map_err(action())?;
    match &name {
        Some(name) => store.tag(name, &manifest, &manifest),
        None => store.keep_nameless(&manifest, &manifest),
    }
    .map_err(action())?;
    store.sync().map_err(EngineError::image("sync the layers"))?;
    if let Some(name) = name {
        super::note_tag(engine, &store, &id, name);
    }
    super::note_id(engine, &store, &id, "import");
    Ok(id)
}

fn fill(staging: &Staging, input: impl Read + Send, rootless: bool) -> Result<Unpacked> {
    let told = |error: &dyn std::error::Error| {
        EngineError::Invalid(format!(
            "cannot take in the archive: {}",
            crate::run::chain(error)
        ))
    };
    let path = staging.diff();
    let directory = tree::open_directory(&path).map_err(EngineError::system("open the place of a layer"))?;
    let record = staging.directory().join(RECORD);
    let failed = || EngineError::store(format!("write {}", record.display()));
    let mut record = File::create(&record).map_err(failed())?;
    let archive = Decoder::new(input, None).map_err(|error| told(&error))?;
    let options = match rootless {
        true => UnpackOptions::rootless(),
        false => UnpackOptions::privileged(),
    };
    let unpacked = unpack_layer(archive, directory.as_fd(), Some(&mut record), &options)
        .map_err(|error| told(&error))?;
    record.flush().map_err(failed())?;
    if let Some(link) = unpacked.deferred.first() {
        return Err(EngineError::Invalid(format!(
            "{} in the archive is a hard link to {}, which is not in it",
            link.path.display(),
            link.target.display()
        )));
    }
    Ok(unpacked)
}

/// The configuration, and the manifest but for that.
fn documents(options: &ImportOptions, unpacked: &Unpacked) -> (ImageConfig, ImageManifest) {
    let platform = options.platform.clone().unwrap_or_else(Platform::own);
    let created = Some(time::now());
    let comment = match options.message.as_str() {
        "" => "Imported from -".to_owned(),
        message => message.to_owned(),
    };
    let config = ImageConfig {
        created: created.clone(),
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        config: options.config.clone(),
        rootfs: RootFs {
            diff_ids: vec![unpacked.diff_id.clone()],
            ..RootFs::default()
        },
        history: vec![History {
            created,
            comment: Some(comment),
            ..History::default()
        }],
        ..ImageConfig::default()
    };
    let layer = Descriptor::new(MediaType::LAYER, unpacked.diff_id.clone(), unpacked.archive_bytes);
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(MediaType::MANIFEST.to_owned()),
        artifact_type: None,
        config: layer.clone(),
        layers: vec![layer],
        subject: None,
        annotations: std::collections::BTreeMap::new(),
        other: cais_json::Map::new(),
    };
    (config, manifest)
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    cais_json::to_vec(value).map_err(|error| EngineError::Invalid(format!("cannot write JSON: {error}")))
}

/// What layers show together, which cannot be changed.
fn show(engine: &Engine, mut lower: Vec<PathBuf>) -> Result<OwnedFd> {
    // overlayfs wants two at least.
    let empty = engine.store.run().join("empty");
    ensure_directory(&empty)?;
    lower.push(empty);
    overlay::make_read_only(&lower, engine.rootless).map_err(EngineError::system("show the files together"))
}

/// Writes the tree of a container as an archive, with the owners that the container sees. What
/// is mounted in it is not in the archive.
///
/// # Errors
/// Where there is no such container, or a file cannot be read.
pub fn export(engine: &Engine, container: &str, output: impl Write) -> Result<()> {
    let container = crate::list::container(&engine.store, container)?;
    let mut output = output;
    let mut work = || export_tree(engine, &container, &mut output).map(|()| Vec::new());
    if engine.rootless {
        // Only there may this user show layers together.
        in_user_namespace("export the container", &mut work)
    } else {
        work()
    }
    .map(drop)
}

fn export_tree(engine: &Engine, container: &Container, output: &mut impl Write) -> Result<()> {
    let upper = engine.store.container(&container.record.id).join("upper");
    let lower = match &container.record.options.root {
        RootSource::Host => vec![PathBuf::from("/")],
        RootSource::Image { layers, .. } => layers.clone(),
        RootSource::Directory { path, .. } => vec![path.clone()],
    };
    let is_direct = matches!(
        container.record.options.root,
        RootSource::Directory { writable: true, .. }
    );
    let root = match lower.first() {
        Some(path) if is_direct => {
            tree::open_directory(path).map_err(EngineError::system("open the container's root"))?
        }
        _ => {
            // A container that was never started has changed nothing.
            let changed = Some(upper).filter(|upper| upper.is_dir());
            show(engine, changed.into_iter().chain(lower).collect())?
        }
    };
    let form = match engine.rootless {
        true => Form::Rootless,
        false => Form::Privileged,
    };
    // What names a mount cannot be read by itself.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(&root, ".", flags, Mode::empty())
        .map_err(|errno| SysError::new("openat", "\".\"", errno))
        .map_err(EngineError::system("open the container's root"))?;
    pack_layer(root.as_fd(), &mut *output, &PackOptions::new(form))
        .map_err(|error| EngineError::Invalid(format!("cannot export: {}", crate::run::chain(&error))))?;
    output.flush().map_err(EngineError::store("write the archive"))
}

/// Where the mounts of images are.
pub(super) fn mounts(engine: &Engine) -> PathBuf {
    engine.store.run().join("images")
}

/// An image that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedImage {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Where its files are.
    pub path: PathBuf,
}

/// Mounts an image where everybody on this machine can look at its files, not to be changed.
/// Mounting it again does nothing.
///
/// # Errors
/// Where there is no such image, or it cannot be mounted.
pub fn mount_image(engine: &Engine, name: &str) -> Result<PathBuf> {
    if engine.rootless {
        return Err(EngineError::Invalid(format!(
            "cannot mount the image {name}: only root can mount something where others see it; `cais create` and `cais export` give its files as an archive"
        )));
    }
    engine.store.ensure()?;
    let store = super::open(engine)?;
    let image = super::find(&store, name)?;
    let path = mounts(engine).join(image.manifest.digest.hex());
    if is_mounted(&path) {
        return Ok(path);
    }
    ensure_directory(&mounts(engine))?;
    ensure_directory(&path)?;
    let tree = show(engine, super::layers(&store, &image)?)?;
    let attached = move_mount(
        tree.as_fd(),
        "",
        CWD,
        &path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    );
    attached
        .map_err(|errno| SysError::new("move_mount", format!("{path:?}"), errno))
        .map_err(EngineError::system(format!("mount the image {name}")))?;
    Ok(path)
}

/// Unmounts an image.
///
/// # Errors
/// Where it is not mounted, or somebody is in it and `force` is not set.
pub fn unmount_image(engine: &Engine, name: &str, force: bool) -> Result<Digest> {
    let store = super::open(engine)?;
    let image = super::find(&store, name)?;
    let path = mounts(engine).join(image.manifest.digest.hex());
    if !is_mounted(&path) {
        return Err(EngineError::Invalid(format!("the image {name} is not mounted")));
    }
    let flags = match force {
        true => UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
        false => UnmountFlags::NOFOLLOW,
    };
    unmount(&path, flags)
        .map_err(|errno| SysError::new("umount2", format!("{path:?}"), errno))
        .map_err(EngineError::system(format!("unmount the image {name}")))?;
    std::fs::remove_dir(&path).map_err(EngineError::store(format!("remove {}", path.display())))?;
    Ok(image.id)
}

/// The images that are mounted.
///
/// # Errors
/// Where their place cannot be read.
pub fn mounted_images(engine: &Engine) -> Result<Vec<MountedImage>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(mounts(engine)).into_iter().flatten().flatten() {
        let path = entry.path();
        let digest = format!("sha256:{}", entry.file_name().to_string_lossy()).parse();
        if let (Ok(manifest), true) = (digest, is_mounted(&path)) {
            found.push(MountedImage { manifest, path });
        }
    }
    found.order_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

/// Whether a directory is another file system than the one above it.
fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    let above = path.parent().and_then(device);
    device(path).is_some_and(|own| above.is_some_and(|above| above != own))
}

/// Opens an archive that is to be imported: a file, or standard input.
///
/// # Errors
/// Where it cannot be opened.
pub fn open_input(path: &Path) -> Result<File> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map(File::from)
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
        .map_err(EngineError::system(format!("open {}", path.display())))
}
