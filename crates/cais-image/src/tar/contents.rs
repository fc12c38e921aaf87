//! The contents of one entry as a stream.

use super::reader::{Reader, Tap};
use std::io::{self, Read};

/// The contents of an entry as a stream.
#[derive(Debug)]
pub struct Contents<'a, R, T = ()> {
    reader: &'a mut Reader<R, T>,
    size: u64,
    at: u64,
    held: Vec<u8>,
    held_at: u64,
}

impl<'a, R, T> Contents<'a, R, T> {
    pub(crate) fn new(reader: &'a mut Reader<R, T>, size: u64) -> Self {
        Self {
            reader,
            size,
            at: 0,
            held: Vec::new(),
            held_at: 0,
        }
    }
}

impl<R: Read, T: Tap> Read for Contents<'_, R, T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.size - self.at).map_or(bytes.len(), |left| left.min(bytes.len()));
        if limit == 0 {
            return Ok(0);
        }
        let held_end = self.held_at + self.held.len() as u64;
        if self.at >= held_end {
            self.held.clear();
            match self.reader.data().map_err(io::Error::other)? {
                Some((place, piece)) => {
                    self.held.extend_from_slice(piece);
                    self.held_at = place;
                }
                None => self.held_at = self.size,
            }
        }
        let length = if self.at < self.held_at {
            let hole = usize::try_from(self.held_at - self.at).map_or(limit, |hole| hole.min(limit));
            bytes[..hole].fill(0);
            hole
        } else {
            let start = usize::try_from(self.at - self.held_at).map_err(io::Error::other)?;
            let length = limit.min(self.held.len() - start);
            bytes[..length].copy_from_slice(&self.held[start..start + length]);
            length
        };
        self.at += length as u64;
        Ok(length)
    }
}
