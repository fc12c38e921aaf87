//! What a layer takes from those below it: attributes of directories that its archive does
//! not describe, and files of layers below that it has hard links to.
//!
//! A layer that takes something is another one on other layers, and is kept by its place
//! (`store::places`).

use super::attributes::list_xattrs;
use super::dirs::Directories;
use super::error::lossy;
use super::marker::{Form, proc_path};
use super::name::split;
use super::remove::open_directory;
use super::staging::DeferredLink;
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fgetxattr, flistxattr, fsetxattr, fstat, futimens, mknodat, openat, readlinkat, statat,
    symlinkat, utimensat,
};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The most that an extended attribute has (xattr(7)).
const LARGEST_XATTR: usize = 64 * 1024;

/// A layer that was not placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A hard link to nothing.
    #[error("{link:?} is a hard link to {target:?}, which no layer below has")]
    NoTarget {
        /// The link.
        link: PathBuf,
        /// What it is to be a link to.
        target: PathBuf,
    },
    /// A hard link to a directory.
    #[error("{link:?} is a hard link to the directory {target:?}")]
    Directory {
        /// The link.
        link: PathBuf,
        /// What it is to be a link to.
        target: PathBuf,
    },
    /// A call failed.
    #[error(transparent)]
    System(#[from] SysError),
}

/// Places the layer in `layer`, which was unpacked in the same form as those `below`, the
/// lowest first: gives the `implied` directories the attributes that they have there, and
/// copies what the `deferred` hard links lead to.
///
/// # Errors
/// Where a hard link leads nowhere, or a call fails.
pub fn place_layer(
    layer: BorrowedFd<'_>,
    below: &[OwnedFd],
    (implied, deferred): (&[PathBuf], &[DeferredLink]),
    form: Form,
) -> Result<(), PlaceError> {
    let below = Below { layers: below, form };
    for path in implied {
        let name = path.as_os_str().as_bytes();
        let Some((parent, last, stat)) = below.find(name)? else {
            continue;
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            copy_attributes(layer, path, &parent, &last, form)?;
        }
    }
    for link in deferred {
        let target = link.target.as_os_str().as_bytes();
        let (link, target) = (link, (target, &link.target));
        let Some((parent, last, stat)) = below.find(target.0)? else {
            let (link, target) = (link.path.clone(), target.1.clone());
            return Err(PlaceError::NoTarget { link, target });
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let (link, target) = (link.path.clone(), target.1.clone());
            return Err(PlaceError::Directory { link, target });
        }
        copy_file(layer, &link.path, (&parent, &last, &stat), form)?;
    }
    Ok(())
}

fn failed(call: &'static str, name: &[u8]) -> impl Fn(Errno) -> SysError {
    let name = lossy(name);
    move |errno| SysError::new(call, format!("{name:?}"), errno)
}

/// Layers as overlayfs shows them: an upper one hides what it says.
struct Below<'a> {
    layers: &'a [OwnedFd],
    form: Form,
}

/// Where something is: its directory, its name in it, what it is.
type Found = (OwnedFd, Vec<u8>, Stat);

enum Looked {
    Found(Found),
    /// Not here, but those below may have it.
    Absent,
    /// Neither here nor, by what this layer says, below.
    Hidden,
}

impl Below<'_> {
    fn find(&self, path: &[u8]) -> Result<Option<Found>, SysError> {
        for layer in self.layers.iter().rev() {
            match self.look(layer, path)? {
                Looked::Found(found) => return Ok(Some(found)),
                Looked::Absent => {}
                Looked::Hidden => break,
            }
        }
        Ok(None)
    }

    fn look(&self, layer: &OwnedFd, path: &[u8]) -> Result<Looked, SysError> {
        let failed = |call| failed(call, path);
        let mut directory = open_directory(layer.as_fd(), b".").map_err(failed("openat"))?;
        let mut is_opaque = false;
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        while let Some(part) = parts.next() {
            is_opaque |= self.form.opaque(directory.as_fd()).map_err(failed("fgetxattr"))? == Some(b'y');
            let stat = match statat(&directory, part, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if is_opaque => return Ok(Looked::Hidden),
                Err(Errno::NOENT) => return Ok(Looked::Absent),
                other => other.map_err(failed("fstatat"))?,
            };
            let whiteout = self.form.is_whiteout(directory.as_fd(), part, &stat);
            if whiteout.map_err(failed("lgetxattr"))? {
                return Ok(Looked::Hidden);
            }
            if parts.peek().is_none() {
                return Ok(Looked::Found((directory, part.to_vec(), stat)));
            }
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Ok(Looked::Hidden);
            }
            directory = open_directory(directory.as_fd(), part).map_err(failed("openat"))?;
        }
        Ok(Looked::Absent)
    }
}

