//! A directory that a layer is unpacked to, and what was found out on the way.

use super::attributes::{Attributes, set_times};
use super::dirs::{Directories, Directory};
use super::error::{Problem, lossy};
use super::marker::{WHITEOUT, Whiteouts};
use super::name::join;
use super::options::UnpackOptions;
use super::record::Record;
use super::remove::remove_each;
use cais_order::InOrder;
use rustix::fd::BorrowedFd;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, fchmod, fstat, mkdirat, openat, readlinkat, statat,
};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

/// A hard link to a file that is not in the layer: it belongs to a layer below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredLink {
    /// The new name, relative to the root. Nothing is there, its directory is.
    pub path: PathBuf,
    /// The file, relative to the root.
    pub target: PathBuf,
}

/// Something of the archive that is not in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The path, relative to the root.
    pub path: PathBuf,
    /// The name of the extended attribute, where only that was left out.
    pub attribute: Option<String>,
    /// Why.
    pub reason: &'static str,
}

/// As Linux has it when it follows links by itself (path_resolution(7)).
const LINKS: usize = 40;

/// What a path in a list takes besides its bytes.
const OVERHEAD: usize = 96;

/// What is set on a directory when nothing is made in it any more.
struct Finish {
    path: Vec<u8>,
    mode: Option<Mode>,
    times: Timestamps,
}

pub(crate) struct Staging {
    pub(crate) directories: Directories,
    pub(crate) attributes: Attributes,
    pub(crate) whiteouts: Whiteouts,
    pub(crate) depth: usize,
    /// Bytes that the record may still take of contents.
    pub(crate) inline_limit: u64,
    pub(crate) inline_left: u64,
    /// Bytes that lists of paths may still take.
    pub(crate) memory_limit: u64,
    pub(crate) memory_left: u64,
    pub(crate) implied: BTreeSet<Vec<u8>>,
    pub(crate) deferred: BTreeMap<Vec<u8>, Vec<u8>>,
    finish: Vec<Finish>,
}

impl Staging {
    pub(crate) fn new(root: BorrowedFd<'_>, options: &UnpackOptions) -> Result<Self, Problem> {
        let limits = &options.limits;
        Ok(Self {
            directories: Directories::new(root)?,
            attributes: Attributes {
                form: options.form,
                left_out: Vec::new(),
            },
            whiteouts: options.whiteouts,
            depth: limits.depth,
            inline_limit: limits.inline,
            inline_left: limits.inline,
            memory_limit: limits.memory,
            memory_left: limits.memory,
            implied: BTreeSet::new(),
            deferred: BTreeMap::new(),
            finish: Vec::new(),
        })
    }

    /// Takes `size` bytes of what the record may hold besides headers.
    pub(crate) fn charge(&mut self, size: u64) -> Result<(), Problem> {
        self.inline_left = self.inline_left.checked_sub(size).ok_or(Problem::Limit {
            what: "bytes of files that a later entry replaces or that are none",
            limit: self.inline_limit,
        })?;
        Ok(())
    }

    /// Takes room in memory for a path that is kept to the end.
    pub(crate) fn keep_path(&mut self, bytes: usize) -> Result<(), Problem> {
        let size = (bytes + OVERHEAD) as u64;
        self.memory_left = self.memory_left.checked_sub(size).ok_or(Problem::Limit {
            what: "bytes of directories, deferred links and what is left out",
            limit: self.memory_limit,
        })?;
        Ok(())
    }

    /// The directory at `path`, made with everything above it where it is not there.
    /// Symbolic links of the layer are followed inside of the layer, as Docker does.
    pub(crate) fn ensure(&mut self, path: &[u8], record: &mut Record<'_>) -> Result<Rc<Directory>, Problem> {
        match self.directories.open(path)? {
            Some(directory) => Ok(directory),
            None => self
                .walk(path, Some(record))?
                .ok_or_else(|| Problem::sys("openat", path, Errno::NOENT)),
        }
    }

