//! Who watches a program: this process's own standard streams, and commands at the other
//! end of a socket (`run -t`, `attach`), any number of them.

use super::attendant::{Attendant, Attention, Program, Wanted};
use super::front::SavedTerminal;
use super::protocol::{MAX, Message};
use crate::log::Stream;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::collections::VecDeque;

/// How many bytes may wait for a watcher that is slow. Above it the program waits too, as
/// with Docker: nothing is lost, and no memory grows without bound.
const QUEUE: usize = 1024 * 1024;

/// This process's own standard streams.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Whether standard input goes to the program.
    pub input: bool,
    /// Whether its standard output and error are shown.
    pub shows: [bool; 2],
}

/// A command at the other end of a socket.
#[derive(Debug)]
pub struct Front {
    socket: OwnedFd,
    /// Its terminal, to be restored should the command be killed.
    restore: Option<SavedTerminal>,
    /// Whether it may give input.
    pub(super) input: bool,
    /// Whether it has said what it wants, and is shown the output.
    pub(super) admitted: bool,
    /// Which of the streams it is shown.
    shows: [bool; 2],
    queue: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Front {
    /// The command that made this monitor.
    #[must_use]
    pub fn first(socket: OwnedFd, restore: Option<SavedTerminal>, input: bool, shows: [bool; 2]) -> Self {
        Self {
            socket,
            restore,
            input,
            admitted: true,
            shows,
            queue: VecDeque::new(),
            queued: 0,
        }
    }

    /// One that came by the door and has not said yet what it wants.
    #[must_use]
    pub fn visitor(socket: OwnedFd) -> Self {
        Self {
            admitted: false,
            ..Self::first(socket, None, false, [true, true])
        }
    }

    /// Its socket.
    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether something waits to be sent.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether so much waits that the program must wait.
    pub(super) fn is_full(&self) -> bool {
        self.queued > QUEUE
    }

    /// Shows output. False where the watcher is gone.
    pub(super) fn show(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        if !self.admitted || !self.shows[usize::from(stream == Stream::Stderr)] {
            return true;
        }
        bytes.chunks(MAX - 1).all(|chunk| {
            let message = match stream {
                Stream::Stdout => Message::Data(chunk),
                Stream::Stderr => Message::ErrorData(chunk),
            };
            self.say(&message)
        })
    }

    /// Says something, after what waits already. False where the watcher is gone.
    pub(super) fn say(&mut self, message: &Message<'_>) -> bool {
        let bytes = message.encode();
        self.queued += bytes.len();
        self.queue.push_back(bytes);
        self.flush()
    }

    /// Sends what can be sent without waiting. False where the watcher is gone.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(bytes) = self.queue.front() {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.queued -= bytes.len();
                    drop(self.queue.pop_front());
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// The watcher went away without a word: it was killed, and its terminal is still in
    /// raw mode.
    pub(super) fn restore_terminal(&self) {
        if let Some(terminal) = &self.restore {
            terminal.restore();
        }
    }

    /// Says how the program ended, where that is known: else whoever stands in for the program
    /// hears of an error. What cannot be sent at once is left to a [`Parting`].
    #[must_use]
    pub fn part(mut self, code: Option<u8>) -> Option<Parting> {
        let code = code.or(self.admitted.then_some(125))?;
        (self.say(&Message::Exit(code)) && self.has_queue()).then_some(Parting(self))
    }
}

/// A watcher that has not yet taken all that was said to it before the program ended.
#[derive(Debug)]
pub struct Parting(Front);

impl Attendant for Parting {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        wanted.push((self.0.socket.as_fd(), PollFlags::OUT));
    }

    fn outlives_the_program(&self) -> bool {
        true
    }

    fn attend(&mut self, _ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        if self.0.flush() && self.0.has_queue() {
            Attention::Stays
        } else {
            Attention::Leaves
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::relay::see_off;
    use cais_linux::process::channel;

    #[test]
    fn a_slow_watcher_loses_nothing() {
        let (ours, theirs) = channel::pair().unwrap();
        let mut front = Front::first(theirs, None, false, [true, true]);
        let piece = [b'x'; 1000];
        let mut sent = 0;
        while !front.is_full() {
            assert!(front.show(Stream::Stdout, &piece));
            sent += piece.len();
        }
        let parting = front.part(Some(3)).unwrap();
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut seen) = (vec![0u8; MAX], 0);
            loop {
                let received = channel::receive(ours.as_fd(), &mut buffer, &mut Vec::new()).unwrap();
                match received.map(|bytes| Message::parse(bytes).unwrap()) {
                    Some(Message::Data(bytes)) => seen += bytes.len(),
                    Some(Message::Exit(3)) => return seen,
                    other => panic!("{other:?}"),
                }
            }
        });
        let mut left: Vec<Box<dyn Attendant>> = vec![Box::new(parting)];
        see_off(&mut left, None, None).unwrap();
        assert!(left.is_empty());
        assert_eq!(reader.join().unwrap(), sent);
    }

    #[test]
    fn one_that_is_gone_is_noticed() {
        let (ours, theirs) = channel::pair().unwrap();
        drop(ours);
        assert!(!Front::first(theirs, None, false, [true, true]).show(Stream::Stdout, b"x"));
    }
}
