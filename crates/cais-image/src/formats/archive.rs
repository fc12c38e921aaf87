//! Archives as a table of names and places, and writing them. The only file here that knows
//! tar, so that another reader can take its place.
//!
//! Names are keys of a table and never paths. What a hostile archive could make grow is
//! bounded: headers, names, entries.

use super::error::{FormatError, Result};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::{EntryType, Header};

const BLOCK: u64 = 512;
const MAX_ENTRIES: usize = 100_000;
const MAX_NAME: u64 = 4096;
const MAX_PAX: u64 = 1 << 20;
const MAX_LINKS: u32 = 8;
/// Files of which there must not be two, because two readers might take two different ones.
const ONCE: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];

/// Where an archive goes that is compressed or comes through a pipe.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// A directory for a file without a name.
    pub directory: PathBuf,
    /// The most that it may take, in bytes.
    pub limit: u64,
}

/// An archive that is read.
#[derive(Debug)]
pub struct Archive {
    file: File,
    names: HashMap<String, Place>,
}

#[derive(Debug, Clone)]
enum Place {
    File { offset: u64, size: u64 },
    Link(String),
}

/// A part of a file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl SpoolOptions {
    /// Below this directory, at most 64 GiB.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            limit: 64 << 30,
        }
    }

    /// A file without a name, which is gone with its last user.
    pub(super) fn file(&self) -> Result<File> {
        let failed = || FormatError::at("make a file in", &self.directory);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(file) = rustix::fs::openat(CWD, &self.directory, flags, Mode::RUSR | Mode::WUSR) {
            return Ok(file.into());
        }
        // Not every file system has O_TMPFILE.
        let path = self.directory.join(crate::store::unique("spool"));
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(failed())?;
        std::fs::remove_file(&path).map_err(failed())?;
        Ok(file)
    }

    /// Writes all that a reader has to a file without a name.
    pub(super) fn fill(&self, content: &mut dyn Read, what: &str) -> Result<File> {
        let mut file = self.file()?;
        let mut bounded = content.take(self.limit.saturating_add(1));
        let count = io::copy(&mut bounded, &mut file).map_err(FormatError::io(format!("read {what}")))?;
        if count > self.limit {
            let (name, limit) = (what.to_owned(), self.limit);
            return Err(FormatError::TooBig { name, limit });
        }
        Ok(file)
    }
}

/// A reader of what is in a stream, whether or not it is compressed, by its first bytes.
pub(super) fn decompress<'a>(mut content: Box<dyn Read + 'a>) -> io::Result<(Box<dyn Read + 'a>, bool)> {
    let mut head = Vec::new();
    content.by_ref().take(4).read_to_end(&mut head)?;
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let is_zstd = head == [0x28, 0xb5, 0x2f, 0xfd];
    let whole = io::Cursor::new(head).chain(content);
    Ok(if is_gzip {
        (Box::new(flate2::read::MultiGzDecoder::new(whole)), true)
    } else if is_zstd {
        (Box::new(zstd::Decoder::new(whole)?), true)
    } else {
        (Box::new(whole), false)
    })
}

impl Archive {
    /// Reads the table of an archive.
    ///
    /// # Errors
    /// [`FormatError::Archive`]; [`FormatError::TooBig`]; as read(2).
    pub fn open(file: File, spool: &SpoolOptions) -> Result<Self> {
        let metadata = file.metadata().map_err(FormatError::io("look at the archive"))?;
        let mut head = [0; 4];
        let is_seekable = metadata.is_file();
        if is_seekable {
            file.read_at(&mut head, 0)
                .map_err(FormatError::io("read the archive"))?;
        }
        let is_compressed = head.starts_with(&[0x1f, 0x8b]) || head == [0x28, 0xb5, 0x2f, 0xfd];
        let file = if is_seekable && !is_compressed {
            file
        } else {
            let failed = FormatError::io("read the archive");
            let (mut content, _) = decompress(Box::new(file)).map_err(failed)?;
            spool.fill(&mut content, "the archive")?
        };
        let length = file
            .metadata()
            .map_err(FormatError::io("look at the archive"))?
            .len();
        let mut scan = Scan {
            file: &file,
            length,
            offset: 0,
            names: HashMap::new(),
        };
        scan.all()?;
        let names = scan.names;
        Ok(Self { file, names })
    }

