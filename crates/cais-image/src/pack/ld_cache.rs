//! `/etc/ld.so.cache` as ldconfig(8) writes it and the loader reads it (glibc,
//! `sysdeps/generic/dl-cache.h`, the format "glibc-ld.so.cache1.1").

use cais_order::InOrder;
use std::collections::HashMap;

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
/// Before the new format there may be the old one, of this magic.
const OLD_MAGIC: &[u8; 11] = b"ld.so-1.7.0";
/// The length of an entry.
const ENTRY: usize = 24;
/// An entry's hwcap field holds the number of a name, not bits.
const NAMED: u64 = 1 << 62;
/// What the list of extensions begins with.
const EXTENSION_MAGIC: u32 = 0xeaa4_2174;
/// The extension with the names of glibc-hwcaps.
const TAG_HWCAPS: u32 = 1;

/// A library that the cache knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Where it is.
    pub path: Vec<u8>,
    /// The glibc-hwcaps directory that it is from, such as `x86-64-v3`.
    pub variant: Option<Vec<u8>>,
    /// For which machine and C library it is (`FLAG_ELF_LIBC6` and the like).
    pub flags: u32,
}

/// The cache: the libraries of each name, in the cache's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LdCache {
    names: HashMap<Vec<u8>, Vec<Cached>>,
}

impl LdCache {
    /// The libraries of a name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> &[Cached] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    /// All libraries with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Cached)> {
        let names = self.names.iter();
        names.flat_map(|(name, found)| found.iter().map(move |found| (name, found)))
    }

    /// How many names it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*field)).ok()
}

fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().take(8192).position(|byte| *byte == 0)?;
    rest.get(..end)
}

/// Parses a cache; `None` where it is none, or damaged. The loader does without it then.
#[must_use]
pub fn parse_cache(bytes: &[u8]) -> Option<LdCache> {
    let mut bytes = bytes;
    if bytes.starts_with(OLD_MAGIC) {
        // Entries of 12 bytes, then the new format at a multiple of 8.
        let count = number(bytes, 12)?;
        let start = count
            .checked_mul(12)?
            .checked_add(16)?
            .checked_next_multiple_of(8)?;
        bytes = bytes.get(start..)?;
    }
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let count = number(bytes, 20)?;
    let variants = parse_variants(bytes).unwrap_or_default();
    let entries = bytes.get(48..)?.get(..count.checked_mul(ENTRY)?)?;
    let mut cache = LdCache::default();
    for entry in entries.chunks_exact(ENTRY) {
        let name = string(bytes, number(entry, 4)?)?;
        let path = string(bytes, number(entry, 8)?)?;
        let hwcap = u64::from_le_bytes(*entry.get(16..)?.first_chunk()?);
        let variant = if hwcap & NAMED != 0 {
            let index = usize::try_from(hwcap & 0xffff_ffff).ok()?;
            Some(variants.get(index)?.clone())
        } else {
            None
        };
        cache.names.entry(name.to_vec()).or_default().push(Cached {
            path: path.to_vec(),
            variant,
            flags: u32::try_from(number(entry, 0)?).ok()?,
        });
    }
    Some(cache)
}

/// Writes a cache of these libraries: name and where it is. Variants have no place in it.
/// Nothing for more than a cache can hold, which is 4 GiB.
#[must_use]
pub fn write_cache(libraries: &[(Vec<u8>, Cached)]) -> Option<Vec<u8>> {
    const LITTLE_ENDIAN: u8 = 2;
    let mut sorted: Vec<&(Vec<u8>, Cached)> = libraries.iter().collect();
    sorted.order_by(|one, other| {
        compare_names(&other.0, &one.0)
            .then_with(|| other.1.flags.cmp(&one.1.flags))
            .then_with(|| one.1.path.cmp(&other.1.path))
    });
    sorted.dedup();
    let start = 48 + sorted.len() * ENTRY;
    let mut strings = Vec::new();
    let mut entries = Vec::new();
    let mut put = |text: &[u8]| {
        let at = u32::try_from(start + strings.len()).ok();
        strings.extend_from_slice(text);
        strings.push(0);
        at
    };
    for (name, found) in sorted.iter().copied() {
        entries.extend(found.flags.to_le_bytes());
        entries.extend(put(name)?.to_le_bytes());
        entries.extend(put(&found.path)?.to_le_bytes());
        entries.extend([0; 12]);
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u32::try_from(sorted.len()).ok()?.to_le_bytes());
    bytes.extend(u32::try_from(strings.len()).ok()?.to_le_bytes());
    bytes.extend([LITTLE_ENDIAN, 0, 0, 0]);
    bytes.resize(48, 0);
    bytes.extend(entries);
    bytes.extend(strings);
    Some(bytes)
}

