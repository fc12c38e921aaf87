//! The files that go in, each with the reasons why.

use super::host::{Host, Node, Resolved};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The most reasons that are kept for a file.
const MAX_REASONS: usize = 8;

/// Why a file is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is a program that was asked for.
    Program,
    /// It was asked for with `--file`.
    Added,
    /// It executes this one: a loader, or what `#!` names.
    Interpreter(PathBuf),
    /// This object needs it.
    Library(PathBuf),
    /// The same library for another processor.
    Variant(PathBuf),
    /// This object may open it, says its `.note.dlopen`, for this feature.
    Dlopen(PathBuf, String),
    /// This program opened it or looked at it while it was traced.
    Opened(PathBuf),
    /// This library reads it.
    Data(PathBuf),
    /// It is in this Debian package, which a program is from: configuration.
    Configuration(String),
    /// It is in this Debian package, which a program is from.
    Package(String),
    /// Every image has it.
    Always,
}

impl Reason {
    /// The word for it in JSON.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Added => "added",
            Self::Interpreter(_) => "interpreter",
            Self::Library(_) => "library",
            Self::Variant(_) => "variant",
            Self::Dlopen(..) => "dlopen",
            Self::Opened(_) => "traced",
            Self::Data(_) => "data",
            Self::Configuration(_) => "configuration",
            Self::Package(_) => "package",
            Self::Always => "always",
        }
    }

    /// What it is about: another file, or a package.
    #[must_use]
    pub fn about(&self) -> Option<String> {
        match self {
            Self::Program | Self::Added | Self::Always => None,
            Self::Interpreter(path)
            | Self::Library(path)
            | Self::Variant(path)
            | Self::Dlopen(path, _)
            | Self::Opened(path)
            | Self::Data(path) => Some(path.display().to_string()),
            Self::Configuration(package) | Self::Package(package) => Some(package.clone()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program => write!(f, "asked for"),
            Self::Added => write!(f, "asked for with --file"),
            Self::Interpreter(path) => write!(f, "executes {}", path.display()),
            Self::Library(path) => write!(f, "needed by {}", path.display()),
            Self::Variant(path) => write!(f, "{} for other processors", path.display()),
            Self::Dlopen(path, feature) if feature.is_empty() => {
                write!(f, "may be opened by {}", path.display())
            }
            Self::Dlopen(path, feature) => write!(f, "may be opened by {} for {feature}", path.display()),
            Self::Opened(path) => write!(f, "opened by {} while traced", path.display()),
            Self::Data(path) => write!(f, "read by {}", path.display()),
            Self::Configuration(package) => write!(f, "configuration of the package {package}"),
            Self::Package(package) => write!(f, "of the package {package}"),
            Self::Always => write!(f, "in every image"),
        }
    }
}

/// Where the contents of a file come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// From the tree, at its own path.
    Host,
    /// From the tree, at this path without links.
    Copy(PathBuf),
    /// They are made.
    Made(Vec<u8>),
}

/// One file, link or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub node: Node,
    /// Its contents.
    pub content: Content,
    /// Why it is in; none for a directory on the way to something.
    pub reasons: Vec<Reason>,
}

/// All that goes in, by absolute path.
#[derive(Debug, Clone, Default)]
pub struct FileSet {
    items: BTreeMap<PathBuf, Item>,
}

impl FileSet {
    /// Everything, sorted: a directory before what is in it.
    pub fn iter(&self) -> impl Iterator<Item = (&PathBuf, &Item)> {
        self.items.iter()
    }

