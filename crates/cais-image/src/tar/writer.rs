//! Writes an archive: ustar headers, and extended ones where those are too small. The same
//! entries always give the same bytes.

use super::BLOCK;
use super::entry::{Entry, Kind, Time};
use super::error::{TarError, TarProblem};
use super::header::{CHECKSUM, GID, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, PREFIX, SIZE, TYPE, UID};
use super::pax::push_record;
use cais_order::InOrder;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;

/// The largest number in a field of twelve bytes: eleven digits.
const LARGE: u64 = 0o77_777_777_777;
/// The largest number in a field of eight bytes: seven digits.
const SMALL: u64 = 0o7_777_777;

/// Writes an archive.
pub struct Writer<W> {
    inner: W,
    records: Vec<u8>,
    buffer: Vec<u8>,
    left: u64,
    padding: usize,
    written: u64,
    name: String,
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("name", &self.name)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Writer<W> {
    /// A writer; `inner` should take small pieces well.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            records: Vec::new(),
            buffer: Vec::new(),
            left: 0,
            padding: 0,
            written: 0,
            name: String::new(),
        }
    }

    /// How many bytes were written.
    pub fn position(&self) -> u64 {
        self.written
    }

    /// Writes the headers of an entry; contents of `entry.size` bytes must follow.
    ///
    /// # Errors
    /// Where the entry cannot be written down, or the contents before it were too short.
    pub fn start(&mut self, entry: &Entry) -> Result<(), TarError> {
        self.end_contents()?;
        self.name = entry.name();
        let mut block = [0; BLOCK];
        self.records.clear();
        if let Err(problem) = fill_header(&mut block, entry, &mut self.records) {
            return Err(self.failed(problem));
        }
        if !self.records.is_empty() {
            let mut pax = [0; BLOCK];
            if let Err(problem) = fill_pax_header(&mut pax, &entry.path, self.records.len()) {
                return Err(self.failed(problem));
            }
            self.put(&pax)?;
            let records = std::mem::take(&mut self.records);
            self.put(&records)?;
            self.put(&[0; BLOCK][..padding(records.len())])?;
            self.records = records;
        }
        self.put(&block)?;
        self.left = if entry.kind == Kind::Regular {
            entry.size
        } else {
            0
        };
        self.padding = usize::try_from(self.left.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        Ok(())
    }

    /// Writes a piece of the contents.
    ///
    /// # Errors
    /// Where there are more than the header said, or they cannot be written.
    pub fn data(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        let length = bytes.len() as u64;
        if length > self.left {
            return Err(self.failed(TarProblem::Length));
        }
        self.left -= length;
        self.put(bytes)
    }

    /// Writes an entry and its contents, which must have `entry.size` bytes.
    ///
    /// # Errors
    /// As `start` and `data`; where the contents cannot be read.
    pub fn append(&mut self, entry: &Entry, mut contents: impl Read) -> Result<(), TarError> {
        self.start(entry)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(256 * 1024, 0);
        while self.left > 0 {
            let limit = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
            match contents.read(&mut buffer[..limit]) {
                Ok(0) => return Err(self.failed(TarProblem::Length)),
                Ok(length) => self.data(&buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(TarProblem::Read(error))),
            }
        }
        self.buffer = buffer;
        self.end_contents()
    }

    /// Writes the end of the archive.
    ///
    /// # Errors
    /// Where the contents before it were too short, or it cannot be written.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.end_contents()?;
        self.put(&[0; 2 * BLOCK])?;
        match self.inner.flush() {
            Ok(()) => Ok(self.inner),
            Err(error) => Err(self.failed(TarProblem::Write(error))),
        }
    }

    fn end_contents(&mut self) -> Result<(), TarError> {
        if self.left != 0 {
            return Err(self.failed(TarProblem::Length));
        }
        let padding = std::mem::take(&mut self.padding);
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        if let Err(error) = self.inner.write_all(bytes) {
            return Err(self.failed(TarProblem::Write(error)));
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, problem: TarProblem) -> TarError {
        TarError {
            entry: self.name.clone(),
            offset: self.written,
            problem,
        }
    }
}

fn padding(length: usize) -> usize {
    length.wrapping_neg() % BLOCK
}

