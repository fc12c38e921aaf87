//! `mode=non-blocking`: a thread writes, so that a slow disk or receiver does not stop the
//! program. What does not fit into the buffer meanwhile is lost, and counted in the log.

use super::Stream;
use super::writer::Lines;
use crate::error::{EngineError, Result};
use crate::time;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<(Stream, Vec<u8>, String)>,
    /// How many bytes wait.
    bytes: u64,
    /// How many were lost since the last that was taken.
    lost: u64,
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // The queue is whole between any two statements of ours.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread and its buffer.
#[derive(Debug)]
pub(super) struct Background {
    shared: Arc<Shared>,
    room: u64,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Background {
    /// Starts the thread. `room` is the size of its buffer in bytes.
    pub(super) fn start(lines: Lines, room: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || write_all(&theirs, lines));
        Self {
            shared,
            room,
            // Without one everything is lost, which `finish` says.
            thread: thread.ok(),
        }
    }

    /// Takes what was read, or loses it.
    pub(super) fn append(&self, stream: Stream, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut queue = self.shared.lock();
        // A piece that is larger than the buffer is taken when the buffer is empty.
        if queue.bytes > 0 && queue.bytes.saturating_add(length) > self.room {
            queue.lost += length;
            return;
        }
        queue.bytes += length;
        queue.pieces.push_back((stream, bytes.to_vec(), time::now()));
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// Waits until everything is written.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
        let lost = || EngineError::Invalid("the thread that writes the log could not be made".to_owned());
        match self.thread.take() {
            None => Err(lost()),
            Some(thread) => thread.join().unwrap_or_else(|_panic| Err(lost())),
        }
    }
}

fn write_all(shared: &Shared, mut lines: Lines) -> Result<()> {
    let append = |lines: &mut Lines, stream, bytes: &[u8], time: &str| {
        // It is counted there, and told when there is room again.
        lines.append(stream, bytes, time).unwrap_or_default();
    };
    loop {
        let mut queue = shared.lock();
        while queue.pieces.is_empty() && !queue.ended {
            queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let lost = std::mem::take(&mut queue.lost);
        let Some((stream, bytes, time)) = queue.pieces.pop_front() else {
            drop(queue);
            return lines.finish();
        };
        queue.bytes -= u64::try_from(bytes.len()).unwrap_or(0);
        drop(queue);
        append(&mut lines, stream, &bytes, &time);
        if lost > 0 {
            let text = format!("[cais: {lost} bytes of output were lost: the log is too slow]\n");
            append(&mut lines, Stream::Stderr, text.as_bytes(), &time);
        }
    }
}
