//! What is told while an image moves, for whoever shows it.

use cais_image::Descriptor;
use cais_image::formats::{Entry, Result, Sink};
use std::io::{self, Read};

/// What happened to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was there already.
    Present,
    /// So many of its bytes have come.
    Fetching(u64),
    /// All have come.
    Fetched,
    /// It is unpacked.
    Unpacked,
    /// So many of its bytes were copied.
    Copying(u64),
    /// All were.
    Copied,
    /// It is being made again from its files.
    Preparing,
    /// So many of its bytes were given.
    Pushing(u64),
    /// The registry had it already.
    Known,
    /// The registry has it now.
    Pushed,
    /// The registry took it from another of its repositories.
    Mounted,
}

/// Hears of what happens, from several threads at once.
pub trait Watch: Sync {
    /// Something happened to a blob, whose descriptor has its size.
    fn blob(&self, blob: &Descriptor, step: Step);

    /// A line for the user: `1: Pulling from team/web`.
    fn line(&self, _text: &str) {}

    /// A warning of the registry's or about the configuration.
    fn warning(&self, _text: &str) {}
}

/// Nobody listens.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn blob(&self, _blob: &Descriptor, _step: Step) {}
}

/// A sink that tells what goes into it.
pub(super) struct WatchedSink<'a> {
    inner: &'a mut dyn Sink,
    watch: &'a dyn Watch,
    /// Whether what goes in is at its end there; else it comes to be unpacked.
    is_end: bool,
}

impl<'a> WatchedSink<'a> {
    pub(super) fn new(inner: &'a mut dyn Sink, watch: &'a dyn Watch, is_end: bool) -> Self {
        Self { inner, watch, is_end }
    }
}

impl Sink for WatchedSink<'_> {
    fn has(&mut self, blob: &Descriptor) -> Result<bool> {
        let has = self.inner.has(blob)?;
        if has && self.is_end {
            self.watch.blob(blob, Step::Present);
        }
        Ok(has)
    }

    fn put(&mut self, blob: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut counted = Counted {
            inner: content,
            blob,
            watch: self.watch,
            done: 0,
        };
        self.inner.put(blob, &mut counted)?;
        if self.is_end {
            self.watch.blob(blob, Step::Copied);
        }
        Ok(())
    }

    fn enter(&mut self, entry: &Entry) -> Result<()> {
        self.inner.enter(entry)
    }

    fn finish(&mut self) -> Result<()> {
        self.inner.finish()
    }
}

struct Counted<'a> {
    inner: &'a mut dyn Read,
    blob: &'a Descriptor,
    watch: &'a dyn Watch,
    done: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.done += count as u64;
        self.watch.blob(self.blob, Step::Copying(self.done));
        Ok(count)
    }
}
