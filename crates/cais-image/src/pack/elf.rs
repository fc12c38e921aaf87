//! What an ELF file says to the dynamic loader (gABI, "Program Loading and Dynamic Linking";
//! elf(5)). Only these few things are read, each with a bound: a file of any size and content
//! costs little.

use std::io;
use std::os::unix::fs::FileExt;

/// The most program headers that are looked at. The kernel takes 64 KiB of them.
const MAX_HEADERS: usize = 1170;
/// The most entries of the dynamic section that are looked at.
const MAX_DYNAMIC: usize = 8192;
/// The longest string that is read, as `PATH_MAX`; run paths may hold several paths.
const MAX_STRING: usize = 16 * 1024;
/// The most bytes of notes that are read in a segment.
const MAX_NOTES: usize = 256 * 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;
/// `DF_1_NODEFLIB`: not the default directories.
const DF_1_NODEFLIB: u64 = 0x800;

/// Where an ELF file is read from.
pub trait Bytes {
    /// The bytes at an offset: as many as there are, at most `length`.
    ///
    /// # Errors
    /// As pread(2).
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
}

impl Bytes for [u8] {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let rest = rest.unwrap_or_default();
        Ok(rest[..length.min(rest.len())].to_vec())
    }
}

impl Bytes for std::fs::File {
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            let at = offset.saturating_add(filled as u64);
            match FileExt::read_at(self, &mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Beyond what an offset can be.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// For which machine code is: objects of different kinds are not loaded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Machine {
    /// `EI_CLASS`: 1 for 32 bits, 2 for 64.
    pub class: u8,
    /// `e_machine`: 62 is x86-64, 183 AArch64.
    pub number: u16,
}

impl Machine {
    /// The name that `$PLATFORM` stands for and that directories have.
    #[must_use]
    pub fn platform(self) -> &'static str {
        match self.number {
            3 => "i686",
            40 => "v7l",
            62 => "x86_64",
            183 => "aarch64",
            243 => "riscv64",
            21 => "powerpc64le",
            _ => "unknown",
        }
    }

    /// Debian's name of the directory with its libraries.
    #[must_use]
    pub fn multiarch(self) -> &'static str {
        match (self.number, self.class) {
            (3, _) => "i386-linux-gnu",
            (40, _) => "arm-linux-gnueabihf",
            (62, 1) => "x86_64-linux-gnux32",
            (62, _) => "x86_64-linux-gnu",
            (183, _) => "aarch64-linux-gnu",
            (243, _) => "riscv64-linux-gnu",
            (21, _) => "powerpc64le-linux-gnu",
            _ => "unknown",
        }
    }
}

/// What an ELF file says to the loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The machine.
    pub machine: Machine,
    /// `PT_INTERP`: the loader.
    pub interpreter: Option<Vec<u8>>,
    /// Whether it has a dynamic section.
    pub is_dynamic: bool,
    /// `DT_NEEDED`, in order; `DT_AUXILIARY` and `DT_FILTER` are apart.
    pub needed: Vec<Vec<u8>>,
    /// `DT_FILTER`: loaded before it, and must be there.
    pub filters: Vec<Vec<u8>>,
    /// `DT_AUXILIARY`: loaded where it is there.
    pub auxiliary: Vec<Vec<u8>>,
    /// `DT_SONAME`.
    pub soname: Option<Vec<u8>>,
    /// `DT_RPATH`, its directories with a colon between.
    pub rpath: Option<Vec<u8>>,
    /// `DT_RUNPATH`.
    pub runpath: Option<Vec<u8>>,
    /// `DF_1_NODEFLIB`.
    pub no_default_directories: bool,
    /// The descriptions of `.note.dlopen`, each JSON.
    pub dlopen_notes: Vec<Vec<u8>>,
}

/// Why a file cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// It is damaged, or of a kind that does not occur here.
    #[error("the ELF file is damaged: {0}")]
    Damaged(&'static str),
    /// Big-endian.
    #[error("it is for a big-endian machine, which is not supported")]
    BigEndian,
}

/// Whether these first bytes are those of an ELF file.
#[must_use]
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(b"\x7fELF")
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    align: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u16::from_le_bytes(*field))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u32::from_le_bytes(*field))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field.map_or(0, |field| u64::from_le_bytes(*field))
}