/// The order of names in a cache, which the loader searches by halves: digits count as numbers
/// and are above everything else (glibc, `_dl_cache_libcmp`).
fn compare_names(one: &[u8], other: &[u8]) -> std::cmp::Ordering {
    let (mut one, mut other) = (one, other);
    let number = |text: &[u8]| {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = text.split_at(digits);
        let value = digits.iter().fold(0u32, |value, digit| {
            value.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
        });
        (value, rest.len())
    };
    loop {
        match (one.split_first(), other.split_first()) {
            (Some((left, _)), Some((right, _))) if left.is_ascii_digit() && right.is_ascii_digit() => {
                let ((left, left_rest), (right, right_rest)) = (number(one), number(other));
                if left != right {
                    return left.cmp(&right);
                }
                one = one.get(one.len() - left_rest..).unwrap_or_default();
                other = other.get(other.len() - right_rest..).unwrap_or_default();
            }
            (Some((left, left_rest)), Some((right, right_rest))) if left == right => {
                (one, other) = (left_rest, right_rest);
            }
            (Some((left, _)), _) if left.is_ascii_digit() => return std::cmp::Ordering::Greater,
            (_, Some((right, _))) if right.is_ascii_digit() => return std::cmp::Ordering::Less,
            (left, right) => return left.map(|(byte, _)| byte).cmp(&right.map(|(byte, _)| byte)),
        }
    }
}

/// The names of glibc-hwcaps, by number.
fn parse_variants(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let at = number(bytes, 32).filter(|at| *at != 0)?;
    if u32::try_from(number(bytes, at)?).ok()? != EXTENSION_MAGIC {
        return None;
    }
    let count = number(bytes, at + 4)?.min(64);
    for index in 0..count {
        let section = at + 8 + index * 16;
        let tag = number(bytes, section)?;
        let (offset, size) = (number(bytes, section + 8)?, number(bytes, section + 12)?);
        if u32::try_from(tag).ok()? == TAG_HWCAPS {
            let places = bytes.get(offset..offset.checked_add(size)?)?.chunks_exact(4);
            return places
                .map(|place| Some(string(bytes, number(place, 0)?)?.to_vec()))
                .collect();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_cache_is_read() {
        let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else {
            return;
        };
        let cache = parse_cache(&bytes).unwrap();
        assert!(!cache.is_empty() && cache.len() > 5);
        let libc = cache.find(b"libc.so.6");
        assert!(
            libc.iter().any(|found| found.path.ends_with(b"/libc.so.6")),
            "{libc:?}"
        );
        for length in (0..bytes.len()).step_by(97) {
            drop(parse_cache(&bytes[..length]));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let cached = |path: &str| Cached {
            path: path.as_bytes().to_vec(),
            variant: None,
            flags: 0x303,
        };
        let names = ["liba.so.1", "liba.so.10", "liba.so.9", "libb.so", "lib.so"];
        let libraries: Vec<_> = names
            .iter()
            .map(|name| (name.as_bytes().to_vec(), cached(&format!("/opt/{name}"))))
            .collect();
        let bytes = write_cache(&libraries).unwrap();
        let cache = parse_cache(&bytes).unwrap();
        for (name, found) in &libraries {
            assert_eq!(cache.find(name), std::slice::from_ref(found));
        }
        let mut reversed = libraries.clone();
        reversed.reverse();
        assert_eq!(write_cache(&reversed).unwrap(), bytes);
        // The machine's own is in this order.
        if let Ok(bytes) = std::fs::read("/etc/ld.so.cache") {
            let count = number(&bytes, 20).unwrap();
            let names = (0..count).map(|index| string(&bytes, number(&bytes, 52 + index * ENTRY).unwrap()));
            let names: Vec<&[u8]> = names.map(Option::unwrap).collect();
            let falls = |pair: &[&[u8]]| compare_names(pair[0], pair[1]).is_ge();
            assert!(!bytes.starts_with(MAGIC) || names.windows(2).all(falls));
        }
    }

    #[test]
    fn variants_have_names() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(2u32.to_le_bytes());
        bytes.resize(48, 0);
        let (strings, extension) = (48 + 2 * ENTRY, 176usize);
        let text = b"libx.so.1\0/l/glibc-hwcaps/x86-64-v3/libx.so.1\0/l/libx.so.1\0x86-64-v3\0";
        let place = |needle: &[u8]| {
            let at = text
                .windows(needle.len())
                .position(|part| part == needle)
                .unwrap();
            u32::try_from(strings + at).unwrap()
        };
        for (path, hwcap) in [(&b"/l/glibc"[..], NAMED), (b"/l/libx", 0)] {
            bytes.extend(0x303u32.to_le_bytes());
            bytes.extend(place(b"libx").to_le_bytes());
            bytes.extend(place(path).to_le_bytes());
            bytes.extend(0u32.to_le_bytes());
            bytes.extend(hwcap.to_le_bytes());
        }
        bytes.extend(text);
        bytes.resize(extension, 0);
        bytes[32..36].copy_from_slice(&u32::try_from(extension).unwrap().to_le_bytes());
        for value in [EXTENSION_MAGIC, 1, TAG_HWCAPS, 0, 200, 4, place(b"x86-64-v3\0")] {
            bytes.extend(value.to_le_bytes());
        }
        let cache = parse_cache(&bytes).unwrap();
        let found = cache.find(b"libx.so.1");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].variant.as_deref(), Some(&b"x86-64-v3"[..]));
        assert_eq!(found[1].variant, None);
    }
}