    /// The directory at `path`, where it is there.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>, Problem> {
        match self.directories.open(path)? {
            Some(directory) => Ok(Some(directory)),
            None => self.walk(path, None),
        }
    }

    /// Goes part by part; with a record it makes what is not there.
    fn walk(
        &mut self,
        path: &[u8],
        mut record: Option<&mut Record<'_>>,
    ) -> Result<Option<Rc<Directory>>, Problem> {
        let mut way = vec![self.directories.root()];
        let mut todo = reversed_parts(path);
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match &part[..] {
                b"" | b"." => continue,
                b".." => {
                    way.truncate((way.len() - 1).max(1));
                    continue;
                }
                name if name.starts_with(WHITEOUT) => return Err(Problem::InsideWhiteout(lossy(path))),
                _ => {}
            }
            let Some(top) = way.last().map(Rc::clone) else {
                break;
            };
            match Directories::child(&top, &part) {
                Ok(directory) => way.push(directory),
                Err(Errno::NOENT) => match &mut record {
                    None => return Ok(None),
                    Some(_) => way.push(self.imply(&top, &part, false)?),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let stat = statat(top.fd(), &part[..], AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|errno| Problem::sys("fstatat", path, errno))?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                        links += 1;
                        let target = follow(&top, &part, path, links)?;
                        if target.first() == Some(&b'/') {
                            way.truncate(1);
                        }
                        todo.extend(reversed_parts(&target));
                    } else if self.is_whiteout(&top, &part, &stat)? {
                        let Some(record) = &mut record else {
                            return Ok(None);
                        };
                        self.clear(&top, &part, record)?;
                        way.push(self.imply(&top, &part, true)?);
                    } else {
                        return Err(Problem::ParentNotDirectory(lossy(&join(&top.path, &part))));
                    }
                }
                Err(errno) => return Err(Problem::sys("openat", path, errno)),
            }
            if way.len() > self.depth {
                return Err(Problem::Limit {
                    what: "directories in each other",
                    limit: self.depth as u64,
                });
            }
        }
        let found = way.pop();
        if let (Some(found), 0) = (&found, links) {
            self.directories.remember(found);
        }
        Ok(found)
    }

    /// Makes a directory that the archive has not described yet.
    fn imply(&mut self, parent: &Directory, name: &[u8], opaque: bool) -> Result<Rc<Directory>, Problem> {
        let path = join(&parent.path, name);
        let failed = |call| {
            let path = path.clone();
            move |errno| Problem::sys(call, &path, errno)
        };
        let mode = Mode::from_raw_mode(0o755);
        mkdirat(parent.fd(), name, mode).map_err(failed("mkdirat"))?;
        let directory = Directories::child(parent, name).map_err(failed("openat"))?;
        fchmod(directory.fd(), mode).map_err(failed("fchmod"))?;
        self.deferred.remove(&path);
        if opaque {
            self.set_opaque(&directory)?;
        } else {
            self.keep_path(path.len())?;
            self.implied.insert(path.clone());
        }
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: zero,
            last_modification: zero,
        };
        self.finish_later(path, Some(mode), times)?;
        Ok(directory)
    }

    pub(crate) fn set_opaque(&self, directory: &Directory) -> Result<(), Problem> {
        self.attributes
            .form
            .set_opaque(directory.fd(), self.whiteouts)
            .map_err(|errno| Problem::sys("fsetxattr", &directory.path, errno))
    }

    pub(crate) fn is_whiteout(
        &self,
        directory: &Directory,
        name: &[u8],
        stat: &rustix::fs::Stat,
    ) -> Result<bool, Problem> {
        self.attributes
            .form
            .is_whiteout(directory.fd(), name, stat)
            .map_err(|errno| Problem::sys("lgetxattr", name, errno))
    }

    /// What stands at a name.
    pub(crate) fn stat(directory: &Directory, name: &[u8]) -> Result<Option<rustix::fs::Stat>, Problem> {
        match statat(directory.fd(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Problem::sys("fstatat", &join(&directory.path, name), errno)),
        }
    }

    /// Removes what stands at a name, a whole tree where it is one. Contents that the
    /// record refers to go there.
    pub(crate) fn clear(
        &mut self,
        directory: &Directory,
        name: &[u8],
        record: &mut Record<'_>,
    ) -> Result<(), Problem> {
        let path = join(&directory.path, name);
        self.directories.forget(&path);
        forget(&mut self.implied, &mut self.deferred, &path);
        let mut problem = None;
        let mut kept = 0;
        let left = self.inline_left;
        // The paths of the directories above what is being removed.
        let mut above: Vec<(u64, Vec<u8>)> = Vec::new();
        let result = remove_each(directory.fd(), name, &mut |parent, name| {
            let inside = path_of(parent, &mut above, &directory.path)?;
            let path = join(&inside, name);
            match keep(parent, name, &path, left - kept, record) {
                Ok(Kept::Bytes(bytes)) => kept += bytes,
                Ok(Kept::Directory(inode)) => above.push((inode, path)),
                Err(error) => {
                    problem = Some(error);
                    return Err(Errno::CANCELED);
                }
            }
            Ok(())
        });
        match (result, problem) {
            (_, Some(Problem::Limit { .. })) => self.charge(u64::MAX),
            (_, Some(problem)) => Err(problem),
            (Err(errno), None) => Err(Problem::sys("unlinkat", &path, errno)),
            (Ok(()), None) => self.charge(kept),
        }
    }

    /// Sets the mode and the times of a directory at the end.
    pub(crate) fn finish_later(
        &mut self,
        path: Vec<u8>,
        mode: Option<Mode>,
        times: Timestamps,
    ) -> Result<(), Problem> {
        self.keep_path(path.len())?;
        self.finish.push(Finish { path, mode, times });
        Ok(())
    }

    /// Sets what was put off, what is deepest first: without privilege a mode may forbid to
    /// go on.
    pub(crate) fn finish(&mut self) -> Result<(), Problem> {
        let mut finish = std::mem::take(&mut self.finish);
        finish.order_by(|one, other| one.path.cmp(&other.path));
        let mut last: Option<Vec<u8>> = None;
        for Finish { path, mode, times } in finish.into_iter().rev() {
            if last.as_ref() == Some(&path) {
                continue;
            }
            if let Some(directory) = self.directories.open(&path)? {
                let path = &path;
                let failed = |call| move |errno| Problem::sys(call, path, errno);
                if let Some(mode) = mode {
                    fchmod(directory.fd(), mode).map_err(failed("fchmod"))?;
                }
                set_times(directory.fd(), &times).map_err(failed("futimens"))?;
            }
            last = Some(path);
        }
        Ok(())
    }
}

