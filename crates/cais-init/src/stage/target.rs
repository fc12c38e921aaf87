//! Finding and making the places where things are mounted, inside a tree that an
//! image or another container may have written: each path is resolved once, by
//! openat2(2) inside the root, and from then on only its descriptor is used.

use super::{Failure, StepResult, failed};
use crate::step::target as kind;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, mkdirat, openat, openat2, readlinkat_raw,
};
use rustix::io::Errno;

/// The longest path that the kernel takes (`PATH_MAX`).
const PATH_MAX: usize = 4096;
/// The longest name (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Opens `path` inside `root`, following links only within it.
fn open_inside(root: BorrowedFd<'_>, path: &CStr, flags: OFlags, real: bool) -> Result<OwnedFd, Errno> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if real {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename or mount elsewhere crossed the walk: openat2(2) says to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Opens the place of a mount as `wanted` (see [`kind`]) says. `None` is an optional
/// one that is not there.
pub(super) fn open<'a>(root: BorrowedFd<'_>, path: &'a CStr, wanted: u32) -> StepResult<'a, Option<OwnedFd>> {
    let real = wanted & kind::REAL != 0;
    match open_inside(root, path, OFlags::PATH, real) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) if wanted & kind::OPTIONAL != 0 => Ok(None),
        Err(Errno::NOENT) if wanted & kind::MAKE_DIRECTORY != 0 => {
            make(root, path, real, Last::Directory(0o755)).map(Some)
        }
        Err(Errno::NOENT) if wanted & kind::MAKE_FILE != 0 => make(root, path, real, Last::File).map(Some),
        Err(errno) => Err(Failure::new("openat2", path.to_bytes(), errno)),
    }
}

/// As [`open`], for a mount. A link of the image must not lead it into procfs, where only a
/// configuration that says so may cover anything (CVE-2019-16884).
pub(super) fn open_for_mount<'a>(
    root: BorrowedFd<'_>,
    path: &'a CStr,
    wanted: u32,
) -> StepResult<'a, Option<OwnedFd>> {
    let Some(place) = open(root, path, wanted)? else {
        return Ok(None);
    };
    let filesystem = fstatfs(place.as_fd()).map_err(failed("fstatfs", path))?;
    if filesystem.f_type == PROC_SUPER_MAGIC
        && let Err(Errno::LOOP) = open_inside(root, path, OFlags::PATH, true)
    {
        return Err(Failure::new("a link into /proc", path.to_bytes(), Errno::LOOP));
    }
    Ok(Some(place))
}

/// Opens the directory that holds `path`, without following any link, and returns
/// it with the last component.
pub(super) fn open_parent<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> StepResult<'a, (OwnedFd, &'a CStr)> {
    let bytes = path.to_bytes_with_nul();
    let split = path
        .to_bytes()
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let name = bytes
        .get(split..)
        .and_then(|rest| CStr::from_bytes_with_nul(rest).ok());
    let name =
        name.filter(|name| !name.is_empty())
            .ok_or(Failure::new("openat2", path.to_bytes(), Errno::INVAL))?;
    let mut buffer = [0u8; PATH_MAX];
    let parent = prefix(&mut buffer, path.to_bytes(), split).map_err(failed("openat2", path))?;
    let parent =
        open_inside(root, parent, OFlags::PATH | OFlags::DIRECTORY, true).map_err(failed("openat2", path))?;
    Ok((parent, name))
}

/// Makes a directory with its parents; one that is there stays as it is.
pub(super) fn make_directory<'a>(root: BorrowedFd<'_>, path: &'a CStr, mode: u32) -> StepResult<'a> {
    match open_inside(root, path, OFlags::PATH, false) {
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => make(root, path, false, Last::Directory(mode)).map(drop),
        Err(errno) => Err(Failure::new("openat2", path.to_bytes(), errno)),
    }
}

/// What the last component becomes.
#[derive(Clone, Copy)]
enum Last {
    Directory(u32),
    File,
}

/// The most links that are followed to something that is to be made, as the kernel's limit.
const MAX_LINKS: u32 = 40;

/// Makes the missing part of `path`: mostly it is the last component alone.
fn make<'a>(root: BorrowedFd<'_>, path: &'a CStr, real: bool, last: Last) -> StepResult<'a, OwnedFd> {
    let failure = |errno| Failure::new("mkdirat", path.to_bytes(), errno);
    let (parent, name) = split(path.to_bytes());
    let mut buffer = [0u8; PATH_MAX];
    let parent = prefix(&mut buffer, parent, parent.len()).map_err(failure)?;
    if !matches!(name, b"" | b"." | b"..")
        && let Ok(parent) = open_inside(root, parent, OFlags::PATH | OFlags::DIRECTORY, real)
    {
        let mut buffer = [0u8; NAME_MAX + 1];
        let name = terminated(&mut buffer, name).map_err(failure)?;
        match make_one(parent.as_fd(), name, last) {
            // A link to nothing.
            Err(Errno::EXIST) if !real => {}
            other => return other.map_err(failure),
        }
    }
    make_all(root, path, real, last)
}

/// The directory of a path and its last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or((&[], path), |slash| {
        (
            path.get(..slash).unwrap_or(&[]),
            path.get(slash + 1..).unwrap_or(&[]),
        )
    })
}

