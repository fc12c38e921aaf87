//! Extended headers: records of the form `LENGTH KEY=VALUE\n` (POSIX.1-2024, "pax Extended
//! Header"), and the keys of schily and libarchive for extended attributes.

use super::entry::Time;
use super::error::TarProblem;
use super::header::bad_number;
use super::reader::Limits;
use super::sparse::SparseKeys;

const SCHILY: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE: &[u8] = b"LIBARCHIVE.xattr.";

/// What extended headers say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mtime: Option<Time>,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseKeys,
    xattr_bytes: usize,
}

impl Pax {
    /// Adds what one extended header says. Later records win, an empty value takes an
    /// earlier one back.
    pub(crate) fn parse(&mut self, mut records: &[u8], limits: &Limits) -> Result<(), TarProblem> {
        while !records.is_empty() {
            if records.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let (key, value, rest) = parse_record(records)?;
            self.set(key, value, limits)?;
            records = rest;
        }
        Ok(())
    }

    /// What may not stand in a global header: readers differ in whether these are applied.
    pub(crate) fn check_global(&self) -> Result<(), TarProblem> {
        if self.path.is_some() || self.link.is_some() || self.size.is_some() || self.sparse.is_set() {
            return Err(TarProblem::Ambiguous(
                "a global extended header gives a name, a link, a size or a sparse map",
            ));
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), TarProblem> {
        let given = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = name(given, "path", limits)?,
            b"linkpath" => self.link = name(given, "linkpath", limits)?,
            b"size" => self.size = given.map(|value| parse_decimal(value, "size")).transpose()?,
            b"uid" => self.uid = given.map(|value| parse_id(value, "uid")).transpose()?,
            b"gid" => self.gid = given.map(|value| parse_id(value, "gid")).transpose()?,
            b"mtime" => self.mtime = given.map(|value| parse_time(value, "mtime")).transpose()?,
            b"atime" => self.atime = given.map(|value| parse_time(value, "atime")).transpose()?,
            _ => {
                if let Some(name) = key.strip_prefix(SCHILY) {
                    return self.set_xattr(name.to_vec(), value.to_vec(), true, limits);
                }
                if let Some(name) = key.strip_prefix(LIBARCHIVE) {
                    let name = decode_percent(name).ok_or(TarProblem::Pax("a bad name of an attribute"))?;
                    let value = decode_base64(value).ok_or(TarProblem::Pax("an attribute not in base64"))?;
                    return self.set_xattr(name, value, false, limits);
                }
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    return self.sparse.set(key, value, limits);
                }
            }
        }
        Ok(())
    }

    /// bsdtar writes each attribute in both forms; schily's wins.
    fn set_xattr(
        &mut self,
        name: Vec<u8>,
        value: Vec<u8>,
        wins: bool,
        limits: &Limits,
    ) -> Result<(), TarProblem> {
        if name.is_empty() || name.contains(&0) {
            return Err(TarProblem::Pax("a bad name of an attribute"));
        }
        self.xattr_bytes += name.len() + value.len();
        if self.xattr_bytes > limits.xattr_bytes {
            return Err(too_much("bytes of extended attributes", limits.xattr_bytes));
        }
        if let Some((_, there)) = self.xattrs.iter_mut().find(|(known, _)| *known == name) {
            if wins {
                *there = value;
            }
            return Ok(());
        }
        if self.xattrs.len() >= limits.xattrs {
            return Err(too_much("extended attributes", limits.xattrs));
        }
        self.xattrs.push((name, value));
        Ok(())
    }
}

pub(crate) fn too_much(what: &'static str, limit: usize) -> TarProblem {
    TarProblem::TooMuch {
        what,
        limit: limit as u64,
    }
}

/// A key, its value and what follows them.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn parse_record(bytes: &[u8]) -> Result<Record<'_>, TarProblem> {
    let bad = TarProblem::Pax;
    let space = bytes
        .iter()
        .take(20)
        .position(|byte| *byte == b' ')
        .ok_or(bad("a record without its length"))?;
    let length = parse_decimal(&bytes[..space], "the length of a record")?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length > space + 1 && *length <= bytes.len())
        .ok_or(bad("a record of the wrong length"))?;
    let record = bytes[space + 1..length]
        .strip_suffix(b"\n")
        .ok_or(bad("a record without a newline at its end"))?;
    let equals = record
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|place| *place > 0)
        .ok_or(bad("a record without a key"))?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.contains(&0) {
        return Err(TarProblem::Nul("a key of an extended header"));
    }
    Ok((key, value, &bytes[length..]))
}

