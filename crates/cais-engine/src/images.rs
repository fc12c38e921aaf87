//! Images: taken in, unpacked, named, given out, and what a container takes from one.
//!
//! The store is `cais_image`'s; here is what a command does with it. Layers are unpacked in
//! overlay form, each independently of the others and several at once; the compressed blob
//! goes when its files are there, and is made again, to the bit, where somebody wants it.

mod change;
mod copy;
mod defaults;
mod growing;
mod import;
mod pack;
mod pull;
mod push;
mod remote;
mod remove;
mod show;
mod trace;
mod tree;
mod unpack;
mod watch;

pub use change::apply_change;
pub use copy::{CopyOptions, copy_image};
pub use defaults::apply_defaults;
pub use import::{Loaded, load, save};
pub use pack::{PackOptions, PackedImage, collect_files, open_tree, pack};
pub use pull::{Pulled, pull, pull_all_tags};
pub use push::{LayerCompression, Pushed, push, push_all_tags};
pub use remote::TransferOptions;
pub use remove::{Removed, prune, remove};
pub use show::{ShownManifest, remote_manifests};
pub(crate) use trace::watched_filter;
pub use trace::{Traced, trace};
pub use tree::{
    ImportOptions, MountedImage, export, import, mount_image, mounted_images, open_input, unmount_image,
};
pub use watch::{Step, Unwatched, Watch};

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list::containers;
use crate::options::{RootSource, RunOptions};
use cais_image::platform::Platform;
use cais_image::store::{Image, StoreError};
use cais_image::{ContentStore, Digest, Reference};
use cais_linux::SysError;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::path::{Path, PathBuf};

/// Notes what happened to an image in the journal of events: to the image with this id, or to
/// what the registry calls so.
fn note(engine: &Engine, store: &ContentStore, image: &Digest, (id, name): (&str, &str), action: &str) {
    let config = store.config(image).unwrap_or_default();
    let mut attributes: Vec<(&str, &str)> = config
        .config
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    attributes.push(("name", name));
    crate::events::other(&engine.store, "image", id, action, &attributes);
}

/// The same for what was done to the image itself.
fn note_id(engine: &Engine, store: &ContentStore, image: &Digest, action: &str) {
    note(engine, store, image, (image.as_str(), image.as_str()), action);
}

/// The same for what went over a network by this name.
fn note_transfer(engine: &Engine, store: &ContentStore, reference: &Reference, action: &str) {
    if let Ok(image) = find(store, &reference.to_string()) {
        let (id, name) = (reference.familiar(), reference.familiar_name());
        note(engine, store, &image.id, (&id, &name), action);
    }
}

/// Opens the store of images.
///
/// # Errors
/// Where it cannot be made or read.
pub fn open(engine: &Engine) -> Result<ContentStore> {
    if let Some(step) = engine.checkpoints.store() {
        cais_image::store::kill_at_step(step);
    }
    ContentStore::open(engine.store.data()).map_err(EngineError::image("open the store of images"))
}

/// The full name of what a user calls an image: `nginx` is `docker.io/library/nginx:latest`.
///
/// # Errors
/// For a text that is no reference.
pub fn full_name(text: &str) -> Result<String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: cais_image::reference::BadReference| EngineError::Invalid(error.to_string()))?;
    Ok(reference.or_latest().to_string())
}

/// Finds an image by name, or by id or the first digits of one.
///
/// # Errors
/// Where there is none, or several.
pub fn find(store: &ContentStore, text: &str) -> Result<Image> {
    if let Ok(name) = full_name(text)
        && let Ok(image) = store.resolve(&name)
    {
        return Ok(image);
    }
    store
        .resolve(text)
        .map_err(EngineError::image(format!("find the image {text}")))
}

/// The layers of an image as overlayfs takes them, the uppermost first.
///
/// # Errors
/// Where one is not there.
pub fn layers(store: &ContentStore, image: &Image) -> Result<Vec<PathBuf>> {
    let action = || EngineError::image("find the layers of the image");
    let found = store.find_layers(&image.diff_ids).map_err(action())?;
    let mut paths = Vec::with_capacity(found.len());
    for (diff_id, found) in image.diff_ids.iter().zip(found).rev() {
        let path = match found {
            Some(layer) => store.layer_path(&layer).map_err(action())?,
            None => None,
        };
        let path = path.ok_or_else(|| {
            EngineError::Invalid(format!(
                "layer {diff_id} of the image is not there: load or pull it again"
            ))
        })?;
        let hides_all = is_opaque(&path);
        paths.push(path);
        if hides_all {
            break;
        }
    }
    Ok(paths)
}

/// Whether a layer hides everything below: overlayfs does not heed the attribute on the root
/// of one.
fn is_opaque(layer: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0u8; 1];
            rustix::fs::getxattr(layer, *name, &mut value[..]) == Ok(1) && value == *b"y"
        })
}

/// Looks up the image that the options name, fills in its layers, and what it says of the
/// program where the user left it open.
///
/// # Errors
/// Where there is no such image, or nothing to run.
pub fn resolve_root(engine: &Engine, options: &mut RunOptions) -> Result<()> {
    let RootSource::Image { name, .. } = &options.root else {
        return Ok(());
    };
    let name = name.clone();
    let store = open(engine)?;
    hold_for_start(engine)?;
    let image = find(&store, &name)?;
    crate::budget::note_use(engine, &store, &image);
    let config = store
        .config(&image.id)
        .map_err(EngineError::image("read the image's configuration"))?;
    options.root = RootSource::Image {
        name: name.clone(),
        manifest: image.manifest.digest.to_string(),
        layers: layers(&store, &image)?,
    };
    check_runs(&config.platform())
        .map_err(|reason| EngineError::Invalid(format!("the image {name} is {reason}")))?;
    apply_defaults(options, &config);
    if options.command.is_empty() && options.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        return Err(EngineError::Invalid(format!(
            "no command: the image {name} names none, and neither did you"
        )));
    }
    Ok(())
}

