//! Packs the changes in a directory of overlayfs to the archive of a layer.

use super::attributes::list_xattrs;
use super::error::lossy;
use super::marker::{Form, OPAQUE, Translated, WHITEOUT, proc_path};
use super::name::join;
use super::remove::{names, open_directory};
use super::staging::LeftOut;
use crate::tar::{Device, Entry, Kind, TarError, Time, Writer};
use crate::{Digest, Hasher};
use cais_linux::SysError;
use cais_order::InOrder;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What is collected before it is written.
const BUFFER: usize = 256 * 1024;

/// How to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackOptions {
    /// Whose overlay attributes the directory has.
    pub form: Form,
    /// Whether times keep their fractions, which takes 1 KiB an entry. Docker drops them.
    pub nanoseconds: bool,
    /// Times after this one, in seconds since 1970, become this one (`SOURCE_DATE_EPOCH`,
    /// reproducible-builds.org).
    pub latest: Option<i64>,
    /// The owner and group of everything, instead of what the files have.
    pub owner: Option<(u32, u32)>,
    /// Whether the archive describes the root.
    pub root: bool,
}

impl PackOptions {
    /// As Docker packs: no root, no fractions.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            form,
            nanoseconds: false,
            latest: None,
            owner: None,
            root: false,
        }
    }
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its digest, the layer's `diff_id`.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Entries, whiteouts counted.
    pub entries: u64,
    /// What is not in it.
    pub left_out: Vec<LeftOut>,
}

/// A directory that cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// An entry or the archive cannot be written.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A call failed.
    #[error(transparent)]
    Sys(#[from] SysError),
    /// A name that would be a whiteout in the archive (image-spec, "Whiteouts").
    #[error("{0:?} cannot be in a layer: names that begin with .wh. hide files")]
    Name(String),
    /// A file of which only a part is here: overlayfs was mounted with `metacopy` or
    /// `redirect_dir`.
    #[error("{path:?} has the attribute {attribute}: the rest of it is in another layer")]
    Partial {
        /// The path.
        path: String,
        /// The attribute.
        attribute: String,
    },
}

fn failed(call: &'static str, path: &[u8]) -> impl Fn(Errno) -> PackError {
    move |errno| SysError::new(call, format!("{:?}", lossy(path)), errno).into()
}

/// Writes the archive of what is in `tree`: whiteouts and opaque directories as names that
/// begin with `.wh.`, before what stands beside them, everything sorted by name. The same
/// tree always gives the same bytes.
///
/// # Errors
/// Where something cannot be read, changes meanwhile, or cannot be in a layer.
pub fn pack_layer(tree: BorrowedFd<'_>, out: impl Write, options: &PackOptions) -> Result<Packed, PackError> {
    let hashed = Hashed {
        inner: out,
        hasher: Hasher::sha256(),
    };
    let mut packer = Packer {
        writer: Writer::new(BufWriter::with_capacity(BUFFER, hashed)),
        options,
        entry: Entry::default(),
        entries: 0,
        links: HashMap::new(),
        left_out: Vec::new(),
    };
    if options.root {
        let stat = fstat(tree).map_err(failed("fstat", b"./"))?;
        packer.describe(tree, b".", b"./", &stat)?;
        packer.entry.kind = Kind::Directory;
        packer.write(io::empty())?;
    }
    packer.walk(tree, b"")?;
    let size = packer.writer.position() + 1024;
    let writer = packer.writer.finish()?;
    let hashed = writer.into_inner().map_err(|error| {
        let error = SysError::from_io("write", "the layer", error.error());
        PackError::Sys(error)
    })?;
    Ok(Packed {
        diff_id: hashed.hasher.finish(),
        size,
        entries: packer.entries,
        left_out: packer.left_out,
    })
}

/// Computes the digest of everything that is written.
struct Hashed<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Packer<'a, W: Write> {
    writer: Writer<W>,
    options: &'a PackOptions,
    entry: Entry,
    entries: u64,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    left_out: Vec<LeftOut>,
}