fn name(value: Option<&[u8]>, what: &'static str, limits: &Limits) -> Result<Option<Vec<u8>>, TarProblem> {
    let Some(value) = value else { return Ok(None) };
    if value.contains(&0) {
        return Err(TarProblem::Nul(what));
    }
    if value.len() > limits.name {
        return Err(too_much("bytes of a name", limits.name));
    }
    Ok(Some(value.to_vec()))
}

/// Digits only: no sign, no blanks.
pub(crate) fn parse_decimal(value: &[u8], field: &'static str) -> Result<u64, TarProblem> {
    let mut number = 0u64;
    for byte in value {
        number = byte
            .checked_sub(b'0')
            .filter(|digit| *digit < 10)
            .and_then(|digit| number.checked_mul(10)?.checked_add(u64::from(digit)))
            .ok_or_else(|| bad_number(field, value))?;
    }
    if value.is_empty() {
        return Err(bad_number(field, value));
    }
    Ok(number)
}

/// The largest number is no id but "leave it" (chown(2)).
fn parse_id(value: &[u8], field: &'static str) -> Result<u32, TarProblem> {
    u32::try_from(parse_decimal(value, field)?)
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| bad_number(field, value))
}

/// Seconds with a sign and a fraction; digits after the ninth are dropped.
fn parse_time(value: &[u8], field: &'static str) -> Result<Time, TarProblem> {
    let bad = || bad_number(field, value);
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let dot = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match dot {
        Some(dot) => (&digits[..dot], &digits[dot + 1..]),
        None => (digits, &[][..]),
    };
    let seconds = i64::try_from(parse_decimal(whole, field)?).map_err(|_too_large| bad())?;
    let mut nanoseconds = 0u32;
    for index in 0..9 {
        let digit = fraction.get(index).map_or(Some(0), |byte| byte.checked_sub(b'0'));
        nanoseconds = nanoseconds * 10 + u32::from(digit.filter(|digit| *digit < 10).ok_or_else(bad)?);
    }
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

fn decode_percent(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

/// Base64 with or without its padding (libarchive writes it without).
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0u32);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    for byte in text.strip_suffix(b"=").unwrap_or(text) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(decoded)
}

/// Appends one record to `records`.
pub(crate) fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[u8]) -> Result<Pax, TarProblem> {
        let mut pax = Pax::default();
        pax.parse(records, &Limits::default()).map(|()| pax)
    }

    #[test]
    fn records() {
        let mut records = Vec::new();
        push_record(&mut records, b"path", &b"x".repeat(91));
        push_record(&mut records, b"mtime", b"-1.5");
        push_record(&mut records, b"SCHILY.xattr.user.a", b"1\n=\0");
        push_record(&mut records, b"LIBARCHIVE.xattr.user.%61", b"Mg");
        push_record(&mut records, b"LIBARCHIVE.xattr.user.b", b"AAEC/w==");
        assert!(records.starts_with(b"101 path="), "{:?}", &records[..20]);
        let pax = parse(&records).unwrap();
        assert_eq!(pax.path, Some(b"x".repeat(91)));
        let half = Time {
            seconds: -2,
            nanoseconds: 500_000_000,
        };
        assert_eq!(pax.mtime, Some(half));
        let want = [
            (b"user.a".to_vec(), b"1\n=\0".to_vec()),
            (b"user.b".to_vec(), vec![0, 1, 2, 255]),
        ];
        assert_eq!(pax.xattrs, want);
    }

    #[test]
    fn refused() {
        for bad in [
            &b"11 path=a\n"[..],
            b"12 path=a\nzz",
            b"path=a\n",
            b"0 path=a\n",
            b"+11 path=a\n",
            b"99999999999999999999 path=a\n",
            b"11 path\0=a\n",
            b"11 path=a\0\n",
            b"4 =\n",
            b"12 size=-10\n",
            b"11 size=+1\n",
            b"12 size=0x1\n",
            b"18 uid=4294967295\n",
            b"18 uid=4294967296\n",
            b"13 mtime=1.x\n",
            b"29 size=99999999999999999999\n",
        ] {
            assert!(parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert_eq!(parse(b"11 path=ab\n\0\0\0").unwrap().path, Some(b"ab".to_vec()));
    }
}
