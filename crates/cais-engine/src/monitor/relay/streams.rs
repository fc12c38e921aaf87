//! The program's streams: output to the log and to whoever watches, input to the program.

use super::super::Streams;
use super::super::protocol::MAX;
use super::{Event, Relay};
use crate::error::{EngineError, Result};
use crate::log::Stream;
use cais_linux::SysError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

/// How much is read at once: what a pipe holds.
const READ: usize = 64 * 1024;

impl Relay<'_> {
    /// Where a stream is read; `None` where it has ended, or is part of the other one.
    pub(super) fn source(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        let [output_open, error_open] = self.open;
        match (&self.streams, stream) {
            (Streams::Pipes { output, .. }, Stream::Stdout) if output_open => Some(output.as_fd()),
            (Streams::Pipes { error, .. }, Stream::Stderr) if error_open => Some(error.as_fd()),
            (Streams::Terminal(master), Stream::Stdout) if output_open => Some(master.as_fd()),
            _ => None,
        }
    }

    /// The program's input.
    fn input(&self) -> Option<BorrowedFd<'_>> {
        match &self.streams {
            Streams::Pipes { input, .. } => input.as_ref().map(AsFd::as_fd),
            Streams::Terminal(master) => Some(master.as_fd()),
            Streams::None => None,
        }
    }

    pub(super) fn want_input<'b>(&'b self, wanted: &mut Vec<(Event, BorrowedFd<'b>, PollFlags)>) {
        let Some(input) = self.input() else { return };
        if !self.pending.bytes.is_empty() {
            // What came before must be through first: no buffer grows without bound.
            wanted.push((Event::InputRoom, input, PollFlags::OUT));
        } else if self.own.is_some_and(|own| own.input) && !self.pending.ended {
            wanted.push((Event::Input, cais_sys::process::stdin(), PollFlags::IN));
        }
    }

    /// Passes on one read of a stream; tells whether there may be more.
    pub(super) fn pass_output(&mut self, stream: Stream) -> Result<bool> {
        let mut buffer = [0u8; READ];
        let Some(source) = self.source(stream) else {
            return Ok(false);
        };
        let count = match rustix::io::read(source, &mut buffer[..]) {
            // A terminal without anybody on the other side answers EIO (pty(7)).
            Ok(0) | Err(Errno::IO) => return Ok(false),
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            Err(errno) => {
                let source = SysError::new("read", "the program's output", errno);
                return Err(EngineError::System {
                    action: "read the program's output".to_owned(),
                    source,
                });
            }
        };
        let bytes = buffer.get(..count).unwrap_or(&[]);
        if let Some(log) = &mut self.log {
            // The program goes on, and the next may be written: the log counts what is lost.
            log.append(stream, bytes).unwrap_or_default();
        }
        self.show(stream, bytes);
        Ok(true)
    }

    /// Shows output to whoever watches.
    fn show(&mut self, stream: Stream, bytes: &[u8]) {
        let error = stream == Stream::Stderr;
        if self.own.is_some_and(|own| own.shows[usize::from(error)]) {
            // Where nobody reads it any more, the program goes on all the same.
            write_all(cais_sys::process::standard_stream(error), bytes).unwrap_or_default();
        }
        for number in (0..self.fronts.len()).rev() {
            if let Some(front) = self.fronts.get_mut(number)
                && !front.show(stream, bytes)
            {
                self.lose_front(number);
            }
        }
    }

    pub(super) fn read_input(&mut self) {
        let mut buffer = [0u8; MAX];
        match rustix::io::read(cais_sys::process::stdin(), &mut buffer[..]) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(count) if count > 0 => {
                let (typed, leaves) = self.detach_keys.filter(buffer.get(..count).unwrap_or(&[]));
                self.give_input(&typed);
                self.left |= leaves;
            }
            // The end, or a terminal that went away: the program sees the end too.
            Ok(_) | Err(_) => self.end_input(),
        }
    }

    /// Takes bytes for the program.
    pub(super) fn give_input(&mut self, bytes: &[u8]) {
        self.pending.bytes.extend_from_slice(bytes);
        self.write_input();
    }

    /// No more input comes.
    pub(super) fn end_input(&mut self) {
        self.pending.ended = true;
        self.close_input_at_end();
    }

    pub(super) fn write_input(&mut self) {
        let Some(target) = self.input() else {
            return self.pending.bytes.clear();
        };
        match rustix::io::write(target, &self.pending.bytes) {
            Ok(count) => drop(self.pending.bytes.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                // The program closed its input: what was meant for it is for nobody.
                self.pending.bytes.clear();
                self.pending.ended = true;
            }
        }
        self.close_input_at_end();
    }

    fn close_input_at_end(&mut self) {
        if self.pending.ended
            && self.pending.bytes.is_empty()
            && let Streams::Pipes { input, .. } = &mut self.streams
        {
            *input = None;
        }
    }

    /// Reads what is left after the program's end. Somebody else may hold the other
    /// end still (a process in the host's pid namespace): that is not waited for.
    pub(super) fn drain(&mut self) -> Result<()> {
        for (index, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
            while let Some(source) = self.source(stream) {
                let mut fds = [PollFd::from_borrowed_fd(source, PollFlags::IN)];
                let now = super::timespec(std::time::Duration::ZERO);
                let ready = poll(&mut fds, Some(&now)).unwrap_or(0) > 0;
                if !ready || !self.pass_output(stream)? {
                    self.open[index] = false;
                }
            }
        }
        Ok(())
    }
}

/// Writes everything, waiting where the other side is slow.
pub(in super::super) fn write_all(
    target: BorrowedFd<'_>,
    mut bytes: &[u8],
) -> std::result::Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or(&[]),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(target, PollFlags::OUT)];
                poll(&mut fds, None)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
