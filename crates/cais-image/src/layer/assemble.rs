//! Makes the archive of a layer again, bit for bit, from its directory and its record.

use super::error::lossy;
use super::record::{END, END_LOST, Item, Items};
use crate::{Digest, Hasher};
use cais_linux::SysError;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// What is copied at a time.
const BUFFER: usize = 256 * 1024;

/// An archive that was made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The digest of the archive, the layer's `diff_id`. It is that of the archive which was
    /// unpacked; everything else is an error.
    pub diff_id: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// An archive that was not made again.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The record is damaged or cannot be read.
    #[error("read the record of the layer: {0}")]
    Record(io::Error),
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] SysError),
    /// The archive cannot be written.
    #[error("write the layer: {0}")]
    Write(io::Error),
    /// The directory is not what was unpacked.
    #[error("the layer was changed: it is {found} now, and was {expected}")]
    Changed {
        /// The digest of what was written.
        found: Digest,
        /// The digest of what was unpacked.
        expected: Digest,
    },
}

/// What files had that are gone, by their number among the files of the record.
type Lost = HashMap<u64, Vec<u8>>;

/// Writes the archive that was unpacked to `tree`, from the record that was written then.
/// Files are opened through descriptors without following links.
///
/// # Errors
/// Where the record or a file cannot be read, or what comes out is another archive. It is
/// written then, and must be thrown away.
pub fn assemble_layer<S: Read + Seek>(
    tree: BorrowedFd<'_>,
    mut record: S,
    out: impl Write,
) -> Result<Assembled, AssembleError> {
    let mut lost = Lost::new();
    if has_lost(&mut record).map_err(AssembleError::Record)? {
        lost = read_lost(&mut record).map_err(AssembleError::Record)?;
    }
    record.seek(SeekFrom::Start(0)).map_err(AssembleError::Record)?;
    let mut items = items(&mut record).map_err(AssembleError::Record)?;
    let mut assembly = Assembly {
        tree,
        out,
        hasher: Hasher::sha256(),
        size: 0,
        buffer: vec![0; BUFFER],
    };
    let (mut path, mut number, mut file) = (Vec::new(), 0u64, None);
    loop {
        match items.next(&mut path).map_err(AssembleError::Record)? {
            Item::Raw(length) => assembly.copy(&mut items.0, length)?,
            Item::File { offset, length } => {
                number += 1;
                file = None;
                if !lost.contains_key(&number) {
                    file = Some(assembly.open(&path)?);
                }
                assembly.contents(&path, file.as_ref(), lost.get(&number), (offset, length))?;
            }
            Item::More { offset, length } => {
                assembly.contents(&path, file.as_ref(), lost.get(&number), (offset, length))?;
            }
            Item::Lost(length) => {
                let skipped = io::copy(&mut (&mut items.0).take(length), &mut io::sink());
                skipped.map_err(AssembleError::Record)?;
            }
            Item::End { size, digest } => return assembly.finish(size, digest),
        }
    }
}

/// Reads the last bytes: whether the record is whole, and whether files were lost.
fn has_lost(record: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut end = [0; 8];
    record.seek(SeekFrom::End(-8))?;
    record.read_exact(&mut end)?;
    if end != *END && end != *END_LOST {
        let message = "it does not end like one";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(end == *END_LOST)
}

fn items<S: Read>(record: S) -> io::Result<Items<impl Read>> {
    Ok(Items(zstd::Decoder::new(record)?.single_frame()))
}

/// Finds out which files of the record are gone: a lost content belongs to the file that
/// was named so last, unless that one was lost before.
fn read_lost(record: &mut (impl Read + Seek)) -> io::Result<Lost> {
    record.seek(SeekFrom::Start(0))?;
    let mut items = items(record)?;
    let (mut path, mut number) = (Vec::new(), 0u64);
    let (mut last, mut lost) = (HashMap::<Vec<u8>, u64>::new(), Lost::new());
    loop {
        match items.next(&mut path)? {
            Item::Raw(length) => {
                io::copy(&mut (&mut items.0).take(length), &mut io::sink())?;
            }
            Item::File { .. } => {
                number += 1;
                last.insert(path.clone(), number);
            }
            Item::More { .. } => {}
            Item::Lost(length) => {
                let mut contents = Vec::new();
                (&mut items.0).take(length).read_to_end(&mut contents)?;
                if let Some(number) = last.remove(&path) {
                    lost.insert(number, contents);
                }
            }
            Item::End { .. } => return Ok(lost),
        }
    }
}

struct Assembly<'a, W> {
    tree: BorrowedFd<'a>,
    out: W,
    hasher: Hasher,
    size: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Assembly<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), AssembleError> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        self.out.write_all(bytes).map_err(AssembleError::Write)
    }

    fn put_buffer(&mut self, length: usize) -> Result<(), AssembleError> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.put(&buffer[..length]);
        self.buffer = buffer;
        result
    }

    /// Copies bytes of the record.
    fn copy(&mut self, from: &mut impl Read, mut length: u64) -> Result<(), AssembleError> {
        while length > 0 {
            let limit = piece(length);
            from.read_exact(&mut self.buffer[..limit])
                .map_err(AssembleError::Record)?;
            self.put_buffer(limit)?;
            length -= limit as u64;
        }
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, AssembleError> {
        let failed = |call, errno| SysError::new(call, format!("{:?}", lossy(path)), errno);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(self.tree, path, flags, Mode::empty(), resolve)
            .map_err(|errno| failed("openat2", errno))?;
        let stat = fstat(&file).map_err(|errno| failed("fstat", errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed("openat2", Errno::INVAL).into());
        }
        Ok(file)
    }

    /// Writes a part of a file, or of what it had.
    fn contents(
        &mut self,
        path: &[u8],
        file: Option<&OwnedFd>,
        lost: Option<&Vec<u8>>,
        (mut offset, mut length): (u64, u64),
    ) -> Result<(), AssembleError> {
        let start = offset;
        let short = |errno| SysError::new("pread", format!("{:?}, {start}", lossy(path)), errno);
        if let Some(lost) = lost {
            let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
            let part = range.and_then(|(offset, length)| lost.get(offset..)?.get(..length));
            return self.put(part.ok_or_else(|| short(Errno::IO))?);
        }
        let file = file.ok_or_else(|| short(Errno::BADF))?;
        while length > 0 {
            let limit = piece(length);
            let read = match rustix::io::pread(file, &mut self.buffer[..limit], offset) {
                Err(Errno::INTR) => continue,
                Ok(0) => return Err(short(Errno::IO).into()),
                other => other.map_err(short)?,
            };
            self.put_buffer(read)?;
            offset += read as u64;
            length -= read as u64;
        }
        Ok(())
    }

    fn finish(mut self, size: u64, expected: Digest) -> Result<Assembled, AssembleError> {
        self.out.flush().map_err(AssembleError::Write)?;
        let found = self.hasher.finish();
        if found != expected || self.size != size {
            return Err(AssembleError::Changed { found, expected });
        }
        Ok(Assembled { diff_id: found, size })
    }
}

/// How much of `length` bytes to copy at a time.
fn piece(length: u64) -> usize {
    usize::try_from(length).map_or(BUFFER, |length| length.min(BUFFER))
}
