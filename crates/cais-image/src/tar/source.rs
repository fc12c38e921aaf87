//! The bytes of an archive, read in large pieces and handed out without copies.

use std::io::{self, Read};

/// What is read at a time.
const BUFFER: usize = 256 * 1024;

/// A reader with its buffer and the place it is at.
pub(crate) struct Source<R> {
    inner: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    position: u64,
}

impl<R: Read> Source<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            position: 0,
        }
    }

    /// How many bytes were handed out.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// Makes sure that there is something to hand out, and says how much: at the end, 0.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            loop {
                match self.inner.read(&mut self.buffer) {
                    Ok(length) => {
                        self.end = length;
                        break;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.end - self.start)
    }

    /// Hands out the next bytes, at most `limit`, of what `fill` found.
    pub(crate) fn take(&mut self, limit: u64) -> &[u8] {
        let there = self.end - self.start;
        let length = usize::try_from(limit).map_or(there, |limit| limit.min(there));
        let start = self.start;
        self.start += length;
        self.position += length as u64;
        &self.buffer[start..start + length]
    }

    /// Fills `bytes` as far as the archive goes.
    pub(crate) fn read_full(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            if self.fill()? == 0 {
                break;
            }
            let piece = self.take((bytes.len() - done) as u64);
            bytes[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
        Ok(done)
    }
}
