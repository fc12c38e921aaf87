//! Sparse files: GNU's old headers and its three forms in extended headers (GNU tar manual,
//! "Storing Sparse Files"). They are expanded: holes become holes again.

use super::BLOCK;
use super::error::TarProblem;
use super::header::parse_number;
use super::pax::{parse_decimal, too_much};
use super::reader::Limits;

/// A part of a file that stands in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What extended headers say of a sparse file.
#[derive(Debug, Clone, Default)]
pub(crate) struct SparseKeys {
    major: Option<u64>,
    minor: Option<u64>,
    count: Option<u64>,
    /// The name of the file: the one in the header is made up.
    pub(crate) name: Option<Vec<u8>>,
    /// The length of the file with holes.
    pub(crate) size: Option<u64>,
    map: Vec<u64>,
}

/// Where the map of a sparse file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapPlace {
    /// In extended headers, versions 0.0 and 0.1.
    Keys,
    /// Before the data, version 1.0.
    Data,
}

impl SparseKeys {
    pub(crate) fn is_set(&self) -> bool {
        self.major.is_some() || self.name.is_some() || self.size.is_some() || !self.map.is_empty()
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), TarProblem> {
        match key {
            b"major" => self.major = Some(parse_decimal(value, "GNU.sparse.major")?),
            b"minor" => self.minor = Some(parse_decimal(value, "GNU.sparse.minor")?),
            b"numblocks" => self.count = Some(parse_decimal(value, "GNU.sparse.numblocks")?),
            b"size" | b"realsize" => self.size = Some(parse_decimal(value, "GNU.sparse.size")?),
            b"offset" | b"numbytes" => {
                if self.map.len().is_multiple_of(2) != (key == b"offset") {
                    return Err(TarProblem::Sparse("offsets and lengths are out of order"));
                }
                self.push(parse_decimal(value, "GNU.sparse.offset")?, limits)?;
            }
            b"map" => {
                self.map.clear();
                for number in value.split(|byte| *byte == b',') {
                    self.push(parse_decimal(number, "GNU.sparse.map")?, limits)?;
                }
            }
            b"name" => {
                if value.contains(&0) {
                    return Err(TarProblem::Nul("GNU.sparse.name"));
                }
                if value.len() > limits.name {
                    return Err(too_much("bytes of a name", limits.name));
                }
                self.name = Some(value.to_vec());
            }
            _ => return Err(TarProblem::Sparse("an unknown key GNU.sparse")),
        }
        Ok(())
    }

    fn push(&mut self, number: u64, limits: &Limits) -> Result<(), TarProblem> {
        if self.map.len() / 2 >= limits.sparse_segments {
            return Err(too_much("parts of a sparse file", limits.sparse_segments));
        }
        self.map.push(number);
        Ok(())
    }

    /// Where the map is; `None` for a file that is not sparse.
    pub(crate) fn place(&self) -> Result<Option<MapPlace>, TarProblem> {
        if !self.is_set() {
            return Ok(None);
        }
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0)) {
            (1, 0) => Ok(Some(MapPlace::Data)),
            (0, 0 | 1) => Ok(Some(MapPlace::Keys)),
            _ => Err(TarProblem::Sparse("an unknown version")),
        }
    }

    /// The map that stands in the keys.
    pub(crate) fn segments(&self, into: &mut Vec<Segment>) -> Result<(), TarProblem> {
        if !self.map.len().is_multiple_of(2)
            || self.count.is_some_and(|count| count != self.map.len() as u64 / 2)
        {
            return Err(TarProblem::Sparse("the map has not the length it says"));
        }
        into.extend(self.map.chunks_exact(2).map(|pair| Segment {
            offset: pair[0],
            length: pair[1],
        }));
        Ok(())
    }
}

/// A map must go forward, stay inside the file and account for all data in the archive.
pub(crate) fn check_segments(segments: &[Segment], size: u64, data: u64) -> Result<(), TarProblem> {
    let (mut end, mut sum) = (0u64, 0u64);
    for segment in segments {
        if segment.offset < end {
            return Err(TarProblem::Sparse("parts overlap or go backward"));
        }
        end = segment
            .offset
            .checked_add(segment.length)
            .filter(|end| *end <= size)
            .ok_or(TarProblem::Sparse("a part outside of the file"))?;
        sum += segment.length;
    }
    if sum != data {
        return Err(TarProblem::Sparse("the parts are not as long as the data"));
    }
    Ok(())
}

/// Parts as they stand in blocks of old headers: pairs of twelve digits, ended by an empty
/// one.
pub(crate) fn parse_old_segments(
    fields: &[u8],
    into: &mut Vec<Segment>,
    limits: &Limits,
) -> Result<(), TarProblem> {
    let number = |field: &[u8]| {
        parse_number(field)
            .and_then(|number| u64::try_from(number).ok())
            .ok_or(TarProblem::Sparse("a part that is no number"))
    };
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        if into.len() >= limits.sparse_segments {
            return Err(too_much("parts of a sparse file", limits.sparse_segments));
        }
        into.push(Segment {
            offset: number(&pair[..12])?,
            length: number(&pair[12..])?,
        });
    }
    Ok(())
}

/// The fields of an old header: four parts, whether a block with more follows, the length of
/// the file.
pub(crate) const OLD_SEGMENTS: std::ops::Range<usize> = 386..482;
pub(crate) const OLD_MORE: usize = 482;
pub(crate) const OLD_SIZE: std::ops::Range<usize> = 483..495;
/// The fields of a block with more parts: 21 of them, whether another block follows.
pub(crate) const MORE_SEGMENTS: std::ops::Range<usize> = 0..504;
pub(crate) const MORE_MORE: usize = 504;

/// Reads the map of version 1.0 from the blocks before the data: numbers in lines, the
/// first one says how many parts there are.
#[derive(Default)]
pub(crate) struct MapReader {
    number: Option<u64>,
    count: Option<u64>,
    offset: Option<u64>,
    done: u64,
}

impl MapReader {
    /// Takes a block; true when the map is complete.
    pub(crate) fn take(
        &mut self,
        block: &[u8; BLOCK],
        into: &mut Vec<Segment>,
        limits: &Limits,
    ) -> Result<bool, TarProblem> {
        for byte in block {
            match byte {
                b'0'..=b'9' => {
                    let digit = u64::from(byte - b'0');
                    self.number = self
                        .number
                        .unwrap_or(0)
                        .checked_mul(10)
                        .and_then(|number| number.checked_add(digit));
                    if self.number.is_none() {
                        return Err(TarProblem::Sparse("a number in the map is too large"));
                    }
                }
                b'\n' => {
                    let number = self.number.take();
                    self.line(
                        number.ok_or(TarProblem::Sparse("an empty line in the map"))?,
                        into,
                        limits,
                    )?;
                }
                _ => return Err(TarProblem::Sparse("the map contains something but numbers")),
            }
            if self.count == Some(self.done) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn line(&mut self, number: u64, into: &mut Vec<Segment>, limits: &Limits) -> Result<(), TarProblem> {
        if self.count.is_none() {
            if number > limits.sparse_segments as u64 {
                return Err(too_much("parts of a sparse file", limits.sparse_segments));
            }
            self.count = Some(number);
        } else if let Some(offset) = self.offset.take() {
            into.push(Segment {
                offset,
                length: number,
            });
            self.done += 1;
        } else {
            self.offset = Some(number);
        }
        Ok(())
    }
}
