//! Unpacks a layer.

use super::ahead::{Digesting, Hashed, ahead};
use super::attributes::{set_times, timestamps};
use super::dirs::{Directories, Directory};
use super::error::{Problem, UnpackError, lossy};
use super::marker::{Form, Marker, parse_marker};
use super::name::{check_parents, is_below, join, parse_name, split};
use super::options::{UnpackLimits, UnpackOptions};
use super::record::Record;
use super::staging::{DeferredLink, LeftOut, Staging};
use crate::Digest;
use crate::tar::{Entry, Kind, Reader};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ftruncate, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

/// How often a name is cleared before it is given up: something else makes it again.
const ATTEMPTS: usize = 8;

/// A layer that was unpacked. Paths are relative to its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the whole archive, the layer's `diff_id`.
    pub diff_id: Digest,
    /// The length of the archive in bytes.
    pub archive_bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of contents.
    pub content_bytes: u64,
    /// Directories that were made because something is in them, 0755, of the caller, of
    /// 1970: the archive says nothing of them. Their attributes are those of the layers
    /// below, if they have them; where the uppermost has a link there, it would hide it.
    pub implied: Vec<PathBuf>,
    /// Hard links to files of layers below.
    pub deferred: Vec<DeferredLink>,
    /// What is not in the directory.
    pub left_out: Vec<LeftOut>,
    /// Whether the archive says something of the root. If not, it is an implied one.
    pub root_described: bool,
    /// Whether the layer hides everything below: overlayfs does not heed the attribute on
    /// the root of a layer.
    pub root_opaque: bool,
}

/// Unpacks an archive that is not compressed to the empty directory `staging`, so that
/// overlayfs takes that as a layer; with `record`, writes down what `assemble_layer` needs
/// to make the archive again. Nothing is synced.
///
/// Whatever the archive contains, nothing outside of the directory is touched: every call
/// takes a descriptor of a directory and a name in it, and follows no link.
///
/// # Errors
/// Where the archive is damaged or refused, or a call fails: named with the entry. What was
/// unpacked stays, `remove_tree` takes it away.
pub fn unpack_layer(
    archive: impl Read,
    staging: BorrowedFd<'_>,
    record: Option<&mut dyn Write>,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    unpack(Hashed::new(archive), staging, record, options)
}

/// The same for an archive whose reading is work, such as inflating: it is read and hashed by
/// a thread of its own.
///
/// # Errors
/// As [`unpack_layer`].
pub fn unpack_layer_ahead(
    archive: impl Read + Send,
    staging: BorrowedFd<'_>,
    record: Option<&mut dyn Write>,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let (decoding, decoded) = ahead();
    std::thread::scope(|scope| {
        scope.spawn(move || decoding.run(archive));
        unpack(decoded, staging, record, options)
    })
}

fn unpack(
    archive: impl Digesting,
    staging: BorrowedFd<'_>,
    record: Option<&mut dyn Write>,
    options: &UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let limits = &options.limits;
    let staging = Staging::new(staging, options).map_err(UnpackError::Staging)?;
    let record = Record::new(record).map_err(|error| UnpackError::Staging(Problem::Record(error)))?;
    let mut reader = Reader::with_tap(archive, limits.tar.clone(), record);
    let mut unpacker = Unpacker {
        staging,
        limits,
        path: Vec::new(),
        parts: Vec::new(),
        entries: 0,
        content_bytes: 0,
        root_described: false,
        root_opaque: false,
        left_out: Vec::new(),
    };
    let mut entry = Entry::default();
    while reader.next_entry(&mut entry)? {
        unpacker
            .apply(&entry, &mut reader)
            .map_err(|problem| match problem {
                Problem::Tar(error) => UnpackError::Tar(error),
                problem => UnpackError::Entry {
                    entry: entry.name(),
                    offset: entry.offset,
                    problem,
                },
            })?;
    }
    reader.finish(limits.inline)?;
    let archive_bytes = reader.position();
    let (archive, record) = reader.into_parts();
    let diff_id = archive.digest();
    record
        .finish(archive_bytes, &diff_id)
        .map_err(|error| UnpackError::Staging(Problem::Record(error)))?;
    unpacker
        .finish(diff_id, archive_bytes)
        .map_err(UnpackError::Staging)
}

type Archive<'w, R> = Reader<R, Record<'w>>;

