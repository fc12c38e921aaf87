//! Compressed layers: what they are is seen from their first bytes, whatever their media
//! type says.

use flate2::bufread::MultiGzDecoder;
use std::fmt;
use std::io::{self, BufRead, Read};

/// What is read at a time.
const BUFFER: usize = 256 * 1024;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952), one member or several.
    Gzip,
    /// Zstandard (RFC 8878), one frame or several.
    Zstd,
}

/// How much may come out of a compressed layer. More is taken for a bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expansion {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes for each byte that went in. gzip reaches 1,032; a layer with a large empty
    /// file comes near.
    pub ratio: u64,
    /// As long as less than this came out, the ratio does not matter.
    pub free: u64,
}

/// A layer that is not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It cannot be read.
    #[error("read the layer: {0}")]
    Read(#[source] io::Error),
    /// It is compressed in a way that no layer is (image-spec, "Layer Media Types").
    #[error("the layer is compressed with {0}, which is not supported")]
    Unsupported(&'static str),
    /// More comes out of it than is accepted.
    #[error("the layer expands to more than {limit} bytes: {read} bytes became {written}")]
    Expands {
        /// The limit that was met.
        limit: u64,
        /// What went in so far.
        read: u64,
        /// What came out.
        written: u64,
    },
}

enum Inner<'a> {
    Plain(Input<'a>),
    Gzip(Box<MultiGzDecoder<Input<'a>>>),
    Zstd(zstd::Decoder<'static, Input<'a>>),
}

/// The bytes of an archive out of a layer that may be compressed.
pub struct Decoder<'a> {
    inner: Inner<'a>,
    limit: Option<Expansion>,
    written: u64,
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("compression", &self.compression())
            .field("read", &self.bytes_read())
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl<'a> Decoder<'a> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    /// Where they cannot be read, or show a compression that layers do not have.
    pub fn new(inner: impl Read + Send + 'a, limit: Option<Expansion>) -> Result<Self, DecodeError> {
        Self::over(Box::new(inner), limit)
    }

    fn over(inner: Box<dyn Read + Send + 'a>, limit: Option<Expansion>) -> Result<Self, DecodeError> {
        let mut input = Input::new(inner);
        let start = input.peek(6).map_err(DecodeError::Read)?;
        let inner = match start {
            [0x1f, 0x8b, ..] => Inner::Gzip(Box::new(MultiGzDecoder::new(input))),
            // The second form begins a frame to be skipped, as in zstd:chunked.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Inner::Zstd(zstd::Decoder::with_buffer(input).map_err(DecodeError::Read)?)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(DecodeError::Unsupported("xz")),
            [b'B', b'Z', b'h', ..] => return Err(DecodeError::Unsupported("bzip2")),
            [0x04, 0x22, 0x4d, 0x18, ..] => return Err(DecodeError::Unsupported("lz4")),
            _ => Inner::Plain(input),
        };
        Ok(Self {
            inner,
            limit,
            written: 0,
        })
    }

    /// How the layer is compressed.
    pub fn compression(&self) -> Compression {
        match self.inner {
            Inner::Plain(_) => Compression::Plain,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
        }
    }

    /// How many bytes of the layer were decoded.
    pub fn bytes_read(&self) -> u64 {
        match &self.inner {
            Inner::Plain(input) => input.consumed,
            Inner::Gzip(decoder) => decoder.get_ref().consumed,
            Inner::Zstd(decoder) => decoder.get_ref().consumed,
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let (Some(limit), read) = (self.limit, self.bytes_read()) else {
            return Ok(());
        };
        let by_ratio = read.saturating_mul(limit.ratio).max(limit.free);
        let limit = limit.bytes.min(by_ratio);
        if self.written <= limit {
            return Ok(());
        }
        Err(DecodeError::Expands {
            limit,
            read,
            written: self.written,
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = match &mut self.inner {
            Inner::Plain(input) => input.read(bytes),
            Inner::Gzip(decoder) => decoder.read(bytes),
            Inner::Zstd(decoder) => decoder.read(bytes),
        }?;
        self.written += length as u64;
        self.check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(length)
    }
}

/// The compressed bytes, counted. Whatever they come from: all that decodes and unpacks them is
/// there once.
struct Input<'a> {
    inner: Box<dyn Read + Send + 'a>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    consumed: u64,
}

impl<'a> Input<'a> {
    fn new(inner: Box<dyn Read + Send + 'a>) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            consumed: 0,
        }
    }

    /// The first bytes, up to `count` of them, which stay to be read.
    fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.end < count {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(length) => self.end += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[..self.end.min(count)])
    }
}

impl Read for Input<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let length = there.len().min(bytes.len());
        bytes[..length].copy_from_slice(&there[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.end = self.inner.read(&mut self.buffer)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.consumed += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8], limit: Option<Expansion>) -> io::Result<(Compression, Vec<u8>)> {
        let mut decoder = Decoder::new(bytes, limit).map_err(io::Error::other)?;
        let mut decoded = Vec::new();
        decoder.read_to_end(&mut decoded)?;
        Ok((decoder.compression(), decoded))
    }

    #[test]
    fn seen_from_the_first_bytes() {
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skipped = [&b"\x50\x2a\x4d\x18\x02\0\0\0ab"[..], &zstd(b"one")].concat();
        for (bytes, compression, want) in [
            (&b""[..], Compression::Plain, &b""[..]),
            (b"abc", Compression::Plain, b"abc"),
            (&gzip(b"one"), Compression::Gzip, b"one"),
            (
                &[gzip(b"one"), gzip(b"two")].concat(),
                Compression::Gzip,
                b"onetwo",
            ),
            (
                &[zstd(b"one"), zstd(b"two")].concat(),
                Compression::Zstd,
                b"onetwo",
            ),
            (&skipped, Compression::Zstd, b"one"),
        ] {
            assert_eq!(decode(bytes, None).unwrap(), (compression, want.to_vec()));
        }
        for bad in [&b"BZh91AY"[..], b"\xfd7zXZ\0", b"\x04\x22\x4d\x18zz"] {
            let error = decode(bad, None).unwrap_err().to_string();
            assert!(error.contains("not supported"), "{error}");
        }
        for damaged in [gzip(&[7; 5000]), zstd(&[7; 5000])] {
            assert!(decode(&damaged[..damaged.len() - 3], None).is_err());
        }
        let mut wrong = gzip(b"one");
        let place = wrong.len() - 6;
        wrong[place] ^= 1;
        assert!(decode(&wrong, None).is_err());
    }

    #[test]
    fn bombs() {
        let zeros = gzip(&vec![0; 8 << 20]);
        let limit = Expansion {
            bytes: u64::MAX,
            ratio: 100,
            free: 1 << 20,
        };
        let error = decode(&zeros, Some(limit)).unwrap_err().to_string();
        assert!(error.contains("expands to more than"), "{error}");
        let limit = Expansion { ratio: 2000, ..limit };
        assert_eq!(decode(&zeros, Some(limit)).unwrap().1.len(), 8 << 20);
        let limit = Expansion {
            bytes: 4 << 20,
            ..limit
        };
        assert!(decode(&zeros, Some(limit)).is_err());
    }
}
