//! A blob that is read while it is fetched: layers are unpacked as they arrive, at most as
//! fast as they come, and what was fetched is in the store whether they are unpacked or not.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A file of the store that somebody is writing.
#[derive(Debug, Default)]
pub(super) struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Given once.
    file: Option<File>,
    /// How much of it can be read.
    length: u64,
    /// Whether there is no more to come.
    ended: bool,
    /// Whether it turned out wrong and was begun anew: what was read of it is void.
    is_void: bool,
}

impl Growing {
    /// Gives the file, of which `length` bytes are there.
    pub(super) fn begin(&self, file: File, length: u64) {
        let mut state = self.lock();
        state.file = Some(file);
        state.length = length;
        self.changed.notify_one();
    }

    /// Tells that there is more.
    pub(super) fn grown(&self, length: u64) {
        self.lock().length = length;
        self.changed.notify_one();
    }

    /// Tells that what was there is void and the file is written anew: whoever reads it must
    /// begin anew as well, when it is whole.
    pub(super) fn begin_anew(&self) {
        let mut state = self.lock();
        state.is_void = true;
        state.length = 0;
        self.changed.notify_one();
    }

    /// Whether the file was begun anew.
    pub(super) fn is_void(&self) -> bool {
        self.lock().is_void
    }

    /// Tells that there is no more: the file is whole, or will never be.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_one();
    }

    /// Waits for the file, and reads it from its beginning. `None` where it ended before it
    /// began.
    pub(super) fn follow(&self) -> Option<Follower<'_>> {
        let mut state = self.lock();
        while state.file.is_none() && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let file = state.file.take()?;
        Some(Follower {
            growing: self,
            file,
            offset: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what grows, and waits where it has all that there is.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    growing: &'a Growing,
    file: File,
    offset: u64,
}

impl Read for Follower<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.growing.lock();
        while state.length <= self.offset && !state.ended && !state.is_void {
            state = self
                .growing
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_void {
            return Err(io::Error::other("the registry sent other bytes than it should"));
        }
        let there = usize::try_from(state.length.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        drop(state);
        let wanted = bytes.len().min(there);
        let count = self
            .file
            .read_at(bytes.get_mut(..wanted).unwrap_or(&mut []), self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn read_while_it_is_written() {
        let path = std::env::temp_dir().join(format!("cais-growing-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        let growing = Growing::default();
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut bytes = Vec::new();
                growing.follow().unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            });
            file.write_all(b"there before ").unwrap();
            growing.begin(File::open(&path).unwrap(), 13);
            for length in 1..=1000u64 {
                file.write_all(b"x").unwrap();
                growing.grown(13 + length);
            }
            growing.end();
            reader.join().unwrap()
        });
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.len(), 1013);
        assert!(read.starts_with(b"there before xxx"));
        let nothing = Growing::default();
        nothing.end();
        assert!(nothing.follow().is_none());
    }
}
