//! A new volume gets what the image has at its place, as with Docker.
//!
//! The place is resolved inside of the image's tree, whatever links are there
//! (CVE-2022-23648). The copy is made beside and renamed in: a volume is empty or complete.

use super::directory;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::{RootSource, RunOptions};
use crate::rootless::in_user_namespace;
use cais_image::layer::{Form, PackOptions, UnpackOptions, pack_layer, unpack_layer};
use cais_linux::mounts::{overlay, tree};
use cais_linux::path::open_inside;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Gid, Mode, OFlags, Uid, fchmod, fchown, flock, fstat, open};
use rustix::io::Errno;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Fills a volume that is empty.
pub(super) fn fill(engine: &Engine, options: &RunOptions, name: &str, target: &str) -> Result<()> {
    // The tree of this machine is no image: what it has in /var is nobody's to copy.
    if options.root == RootSource::Host {
        return Ok(());
    }
    if !is_empty(&directory(&engine.store).join(name).join("_data"))? {
        return Ok(());
    }
    let work = || fill_from_image(engine, options, name, target);
    if !engine.rootless {
        return work();
    }
    // Only there may this user show layers together.
    in_user_namespace(&format!("fill the volume {name}"), &mut || {
        work().map(|()| Vec::new())
    })
    .map(drop)
}

fn fill_from_image(engine: &Engine, options: &RunOptions, name: &str, target: &str) -> Result<()> {
    let volume = directory(&engine.store).join(name);
    let data = volume.join("_data");
    let Some(root) = open_root(engine, options)? else {
        return Ok(());
    };
    let inside = Path::new(target.trim_start_matches('/'));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match open_inside(root.as_fd(), inside, flags) {
        Ok(source) => source,
        // A file there, or nothing: the volume is empty.
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        Err(error) => return Err(EngineError::system(format!("open {target} in the image"))(error)),
    };
    // Of several containers that start at once one copies, and the others wait for it.
    let path = volume.join("volume.json");
    let failed = |call, errno| EngineError::System {
        action: format!("fill the volume {name}"),
        source: cais_linux::SysError::new(call, format!("{path:?}"), errno),
    };
    let lock = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open", errno))?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))
        .map_err(|errno| failed("flock", errno))?;
    if !is_empty(&data)? {
        return Ok(());
    }
    let beside = volume.join("_new");
    let told = || EngineError::store(format!("fill the volume {name}"));
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(told()(error)),
        _ => {}
    }
    fs::create_dir(&beside).map_err(told())?;
    copy(engine, &source, &beside, name)?;
    fs::rename(&beside, &data).map_err(told())
}

fn is_empty(directory: &Path) -> Result<bool> {
    let mut entries =
        fs::read_dir(directory).map_err(EngineError::store(format!("read {}", directory.display())))?;
    Ok(entries.next().is_none())
}

/// What the container's root shows before its first change.
fn open_root(engine: &Engine, options: &RunOptions) -> Result<Option<OwnedFd>> {
    match &options.root {
        RootSource::Host => Ok(None),
        RootSource::Directory { path, .. } => tree::open_directory(path)
            .map(Some)
            .map_err(EngineError::system(format!("open {}", path.display()))),
        RootSource::Image { layers, .. } => {
            let mut lower = layers.clone();
            // overlayfs wants two at least.
            let empty = engine.store.run().join("empty");
            crate::store::ensure_directory(&empty)?;
            lower.push(empty);
            overlay::make_read_only(&lower, engine.rootless)
                .map(Some)
                .map_err(EngineError::system("show the image's files"))
        }
    }
}

/// Copies a tree with all that belongs to it, as the archive of a layer has it.
fn copy(engine: &Engine, source: &OwnedFd, to: &Path, name: &str) -> Result<()> {
    let told = |error: &dyn std::error::Error| {
        EngineError::Invalid(format!(
            "cannot fill the volume {name}: {}",
            crate::run::chain(error)
        ))
    };
    let (form, unpack) = match engine.rootless {
        true => (Form::Rootless, UnpackOptions::rootless()),
        false => (Form::Privileged, UnpackOptions::privileged()),
    };
    let pack = PackOptions {
        nanoseconds: true,
        ..PackOptions::new(form)
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = open(to, flags, Mode::empty())
        .map_err(|errno| cais_linux::SysError::new("open", format!("{to:?}"), errno))
        .map_err(EngineError::system("open the volume"))?;
    let (reader, writer) = std::io::pipe().map_err(EngineError::store("make a pipe"))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(|| pack_layer(source.as_fd(), writer, &pack).map(drop));
        let unpacked = unpack_layer(reader, target.as_fd(), None, &unpack);
        let packed = packing.join();
        // What could not be read is the cause of what could not be unpacked.
        match packed {
            Ok(Err(error)) if unpacked.is_ok() => Err(told(&error)),
            Ok(_) => unpacked.map(drop).map_err(|error| told(&error)),
            Err(_panic) => Err(EngineError::Invalid(format!(
                "the volume {name} was not filled: this is a bug in cais"
            ))),
        }
    })?;
    let failed = |call: &'static str| {
        move |errno: Errno| EngineError::System {
            action: format!("give the volume {name} the owner of its place"),
            source: cais_linux::SysError::new(call, "_data", errno),
        }
    };
    let stat = fstat(source).map_err(failed("fstat"))?;
    if !engine.rootless {
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fchown(&target, Some(owner.0), Some(owner.1)).map_err(failed("fchown"))?;
    }
    fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed("fchmod"))
}