    /// Whether it has a file of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The size of a file.
    #[must_use]
    pub fn size(&self, name: &str) -> Option<u64> {
        self.find(name).map(|(_, size)| size)
    }

    /// Opens a file.
    pub(super) fn file(&self, name: &str) -> Option<Section<'_>> {
        self.find(name).map(|(offset, size)| Section {
            file: &self.file,
            offset,
            end: offset + size,
        })
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.names.get(name)? {
                Place::File { offset, size } => return Some((*offset, *size)),
                Place::Link(target) => name = target,
            }
        }
        None
    }
}

/// The state of reading the table.
struct Scan<'a> {
    file: &'a File,
    length: u64,
    offset: u64,
    names: HashMap<String, Place>,
}

/// What extended headers say of the entry after them.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Scan<'_> {
    fn all(&mut self) -> Result<()> {
        let mut gnu = Extended::default();
        let mut pax = Extended::default();
        let mut count = 0;
        while let Some(header) = self.header()? {
            let size = header
                .entry_size()
                .map_err(|error| self.refuse(&error.to_string()))?;
            count += 1;
            if count > MAX_ENTRIES {
                return Err(self.refuse(&format!("more than {MAX_ENTRIES} entries")));
            }
            // A size from a PAX header is that of the next real entry and of no header
            // (CVE-2025-62518).
            match header.entry_type() {
                EntryType::GNULongName => gnu.name = Some(self.text(size, MAX_NAME)?),
                EntryType::GNULongLink => gnu.link = Some(self.text(size, MAX_NAME)?),
                EntryType::XHeader => {
                    let records = self.text(size, MAX_PAX)?;
                    self.parse_pax(&records, &mut pax)?;
                }
                EntryType::XGlobalHeader => self.skip(size)?,
                kind => {
                    let (gnu, pax) = (std::mem::take(&mut gnu), std::mem::take(&mut pax));
                    let extended = Extended {
                        name: pax.name.or(gnu.name),
                        link: pax.link.or(gnu.link),
                        size: pax.size,
                    };
                    self.entry(&header, kind, extended, size)?;
                }
            }
        }
        Ok(())
    }

    /// The next header; `None` at the end, which is a block of zeros or that of the file.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.offset == self.length {
            return Ok(None);
        }
        let mut block = [0; 512];
        self.read(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(place, byte)| u32::from(if (148..156).contains(&place) { b' ' } else { *byte }))
            .sum();
        if header.cksum().ok() == Some(sum) {
            Ok(Some(header))
        } else {
            Err(self.refuse("no header of an archive: its checksum is wrong"))
        }
    }

    fn entry(&mut self, header: &Header, kind: EntryType, extended: Extended, size: u64) -> Result<()> {
        let name = extended.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = self.name(&name, "")?;
        let size = extended.size.unwrap_or(size);
        let place = match kind {
            EntryType::Regular | EntryType::Continuous => Place::File {
                offset: self.offset,
                size,
            },
            EntryType::Symlink | EntryType::Link => {
                let link = header.link_name_bytes().map(std::borrow::Cow::into_owned);
                let link = extended.link.or(link).unwrap_or_default();
                // A symbolic link is relative to its directory, a hard link to the root.
                let directory = match (kind, name.rsplit_once('/')) {
                    (EntryType::Symlink, Some((directory, _))) => directory,
                    _ => "",
                };
                Place::Link(self.name(&link, directory)?)
            }
            EntryType::GNUSparse => return Err(self.refuse("a file with holes")),
            // Directories, and what no image has.
            _ => return self.skip(size),
        };
        if matches!(place, Place::File { .. }) {
            self.skip(size)?;
        }
        let is_double = self.names.insert(name.clone(), place).is_some();
        if is_double && ONCE.contains(&name.as_str()) {
            return Err(self.refuse(&format!("{name} is there twice")));
        }
        Ok(())
    }

    /// A name without `.` and `..`, below `directory`: a key of the table.
    fn name(&self, bytes: &[u8], directory: &str) -> Result<String> {
        let text = String::from_utf8_lossy(bytes);
        if bytes.len() as u64 > MAX_NAME {
            return Err(self.refuse("a name that is too long"));
        }
        let mut parts: Vec<&str> = directory.split('/').collect();
        for part in text.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                other => parts.push(other),
            }
        }
        parts.retain(|part| !part.is_empty());
        Ok(parts.join("/"))
    }

    fn parse_pax(&self, records: &[u8], pax: &mut Extended) -> Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            let wrong = || self.refuse("a PAX header that is damaged");
            let space = rest.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let digits = std::str::from_utf8(&rest[..space]).ok();
            let length = digits
                .and_then(|digits| digits.parse::<usize>().ok())
                .ok_or_else(wrong)?;
            let record = rest.get(space + 1..length).ok_or_else(wrong)?;
            rest = &rest[length..];
            let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => pax.name = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).ok();
                    pax.size = Some(text.and_then(|text| text.parse().ok()).ok_or_else(wrong)?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(self.refuse("a file with holes")),
                _ => {}
            }
        }
        Ok(())
    }

    /// The content of a small entry, without the zeros at its end.
    fn text(&mut self, size: u64, limit: u64) -> Result<Vec<u8>> {
        let length = usize::try_from(size).ok().filter(|_| size <= limit);
        let length = length.ok_or_else(|| self.refuse("an extended header that is too long"))?;
        let start = self.offset;
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        self.offset = start;
        self.skip(size)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        let end = self.offset.saturating_add(bytes.len() as u64);
        if end > self.length {
            return Err(self.refuse("it ends here, in the middle"));
        }
        self.file
            .read_exact_at(bytes, self.offset)
            .map_err(FormatError::io("read the archive"))?;
        self.offset = end;
        Ok(())
    }

    /// Passes over the content of an entry and the rest of its last block.
    fn skip(&mut self, size: u64) -> Result<()> {
        let end = self.offset.checked_add(size).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| self.refuse("it ends before this entry does"))?;
        // The rest of the last block may be missing.
        self.offset = end.next_multiple_of(BLOCK).min(self.length);
        Ok(())
    }

    fn refuse(&self, detail: &str) -> FormatError {
        FormatError::Archive {
            offset: self.offset,
            detail: detail.to_owned(),
        }
    }
}

