//! Decoding on a thread of its own: inflating and hashing keep one processor busy, making
//! files another.

use crate::{Digest, Hasher};
use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What is decoded at a time.
const PIECE: usize = 256 * 1024;
/// How many pieces may lie between the two threads.
const PIECES: usize = 6;

/// What can be read, and whose digest is known when all of it was.
pub(crate) trait Digesting: Read {
    /// The digest of everything that was read.
    fn digest(self) -> Digest;
}

/// Computes the digest of everything that is read.
pub(crate) struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashed<R> {
    pub(crate) fn new(inner: R) -> Self {
        let hasher = Hasher::sha256();
        Self { inner, hasher }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }
}

impl<R: Read> Digesting for Hashed<R> {
    fn digest(self) -> Digest {
        self.hasher.finish()
    }
}

enum Piece {
    Bytes(Vec<u8>),
    End(Hasher),
    Failed(io::Error),
}

/// The end that decodes.
pub(crate) struct Decoding {
    full: Sender<Piece>,
    empty: Receiver<Vec<u8>>,
}

/// The end that reads what was decoded.
pub(crate) struct Decoded {
    full: Receiver<Piece>,
    empty: Sender<Vec<u8>>,
    piece: Vec<u8>,
    place: usize,
    end: Option<Hasher>,
}

/// The two ends. When one goes away, the other one stops.
pub(crate) fn ahead() -> (Decoding, Decoded) {
    let (to, full) = channel();
    let (back, empty) = channel();
    for _ in 0..PIECES {
        // The other end is here.
        back.send(Vec::new()).unwrap_or_default();
    }
    let decoded = Decoded {
        full,
        empty: back,
        piece: Vec::new(),
        place: 0,
        end: None,
    };
    (Decoding { full: to, empty }, decoded)
}

impl Decoding {
    /// Reads `archive` to its end, or until nobody wants it any more.
    pub(crate) fn run(self, mut archive: impl Read) {
        let mut hasher = Hasher::sha256();
        while let Ok(mut piece) = self.empty.recv() {
            let sent = match fill(&mut archive, &mut piece) {
                Ok(()) if piece.is_empty() => {
                    self.full.send(Piece::End(hasher)).unwrap_or_default();
                    return;
                }
                Ok(()) => {
                    hasher.update(&piece);
                    self.full.send(Piece::Bytes(piece))
                }
                Err(error) => {
                    self.full.send(Piece::Failed(error)).unwrap_or_default();
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Reads as much as there is, up to the size of a piece: nothing at the end.
fn fill(archive: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.resize(PIECE, 0);
    let mut length = 0;
    while length < PIECE {
        match archive.read(&mut piece[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(length);
    Ok(())
}

impl Read for Decoded {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.place == self.piece.len() {
            if self.end.is_some() {
                return Ok(0);
            }
            let stopped = || io::Error::other("what decodes the layer has stopped");
            let used = match self.full.recv() {
                Ok(Piece::Bytes(piece)) => std::mem::replace(&mut self.piece, piece),
                Ok(Piece::End(hasher)) => {
                    self.end = Some(hasher);
                    continue;
                }
                Ok(Piece::Failed(error)) => return Err(error),
                Err(_gone) => return Err(stopped()),
            };
            self.place = 0;
            // It may have come to its end already.
            self.empty.send(used).unwrap_or_default();
        }
        let there = &self.piece[self.place..];
        let length = there.len().min(bytes.len());
        bytes[..length].copy_from_slice(&there[..length]);
        self.place += length;
        Ok(length)
    }
}

impl Digesting for Decoded {
    fn digest(self) -> Digest {
        // Without an end the reader has failed before.
        self.end.unwrap_or_else(Hasher::sha256).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(archive: impl Read + Send) -> io::Result<(Vec<u8>, Digest)> {
        let (decoding, mut decoded) = ahead();
        std::thread::scope(|scope| {
            scope.spawn(move || decoding.run(archive));
            let mut bytes = Vec::new();
            decoded.read_to_end(&mut bytes)?;
            Ok((bytes, decoded.digest()))
        })
    }

    #[test]
    fn all_of_it_in_order() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 7] {
            let bytes: Vec<u8> = (0..length).map(|place| (place % 251).to_le_bytes()[0]).collect();
            let (read, digest) = through(&bytes[..]).unwrap();
            assert!(read == bytes, "{length}");
            assert_eq!(digest, Digest::of(&bytes));
        }
    }

    #[test]
    fn failures_come_through_and_nobody_waits() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::other("broken"));
                }
                self.0 -= 1;
                bytes.fill(1);
                Ok(bytes.len())
            }
        }
        assert_eq!(through(Broken(9)).unwrap_err().to_string(), "broken");
        // Whoever reads goes away early.
        let (decoding, mut decoded) = ahead();
        std::thread::scope(|scope| {
            scope.spawn(move || decoding.run(io::repeat(0)));
            let mut some = [0; 100];
            assert_eq!(decoded.read(&mut some).unwrap(), 100);
            drop(decoded);
        });
    }
}