/// Reads what an ELF file says to the loader.
///
/// # Errors
/// [`ElfError`].
pub fn parse_elf<B: Bytes + ?Sized>(file: &B) -> Result<Elf, ElfError> {
    let header = file.read_at(0, 64)?;
    if !is_elf(&header) || header.len() < 52 {
        return Err(ElfError::Damaged("the header is cut off"));
    }
    if header[5] == 2 {
        return Err(ElfError::BigEndian);
    }
    let class = header[4];
    if !matches!(class, 1 | 2) || header[5] != 1 {
        return Err(ElfError::Damaged("an unknown class or byte order"));
    }
    let machine = Machine {
        class,
        number: u16_at(&header, 18),
    };
    let segments = read_segments(file, &header, class)?;
    let mut elf = Elf {
        machine,
        interpreter: None,
        is_dynamic: false,
        needed: Vec::new(),
        filters: Vec::new(),
        auxiliary: Vec::new(),
        soname: None,
        rpath: None,
        runpath: None,
        no_default_directories: false,
        dlopen_notes: Vec::new(),
    };
    for segment in &segments {
        match segment.kind {
            PT_INTERP => {
                let path = read_string(file, segment.offset, segment.file_size)?;
                elf.interpreter = Some(path).filter(|path| !path.is_empty());
            }
            PT_DYNAMIC => {
                elf.is_dynamic = true;
                read_dynamic(file, segment, &segments, class, &mut elf)?;
            }
            PT_NOTE => read_notes(file, segment, &mut elf.dlopen_notes)?,
            _ => {}
        }
    }
    Ok(elf)
}

fn read_segments<B: Bytes + ?Sized>(file: &B, header: &[u8], class: u8) -> Result<Vec<Segment>, ElfError> {
    let (offset, size, count) = match class {
        2 => (u64_at(header, 32), u16_at(header, 54), u16_at(header, 56)),
        _ => (
            u64::from(u32_at(header, 28)),
            u16_at(header, 42),
            u16_at(header, 44),
        ),
    };
    let (size, count) = (usize::from(size), usize::from(count));
    let least = if class == 2 { 56 } else { 32 };
    if count == 0 {
        return Ok(Vec::new());
    }
    if size < least || count > MAX_HEADERS || size > 256 {
        return Err(ElfError::Damaged("program headers of a strange size or number"));
    }
    let bytes = file.read_at(offset, size * count)?;
    if bytes.len() < size * count {
        return Err(ElfError::Damaged("the program headers are cut off"));
    }
    let parse = |part: &[u8]| match class {
        2 => Segment {
            kind: u32_at(part, 0),
            offset: u64_at(part, 8),
            address: u64_at(part, 16),
            file_size: u64_at(part, 32),
            align: u64_at(part, 48),
        },
        _ => Segment {
            kind: u32_at(part, 0),
            offset: u32_at(part, 4).into(),
            address: u32_at(part, 8).into(),
            file_size: u32_at(part, 16).into(),
            align: u32_at(part, 28).into(),
        },
    };
    Ok(bytes.chunks_exact(size).map(parse).collect())
}

/// A string that ends with a 0, or after `limit` bytes.
fn read_string<B: Bytes + ?Sized>(file: &B, offset: u64, limit: u64) -> Result<Vec<u8>, ElfError> {
    let limit = usize::try_from(limit).map_or(MAX_STRING, |limit| limit.min(MAX_STRING));
    // Most are short.
    for length in [limit.min(256), limit] {
        let mut bytes = file.read_at(offset, length)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
            return Ok(bytes);
        }
    }
    Err(ElfError::Damaged("a string without an end"))
}

