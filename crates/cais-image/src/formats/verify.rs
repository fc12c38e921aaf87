//! A reader that does not let wrong content through.

use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use std::io::{Error, ErrorKind, Read, Result};

/// Reads a blob and fails, at its end at the latest, if it is not the one of its descriptor:
/// the size first, so that no more is read than there is to be.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    digest: Digest,
    left: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> VerifyingReader<R> {
    /// Reads `inner`, which is to be `blob`.
    pub fn new(inner: R, blob: &Descriptor) -> Self {
        Self {
            inner,
            digest: blob.digest.clone(),
            left: blob.size,
            hasher: Some(Hasher::like(&blob.digest)),
        }
    }

    fn wrong(&self, detail: &str) -> Error {
        Error::new(ErrorKind::InvalidData, format!("{} {detail}", self.digest))
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        if count as u64 > self.left {
            return Err(self.wrong("is longer than its descriptor says"));
        }
        if count > 0 {
            self.left -= count as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        if self.left > 0 {
            return Err(self.wrong(&format!("lacks its last {} bytes", self.left)));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.digest => Err(self.wrong(&format!("has the content of {found}"))),
            _ => Ok(0),
        }
    }
}
