//! How many bytes the files of a directory hold.

use crate::error::{EngineError, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
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
    let failed = |errno: Errno| EngineError::Store {
        action: format!("measure {}", path.display()),
        source: errno.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut waiting: Vec<OwnedFd> = match openat(CWD, path, flags, Mode::empty()) {
        Ok(directory) => vec![directory],
        Err(Errno::NOENT) => return Ok(0),
        Err(errno) => return Err(failed(errno)),
    };
    let mut seen = HashSet::new();
    let mut bytes: u64 = 0;
    while let Some(directory) = waiting.pop() {
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
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => match openat(directory.as_fd(), name, flags, Mode::empty()) {
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    other => waiting.push(other.map_err(failed)?),
                },
                FileType::RegularFile if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) => {
                    bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
                }
                _ => {}
            }
        }
    }
    Ok(bytes)
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
        assert_eq!(read_size(&base.join("none")).unwrap(), 0);
        std::fs::remove_dir_all(&base).unwrap();
    }
}
