//! Where a container's directory is made, so that containers lie apart on ext4.
//!
//! ext4 puts what is new beside the directory that it is made in: into the same group of
//! blocks. Without a journal it passes there, for each new file, over all that were removed in
//! the last seconds: of many short runs one after another a fifth of the time was that. A
//! directory with the flag `T` of chattr(1) has each directory below it in another group, which
//! costs as much as two mounts each time. So there are a few such places, made once; a
//! container's directory is made in one of them and moved to where it belongs. It stays in its
//! group, and so does what is made in it.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::store::{Store, ensure_directory};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::fs;
use std::io::ErrorKind::{AlreadyExists, CrossesDevices, DirectoryNotEmpty, NotFound};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The directory that is about to be moved. One that was left behind by a process that was
/// killed is what the next one needs.
const NEW: &str = "new";

/// So often another start may be quicker.
const TRIES: u32 = 1000;

/// Makes the places, one for each first digit of an id, where the file system knows the flag.
///
/// # Errors
/// As mkdir(2).
pub(crate) fn ensure_places(above: &Path) -> Result<()> {
    ensure_directory(above)?;
    if !spread(above) {
        return Ok(());
    }
    for digit in 0..16 {
        ensure_directory(&above.join(format!("{digit:x}")))?;
    }
    Ok(())
}

/// Asks for a group of its own for each directory that will be made in this one. Whether the
/// file system knows that.
fn spread(directory: &Path) -> bool {
    let Ok(directory) = fs::File::open(directory) else {
        return false;
    };
    ioctl_getflags(&directory).is_ok_and(|known| ioctl_setflags(&directory, known | IFlags::TOPDIR).is_ok())
}

/// Makes the directory of a container; one that is there stays as it is.
///
/// # Errors
/// As mkdir(2) and rename(2).
pub(crate) fn make_directory(store: &Store, id: &ContainerId) -> Result<()> {
    let path = store.container(id);
    match make_and_move(store, id, &path) {
        Err(error) if !matches!(error.kind(), AlreadyExists | DirectoryNotEmpty) => Err(EngineError::Store {
            action: format!("make {}", path.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn make_and_move(store: &Store, id: &ContainerId, path: &Path) -> std::io::Result<()> {
    let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
    let digit = id.as_str().get(..1).unwrap_or_default();
    let new = store.apart().join(digit).join(NEW);
    for _ in 0..TRIES {
        match make(&new) {
            // There are no such places here.
            Err(error) if error.kind() == NotFound => return make(path),
            Err(error) if error.kind() != AlreadyExists => return Err(error),
            _ => {}
        }
        match fs::rename(&new, path) {
            // Another start took it: one more is made.
            Err(error) if error.kind() == NotFound => {}
            // The containers lie on a file system of their own.
            Err(error) if error.kind() == CrossesDevices => return make(path),
            other => return other,
        }
    }
    make(path)
}