    /// What there is at a path.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Item> {
        self.items.get(path)
    }

    /// Takes something out.
    pub fn remove(&mut self, path: &Path) {
        self.items.remove(path);
    }

    /// Adds what an absolute path leads to, the links on the way, and the directories that
    /// all these are in.
    ///
    /// # Errors
    /// As [`Host::resolve`].
    pub fn add(&mut self, host: &Host, path: &Path, reason: &Reason) -> Result<Resolved, Errno> {
        let found = host.resolve(path)?;
        for link in &found.links {
            self.insert(host, link, host.node(link)?, reason)?;
        }
        self.insert(host, &found.path, found.node.clone(), reason)?;
        Ok(found)
    }

    fn insert(&mut self, host: &Host, path: &Path, node: Node, reason: &Reason) -> Result<(), Errno> {
        self.insert_parents(host, path)?;
        let item = self.items.entry(path.to_owned()).or_insert(Item {
            node,
            content: Content::Host,
            reasons: Vec::new(),
        });
        if item.reasons.len() < MAX_REASONS && !item.reasons.contains(reason) {
            item.reasons.push(reason.clone());
        }
        Ok(())
    }

    /// The directories that a path without links is in.
    fn insert_parents(&mut self, host: &Host, path: &Path) -> Result<(), Errno> {
        for parent in path.ancestors().skip(1) {
            if self.items.contains_key(parent) {
                break;
            }
            let item = Item {
                node: host.node(parent)?,
                content: Content::Host,
                reasons: Vec::new(),
            };
            self.items.insert(parent.to_owned(), item);
        }
        Ok(())
    }

    /// Adds a file that is made, unless somebody asked for one of his own at this place.
    ///
    /// # Errors
    /// As [`Host::resolve`], for the directory.
    pub fn put(&mut self, host: &Host, path: &Path, mode: u32, bytes: Vec<u8>) -> Result<(), Errno> {
        let wanted = self.get(path).is_some_and(|item| {
            let asked = |reason: &Reason| matches!(reason, Reason::Added | Reason::Program);
            item.reasons.iter().any(asked)
        });
        if wanted {
            return Ok(());
        }
        self.ensure_parents(host, path)?;
        let node = made(FileType::RegularFile, mode, bytes.len() as u64);
        let item = Item {
            node,
            content: Content::Made(bytes),
            reasons: vec![Reason::Always],
        };
        self.items.insert(path.to_owned(), item);
        Ok(())
    }

    /// Adds something of the tree at another path, as root's. `from` is without links.
    ///
    /// # Errors
    /// As [`Host::resolve`], for the directory that it goes to.
    pub fn put_copy(&mut self, host: &Host, from: &Path, to: &Path, reason: &Reason) -> Result<(), Errno> {
        let to = match (to.parent(), to.file_name()) {
            // The image has the machine's links.
            (Some(parent), Some(name)) => match host.resolve(parent) {
                Ok(found) => {
                    self.add(host, parent, reason)?;
                    found.path.join(name)
                }
                Err(_) => to.to_owned(),
            },
            _ => to.to_owned(),
        };
        self.ensure_parents(host, &to)?;
        let mut node = host.node(from)?;
        (node.uid, node.gid, node.is_linked) = (0, 0, false);
        let item = Item {
            node,
            content: Content::Copy(from.to_owned()),
            reasons: vec![reason.clone()],
        };
        self.items.insert(to, item);
        Ok(())
    }

    /// Adds an empty directory, unless it is there.
    ///
    /// # Errors
    /// As [`Host::resolve`], for the directory above it.
    pub fn put_directory(&mut self, host: &Host, path: &Path, mode: u32) -> Result<(), Errno> {
        self.ensure_parents(host, path)?;
        self.items.entry(path.to_owned()).or_insert(Item {
            node: made(FileType::Directory, mode, 0),
            content: Content::Host,
            reasons: vec![Reason::Always],
        });
        Ok(())
    }

    /// The directories above something that is made: the tree's where it has them.
    fn ensure_parents(&mut self, host: &Host, path: &Path) -> Result<(), Errno> {
        let parents: Vec<&Path> = path.ancestors().skip(1).collect();
        for parent in parents.into_iter().rev() {
            if self.items.contains_key(parent) {
                continue;
            }
            let node = match host.node(parent) {
                Ok(node) if node.kind == FileType::Directory => node,
                Ok(_) => return Err(Errno::NOTDIR),
                Err(Errno::NOENT | Errno::NOTDIR) => made(FileType::Directory, 0o755, 0),
                Err(errno) => return Err(errno),
            };
            let item = Item {
                node,
                content: Content::Host,
                reasons: Vec::new(),
            };
            self.items.insert(parent.to_owned(), item);
        }
        Ok(())
    }
}

fn made(kind: FileType, mode: u32, size: u64) -> Node {
    Node {
        kind,
        mode,
        uid: 0,
        gid: 0,
        size,
        mtime: 0,
        inode: (0, 0),
        is_linked: false,
        target: None,
    }
}