/// Locks the directory of the images' names: exclusively, or together with others.
fn lock_images(engine: &Engine, operation: FlockOperation) -> Result<OwnedFd> {
    let path = engine.store.data().join("images");
    let failed = |call| {
        let path = format!("{path:?}");
        move |errno| EngineError::System {
            action: "hold the images".to_owned(),
            source: SysError::new(call, path, errno),
        }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(failed("open"))?;
    rustix::io::retry_on_intr(|| flock(&directory, operation)).map_err(failed("flock"))?;
    Ok(directory)
}

/// Holds all images, together with other starts, from before one is looked up until the
/// container's record says that it is used ([`release_after_start`]). Only a collection waits
/// for that, and nobody for long.
fn hold_for_start(engine: &Engine) -> Result<()> {
    if engine.images_held.get().is_none() {
        let held = lock_images(engine, FlockOperation::LockShared)?;
        engine.images_held.set(held).unwrap_or_default();
    }
    Ok(())
}

/// Lets them go, here and in every process that has them by fork(2).
pub(crate) fn release_after_start(engine: &Engine) {
    if let Some(held) = engine.images_held.get() {
        // It cannot fail on a descriptor that was locked.
        flock(held, FlockOperation::Unlock).unwrap_or_default();
    }
}

/// [`in_use`] for a collection that has read the images' names: who looked one up before has
/// written its record by then.
pub(crate) fn in_use_after_starts(engine: &Engine) -> std::result::Result<Vec<Digest>, StoreError> {
    lock_images(engine, FlockOperation::LockExclusive)
        .map(drop)
        .and_then(|()| in_use(engine))
        .map_err(|error| StoreError::Caller(error.to_string()))
}

/// Whether programs of this platform run here, natively or by an emulator that the kernel
/// calls.
///
/// # Errors
/// Says why not, to be put behind "the image … is".
pub fn check_runs(platform: &Platform) -> std::result::Result<(), String> {
    let (own, other) = (Platform::own(), platform.normalized());
    let pair = (own.architecture.as_str(), other.architecture.as_str());
    // What names no machine is nobody's foreign one.
    let is_native = other.architecture.is_empty()
        || own.architecture == other.architecture
        || matches!(pair, ("amd64", "386") | ("arm64", "arm"));
    if matches!(other.os.as_str(), "" | "linux") && (is_native || is_emulated(&other.architecture)) {
        return Ok(());
    }
    Err(format!(
        "for {other}, and this machine runs {own}: take one for it (--platform {own}), or register an emulator in binfmt_misc with the flag F"
    ))
}

/// Whether the kernel has an emulator for a machine open, so that it needs no file in the
/// container (Documentation/admin-guide/binfmt-misc.rst).
fn is_emulated(architecture: &str) -> bool {
    let name = match architecture {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        "mips64le" => "mips64el",
        "mipsle" => "mipsel",
        "loong64" => "loongarch64",
        other => other,
    };
    let entry = std::fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{name}"));
    entry.is_ok_and(|text| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags: "));
        text.starts_with("enabled") && flags.is_some_and(|flags| flags.contains('F'))
    })
}

/// The images that containers are made of or that are mounted, and so cannot go.
///
/// # Errors
/// Where the containers cannot be listed.
pub fn in_use(engine: &Engine) -> Result<Vec<Digest>> {
    let all = containers(&engine.store)?;
    let mounted = mounted_images(engine)?;
    let mounted = mounted.into_iter().map(|mounted| mounted.manifest);
    Ok(all
        .iter()
        .filter_map(|container| match &container.record.options.root {
            RootSource::Image { manifest, .. } => manifest.parse().ok(),
            _ => None,
        })
        .chain(mounted)
        .collect())
}

/// Takes names away from an image, which stays.
///
/// # Errors
/// Where it has no such name.
pub fn untag(engine: &Engine, image: &str, names: &[String]) -> Result<()> {
    let store = open(engine)?;
    let found = find(&store, image)?;
    // By whichever of its names it was found.
    let mut all = store.images().map_err(EngineError::image("list the images"))?;
    all.retain(|one| one.manifest.digest == found.manifest.digest);
    let own: Vec<String> = all.into_iter().flat_map(|one| one.names).collect();
    let names = match names {
        [] => own.clone(),
        names => names
            .iter()
            .map(|name| full_name(name))
            .collect::<Result<Vec<_>>>()?,
    };
    for name in &names {
        if !own.contains(name) {
            return Err(EngineError::Invalid(format!("{image} has no name {name}")));
        }
    }
    for name in &names {
        store
            .untag(name)
            .map_err(EngineError::image(format!("take the name {name} away")))?;
        note_id(engine, &store, &found.id, "untag");
    }
    Ok(())
}

/// Gives an image a further name.
///
/// # Errors
/// Where there is no such image, or the name is none.
pub fn tag(engine: &Engine, image: &str, name: &str) -> Result<()> {
    let store = open(engine)?;
    let found = find(&store, image)?;
    let full = full_name(name)?;
    store
        .tag(&full, &found.target, &found.manifest)
        .map_err(EngineError::image(format!("name the image {name}")))?;
    note_tag(engine, &store, &found.id, full);
    Ok(())
}

/// Notes that an image has got this name.
fn note_tag(engine: &Engine, store: &ContentStore, image: &Digest, full: String) {
    let familiar = full.parse().map_or(full, |name: Reference| name.familiar());
    note(engine, store, image, (image.as_str(), &familiar), "tag");
}