/// An archive that is written: the same bytes for the same files.
pub(super) struct ArchiveWriter<W> {
    inner: W,
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner }
    }

    pub(super) fn directory(&mut self, name: &str) -> Result<()> {
        let header = new_header(name, EntryType::Directory, 0o755, 0)?;
        self.write(header.as_bytes())
    }

    pub(super) fn file(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let header = new_header(name, EntryType::Regular, 0o644, size)?;
        self.write(header.as_bytes())?;
        // One byte more, so that a content that is too long is seen and its end is verified.
        let count = io::copy(&mut content.take(size.saturating_add(1)), &mut self.inner)
            .map_err(FormatError::io(format!("write {name}")))?;
        if count != size {
            return Err(FormatError::file(
                name,
                format!("{count} bytes instead of {size}"),
            ));
        }
        let rest = usize::try_from(size.next_multiple_of(BLOCK) - size).unwrap_or(0);
        self.write(&[0; 512][..rest])
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.write(&[0; 1024])?;
        self.inner.flush().map_err(FormatError::io("write the archive"))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner
            .write_all(bytes)
            .map_err(FormatError::io("write the archive"))
    }
}

fn new_header(name: &str, kind: EntryType, mode: u32, size: u64) -> Result<Header> {
    let mut header = Header::new_gnu();
    header
        .set_path(name)
        .map_err(FormatError::io(format!("write {name}")))?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}