/// Gives a directory of the layer the attributes of one below.
fn copy_attributes(
    layer: BorrowedFd<'_>,
    path: &Path,
    parent: &OwnedFd,
    name: &[u8],
    form: Form,
) -> Result<(), SysError> {
    let own = path.as_os_str().as_bytes();
    let to = match Directories::new(layer).and_then(|mut all| all.open(own)) {
        Ok(Some(directory)) => directory,
        // Something later in the archive has taken its place.
        _ => return Ok(()),
    };
    let from = open_directory(parent.as_fd(), name).map_err(failed("openat", name))?;
    copy_to(from.as_fd(), to.fd(), own, form)
}

/// Owner, mode, extended attributes and times of one open file to another.
fn copy_to(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], form: Form) -> Result<(), SysError> {
    let failed = |call| failed(call, name);
    let stat = fstat(from).map_err(failed("fstat"))?;
    if form == Form::Privileged {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        fchown(to, Some(uid), Some(gid)).map_err(failed("fchown"))?;
    }
    for attribute in list_xattrs(|buffer| flistxattr(from, buffer)).map_err(failed("flistxattr"))? {
        if form.is_own(&attribute) || attribute.starts_with(b"security.selinux") {
            continue;
        }
        let mut value = vec![0; LARGEST_XATTR];
        let length = fgetxattr(from, &attribute[..], &mut value[..]).map_err(failed("fgetxattr"))?;
        let set = fsetxattr(
            to,
            &attribute[..],
            value.get(..length).unwrap_or_default(),
            XattrFlags::empty(),
        );
        match set {
            Err(Errno::PERM) if form == Form::Rootless => {}
            other => other.map_err(failed("fsetxattr"))?,
        }
    }
    fchmod(to, mode(&stat)).map_err(failed("fchmod"))?;
    futimens(to, &times(&stat)).map_err(failed("futimens"))
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// Copies a file of a layer below to a name where the layer has nothing.
fn copy_file(
    layer: BorrowedFd<'_>,
    path: &Path,
    (parent, last, stat): (&OwnedFd, &[u8], &Stat),
    form: Form,
) -> Result<(), SysError> {
    let own = path.as_os_str().as_bytes();
    let failed = |call| failed(call, own);
    let (directory, name) = split(own);
    let directory = Directories::new(layer)
        .and_then(|mut all| all.open(directory))
        .ok()
        .flatten()
        .ok_or_else(|| failed("openat2")(Errno::NOENT))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let from = openat(parent, last, flags, Mode::empty()).map_err(failed("openat"))?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to =
                openat(directory.fd(), name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("openat"))?;
            let (mut from, mut to) = (File::from(from), File::from(to));
            std::io::copy(&mut from, &mut to).map_err(|error| {
                failed("copy_file_range")(Errno::from_io_error(&error).unwrap_or(Errno::IO))
            })?;
            return copy_to(from.as_fd(), to.as_fd(), own, form);
        }
        FileType::Symlink => {
            let target = readlinkat(parent, last, Vec::new()).map_err(failed("readlinkat"))?;
            symlinkat(&*target, directory.fd(), name).map_err(failed("symlinkat"))?;
        }
        // Files without privilege have none below.
        kind => mknodat(directory.fd(), name, kind, mode(stat), stat.st_rdev).map_err(failed("mknodat"))?,
    }
    if form == Form::Privileged {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(
            directory.fd(),
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("fchownat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            // It was made here, and is no link.
            rustix::fs::chmod(proc_path(directory.fd(), name), mode(stat)).map_err(failed("chmod"))?;
        }
    }
    utimensat(directory.fd(), name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("utimensat"))
}
