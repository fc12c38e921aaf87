//! The archive of the layer, made while it is read: sorted, with times that do not depend on
//! when it is made. The same files always give the same bytes.

use super::host::Host;
use super::set::{Content, FileSet, Item};
use crate::tar::{Entry, Kind, TarError, Time, Writer};
use rustix::fs::FileType;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is read of a file at a time.
const PIECE: usize = 256 * 1024;

/// How files are written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Whether set-user-id and set-group-id bits stay.
    pub keep_setuid: bool,
    /// Whether file capabilities stay.
    pub keep_capabilities: bool,
    /// Times after this one, in seconds since 1970, become this one (`SOURCE_DATE_EPOCH`,
    /// reproducible-builds.org).
    pub latest: Option<i64>,
}

/// Bytes that were written and are to be read.
#[derive(Debug, Clone, Default)]
struct Buffer(Rc<RefCell<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What of a file is still to be written.
enum Rest {
    File { file: File, left: u64, path: PathBuf },
    Made(Vec<u8>),
}

/// The archive, to be read.
pub struct Archive<'a> {
    host: &'a Host,
    options: ArchiveOptions,
    items: Box<dyn Iterator<Item = (&'a PathBuf, &'a Item)> + 'a>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    writer: Option<Writer<Buffer>>,
    buffer: Buffer,
    taken: usize,
    piece: Vec<u8>,
    rest: Option<Rest>,
}

impl std::fmt::Debug for Archive<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive")
            .field("writer", &self.writer)
            .finish_non_exhaustive()
    }
}

impl<'a> Archive<'a> {
    /// The archive of these files.
    #[must_use]
    pub fn new(host: &'a Host, set: &'a FileSet, options: ArchiveOptions) -> Self {
        let buffer = Buffer::default();
        Self {
            host,
            options,
            items: Box::new(set.iter()),
            links: HashMap::new(),
            writer: Some(Writer::new(buffer.clone())),
            buffer,
            taken: 0,
            piece: Vec::new(),
            rest: None,
        }
    }

    /// Makes more of it; `false` at the end.
    fn make(&mut self) -> io::Result<bool> {
        let Some(writer) = &mut self.writer else {
            return Ok(false);
        };
        match self.rest.take() {
            Some(Rest::Made(bytes)) => writer.data(&bytes).map_err(broken)?,
            Some(Rest::File { mut file, left, path }) => {
                let limit = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                self.piece.resize(PIECE, 0);
                let piece = self.piece.get_mut(..limit).unwrap_or_default();
                let failed = |error: io::Error| {
                    io::Error::new(error.kind(), format!("read {}: {error}", path.display()))
                };
                file.read_exact(piece).map_err(failed)?;
                writer.data(piece).map_err(broken)?;
                let left = left - limit as u64;
                if left > 0 {
                    self.rest = Some(Rest::File { file, left, path });
                }
            }
            None => match self.items.next() {
                Some((path, item)) => return self.start(path, item).map(|()| true),
                None => {
                    if let Some(writer) = self.writer.take() {
                        drop(writer.finish().map_err(broken)?);
                    }
                }
            },
        }
        Ok(true)
    }

    fn start(&mut self, path: &Path, item: &Item) -> io::Result<()> {
        let Some((mut entry, is_new)) = self.describe(path, item) else {
            return Ok(());
        };
        if is_new && entry.kind == Kind::Regular {
            match &item.content {
                Content::Made(bytes) => self.rest = Some(Rest::Made(bytes.clone())),
                Content::Host | Content::Copy(_) => {
                    let path = match &item.content {
                        Content::Copy(from) => from,
                        _ => path,
                    };
                    let file = self.host.open_file(path).map_err(|errno| {
                        let error = io::Error::from(errno);
                        io::Error::new(error.kind(), format!("open {}: {error}", path.display()))
                    })?;
                    if self.options.keep_capabilities {
                        entry.xattrs.extend(read_capability(&file)?);
                    }
                    let left = entry.size;
                    let path = path.to_owned();
                    self.rest = (left > 0).then_some(Rest::File { file, left, path });
                }
            }
        }
        match &mut self.writer {
            Some(writer) => writer.start(&entry).map_err(broken),
            None => Ok(()),
        }
    }

    /// The entry of an item, and whether its contents follow; `None` for what archives do not
    /// have.
    fn describe(&mut self, path: &Path, item: &Item) -> Option<(Entry, bool)> {
        let node = &item.node;
        let kind = match node.kind {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => return None,
        };
        let mut name = path
            .strip_prefix("/")
            .unwrap_or(path)
            .as_os_str()
            .as_bytes()
            .to_vec();
        if kind == Kind::Directory {
            if name.is_empty() {
                name.push(b'.');
            }
            name.push(b'/');
        }
        // When something came into a directory says nothing of the directory.
        let mtime = if kind == Kind::Directory { 0 } else { node.mtime };
        let special = if kind == Kind::Regular && !self.options.keep_setuid {
            0o6000
        } else {
            0
        };
        let mut entry = Entry {
            path: name,
            kind,
            mode: node.mode & !special,
            uid: node.uid,
            gid: node.gid,
            size: if kind == Kind::Regular { node.size } else { 0 },
            mtime: Time {
                seconds: self.options.latest.map_or(mtime, |latest| mtime.min(latest)),
                nanoseconds: 0,
            },
            ..Entry::default()
        };
        if let Some(target) = &node.target {
            entry.link = target.as_os_str().as_bytes().to_vec();
        }
        if kind == Kind::Regular && node.is_linked && item.content == Content::Host {
            if let Some(first) = self.links.get(&node.inode) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                entry.size = 0;
                return Some((entry, false));
            }
            self.links.insert(node.inode, entry.path.clone());
        }
        Some((entry, true))
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            {
                let mut made = self.buffer.0.borrow_mut();
                let ready = made.get(self.taken..).unwrap_or_default();
                if !ready.is_empty() {
                    let length = ready.len().min(bytes.len());
                    bytes[..length].copy_from_slice(&ready[..length]);
                    self.taken += length;
                    return Ok(length);
                }
                made.clear();
                self.taken = 0;
            }
            if !self.make()? {
                return Ok(0);
            }
        }
    }
}

fn broken(error: TarError) -> io::Error {
    io::Error::other(error)
}

/// The attribute with a file's capabilities, where it has one.
fn read_capability(file: &File) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    const NAME: &str = "security.capability";
    let mut value = [0u8; 64];
    match rustix::fs::fgetxattr(file, NAME, &mut value[..]) {
        Ok(length) => Ok(Some((
            NAME.as_bytes().to_vec(),
            value.get(..length).unwrap_or_default().to_vec(),
        ))),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
