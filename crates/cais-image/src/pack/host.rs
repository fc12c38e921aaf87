//! The file tree that things are packed from: links are followed by hand, so that each one on
//! the way is known, and files are opened below the root without following any.

use cais_order::InOrder;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, open, openat2, readlinkat, statat};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The most links on the way to one file, as the kernel's (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What there is at a path, a link not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: FileType,
    /// Permissions, set-id bits and sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// When it was modified, in seconds since 1970.
    pub mtime: i64,
    /// Which file it is.
    pub inode: (u64, u64),
    /// Whether it has several names.
    pub is_linked: bool,
    /// Where it points to, for a link.
    pub target: Option<PathBuf>,
}

impl Node {
    fn new(stat: &Stat, target: Option<PathBuf>) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: stat.st_mtime,
            inode: (stat.st_dev, stat.st_ino),
            is_linked: stat.st_nlink > 1,
            target,
        }
    }
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The file itself, by a path without links.
    pub path: PathBuf,
    /// What it is.
    pub node: Node,
    /// The links on the way.
    pub links: Vec<PathBuf>,
}

/// A file tree.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    nodes: RefCell<HashMap<PathBuf, Result<Node, Errno>>>,
}

impl Host {
    /// The tree below a directory, `/` for the machine's own.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(root: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            root: open(root, flags, Mode::empty())?,
            nodes: RefCell::default(),
        })
    }

    /// What there is at an absolute path whose directories are no links.
    ///
    /// # Errors
    /// As fstatat(2) and readlinkat(2).
    pub fn node(&self, path: &Path) -> Result<Node, Errno> {
        if let Some(known) = self.nodes.borrow().get(path) {
            return known.clone();
        }
        let found = self.read_node(path);
        self.nodes.borrow_mut().insert(path.to_owned(), found.clone());
        found
    }

    fn read_node(&self, path: &Path) -> Result<Node, Errno> {
        let below = below(path);
        let stat = statat(&self.root, below, AtFlags::SYMLINK_NOFOLLOW)?;
        let target = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            let target = readlinkat(&self.root, below, Vec::new())?;
            Some(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
        } else {
            None
        };
        Ok(Node::new(&stat, target))
    }

    /// Follows an absolute path to its end, whatever is there.
    ///
    /// # Errors
    /// As path_resolution(7): `ENOENT`, `ENOTDIR`, `ELOOP`.
    pub fn resolve(&self, path: &Path) -> Result<Resolved, Errno> {
        let mut links = Vec::new();
        let mut at = PathBuf::from("/");
        let mut node = self.node(&at)?;
        let mut left: Vec<PathBuf> = Vec::new();
        push_reversed(&mut left, path);
        let must_be_directory = path.as_os_str().as_bytes().ends_with(b"/");
        while let Some(name) = left.pop() {
            if node.kind != FileType::Directory {
                return Err(Errno::NOTDIR);
            }
            if name.as_os_str() == ".." {
                at.pop();
                node = self.node(&at)?;
                continue;
            }
            let next = at.join(&name);
            let found = self.node(&next)?;
            if let Some(target) = &found.target {
                if links.len() >= MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                links.push(next);
                if target.is_absolute() {
                    at = PathBuf::from("/");
                    node = self.node(&at)?;
                }
                push_reversed(&mut left, target);
            } else {
                at = next;
                node = found;
            }
        }
        if must_be_directory && node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        Ok(Resolved {
            path: at,
            node,
            links,
        })
    }

    /// Opens a regular file by a path without links, for reading.
    ///
    /// # Errors
    /// As openat2(2): `ELOOP` where a link has taken its place meanwhile; `EINVAL` where it
    /// is no regular file any more.
    pub fn open_file(&self, path: &Path) -> Result<File, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&self.root, below(path), flags, Mode::empty(), resolve)?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        Ok(file.into())
    }

    /// Whether a file has capabilities of its own (capabilities(7)); by a path without links.
    #[must_use]
    pub fn has_capabilities(&self, path: &Path) -> bool {
        let Ok(file) = self.open_file(path) else {
            return false;
        };
        let mut value = [0u8; 64];
        rustix::fs::fgetxattr(&file, "security.capability", &mut value[..]).is_ok()
    }

    /// Reads a file by any path, at most `limit` bytes of it; `None` where there is none.
    ///
    /// # Errors
    /// As open(2) and read(2).
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Errno> {
        let resolved = match self.resolve(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other?,
        };
        if resolved.node.kind != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let file = self.open_file(&resolved.path)?;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(Some(bytes))
    }

    /// The names in a directory, sorted; none where it is not there.
    ///
    /// # Errors
    /// As open(2) and getdents64(2).
    pub fn names(&self, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        let resolved = match self.resolve(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            other => other?,
        };
        if resolved.node.kind != FileType::Directory {
            return Ok(Vec::new());
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat2(&self.root, below(&resolved.path), flags, Mode::empty(), resolve)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(PathBuf::from(OsStr::from_bytes(name)));
            }
        }
        names.order();
        Ok(names)
    }
}

/// The path relative to the root.
fn below(path: &Path) -> &Path {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.as_os_str().is_empty() {
        Path::new(".")
    } else {
        relative
    }
}

fn push_reversed(left: &mut Vec<PathBuf>, path: &Path) {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    });
    let from = left.len();
    left.extend(names);
    left[from..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_the_tree_and_remembered() {
        let base = std::env::temp_dir().join(format!("cais-pack-host-{}", std::process::id()));
        std::fs::create_dir_all(base.join("usr/lib")).unwrap();
        std::fs::write(base.join("usr/lib/x.so.1"), "x").unwrap();
        symlink("usr/lib", base.join("lib")).unwrap();
        symlink("x.so.1", base.join("usr/lib/x.so")).unwrap();
        symlink("/lib/../lib/x.so", base.join("out")).unwrap();
        symlink("../../../../etc/passwd", base.join("usr/escape")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        let host = Host::open(&base).unwrap();
        let found = host.resolve(Path::new("/out")).unwrap();
        assert_eq!(found.path, Path::new("/usr/lib/x.so.1"));
        let links: Vec<_> = found.links.iter().map(|link| link.to_str().unwrap()).collect();
        assert_eq!(links, ["/out", "/lib", "/usr/lib/x.so"]);
        assert_eq!(host.read(Path::new("/lib/x.so"), 9).unwrap().unwrap(), b"x");
        for (path, errno) in [
            ("/usr/escape", Errno::NOENT),
            ("/loop", Errno::LOOP),
            ("/lib/x.so/y", Errno::NOTDIR),
            ("/lib/x.so/", Errno::NOTDIR),
        ] {
            assert_eq!(host.resolve(Path::new(path)).unwrap_err(), errno, "{path}");
        }
        // A link that took the file's place is not followed.
        assert_eq!(
            host.open_file(Path::new("/usr/lib/x.so")).unwrap_err(),
            Errno::LOOP
        );
        std::fs::remove_dir_all(base).unwrap();
    }
}
