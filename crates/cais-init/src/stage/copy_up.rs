//! `tmpcopyup`: a new file system gets a copy of what the root has at its place.
//!
//! Every name is opened below the descriptor of its directory and never followed, and
//! what is copied was made by the image: it goes nowhere but into the new file system.

use super::{Failure, StepResult, failed};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid, chmodat, chownat, fchmod, fchown, fstat,
    mkdirat, openat, readlinkat_raw, sendfile, statat, symlinkat,
};
use rustix::io::Errno;

/// Directories below directories; more than any program makes.
const DEPTH_MAX: u32 = 64;
/// Room for names of one directory.
const NAMES: usize = 2048;
/// The longest link (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Copies what `root` has at `path` to the top of `mount`. A place that is no directory
/// has nothing to copy.
pub(super) fn copy<'a>(root: BorrowedFd<'_>, path: &'a CStr, mount: BorrowedFd<'_>) -> StepResult<'a> {
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.map_err(failed("openat2", path))?,
    };
    let target = openat(mount, c".", flags, Mode::empty()).map_err(failed("openat", path))?;
    copy_directory(source.as_fd(), target.as_fd(), 0)
        .map_err(|errno| Failure::new("copy what the image has", path.to_bytes(), errno))
}

fn copy_directory(source: BorrowedFd<'_>, target: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let stat = fstat(source)?;
    let mut names = [MaybeUninit::<u8>::uninit(); NAMES];
    let mut directory = RawDir::new(source, &mut names);
    while let Some(entry) = directory.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(source, target, name, depth)?;
    }
    fchown(
        target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn copy_entry(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, depth: u32) -> Result<(), Errno> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let from = openat(
                source,
                name,
                flags | OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            )?;
            mkdirat(target, name, Mode::from_raw_mode(0o700))?;
            let to = openat(
                target,
                name,
                flags | OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            )?;
            return copy_directory(from.as_fd(), to.as_fd(), depth + 1);
        }
        FileType::RegularFile => {
            let from = openat(source, name, flags | OFlags::RDONLY, Mode::empty())?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let to = openat(target, name, flags | create, Mode::from_raw_mode(0o600))?;
            while sendfile(to.as_fd(), from.as_fd(), None, 1 << 20)? > 0 {}
        }
        FileType::Symlink => {
            let mut buffer = [MaybeUninit::<u8>::uninit(); PATH_MAX];
            let (content, _) = readlinkat_raw(source, name, &mut buffer[..PATH_MAX - 1])?;
            let mut text = [0u8; PATH_MAX];
            let room = text.get_mut(..content.len()).ok_or(Errno::NAMETOOLONG)?;
            room.copy_from_slice(content);
            let content = CStr::from_bytes_until_nul(&text).or(Err(Errno::INVAL))?;
            symlinkat(content, target, name)?;
            return own(target, name, &stat);
        }
        // Devices, pipes and sockets of an image have no place in a temporary file system.
        _ => return Ok(()),
    }
    own(target, name, &stat)?;
    chmodat(
        target,
        name,
        Mode::from_raw_mode(stat.st_mode & 0o7777),
        AtFlags::empty(),
    )
}

fn own(target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(target, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}