fn read_dynamic<B: Bytes + ?Sized>(
    file: &B,
    dynamic: &Segment,
    segments: &[Segment],
    class: u8,
    elf: &mut Elf,
) -> Result<(), ElfError> {
    let width = if class == 2 { 16 } else { 8 };
    let length = usize::try_from(dynamic.file_size).unwrap_or(usize::MAX);
    let bytes = file.read_at(dynamic.offset, length.min(MAX_DYNAMIC * width))?;
    let entries: Vec<(u64, u64)> = bytes
        .chunks_exact(width)
        .map(|entry| match class {
            2 => (u64_at(entry, 0), u64_at(entry, 8)),
            _ => (u32_at(entry, 0).into(), u32_at(entry, 4).into()),
        })
        .take_while(|(tag, _)| *tag != 0)
        .collect();
    let address = entries.iter().find(|(tag, _)| *tag == DT_STRTAB);
    let Some((_, address)) = address else {
        return Ok(());
    };
    let strings = offset_of(segments, *address).ok_or(ElfError::Damaged("strings outside of the file"))?;
    for (tag, value) in entries {
        if tag == DT_FLAGS_1 {
            elf.no_default_directories = value & DF_1_NODEFLIB != 0;
            continue;
        }
        if !matches!(
            tag,
            DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH | DT_AUXILIARY | DT_FILTER
        ) {
            continue;
        }
        let at = strings
            .checked_add(value)
            .ok_or(ElfError::Damaged("a string outside of the file"))?;
        let text = read_string(file, at, u64::MAX)?;
        match tag {
            DT_NEEDED => elf.needed.push(text),
            DT_AUXILIARY => elf.auxiliary.push(text),
            DT_FILTER => elf.filters.push(text),
            DT_SONAME => elf.soname = Some(text),
            DT_RPATH => elf.rpath = Some(text),
            _ => elf.runpath = Some(text),
        }
    }
    Ok(())
}

/// Where in the file that is which the loader puts at an address.
fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let inside = address.checked_sub(segment.address)?;
        let is_loaded = segment.kind == PT_LOAD && inside < segment.file_size;
        is_loaded.then(|| segment.offset.checked_add(inside)).flatten()
    })
}

/// Notes of the owner "FDO" and the type of `.note.dlopen` (uapi-group.org, "ELF dlopen
/// metadata").
fn read_notes<B: Bytes + ?Sized>(
    file: &B,
    segment: &Segment,
    found: &mut Vec<Vec<u8>>,
) -> Result<(), ElfError> {
    const TYPE: u32 = 0x407c_0c0a;
    let length = usize::try_from(segment.file_size).unwrap_or(usize::MAX);
    let bytes = file.read_at(segment.offset, length.min(MAX_NOTES))?;
    let align = if segment.align == 8 { 8 } else { 4 };
    let mut rest = &bytes[..];
    while rest.len() >= 12 {
        let sizes = (usize::try_from(u32_at(rest, 0)), usize::try_from(u32_at(rest, 4)));
        let (Ok(name), Ok(description)) = sizes else { break };
        let kind = u32_at(rest, 8);
        let start = name.checked_next_multiple_of(4).map(|name| 12 + name);
        let start = start.and_then(|start| start.checked_next_multiple_of(align));
        let Some((start, end)) = start.and_then(|start| Some((start, start.checked_add(description)?)))
        else {
            break;
        };
        let Some(text) = rest.get(start..end) else { break };
        if kind == TYPE && rest.get(12..16) == Some(b"FDO\0") {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            found.push(text[..end].to_vec());
        }
        let next = end.checked_next_multiple_of(align).unwrap_or(rest.len());
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_read() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        let elf = parse_elf(&file).unwrap();
        assert_eq!(elf.machine.class, 2);
        assert_eq!(elf.machine.platform(), std::env::consts::ARCH);
        assert_eq!(elf.is_dynamic, elf.is_dynamic || !elf.needed.is_empty());
    }

    #[test]
    fn damaged_files_are_errors_and_nothing_else() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        let whole = &whole[..whole.len().min(4096)];
        for length in (0..whole.len()).step_by(7) {
            drop(parse_elf(&whole[..length]));
        }
        // Each byte of the headers, in turn, as bad as it can be.
        for index in 4..whole.len().min(1024) {
            for value in [0, 0x7f, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[index] = value;
                drop(parse_elf(&bytes[..]));
            }
        }
        assert!(parse_elf(&b"\x7fELF"[..]).is_err());
        assert!(parse_elf(&b"#!/bin/sh"[..]).is_err());
    }
}
