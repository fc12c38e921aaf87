//! Decoding on a thread of its own: inflating and hashing keep one processor busy, making
//! files another.

use crate::{Digest, Hasher};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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

/// What lies between the two ends. (The channels of the standard library would be 16 KB of the
/// executable.)
#[derive(Default)]
struct Between {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    full: VecDeque<Piece>,
    empty: Vec<Vec<u8>>,
    /// One end has gone away.
    left: bool,
}

impl Between {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process: the lock is never poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for what `take` finds, or for the other end to go away.
    fn wait<T>(&self, take: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = take(&mut state) {
                return Some(found);
            }
            if state.left {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn put(&self, piece: Piece) {
        self.lock().full.push_back(piece);
        self.changed.notify_one();
    }

    fn give_back(&self, piece: Vec<u8>) {
        self.lock().empty.push(piece);
        self.changed.notify_one();
    }

    fn leave(&self) {
        self.lock().left = true;
        self.changed.notify_one();
    }
}

/// The end that decodes.
pub(crate) struct Decoding(Arc<Between>);

/// The end that reads what was decoded.
pub(crate) struct Decoded {
    between: Arc<Between>,
    piece: Vec<u8>,
    place: usize,
    end: Option<Hasher>,
}

impl Drop for Decoding {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        self.between.leave();
    }
}

/// The two ends. When one goes away, the other one stops.
pub(crate) fn ahead() -> (Decoding, Decoded) {
    let between = Arc::new(Between::default());
    between.lock().empty = vec![Vec::new(); PIECES];
    let decoded = Decoded {
        between: between.clone(),
        piece: Vec::new(),
        place: 0,
        end: None,
    };
    (Decoding(between), decoded)
}

impl Decoding {
    /// Reads `archive` to its end, or until nobody wants it any more.
    pub(crate) fn run(self, mut archive: impl Read) {
        let mut hasher = Hasher::sha256();
        let between = &self.0;
        while let Some(mut piece) = between.wait(|state| state.empty.pop().filter(|_| !state.left)) {
            match fill(&mut archive, &mut piece) {
                Ok(()) if piece.is_empty() => return between.put(Piece::End(hasher)),
                Ok(()) => {
                    hasher.update(&piece);
                    between.put(Piece::Bytes(piece));
                }
                Err(error) => return between.put(Piece::Failed(error)),
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
            let used = match self.between.wait(|state| state.full.pop_front()) {
                Some(Piece::Bytes(piece)) => std::mem::replace(&mut self.piece, piece),
                Some(Piece::End(hasher)) => {
                    self.end = Some(hasher);
                    continue;
                }
                Some(Piece::Failed(error)) => return Err(error),
                None => return Err(io::Error::other("what decodes the layer has stopped")),
            };
            self.place = 0;
            self.between.give_back(used);
        }
        let there = &self.piece[self.place..];
        let length = there.len().min(bytes.len());
        bytes[..length].copy_from_slice(&there[..length]);
        self.place += length;
        Ok(length)
    }
}

impl Digesting for Decoded {
    fn digest(mut self) -> Digest {
        // Without an end the reader has failed before.
        self.end.take().unwrap_or_else(Hasher::sha256).finish()
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