impl<W: Write> Packer<'_, W> {
    fn write(&mut self, contents: impl io::Read) -> Result<(), PackError> {
        self.entries += 1;
        Ok(self.writer.append(&self.entry, contents)?)
    }

    fn walk(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<(), PackError> {
        let form = self.options.form;
        let mut names = names(directory).map_err(failed("getdents64", path))?;
        names.order();
        if form.opaque(directory).map_err(failed("fgetxattr", path))? == Some(b'y') {
            self.write_marker(join(path, OPAQUE))?;
        }
        let mut there = Vec::with_capacity(names.len());
        for name in names {
            let inside = join(path, &name);
            if name.starts_with(WHITEOUT) {
                return Err(PackError::Name(lossy(&inside)));
            }
            let stat = statat(directory, &name[..], AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("fstatat", &inside))?;
            let hidden = form
                .is_whiteout(directory, &name, &stat)
                .map_err(failed("lgetxattr", &inside))?;
            if hidden {
                self.write_marker(join(path, &[WHITEOUT, &name[..]].concat()))?;
            } else {
                there.push((name, inside, stat));
            }
        }
        for (name, inside, stat) in there {
            self.pack(directory, &name, inside, &stat)?;
        }
        Ok(())
    }

    /// An empty file: its name says everything.
    fn write_marker(&mut self, path: Vec<u8>) -> Result<(), PackError> {
        self.entry = Entry {
            path,
            ..Entry::default()
        };
        self.write(io::empty())
    }

    fn pack(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        mut path: Vec<u8>,
        stat: &Stat,
    ) -> Result<(), PackError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => return self.leave_out(&path, "archives have no sockets"),
            FileType::Unknown => return self.leave_out(&path, "it is of an unknown type"),
        };
        if kind == Kind::Directory {
            path.push(b'/');
            self.describe(directory, name, &path, stat)?;
            self.entry.kind = kind;
            self.write(io::empty())?;
            path.pop();
            let directory = open_directory(directory, name).map_err(failed("openat", &path))?;
            return self.walk(directory.as_fd(), &path);
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                let link = first.clone();
                self.describe_link(path, link, stat);
                return self.write(io::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        self.describe(directory, name, &path, stat)?;
        self.entry.kind = kind;
        match kind {
            Kind::Regular => return self.pack_file(directory, name, &path),
            Kind::Symlink => {
                let target = readlinkat(directory, name, Vec::new()).map_err(failed("readlinkat", &path))?;
                self.entry.link = target.into_bytes();
            }
            Kind::CharDevice | Kind::BlockDevice => {
                self.entry.device = Device {
                    major: major(stat.st_rdev),
                    minor: minor(stat.st_rdev),
                };
            }
            Kind::HardLink | Kind::Directory | Kind::Fifo => {}
        }
        self.write(io::empty())
    }

    fn pack_file(&mut self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<(), PackError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty()).map_err(failed("openat", path))?;
        let stat = fstat(&file).map_err(failed("fstat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed("openat", path)(Errno::STALE));
        }
        self.entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        self.write(std::fs::File::from(file))
    }

    fn leave_out(&mut self, path: &[u8], reason: &'static str) -> Result<(), PackError> {
        self.left_out.push(LeftOut {
            path: PathBuf::from(OsStr::from_bytes(path)),
            attribute: None,
            reason,
        });
        Ok(())
    }

    /// Another name of a file: only what readers want to see beside it.
    fn describe_link(&mut self, path: Vec<u8>, link: Vec<u8>, stat: &Stat) {
        self.fill(path, stat);
        self.entry.link = link;
        self.entry.kind = Kind::HardLink;
    }

    /// Fills the entry but for its kind and what depends on that.
    fn describe(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), PackError> {
        self.fill(path.to_vec(), stat);
        let file = proc_path(directory, name);
        let list = list_xattrs(|buffer| rustix::fs::llistxattr(&file, buffer));
        for attribute in list.map_err(failed("llistxattr", path))? {
            if attribute.starts_with(b"security.") && attribute != b"security.capability" {
                continue;
            }
            let shown = match self.options.form.out_of_layer(&attribute) {
                Translated::Same => attribute.clone(),
                Translated::As(other) => other,
                Translated::Not(_) => {
                    if self.options.form.is_own(&attribute)
                        && (attribute.ends_with(b".redirect") || attribute.ends_with(b".metacopy"))
                    {
                        return Err(PackError::Partial {
                            path: lossy(path),
                            attribute: lossy(&attribute),
                        });
                    }
                    continue;
                }
            };
            let value = read_xattr(&file, &attribute).map_err(failed("lgetxattr", path))?;
            self.entry.xattrs.push((shown, value));
        }
        Ok(())
    }

    fn fill(&mut self, path: Vec<u8>, stat: &Stat) {
        let (uid, gid) = self.options.owner.unwrap_or((stat.st_uid, stat.st_gid));
        let mut mtime = Time {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        if let Some(latest) = self.options.latest {
            mtime = mtime.min(Time {
                seconds: latest,
                nanoseconds: 0,
            });
        }
        if !self.options.nanoseconds {
            mtime.nanoseconds = 0;
        }
        self.entry = Entry {
            path,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime,
            ..Entry::default()
        };
    }
}

/// The value of an attribute: 64 KiB is the most there can be (xattr(7)).
fn read_xattr(file: &[u8], name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0u8; 256];
    loop {
        match rustix::fs::lgetxattr(file, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(Errno::RANGE) if value.len() < 65536 => value.resize(65536, 0),
            Err(errno) => return Err(errno),
        }
    }
}