/// Parts of a path, the first one last.
fn reversed_parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec).collect()
}

fn follow(directory: &Directory, name: &[u8], path: &[u8], links: usize) -> Result<Vec<u8>, Problem> {
    if links > LINKS {
        return Err(Problem::TooManyLinks(lossy(path)));
    }
    readlinkat(directory.fd(), name, Vec::new())
        .map(std::ffi::CString::into_bytes)
        .map_err(|errno| Problem::sys("readlinkat", path, errno))
}

/// Takes a path and everything below it off the lists.
fn forget(implied: &mut BTreeSet<Vec<u8>>, deferred: &mut BTreeMap<Vec<u8>, Vec<u8>>, path: &[u8]) {
    implied.remove(path);
    deferred.remove(path);
    // Below it is what begins with it and a slash; the next byte after a slash is 0.
    let range = [path, b"/"].concat()..[path, b"0"].concat();
    let below: Vec<Vec<u8>> = implied.range(range.clone()).cloned().collect();
    for path in below {
        implied.remove(&path);
    }
    let below: Vec<Vec<u8>> = deferred.range(range).map(|(path, _)| path.clone()).collect();
    for path in below {
        deferred.remove(&path);
    }
}

/// The path of a directory that is being emptied: the one that was entered last and is it.
fn path_of(parent: BorrowedFd<'_>, above: &mut Vec<(u64, Vec<u8>)>, start: &[u8]) -> Result<Vec<u8>, Errno> {
    let inode = fstat(parent)?.st_ino;
    while let Some((known, path)) = above.last() {
        if *known == inode {
            return Ok(path.clone());
        }
        above.pop();
    }
    Ok(start.to_vec())
}

enum Kept {
    Directory(u64),
    Bytes(u64),
}

/// Writes the contents of a file that is about to be removed to the record.
fn keep(
    parent: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
    limit: u64,
    record: &mut Record<'_>,
) -> Result<Kept, Problem> {
    let failed = |call| move |errno| Problem::sys(call, path, errno);
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Kept::Bytes(0)),
        other => other.map_err(failed("fstatat"))?,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => return Ok(Kept::Directory(stat.st_ino)),
        FileType::RegularFile if record.is_on() && stat.st_size > 0 => {}
        _ => return Ok(Kept::Bytes(0)),
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > limit {
        return Err(Problem::Limit { what: "", limit });
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::empty()).map_err(failed("openat"))?;
    record
        .lost(path, size, std::fs::File::from(file))
        .map_err(Problem::Record)?;
    Ok(Kept::Bytes(size))
}
