//! The record of an archive: its bytes but for the contents of files, which stand in the
//! directory it was unpacked to. With both, the archive is made again bit for bit (the idea
//! is tar-split's).
//!
//! A zstd frame of items, each a letter and what belongs to it (numbers are little-endian):
//!
//! | item | fields | meaning |
//! | --- | --- | --- |
//! | `R` | length u32, bytes | bytes of the archive |
//! | `F` | length of path u32, path, offset u64, length u64 | contents of a file |
//! | `C` | offset u64, length u64 | more of the same file |
//! | `L` | length of path u32, path, length u64, bytes | what the file last named so had before a later entry took its place |
//! | `E` | size u64, digest as 71 bytes | the end; size and digest of the archive |
//!
//! After the frame stand eight bytes: `CAISREC0`, or `CAISREC1` where there is an `L`.

use crate::Digest;
use crate::tar::Tap;
use std::io::{self, Read, Write};

pub(crate) const END: &[u8; 8] = b"CAISREC0";
pub(crate) const END_LOST: &[u8; 8] = b"CAISREC1";
/// Raw bytes are collected up to this many.
const RAW: usize = 64 * 1024;
/// Headers are mostly zeros: the fastest level makes little of them already.
const LEVEL: i32 = 1;
/// `sha256:` and 64 digits.
pub(crate) const DIGEST: usize = 71;

/// Writes the record while an archive is read; without a place to write to it does nothing.
pub(crate) struct Record<'w> {
    out: Option<zstd::Encoder<'static, &'w mut dyn Write>>,
    raw: Vec<u8>,
    lost: bool,
}

impl Tap for Record<'_> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.out.is_none() {
            return Ok(());
        }
        for piece in bytes.chunks(RAW) {
            if self.raw.len() + piece.len() > RAW {
                self.flush_raw()?;
            }
            self.raw.extend_from_slice(piece);
        }
        Ok(())
    }
}

impl<'w> Record<'w> {
    pub(crate) fn new(out: Option<&'w mut dyn Write>) -> io::Result<Self> {
        Ok(Self {
            out: out.map(|out| zstd::Encoder::new(out, LEVEL)).transpose()?,
            raw: Vec::new(),
            lost: false,
        })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.out.is_some()
    }

    fn flush_raw(&mut self) -> io::Result<()> {
        if let (Some(out), false) = (&mut self.out, self.raw.is_empty()) {
            out.write_all(b"R")?;
            out.write_all(&length(self.raw.len())?)?;
            out.write_all(&self.raw)?;
            self.raw.clear();
        }
        Ok(())
    }

    /// Contents of the file at `path`, in one or more parts.
    pub(crate) fn file(&mut self, path: &[u8], parts: &[(u64, u64)]) -> io::Result<()> {
        self.flush_raw()?;
        let Some(out) = &mut self.out else { return Ok(()) };
        for (index, (offset, size)) in parts.iter().enumerate() {
            if index == 0 {
                out.write_all(b"F")?;
                out.write_all(&length(path.len())?)?;
                out.write_all(path)?;
            } else {
                out.write_all(b"C")?;
            }
            out.write_all(&offset.to_le_bytes())?;
            out.write_all(&size.to_le_bytes())?;
        }
        Ok(())
    }

    /// The contents of a file that is about to be removed.
    pub(crate) fn lost(&mut self, path: &[u8], size: u64, mut contents: impl Read) -> io::Result<()> {
        self.flush_raw()?;
        let Some(out) = &mut self.out else { return Ok(()) };
        self.lost = true;
        out.write_all(b"L")?;
        out.write_all(&length(path.len())?)?;
        out.write_all(path)?;
        out.write_all(&size.to_le_bytes())?;
        if io::copy(&mut (&mut contents).take(size), out)? != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a file became shorter",
            ));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, size: u64, digest: &Digest) -> io::Result<()> {
        self.flush_raw()?;
        let Some(mut out) = self.out else { return Ok(()) };
        out.write_all(b"E")?;
        out.write_all(&size.to_le_bytes())?;
        out.write_all(digest.as_str().as_bytes())?;
        let out = out.finish()?;
        out.write_all(if self.lost { END_LOST } else { END })?;
        out.flush()
    }
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    let length = u32::try_from(length).map_err(io::Error::other)?;
    Ok(length.to_le_bytes())
}

/// An item of a record.
#[derive(Debug)]
pub(crate) enum Item {
    /// So many bytes of the archive follow.
    Raw(u64),
    /// Contents of a file; its path was read.
    File { offset: u64, length: u64 },
    /// More contents of the same file.
    More { offset: u64, length: u64 },
    /// So many bytes that the file at the path had.
    Lost(u64),
    /// The end.
    End { size: u64, digest: Digest },
}

/// Reads the items of a record.
pub(crate) struct Items<R>(pub(crate) R);

impl<R: Read> Items<R> {
    /// The next item; the path of a file goes to `path`.
    pub(crate) fn next(&mut self, path: &mut Vec<u8>) -> io::Result<Item> {
        let [kind] = self.array()?;
        Ok(match kind {
            b'R' => Item::Raw(u64::from(u32::from_le_bytes(self.array()?))),
            b'F' => {
                self.path(path)?;
                Item::File {
                    offset: self.number()?,
                    length: self.number()?,
                }
            }
            b'C' => Item::More {
                offset: self.number()?,
                length: self.number()?,
            },
            b'L' => {
                self.path(path)?;
                Item::Lost(self.number()?)
            }
            b'E' => {
                let size = self.number()?;
                let digest: [u8; DIGEST] = self.array()?;
                let digest = std::str::from_utf8(&digest).map_err(invalid)?;
                Item::End {
                    size,
                    digest: digest.parse().map_err(invalid)?,
                }
            }
            _ => return Err(invalid("an unknown item in the record of a layer")),
        })
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn path(&mut self, path: &mut Vec<u8>) -> io::Result<()> {
        let length = u64::from(u32::from_le_bytes(self.array()?));
        path.clear();
        if (&mut self.0).take(length).read_to_end(path)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
