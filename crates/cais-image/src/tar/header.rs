//! One block that describes an entry (POSIX.1-2024, "ustar Interchange Format"; GNU tar
//! manual, "Basic Tar Format").

use super::BLOCK;
use super::error::TarProblem;
use std::ops::Range;

pub(crate) const NAME: Range<usize> = 0..100;
pub(crate) const MODE: Range<usize> = 100..108;
pub(crate) const UID: Range<usize> = 108..116;
pub(crate) const GID: Range<usize> = 116..124;
pub(crate) const SIZE: Range<usize> = 124..136;
pub(crate) const MTIME: Range<usize> = 136..148;
pub(crate) const CHECKSUM: Range<usize> = 148..156;
pub(crate) const TYPE: usize = 156;
pub(crate) const LINK: Range<usize> = 157..257;
pub(crate) const MAGIC: Range<usize> = 257..265;
pub(crate) const MAJOR: Range<usize> = 329..337;
pub(crate) const MINOR: Range<usize> = 337..345;
pub(crate) const PREFIX: Range<usize> = 345..500;
/// In star's dialect two times stand at the end of the prefix, and this at the end of all.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR: Range<usize> = 508..512;

/// A block that was found to be a header.
pub(crate) struct Header<'a>(pub(crate) &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// The type of the entry.
    pub(crate) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    /// Compares the checksum with the block. Old writers added up signed bytes.
    pub(crate) fn check(&self) -> Result<(), TarProblem> {
        let stored = parse_number(&self.0[CHECKSUM]);
        let unsigned = |bytes: &[u8]| bytes.iter().map(|byte| i64::from(*byte)).sum::<i64>();
        let signed = |bytes: &[u8]| {
            let bytes = bytes.iter().map(|byte| i64::from(i8::from_ne_bytes([*byte])));
            bytes.sum::<i64>()
        };
        // The field itself counts as blanks.
        let blank = i64::from(b' ') * 8;
        let computed = unsigned(&self.0[..]) - unsigned(&self.0[CHECKSUM]) + blank;
        match stored {
            Some(sum) if sum == computed => Ok(()),
            Some(sum) if sum == signed(&self.0[..]) - signed(&self.0[CHECKSUM]) + blank => Ok(()),
            stored => Err(TarProblem::Checksum { stored, computed }),
        }
    }

    /// A number that is at least 0 and at most `limit`.
    pub(crate) fn number(
        &self,
        range: Range<usize>,
        field: &'static str,
        limit: u64,
    ) -> Result<u64, TarProblem> {
        let bytes = &self.0[range];
        parse_number(bytes)
            .and_then(|number| u64::try_from(number).ok())
            .filter(|number| *number <= limit)
            .ok_or_else(|| bad_number(field, bytes))
    }

    /// A number that may be negative.
    pub(crate) fn signed(&self, range: Range<usize>, field: &'static str) -> Result<i64, TarProblem> {
        let bytes = &self.0[range];
        parse_number(bytes).ok_or_else(|| bad_number(field, bytes))
    }

    /// The name without the prefix.
    pub(crate) fn name(&self) -> &'a [u8] {
        text(&self.0[NAME])
    }

    /// What a link points to.
    pub(crate) fn link(&self) -> &'a [u8] {
        text(&self.0[LINK])
    }

    /// What stands before the name: only ustar and star have it.
    pub(crate) fn prefix(&self) -> &'a [u8] {
        if &self.0[MAGIC] != b"ustar\x0000" {
            return &[];
        }
        if &self.0[STAR] == b"tar\0" {
            return text(&self.0[STAR_PREFIX]);
        }
        text(&self.0[PREFIX])
    }
}

pub(crate) fn bad_number(field: &'static str, bytes: &[u8]) -> TarProblem {
    TarProblem::Number {
        field,
        text: String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// The bytes up to the first 0.
pub(crate) fn text(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A number in octal digits or, with the highest bit of the first byte set, in base 256
/// (GNU tar manual, "Extensions"). An empty field is 0.
pub(crate) fn parse_number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return parse_base256(field);
    }
    // A reader that stops at the first 0 sees nothing, one that trims zeros sees a number.
    if field.first() == Some(&0) && field.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    let digits = text(field).trim_ascii();
    let mut number = 0i64;
    for digit in digits {
        let value = i64::from(digit.checked_sub(b'0').filter(|digit| *digit < 8)?);
        number = number.checked_mul(8)?.checked_add(value)?;
    }
    Some(number)
}

/// A number of which all bits but the highest one stand in the field, in two's complement.
fn parse_base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let start = i128::from(first & 0x3f) - if negative { 0x40 } else { 0 };
    let mut number = start;
    for byte in rest {
        number = number.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"\x00000644\0", None),
            (b"-000644\0", None),
            (b"0x00644\0", None),
            (b"0000648\0", None),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(parse_number(field), want, "{field:?}");
        }
    }
}
