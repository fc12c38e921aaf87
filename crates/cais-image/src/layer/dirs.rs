//! Directories of a staging tree, opened without following a link (openat2(2)). The last
//! few stay open: entries of an archive come in the order of directories.

use super::error::Problem;
use super::name::is_below;
use super::remove::open_directory;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::rc::Rc;

/// How many directories stay open.
const OPEN: usize = 16;

/// An open directory and its path from the root of the tree.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    pub(crate) path: Vec<u8>,
}

impl Directory {
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The directories of a tree.
pub(crate) struct Directories {
    root: Rc<Directory>,
    /// The one that was used last comes first.
    open: Vec<Rc<Directory>>,
}

impl Directories {
    pub(crate) fn new(root: BorrowedFd<'_>) -> Result<Self, Problem> {
        let descriptor = open_directory(root, b".").map_err(|errno| Problem::sys("openat", b".", errno))?;
        let root = Directory {
            descriptor,
            path: Vec::new(),
        };
        Ok(Self {
            root: Rc::new(root),
            open: Vec::with_capacity(OPEN),
        })
    }

    pub(crate) fn root(&self) -> Rc<Directory> {
        Rc::clone(&self.root)
    }

    /// The directory at `path`; `None` where something else is there, or nothing, or a part
    /// of the path is a link.
    pub(crate) fn open(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>, Problem> {
        if path.is_empty() {
            return Ok(Some(self.root()));
        }
        if let Some(place) = self.open.iter().position(|directory| directory.path == path) {
            self.open[..=place].rotate_right(1);
            return Ok(self.open.first().map(Rc::clone));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            return match openat2(self.root.fd(), path, flags, Mode::empty(), resolve) {
                // A rename somewhere, while it looked: openat2(2) says to try again.
                Err(Errno::AGAIN | Errno::INTR) => continue,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                Err(errno) => Err(Problem::sys("openat2", path, errno)),
                Ok(descriptor) => {
                    let path = path.to_vec();
                    let directory = Rc::new(Directory { descriptor, path });
                    self.remember(&directory);
                    Ok(Some(directory))
                }
            };
        }
    }

    /// The directory `name` in `parent`.
    pub(crate) fn child(parent: &Directory, name: &[u8]) -> Result<Rc<Directory>, Errno> {
        Ok(Rc::new(Directory {
            descriptor: open_directory(parent.fd(), name)?,
            path: super::name::join(&parent.path, name),
        }))
    }

    /// Keeps a directory open for the next entries.
    pub(crate) fn remember(&mut self, directory: &Rc<Directory>) {
        if self.open.len() == OPEN {
            self.open.pop();
        }
        self.open.insert(0, Rc::clone(directory));
    }

    /// Something at `path` was removed.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        self.open
            .retain(|directory| directory.path != path && !is_below(&directory.path, path));
    }
}
