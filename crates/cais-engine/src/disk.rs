//! How many bytes the files of a directory hold.

use crate::error::{EngineError, Result};
use cais_image::store::Size;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat,
};
use rustix::io::Errno;
use std::collections::HashSet;
use std::path::Path;

/// The bytes of all files below a directory, as Docker counts: their length, those with
/// several names once. Containers may write there, so it goes by descriptors and follows
/// no link. What vanishes meanwhile counts nothing; a directory that is not there neither.
///
/// # Errors
/// Where a directory cannot be read.
pub fn read_size(path: &Path) -> Result<u64> {
    let mut bytes: u64 = 0;
    walk(path, &mut |stat| {
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        }
    })?;
    Ok(bytes)
}

/// What a directory and all below it take, as du(1) counts: the directory itself too, files
/// with several names once.
///
/// # Errors
/// Where a directory cannot be read.
pub fn measure(path: &Path) -> Result<Size> {
    let mut size = Size::default();
    walk(path, &mut |stat| {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        size += Size {
            apparent: u64::try_from(stat.st_size)
                .ok()
                .filter(|_| !is_directory)
                .unwrap_or(0),
            // In units of 512 bytes (inode(7)).
            allocated: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
        };
    })?;
    Ok(size)
}

/// Calls for everything below a directory, and for itself, once for each file.
fn walk(path: &Path, found: &mut dyn FnMut(&Stat)) -> Result<()> {
    let failed = |errno: Errno| EngineError::Store {
        action: format!("measure {}", path.display()),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(failed)?,
    };
    found(&fstat(&root).map_err(failed)?);
    let mut seen = HashSet::new();
    // Paths and not descriptors: a directory may have more directories than there may be
    // open files.
    let mut waiting: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(place) = waiting.pop() {
        let Some(directory) = open_below(&root, &place).map_err(failed)? else {
            continue;
        };
        for entry in Dir::read_from(directory.as_fd()).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match statat(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(failed)?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                waiting.push([&place, &b"/"[..], name.to_bytes()].concat());
            } else if stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
                continue;
            }
            found(&stat);
        }
    }
    Ok(())
}

/// A directory below another one; `None` where it is gone, or deeper than a path may say.
fn open_below(root: &OwnedFd, place: &[u8]) -> std::result::Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, place, flags, Mode::empty(), resolve) {
            // A rename somewhere while it looked: openat2(2) says to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => return Ok(None),
            other => return other.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_not() {
        let base = std::env::temp_dir().join(format!("cais-disk-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("a/one"), [0; 10]).unwrap();
        std::fs::hard_link(base.join("a/one"), base.join("a/b/two")).unwrap();
        std::fs::write(base.join("a/b/three"), [0; 5]).unwrap();
        std::os::unix::fs::symlink("/", base.join("a/root")).unwrap();
        assert_eq!(read_size(&base).unwrap(), 15);
        let du = std::process::Command::new("du")
            .args(["-sB1"])
            .arg(&base)
            .output()
            .unwrap();
        let du = String::from_utf8(du.stdout).unwrap();
        let du: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(measure(&base).unwrap().allocated, du);
        // More directories than there may be open files.
        for number in 0..1200 {
            std::fs::create_dir(base.join(format!("a/b/{number}"))).unwrap();
        }
        assert_eq!(read_size(&base).unwrap(), 15);
        assert_eq!(read_size(&base.join("none")).unwrap(), 0);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