struct Unpacker<'a> {
    staging: Staging,
    limits: &'a UnpackLimits,
    /// The plain name of the entry.
    path: Vec<u8>,
    /// Parts of the contents that follow each other without a hole.
    parts: Vec<(u64, u64)>,
    entries: u64,
    content_bytes: u64,
    root_described: bool,
    root_opaque: bool,
    left_out: Vec<LeftOut>,
}

impl Unpacker<'_> {
    fn apply<R: Read>(&mut self, entry: &Entry, archive: &mut Archive<'_, R>) -> Result<(), Problem> {
        self.entries += 1;
        check_limit("entries", self.entries, self.limits.entries)?;
        self.content_bytes = self.content_bytes.saturating_add(archive.data_left());
        check_limit("bytes of contents", self.content_bytes, self.limits.bytes)?;
        let mut path = std::mem::take(&mut self.path);
        parse_name(&entry.path, &mut path, self.limits.depth)?;
        let result = if path.is_empty() {
            self.apply_root(entry)
        } else {
            self.apply_at(&path, entry, archive)
        };
        self.path = path;
        result?;
        if !self.staging.attributes.left_out.is_empty() {
            self.note_attributes()?;
        }
        Ok(())
    }

    fn note_attributes(&mut self) -> Result<(), Problem> {
        for (name, reason) in std::mem::take(&mut self.staging.attributes.left_out) {
            self.staging.keep_path(self.path.len() + name.len())?;
            self.left_out.push(LeftOut {
                path: to_path(&self.path),
                attribute: Some(lossy(&name)),
                reason,
            });
        }
        Ok(())
    }

    /// The root gets attributes and is nothing but a directory (CVE-2021-29136).
    fn apply_root(&mut self, entry: &Entry) -> Result<(), Problem> {
        if entry.kind != Kind::Directory {
            return Err(Problem::RootNotDirectory);
        }
        self.root_described = true;
        let root = self.staging.directories.root();
        self.describe_directory(&root, entry, false)
    }

    fn apply_at<R: Read>(
        &mut self,
        path: &[u8],
        entry: &Entry,
        archive: &mut Archive<'_, R>,
    ) -> Result<(), Problem> {
        let (parent, name) = split(path);
        let is_reserved = check_parents(parent, path)?;
        let marker = if is_reserved {
            Marker::Reserved
        } else {
            parse_marker(name)?
        };
        if marker != Marker::File {
            self.staging.charge(archive.data_left())?;
        }
        match marker {
            Marker::Reserved => {
                return self.leave_out(path, "bookkeeping of AUFS");
            }
            Marker::Opaque => {
                let directory = self.staging.ensure(parent, archive.tap())?;
                self.root_opaque |= directory.path.is_empty();
                return self.staging.set_opaque(&directory);
            }
            Marker::Hide(hidden) => return self.hide(parent, hidden, archive.tap()),
            Marker::File => {}
        }
        if entry.kind == Kind::HardLink {
            return self.apply_link(parent, name, entry, archive.tap());
        }
        let directory = self.staging.ensure(parent, archive.tap())?;
        match entry.kind {
            Kind::Regular => self.apply_file(&directory, name, entry, archive),
            Kind::Directory => self.apply_directory(&directory, name, entry, archive.tap()),
            Kind::Symlink if entry.link.is_empty() => Err(Problem::EmptyLink),
            Kind::CharDevice if entry.device.major == 0 && entry.device.minor == 0 => {
                Err(Problem::WhiteoutDevice)
            }
            Kind::CharDevice | Kind::BlockDevice if self.staging.attributes.form == Form::Rootless => {
                self.leave_out(path, "devices need privilege")
            }
            _ => {
                self.make(&directory, name, archive.tap(), |directory| {
                    make_special(directory, name, entry)
                })?;
                self.staging.attributes.set_at(directory.fd(), name, entry)
            }
        }
    }

    fn leave_out(&mut self, path: &[u8], reason: &'static str) -> Result<(), Problem> {
        self.staging.keep_path(path.len())?;
        self.left_out.push(LeftOut {
            path: to_path(path),
            attribute: None,
            reason,
        });
        Ok(())
    }

    /// Makes something at a name, and removes what is in its place.
    fn make<T>(
        &mut self,
        directory: &Directory,
        name: &[u8],
        record: &mut Record<'_>,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Problem> {
        for _ in 0..ATTEMPTS {
            match make(directory.fd()) {
                Err(Errno::EXIST) => self.staging.clear(directory, name, record)?,
                Err(Errno::INTR) => {}
                Ok(made) => {
                    if !self.staging.deferred.is_empty() {
                        self.staging.deferred.remove(&join(&directory.path, name));
                    }
                    return Ok(made);
                }
                Err(errno) => return Err(Problem::sys("create", &join(&directory.path, name), errno)),
            }
        }
        Err(Problem::sys("create", &join(&directory.path, name), Errno::EXIST))
    }

    fn apply_file<R: Read>(
        &mut self,
        directory: &Directory,
        name: &[u8],
        entry: &Entry,
        archive: &mut Archive<'_, R>,
    ) -> Result<(), Problem> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Most often this is the right mode already; set-id bits come with the owner.
        let first = Mode::from_raw_mode(entry.mode & 0o777);
        let file = self.make(directory, name, archive.tap(), |directory| {
            openat(directory, name, flags, first)
        })?;
        self.write_contents(&file, entry, archive)?;
        if !self.parts.is_empty() && archive.tap().is_on() {
            let path = join(&directory.path, name);
            archive.tap().file(&path, &self.parts).map_err(Problem::Record)?;
        }
        let file = rustix::fd::AsFd::as_fd(&file);
        let mode = Mode::from_raw_mode(entry.mode);
        self.staging.attributes.set_on(file, entry, mode)?;
        set_times(file, &timestamps(entry)).map_err(|errno| Problem::sys("futimens", &entry.path, errno))
    }

    /// Writes the contents where they belong, and holes as such.
    fn write_contents<R: Read>(
        &mut self,
        file: &OwnedFd,
        entry: &Entry,
        archive: &mut Archive<'_, R>,
    ) -> Result<(), Problem> {
        let failed = |call| move |errno| Problem::sys(call, &entry.path, errno);
        self.parts.clear();
        let mut end = 0;
        while let Some((mut place, mut piece)) = archive.data()? {
            let length = piece.len() as u64;
            match self.parts.last_mut() {
                Some((offset, size)) if *offset + *size == place => *size += length,
                _ => self.parts.push((place, length)),
            }
            while !piece.is_empty() {
                match rustix::io::pwrite(file, piece, place) {
                    Err(Errno::INTR) => {}
                    Ok(0) => return Err(failed("pwrite")(Errno::IO)),
                    Ok(written) => {
                        place += written as u64;
                        piece = &piece[written..];
                    }
                    Err(errno) => return Err(failed("pwrite")(errno)),
                }
            }
            end = place;
        }
        if end < entry.size {
            ftruncate(file, entry.size).map_err(failed("ftruncate"))?;
        }
        Ok(())
    }

    /// A directory over a directory replaces its attributes. One over anything else hides
    /// what is below, as that did.
    fn apply_directory(
        &mut self,
        parent: &Directory,
        name: &[u8],
        entry: &Entry,
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        let path = join(&parent.path, name);
        let failed = |call, errno| Problem::sys(call, &path, errno);
        let (mut opaque, mut fresh) = (false, false);
        for attempt in 1.. {
            match mkdirat(parent.fd(), name, Mode::RWXU) {
                Ok(()) => {
                    fresh = true;
                    break;
                }
                Err(Errno::EXIST) if attempt <= ATTEMPTS => {}
                Err(errno) => return Err(failed("mkdirat", errno)),
            }
            match Staging::stat(parent, name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => break,
                Some(_) => {
                    self.staging.clear(parent, name, record)?;
                    opaque = true;
                }
                None => {}
            }
        }
        let directory = Directories::child(parent, name).map_err(|errno| failed("openat", errno))?;
        if opaque {
            self.staging.set_opaque(&directory)?;
        }
        self.staging.implied.remove(&path);
        self.staging.deferred.remove(&path);
        self.describe_directory(&directory, entry, fresh)?;
        if fresh {
            self.staging.directories.remember(&directory);
        }
        Ok(())
    }

    fn describe_directory(
        &mut self,
        directory: &Rc<Directory>,
        entry: &Entry,
        fresh: bool,
    ) -> Result<(), Problem> {
        let failed = |call| move |errno| Problem::sys(call, &entry.path, errno);
        let attributes = &mut self.staging.attributes;
        if !fresh {
            attributes
                .clear_xattrs(directory.fd())
                .map_err(failed("fremovexattr"))?;
        }
        let mode = Mode::from_raw_mode(entry.mode);
        // Without privilege the mode could forbid to make what is in it.
        let for_now = match attributes.form {
            Form::Privileged => mode,
            Form::Rootless => mode | Mode::RWXU,
        };
        attributes.set_on(directory.fd(), entry, for_now)?;
        let later = (for_now != mode || attributes.form == Form::Rootless).then_some(mode);
        self.staging
            .finish_later(directory.path.clone(), later, timestamps(entry))
    }

    /// A whiteout hides a name of layers below. What the layer itself has of that name
    /// stays (image-spec, "Whiteouts"); a directory then shows nothing of those below.
    fn hide(&mut self, parent: &[u8], hidden: &[u8], record: &mut Record<'_>) -> Result<(), Problem> {
        let directory = self.staging.ensure(parent, record)?;
        let path = join(&directory.path, hidden);
        if self.staging.deferred.contains_key(&path) {
            return Ok(());
        }
        match Staging::stat(&directory, hidden)? {
            None => {
                let (form, whiteouts) = (self.staging.attributes.form, self.staging.whiteouts);
                form.hide(directory.fd(), hidden, whiteouts)
                    .map_err(|errno| Problem::sys("mknodat", &path, errno))
            }
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                let directory = Directories::child(&directory, hidden)
                    .map_err(|errno| Problem::sys("openat", &path, errno))?;
                self.staging.implied.remove(&path);
                self.staging.set_opaque(&directory)
            }
            Some(_) => Ok(()),
        }
    }

    /// Links to a file of the layer, or puts it off.
    fn apply_link(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        if entry.link.is_empty() {
            return Err(Problem::EmptyLink);
        }
        let mut target = Vec::new();
        parse_name(&entry.link, &mut target, self.limits.depth)?;
        if target.is_empty() {
            return Err(Problem::LinkToDirectory("/".to_owned()));
        }
        let (target_parent, target_name) = split(&target);
        if check_parents(&target, &target)? {
            return Err(Problem::InsideWhiteout(lossy(&target)));
        }
        let from = self.staging.find(target_parent)?;
        let directory = self.staging.ensure(parent, record)?;
        let path = join(&directory.path, name);
        let source = match &from {
            Some(from) => join(&from.path, target_name),
            None => target.clone(),
        };
        if is_below(&source, &path) {
            return Err(Problem::LinkToItself);
        }
        if source == path {
            // GNU tar writes such for a file that it was given twice.
            return match Staging::stat(&directory, name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(()),
                _ => Err(Problem::LinkToItself),
            };
        }
        if let Some(from) = from
            && let Some(stat) = Staging::stat(&from, target_name)?
        {
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                return Err(Problem::LinkToDirectory(lossy(&target)));
            }
            if !self.staging.is_whiteout(&from, target_name, &stat)? {
                return self.make(&directory, name, record, |directory| {
                    linkat(from.fd(), target_name, directory, name, AtFlags::empty())
                });
            }
        }
        let source = self.staging.deferred.get(&source).cloned().unwrap_or(source);
        self.staging.clear(&directory, name, record)?;
        self.staging.keep_path(path.len() + source.len())?;
        self.staging.deferred.insert(path, source);
        Ok(())
    }

    fn finish(mut self, diff_id: Digest, archive_bytes: u64) -> Result<Unpacked, Problem> {
        if !self.root_described {
            let zero = Entry {
                kind: Kind::Directory,
                ..Entry::default()
            };
            let mode = Mode::from_raw_mode(0o755);
            self.staging
                .finish_later(Vec::new(), Some(mode), timestamps(&zero))?;
        }
        self.staging.finish()?;
        let deferred = std::mem::take(&mut self.staging.deferred);
        Ok(Unpacked {
            diff_id,
            archive_bytes,
            entries: self.entries,
            content_bytes: self.content_bytes,
            implied: self.staging.implied.iter().map(|path| to_path(path)).collect(),
            deferred: deferred
                .iter()
                .map(|(path, target)| DeferredLink {
                    path: to_path(path),
                    target: to_path(target),
                })
                .collect(),
            left_out: self.left_out,
            root_described: self.root_described,
            root_opaque: self.root_opaque,
        })
    }
}

fn make_special(directory: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(entry.mode & 0o777);
    let device = makedev(entry.device.major, entry.device.minor);
    let kind = match entry.kind {
        Kind::Symlink => return symlinkat(&entry.link[..], directory, name),
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Regular | Kind::HardLink | Kind::Directory => return Err(Errno::INVAL),
    };
    mknodat(directory, name, kind, mode, device)
}

fn check_limit(what: &'static str, count: u64, limit: u64) -> Result<(), Problem> {
    if count > limit {
        return Err(Problem::Limit { what, limit });
    }
    Ok(())
}

fn to_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path))
}