/// Fills the header of an entry; what does not fit goes to `records`, in a fixed order.
fn fill_header(block: &mut [u8; BLOCK], entry: &Entry, records: &mut Vec<u8>) -> Result<(), TarProblem> {
    if entry.path.is_empty() || entry.path.contains(&0) || entry.link.contains(&0) {
        return Err(TarProblem::Unwritable("an empty name, or a name with a byte 0,"));
    }
    if let Some(atime) = entry.atime {
        push_record(records, b"atime", print_time(atime).as_bytes());
    }
    put_or_record(block, GID, entry.gid.into(), b"gid", records);
    let is_link = matches!(entry.kind, Kind::HardLink | Kind::Symlink);
    if is_link && entry.link.len() > LINK.len() {
        push_record(records, b"linkpath", &entry.link);
    } else if is_link {
        block[LINK][..entry.link.len()].copy_from_slice(&entry.link);
    }
    match u64::try_from(entry.mtime.seconds) {
        Ok(seconds) if seconds <= LARGE && entry.mtime.nanoseconds == 0 => put_octal(block, MTIME, seconds),
        _ => {
            put_octal(block, MTIME, 0);
            push_record(records, b"mtime", print_time(entry.mtime).as_bytes());
        }
    }
    put_name(block, &entry.path, records);
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.order();
    for (name, value) in xattrs {
        if name.is_empty() || name.contains(&0) || name.contains(&b'=') {
            return Err(TarProblem::Unwritable("the name of an extended attribute"));
        }
        push_record(records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    let size = if entry.kind == Kind::Regular {
        entry.size
    } else {
        0
    };
    put_or_record(block, SIZE, size, b"size", records);
    put_or_record(block, UID, entry.uid.into(), b"uid", records);
    put_octal(block, MODE, u64::from(entry.mode & 0o7777));
    if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
        let (major, minor) = (u64::from(entry.device.major), u64::from(entry.device.minor));
        if major > SMALL || minor > SMALL {
            return Err(TarProblem::Unwritable("the number of a device"));
        }
        put_octal(block, MAJOR, major);
        put_octal(block, MINOR, minor);
    }
    block[TYPE] = match entry.kind {
        Kind::Regular => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
    };
    seal(block);
    Ok(())
}

/// The header of an extended header. Its name is for readers that do not know such.
fn fill_pax_header(block: &mut [u8; BLOCK], path: &[u8], length: usize) -> Result<(), TarProblem> {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let last = trimmed.rsplit(|byte| *byte == b'/').next().unwrap_or(trimmed);
    let name = [b"PaxHeaders.0/", last].concat();
    let kept = name.len().min(NAME.len());
    block[NAME][..kept].copy_from_slice(&name[..kept]);
    put_octal(block, MODE, 0o644);
    put_octal(block, UID, 0);
    put_octal(block, GID, 0);
    put_octal(block, MTIME, 0);
    let length = length as u64;
    if length > LARGE {
        return Err(TarProblem::Unwritable("an extended header of this length"));
    }
    put_octal(block, SIZE, length);
    block[TYPE] = b'x';
    seal(block);
    Ok(())
}

/// A name of up to 100 bytes, or up to 155 and 100 with a slash between, or a record.
fn put_name(block: &mut [u8; BLOCK], path: &[u8], records: &mut Vec<u8>) {
    if path.len() <= NAME.len() {
        block[NAME][..path.len()].copy_from_slice(path);
        return;
    }
    let from = path.len().saturating_sub(NAME.len() + 1);
    let slash = path[from..path.len() - 1]
        .iter()
        .position(|byte| *byte == b'/')
        .map(|place| from + place)
        .filter(|place| (1..=PREFIX.len()).contains(place));
    if let Some(slash) = slash {
        block[PREFIX][..slash].copy_from_slice(&path[..slash]);
        block[NAME][..path.len() - slash - 1].copy_from_slice(&path[slash + 1..]);
        return;
    }
    push_record(records, b"path", path);
    block[NAME].copy_from_slice(&path[path.len() - NAME.len()..]);
}

fn put_or_record(
    block: &mut [u8; BLOCK],
    field: Range<usize>,
    number: u64,
    key: &[u8],
    records: &mut Vec<u8>,
) {
    let limit = if field.len() == 12 { LARGE } else { SMALL };
    if number > limit {
        push_record(records, key, number.to_string().as_bytes());
        put_octal(block, field, 0);
    } else {
        put_octal(block, field, number);
    }
}

/// Octal digits that fill the field but for a 0 at its end.
fn put_octal(block: &mut [u8; BLOCK], field: Range<usize>, mut number: u64) {
    for index in (field.start..field.end - 1).rev() {
        block[index] = b'0' + u8::try_from(number & 7).unwrap_or(0);
        number >>= 3;
    }
}

/// Sets the magic and the checksum: six digits, a 0, a blank.
fn seal(block: &mut [u8; BLOCK]) {
    block[MAGIC].copy_from_slice(b"ustar\x0000");
    block[CHECKSUM].fill(b' ');
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    put_octal(block, CHECKSUM.start..CHECKSUM.end - 1, sum);
    block[CHECKSUM.end - 2] = 0;
}

/// Seconds with a fraction as long as it must be. Before 1970 both count backward.
fn print_time(time: Time) -> String {
    let (sign, seconds, nanoseconds) = if time.seconds >= 0 {
        ("", time.seconds.unsigned_abs(), time.nanoseconds)
    } else if time.nanoseconds == 0 {
        ("-", time.seconds.unsigned_abs(), 0)
    } else {
        (
            "-",
            (time.seconds + 1).unsigned_abs(),
            1_000_000_000 - time.nanoseconds,
        )
    };
    if nanoseconds == 0 {
        return format!("{sign}{seconds}");
    }
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').to_owned()
}
