//! Reads an archive as it comes.

use super::BLOCK;
use super::contents::Contents;
use super::entry::{Device, Entry, Kind, Time};
use super::error::{TarError, TarProblem};
use super::header::{self, Header, bad_number, text};
use super::pax::{Pax, too_much};
use super::source::Source;
use super::sparse::{
    self, MORE_MORE, MORE_SEGMENTS, MapPlace, MapReader, OLD_MORE, OLD_SEGMENTS, OLD_SIZE, Segment,
    SparseKeys,
};
use std::fmt;
use std::io::{self, Read};

/// How much an archive may contain of what is kept in memory. More is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a name or of what a link points to.
    pub name: usize,
    /// Bytes of an extended header.
    pub pax: usize,
    /// Extended attributes of one entry.
    pub xattrs: usize,
    /// Bytes of the names and values of the extended attributes of one entry.
    pub xattr_bytes: usize,
    /// Parts of a sparse file.
    pub sparse_segments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // PATH_MAX.
            name: 4096,
            // As in Go's archive/tar.
            pax: 1 << 20,
            xattrs: 256,
            xattr_bytes: 1 << 20,
            sparse_segments: 1 << 20,
        }
    }
}

/// Sees every byte of an archive that `Reader::data` does not hand out, in order: headers,
/// padding, the end, contents that nobody asked for.
pub trait Tap {
    /// Takes bytes.
    ///
    /// # Errors
    /// Where they cannot be kept; the reader stops then.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Tap for () {
    fn raw(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// What headers before an entry said of it.
#[derive(Default)]
struct Pending {
    any: bool,
    pax: Option<Pax>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Reads an archive: `next_entry`, then `data` until nothing comes, or not at all.
pub struct Reader<R, T = ()> {
    source: Source<R>,
    tap: T,
    limits: Limits,
    global: Pax,
    block: Box<[u8; BLOCK]>,
    scratch: Vec<u8>,
    /// The parts of the entry's contents, the current one and how much of it was read.
    segments: Vec<Segment>,
    segment: usize,
    segment_done: u64,
    /// What is left of the entry in the archive, without and with padding.
    data_left: u64,
    padding: u64,
    ended: bool,
    name: String,
    offset: u64,
}

impl<R, T> fmt::Debug for Reader<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<R: Read> Reader<R> {
    /// A reader of an archive that is not compressed.
    pub fn new(inner: R, limits: Limits) -> Self {
        Self::with_tap(inner, limits, ())
    }
}

impl<R: Read, T: Tap> Reader<R, T> {
    /// A reader that shows `tap` what it does not hand out.
    pub fn with_tap(inner: R, limits: Limits, tap: T) -> Self {
        Self {
            source: Source::new(inner),
            tap,
            limits,
            global: Pax::default(),
            block: Box::new([0; BLOCK]),
            scratch: Vec::new(),
            segments: Vec::new(),
            segment: 0,
            segment_done: 0,
            data_left: 0,
            padding: 0,
            ended: false,
            name: String::new(),
            offset: 0,
        }
    }

    /// The tap.
    pub fn tap(&mut self) -> &mut T {
        &mut self.tap
    }

    /// The source and the tap.
    pub fn into_parts(self) -> (R, T) {
        (self.source.into_inner(), self.tap)
    }

    /// How many bytes of the archive were read.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// How many bytes of the entry's contents stand in the archive and were not read.
    pub fn data_left(&self) -> u64 {
        self.data_left
    }

    /// Reads the next header into `entry`; false at the end. What was not read of the
    /// entry before is passed over.
    ///
    /// # Errors
    /// Where the archive is damaged, ambiguous, over a limit or cannot be read.
    pub fn next_entry(&mut self, entry: &mut Entry) -> Result<bool, TarError> {
        entry.clear();
        self.read_entry(entry).map_err(|problem| {
            let entry = if entry.path.is_empty() {
                self.name.clone()
            } else {
                entry.name()
            };
            TarError {
                entry,
                offset: self.offset,
                problem,
            }
        })
    }

    /// The next bytes of the contents and their place in the file; what lies between them
    /// is a hole. `None` at the end.
    ///
    /// # Errors
    /// Where the archive ends here or cannot be read.
    pub fn data(&mut self) -> Result<Option<(u64, &[u8])>, TarError> {
        while let Some(segment) = self.segments.get(self.segment) {
            if self.segment_done < segment.length {
                break;
            }
            self.segment += 1;
            self.segment_done = 0;
        }
        let Some(segment) = self.segments.get(self.segment).copied() else {
            return Ok(None);
        };
        match self.source.fill() {
            Ok(0) => return Err(self.failed(TarProblem::Truncated("the contents"))),
            Ok(_) => {}
            Err(error) => return Err(self.failed(TarProblem::Read(error))),
        }
        let place = segment.offset + self.segment_done;
        let piece = self.source.take(segment.length - self.segment_done);
        self.segment_done += piece.len() as u64;
        self.data_left -= piece.len() as u64;
        Ok(Some((place, piece)))
    }

    /// The contents as a stream, holes as zeros.
    pub fn contents(&mut self, entry: &Entry) -> Contents<'_, R, T> {
        Contents::new(self, entry.size)
    }

    /// Reads what follows the end of the archive, up to the end of the stream, but no more
    /// than `limit` bytes. It belongs to the digest of a layer.
    ///
    /// # Errors
    /// Where there is more, or it cannot be read.
    pub fn finish(&mut self, limit: u64) -> Result<(), TarError> {
        let start = self.source.position();
        loop {
            let there = match self.source.fill() {
                Ok(there) => there,
                Err(error) => return Err(self.failed(TarProblem::Read(error))),
            };
            if there == 0 {
                return Ok(());
            }
            let piece = self.source.take(u64::MAX);
            if let Err(error) = self.tap.raw(piece) {
                return Err(self.failed(TarProblem::Write(error)));
            }
            if self.source.position() - start > limit {
                return Err(self.failed(TarProblem::TooMuch {
                    what: "bytes after the end of the archive",
                    limit,
                }));
            }
        }
    }

    fn failed(&self, problem: TarProblem) -> TarError {
        TarError {
            entry: self.name.clone(),
            offset: self.offset,
            problem,
        }
    }

    /// Passes over `length` bytes.
    fn skip(&mut self, mut length: u64, what: &'static str) -> Result<(), TarProblem> {
        while length > 0 {
            if self.source.fill().map_err(TarProblem::Read)? == 0 {
                return Err(TarProblem::Truncated(what));
            }
            let piece = self.source.take(length);
            length -= piece.len() as u64;
            self.tap.raw(piece).map_err(TarProblem::Write)?;
        }
        Ok(())
    }

    /// Reads a block; false where the archive ends before it.
    fn read_block(&mut self) -> Result<bool, TarProblem> {
        let length = self
            .source
            .read_full(&mut self.block[..])
            .map_err(TarProblem::Read)?;
        self.tap.raw(&self.block[..length]).map_err(TarProblem::Write)?;
        match length {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(TarProblem::Truncated("a block")),
        }
    }

    /// Reads the contents of a header that extends another one into `scratch`.
    fn read_extension(&mut self, limit: usize, what: &'static str) -> Result<(), TarProblem> {
        let size = Header(&self.block).number(header::SIZE, "size", u64::MAX)?;
        let length = usize::try_from(size)
            .ok()
            .filter(|length| *length <= limit)
            .ok_or_else(|| too_much(what, limit))?;
        self.scratch.clear();
        self.scratch.resize(length, 0);
        let read = self
            .source
            .read_full(&mut self.scratch)
            .map_err(TarProblem::Read)?;
        self.tap.raw(&self.scratch[..read]).map_err(TarProblem::Write)?;
        if read < length {
            return Err(TarProblem::Truncated(what));
        }
        self.skip(padding(size), what)
    }

    fn read_entry(&mut self, entry: &mut Entry) -> Result<bool, TarProblem> {
        if self.ended {
            return Ok(false);
        }
        let rest = self.data_left + self.padding;
        (self.data_left, self.padding) = (0, 0);
        self.segments.clear();
        self.skip(rest, "the contents")?;
        let mut pending = Pending::default();
        loop {
            self.offset = self.source.position();
            self.name.clear();
            if !self.read_block()? || self.block.iter().all(|byte| *byte == 0) {
                return self.read_end(&pending);
            }
            let header = Header(&self.block);
            self.name.push_str(&String::from_utf8_lossy(header.name()));
            header.check()?;
            if !self.read_pending(&mut pending)? {
                self.fill_entry(entry, pending)?;
                return Ok(true);
            }
        }
    }

    /// The end: two blocks of zeros, or the end of the stream (which Go, Python and GNU tar
    /// take for one too).
    fn read_end(&mut self, pending: &Pending) -> Result<bool, TarProblem> {
        if pending.any {
            return Err(TarProblem::Dangling);
        }
        let first = self.source.position() > self.offset;
        if first && self.read_block()? && self.block.iter().any(|byte| *byte != 0) {
            return Err(TarProblem::LoneZeroBlock);
        }
        self.ended = true;
        Ok(false)
    }

    /// Takes a header that says something of the next entry; false where it is an entry.
    /// The length of such a header is its own field alone: extended headers speak of the
    /// entry and of nothing between (CVE-2025-62518).
    fn read_pending(&mut self, pending: &mut Pending) -> Result<bool, TarProblem> {
        let twice = TarProblem::Ambiguous("two headers of one type speak of one entry");
        match Header(&self.block).kind() {
            b'x' => {
                self.read_extension(self.limits.pax, "bytes of an extended header")?;
                if pending.pax.is_some() {
                    return Err(twice);
                }
                let mut pax = self.global.clone();
                pax.parse(&self.scratch, &self.limits)?;
                pending.pax = Some(pax);
            }
            b'g' => {
                self.read_extension(self.limits.pax, "bytes of an extended header")?;
                self.global.parse(&self.scratch, &self.limits)?;
                self.global.check_global()?;
                // It speaks of all that follow: none needs to.
                return Ok(true);
            }
            kind @ (b'L' | b'K') => {
                self.read_extension(self.limits.name.saturating_add(1), "bytes of a name")?;
                let name = Some(text(&self.scratch).to_vec());
                let slot = if kind == b'L' {
                    &mut pending.path
                } else {
                    &mut pending.link
                };
                if slot.is_some() {
                    return Err(twice);
                }
                *slot = name;
            }
            _ => return Ok(false),
        }
        pending.any = true;
        Ok(true)
    }

    fn fill_entry(&mut self, entry: &mut Entry, pending: Pending) -> Result<(), TarProblem> {
        let header = Header(&self.block);
        entry.offset = self.offset;
        let mut local = pending.pax;
        // Without a header of its own the global one speaks, and must be kept.
        let pax = match &mut local {
            Some(pax) => pax,
            None => &mut self.global,
        };
        entry.path.extend_from_slice(header.prefix());
        if !entry.path.is_empty() {
            entry.path.push(b'/');
        }
        entry.path.extend_from_slice(header.name());
        entry.link.extend_from_slice(header.link());
        override_name(&mut entry.path, pending.path, pax.path.take())?;
        override_name(&mut entry.link, pending.link, pax.link.take())?;
        let kind = header.kind();
        entry.kind = parse_kind(kind, &entry.path)?;
        entry.mode = u32::try_from(header.number(header::MODE, "mode", u64::from(u32::MAX))?)
            .map_or(0, |mode| mode & 0o7777);
        entry.uid = match pax.uid {
            Some(id) => id,
            None => id_field(&header, header::UID, "uid")?,
        };
        entry.gid = match pax.gid {
            Some(id) => id,
            None => id_field(&header, header::GID, "gid")?,
        };
        entry.mtime = match pax.mtime {
            Some(time) => time,
            None => Time {
                seconds: header.signed(header::MTIME, "mtime")?,
                nanoseconds: 0,
            },
        };
        entry.atime = pax.atime;
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = Device {
                major: device_field(&header, header::MAJOR, "devmajor")?,
                minor: device_field(&header, header::MINOR, "devminor")?,
            };
        }
        let size = match pax.size {
            Some(size) => size,
            None => header.number(header::SIZE, "size", u64::MAX)?,
        };
        if local.is_some() {
            entry.xattrs = local
                .as_mut()
                .map(|pax| std::mem::take(&mut pax.xattrs))
                .unwrap_or_default();
        } else {
            entry.xattrs.extend_from_slice(&self.global.xattrs);
        }
        // Go, Python and libarchive: what is no regular file has no contents, whatever
        // its size field says.
        if entry.kind == Kind::Regular {
            let sparse = local.map(|pax| pax.sparse).unwrap_or_default();
            self.begin_contents(entry, kind, size, &sparse)?;
        }
        Ok(())
    }

    /// Finds out where the contents of a regular file belong.
    fn begin_contents(
        &mut self,
        entry: &mut Entry,
        kind: u8,
        size: u64,
        keys: &SparseKeys,
    ) -> Result<(), TarProblem> {
        if size > i64::MAX as u64 {
            return Err(bad_number("size", size.to_string().as_bytes()));
        }
        (self.segment, self.segment_done) = (0, 0);
        entry.size = size;
        let mut data = size;
        if kind == b'S' {
            entry.sparse = true;
            entry.size = self.read_old_map()?;
        } else if let Some(place) = keys.place()? {
            entry.sparse = true;
            entry.size = keys.size.ok_or(TarProblem::Sparse("the length is not given"))?;
            if let Some(name) = &keys.name {
                entry.path.clone_from(name);
            }
            match place {
                MapPlace::Keys => keys.segments(&mut self.segments)?,
                MapPlace::Data => {
                    let mut map = MapReader::default();
                    loop {
                        if data < BLOCK as u64 || !self.read_block()? {
                            return Err(TarProblem::Truncated("the map of a sparse file"));
                        }
                        data -= BLOCK as u64;
                        if map.take(&self.block, &mut self.segments, &self.limits)? {
                            break;
                        }
                    }
                }
            }
        } else {
            self.segments.push(Segment {
                offset: 0,
                length: size,
            });
        }
        if entry.size > i64::MAX as u64 {
            return Err(bad_number("size", entry.size.to_string().as_bytes()));
        }
        sparse::check_segments(&self.segments, entry.size, data)?;
        (self.data_left, self.padding) = (data, padding(size));
        self.name.clear();
        self.name.push_str(&String::from_utf8_lossy(&entry.path));
        Ok(())
    }

    /// The map of GNU's old headers goes on in blocks after the header.
    fn read_old_map(&mut self) -> Result<u64, TarProblem> {
        let header = Header(&self.block);
        let size = header.number(OLD_SIZE, "realsize", u64::MAX)?;
        sparse::parse_old_segments(&self.block[OLD_SEGMENTS], &mut self.segments, &self.limits)?;
        let mut more = self.block[OLD_MORE] != 0;
        while more {
            if !self.read_block()? {
                return Err(TarProblem::Truncated("the map of a sparse file"));
            }
            sparse::parse_old_segments(&self.block[MORE_SEGMENTS], &mut self.segments, &self.limits)?;
            more = self.block[MORE_MORE] != 0;
        }
        Ok(size)
    }
}

/// What stands after `size` bytes to fill the last block.
fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Two long names that differ: GNU tar takes one, Go the other.
fn override_name(name: &mut Vec<u8>, gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<(), TarProblem> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => Err(TarProblem::Ambiguous("two long names that differ")),
        (Some(long), _) | (None, Some(long)) => {
            *name = long;
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// The largest number is no id but "leave it" (chown(2)); larger ones would wrap to others
/// (CVE-2024-40635).
fn id_field(
    header: &Header<'_>,
    range: std::ops::Range<usize>,
    field: &'static str,
) -> Result<u32, TarProblem> {
    let id = header.number(range.clone(), field, u64::from(u32::MAX - 1))?;
    u32::try_from(id).map_err(|_too_large| bad_number(field, &header.0[range]))
}

fn device_field(
    header: &Header<'_>,
    range: std::ops::Range<usize>,
    field: &'static str,
) -> Result<u32, TarProblem> {
    let number = header.number(range.clone(), field, u64::from(u32::MAX))?;
    u32::try_from(number).map_err(|_too_large| bad_number(field, &header.0[range]))
}

fn parse_kind(kind: u8, path: &[u8]) -> Result<Kind, TarProblem> {
    Ok(match kind {
        // Before POSIX a directory was a file with a slash at its end.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::Regular,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(TarProblem::Type(other)),
    })
}