/// Makes a path with the directories on the way. A link that leads to nothing says where:
/// there it is made, inside of the root as everything.
fn make_all<'a>(root: BorrowedFd<'_>, path: &'a CStr, real: bool, last: Last) -> StepResult<'a, OwnedFd> {
    let failure = |errno| Failure::new("mkdirat", path.to_bytes(), errno);
    let mut buffers = [[0u8; PATH_MAX]; 2];
    let [current, next] = &mut buffers;
    terminated(current, path.to_bytes()).map_err(failure)?;
    let mut length = path.count_bytes();
    for _ in 0..=MAX_LINKS {
        let bytes = current.get(..length).unwrap_or(&[]);
        match make_missing(root, bytes, real, last).map_err(failure)? {
            Made::All(place) => return Ok(place),
            Made::Link(parent, (from, to)) => {
                let mut link_buffer = [0u8; PATH_MAX];
                let mut name_buffer = [0u8; NAME_MAX + 1];
                let name =
                    terminated(&mut name_buffer, bytes.get(from..to).unwrap_or(&[])).map_err(failure)?;
                let read = readlinkat_raw(parent.as_fd(), name, &mut link_buffer).map_err(failure)?;
                let link = link_buffer.get(..read).unwrap_or(&[]);
                let before = match link.first() {
                    Some(b'/') => &[],
                    _ => bytes.get(..from).unwrap_or(&[]),
                };
                let parts = [before, link, b"/", bytes.get(to..).unwrap_or(&[])];
                length = join(next, parts).map_err(failure)?;
                core::mem::swap(current, next);
            }
        }
    }
    Err(failure(Errno::LOOP))
}

/// What became of a path.
enum Made {
    /// It is there.
    All(OwnedFd),
    /// In this directory the component with these bounds is a link to nothing.
    Link(OwnedFd, (usize, usize)),
}

/// Makes what is missing of a path, component by component, each below the descriptor of the
/// one before (CVE-2024-45310).
fn make_missing(root: BorrowedFd<'_>, bytes: &[u8], real: bool, last: Last) -> Result<Made, Errno> {
    let mut buffer = [0u8; PATH_MAX];
    let mut parent = open_inside(root, c"/", OFlags::PATH, true)?;
    let mut start = 0;
    while let Some((name_start, name_end)) = next_component(bytes, start) {
        let is_last = next_component(bytes, name_end).is_none();
        let upto = prefix(&mut buffer, bytes, name_end)?;
        parent = match open_inside(root, upto, OFlags::PATH, real) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                let mut name_buffer = [0u8; NAME_MAX + 1];
                let name = terminated(&mut name_buffer, bytes.get(name_start..name_end).unwrap_or(&[]))?;
                let what = if is_last { last } else { Last::Directory(0o755) };
                match make_one(parent.as_fd(), name, what) {
                    Err(Errno::EXIST) if !real => return Ok(Made::Link(parent, (name_start, name_end))),
                    other => other?,
                }
            }
            Err(errno) => return Err(errno),
        };
        start = name_end;
    }
    Ok(Made::All(parent))
}

/// Puts the parts into `buffer`, one behind the other; returns how many bytes they have.
fn join(buffer: &mut [u8; PATH_MAX], parts: [&[u8]; 4]) -> Result<usize, Errno> {
    let mut length = 0;
    for part in parts {
        let room = buffer
            .get_mut(length..length + part.len())
            .ok_or(Errno::NAMETOOLONG)?;
        room.copy_from_slice(part);
        length += part.len();
    }
    Ok(length)
}

fn make_one(parent: BorrowedFd<'_>, name: &CStr, last: Last) -> Result<OwnedFd, Errno> {
    match last {
        Last::Directory(mode) => {
            mkdirat(parent, name, Mode::from_raw_mode(mode))?;
            openat(
                parent,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        }
        Last::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(openat(parent, name, flags, Mode::from_raw_mode(0o644))?);
            openat(
                parent,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
        }
    }
}

/// The bounds of the next component at or after `start`; `.` counts as none.
fn next_component(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut from = start;
    loop {
        from += bytes.get(from..)?.iter().position(|byte| *byte != b'/')?;
        let rest = bytes.get(from..)?;
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        if rest.get(..length) != Some(b".") {
            return Some((from, from + length));
        }
        from += length;
    }
}

/// The first `length` bytes of `path` as a C string of its own; `/` for none.
fn prefix<'b>(buffer: &'b mut [u8; PATH_MAX], path: &[u8], length: usize) -> Result<&'b CStr, Errno> {
    match path.get(..length) {
        Some(b"") | None => terminated(buffer, b"/"),
        Some(part) => terminated(buffer, part),
    }
}

fn terminated<'b>(buffer: &'b mut [u8], bytes: &[u8]) -> Result<&'b CStr, Errno> {
    let room = buffer.get_mut(..=bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    let (text, end) = room.split_at_mut(bytes.len());
    text.copy_from_slice(bytes);
    end.fill(0);
    CStr::from_bytes_with_nul(room).or(Err(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_skip_slashes_and_dots() {
        let path = b"//a/./bc/";
        let mut found = [(0, 0); 3];
        let mut start = 0;
        let mut count = 0;
        while let Some((from, to)) = next_component(path, start) {
            found[count] = (from, to);
            count += 1;
            start = to;
        }
        assert_eq!(&found[..count], &[(2, 3), (6, 8)]);
    }

    #[test]
    fn paths_are_split_at_the_last_slash() {
        assert_eq!(split(b"/dev/null"), (&b"/dev"[..], &b"null"[..]));
        assert_eq!(split(b"/x"), (&b""[..], &b"x"[..]));
        assert_eq!(split(b"x"), (&b""[..], &b"x"[..]));
        assert_eq!(split(b"/a/"), (&b"/a"[..], &b""[..]));
    }

    #[test]
    fn prefixes_end_with_a_nul() {
        let mut buffer = [1; PATH_MAX];
        assert_eq!(prefix(&mut buffer, b"dev/pts", 3), Ok(c"dev"));
        assert_eq!(prefix(&mut buffer, b"dev/pts", 0), Ok(c"/"));
    }
}
