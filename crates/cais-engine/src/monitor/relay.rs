//! The loop of the monitor.

use super::Streams;
use super::attendant::{Attendant, Attention, Program, Wanted};
use super::front::SavedTerminal;
use super::protocol::{MAX, Message};
use crate::error::{EngineError, Result};
use crate::log::{LogWriter, Stream};
use cais_linux::SysError;
use cais_linux::process::channel;
use cais_linux::process::pidfd::{self, Ended};
use cais_sys::signal::from_number;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::termios::Winsize;
use rustix::time::Timespec;
use std::time::{Duration, Instant};

const SIGWINCH: i32 = 28;

/// After this long without an event a monitor gives its memory back.
const QUIET: Duration = Duration::from_secs(1);

/// Who sees the output and gives the input.
#[derive(Debug)]
pub enum Watcher {
    /// This process's own standard streams.
    Own {
        /// Whether standard input goes to the program.
        interactive: bool,
    },
    /// A command at the other end of a socket.
    Front {
        /// The socket.
        socket: OwnedFd,
        /// Its terminal, to be restored should the command be killed.
        restore: Option<SavedTerminal>,
    },
    /// Nobody: the container is detached.
    Nobody,
}

/// Everything that the loop looks after.
#[derive(Debug)]
pub struct Relay<'a> {
    /// The program.
    pub pidfd: BorrowedFd<'a>,
    /// Its streams.
    pub streams: Streams,
    /// Who watches.
    pub watcher: Watcher,
    /// Where the output is kept, unless it is not.
    pub log: Option<LogWriter>,
    /// A signalfd with the signals that are handed on to the program.
    pub signals: Option<OwnedFd>,
    /// What else there is to look after.
    pub attendants: Vec<Box<dyn Attendant>>,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Ended,
    Output,
    Error,
    Input,
    Signal,
    Front,
    InputRoom,
    /// The descriptor with this number of the attendant with this number.
    Attendant(usize, usize),
}

/// What happened.
#[derive(Debug, Default)]
struct Ready {
    events: Vec<Event>,
    /// One for each attendant that is to be called: which, and which descriptors are ready.
    calls: Vec<(usize, Vec<PollFlags>)>,
}

/// Bytes on their way to the program.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    ended: bool,
}

impl Relay<'_> {
    /// Runs until the program has ended and its output is read. Returns how it ended.
    ///
    /// # Errors
    /// Where waiting fails; a log that cannot be written is an error too, told after
    /// the program's end.
    pub fn run(mut self) -> Result<Ended> {
        let mut pending = Pending::default();
        let mut log_error = None;
        let mut open = [true, true];
        let mut quiet = true;
        loop {
            let ready = self.wait(&pending, open, quiet)?;
            quiet = ready.events.is_empty() && ready.calls.is_empty();
            self.call_attendants(&ready.calls);
            for event in ready.events {
                match event {
                    Event::Output => open[0] = self.pass_output(Stream::Stdout, &mut log_error)?,
                    Event::Error => open[1] = self.pass_output(Stream::Stderr, &mut log_error)?,
                    Event::Input => self.read_input(&mut pending),
                    Event::InputRoom => self.write_input(&mut pending),
                    Event::Signal => self.forward_signals(),
                    Event::Front => self.hear_front(&mut pending),
                    Event::Ended | Event::Attendant(..) => {}
                }
            }
            if pidfd::await_end(self.pidfd, Some(std::time::Duration::ZERO))
                .map_err(EngineError::system("watch the program"))?
            {
                break;
            }
        }
        let ended = pidfd::wait(self.pidfd).map_err(EngineError::system("wait for the program"))?;
        self.drain(open, &mut log_error)?;
        if let Some(log) = &mut self.log {
            log_error = log_error.or(log.finish().err());
        }
        if let Watcher::Front { socket, .. } = &self.watcher {
            // The watcher may be gone.
            channel::send(socket.as_fd(), &Message::Exit(ended.code()).encode(), &[]).unwrap_or_default();
        }
        log_error.map_or(Ok(ended), Err)
    }

    /// Waits for the next events.
    fn wait(&self, pending: &Pending, open: [bool; 2], quiet: bool) -> Result<Ready> {
        let wanted = self.wanted(pending, open);
        let mut fds: Vec<PollFd<'_>> = wanted
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let deadline = self.attendants.iter().filter_map(|each| each.deadline()).min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let nobody = matches!(self.watcher, Watcher::Nobody);
        let waited = if nobody && quiet {
            // There may be hundreds of monitors: one that has had nothing to do for a while
            // waits with next to no memory.
            cais_sys::idle::poll_without_memory(&mut fds, left.map(timespec).as_ref())
        } else if nobody {
            let soon = left.map_or(QUIET, |left| left.min(QUIET));
            poll(&mut fds, Some(&timespec(soon)))
        } else {
            poll(&mut fds, left.map(timespec).as_ref())
        };
        match waited {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(EngineError::System {
                    action: "wait for events".to_owned(),
                    source: SysError::new("poll", "", errno),
                });
            }
        }
        let flags: Vec<(Event, PollFlags)> = fds
            .iter()
            .zip(&wanted)
            .map(|(fd, (event, _, _))| (*event, fd.revents()))
            .collect();
        Ok(self.sort_events(&flags))
    }

    /// Everything that is waited for.
    fn wanted(&self, pending: &Pending, open: [bool; 2]) -> Vec<(Event, BorrowedFd<'_>, PollFlags)> {
        let mut wanted: Vec<(Event, BorrowedFd<'_>, PollFlags)> =
            vec![(Event::Ended, self.pidfd, PollFlags::IN)];
        match &self.streams {
            Streams::Pipes { input, output, error } => {
                if open[0] {
                    wanted.push((Event::Output, output.as_fd(), PollFlags::IN));
                }
                if open[1] {
                    wanted.push((Event::Error, error.as_fd(), PollFlags::IN));
                }
                if let Some(input) = input {
                    self.want_input(&mut wanted, input.as_fd(), pending);
                }
            }
            Streams::Terminal(master) => {
                if open[0] {
                    wanted.push((Event::Output, master.as_fd(), PollFlags::IN));
                }
                self.want_input(&mut wanted, master.as_fd(), pending);
            }
        }
        if let Some(signals) = &self.signals {
            wanted.push((Event::Signal, signals.as_fd(), PollFlags::IN));
        }
        if let Watcher::Front { socket, .. } = &self.watcher {
            wanted.push((Event::Front, socket.as_fd(), PollFlags::IN));
        }
        for (number, attendant) in self.attendants.iter().enumerate() {
            let mut theirs: Wanted<'_> = Vec::new();
            attendant.want(&mut theirs);
            let theirs = theirs.into_iter().enumerate();
            wanted.extend(theirs.map(|(index, (fd, flags))| (Event::Attendant(number, index), fd, flags)));
        }
        wanted
    }

    /// Which events these are, and which attendants are to be called.
    fn sort_events(&self, flags: &[(Event, PollFlags)]) -> Ready {
        let mut ready = Ready::default();
        let mut theirs: Vec<Vec<PollFlags>> = self.attendants.iter().map(|_| Vec::new()).collect();
        for (event, flags) in flags {
            match event {
                Event::Attendant(number, _) => {
                    if let Some(list) = theirs.get_mut(*number) {
                        list.push(*flags);
                    }
                }
                event if !flags.is_empty() => ready.events.push(*event),
                _ => {}
            }
        }
        let now = Instant::now();
        for (number, (flags, attendant)) in theirs.into_iter().zip(&self.attendants).enumerate() {
            let is_due = attendant.deadline().is_some_and(|deadline| deadline <= now);
            if is_due || flags.iter().any(|flags| !flags.is_empty()) {
                ready.calls.push((number, flags));
            }
        }
        ready
    }

    /// Calls the attendants for whom something happened; those that leave are dropped.
    fn call_attendants(&mut self, calls: &[(usize, Vec<PollFlags>)]) {
        let program = Program { pidfd: self.pidfd };
        // From the last to the first: one that leaves moves only those behind it.
        for (number, flags) in calls.iter().rev() {
            if let Some(attendant) = self.attendants.get_mut(*number)
                && attendant.attend(flags, &program) == Attention::Leaves
            {
                drop(self.attendants.remove(*number));
            }
        }
    }

    fn want_input<'b>(
        &self,
        wanted: &mut Vec<(Event, BorrowedFd<'b>, PollFlags)>,
        input: BorrowedFd<'b>,
        pending: &Pending,
    ) {
        if !pending.bytes.is_empty() {
            // What came before must be through first: no buffer grows without bound.
            wanted.push((Event::InputRoom, input, PollFlags::OUT));
        } else if matches!(self.watcher, Watcher::Own { interactive: true }) && !pending.ended {
            wanted.push((Event::Input, cais_sys::process::stdin(), PollFlags::IN));
        }
    }

    fn source(&self, stream: Stream) -> BorrowedFd<'_> {
        match (&self.streams, stream) {
            (Streams::Pipes { output, .. }, Stream::Stdout) => output.as_fd(),
            (Streams::Pipes { error, .. }, Stream::Stderr) => error.as_fd(),
            (Streams::Terminal(master), _) => master.as_fd(),
        }
    }

    /// Passes on one read of a stream; tells whether there may be more.
    fn pass_output(&mut self, stream: Stream, log_error: &mut Option<EngineError>) -> Result<bool> {
        let mut buffer = vec![0u8; MAX - 1];
        let count = match rustix::io::read(self.source(stream), &mut buffer[..]) {
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
        if let Some(log) = &mut self.log
            && log_error.is_none()
        {
            *log_error = log.append(stream, bytes).err();
        }
        self.show(stream, bytes);
        Ok(true)
    }

    /// Shows output to the watcher; one that has gone is forgotten.
    fn show(&mut self, stream: Stream, bytes: &[u8]) {
        let gone = match &self.watcher {
            Watcher::Nobody => false,
            Watcher::Own { .. } => write_all(
                cais_sys::process::standard_stream(stream == Stream::Stderr),
                bytes,
            )
            .is_err(),
            Watcher::Front { socket, .. } => {
                channel::send(socket.as_fd(), &Message::Data(bytes).encode(), &[]).is_err()
            }
        };
        if gone && matches!(self.watcher, Watcher::Front { .. }) {
            self.lose_front();
        }
    }

    fn read_input(&mut self, pending: &mut Pending) {
        let mut buffer = vec![0u8; MAX - 1];
        match rustix::io::read(cais_sys::process::stdin(), &mut buffer[..]) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(count) if count > 0 => {
                pending
                    .bytes
                    .extend_from_slice(buffer.get(..count).unwrap_or(&[]));
                self.write_input(pending);
            }
            // The end, or a terminal that went away: the program sees the end too.
            Ok(_) | Err(_) => {
                pending.ended = true;
                self.close_input_at_end(pending);
            }
        }
    }

    fn write_input(&mut self, pending: &mut Pending) {
        let target = match &self.streams {
            Streams::Pipes {
                input: Some(input), ..
            } => input.as_fd(),
            Streams::Pipes { input: None, .. } => return pending.bytes.clear(),
            Streams::Terminal(master) => master.as_fd(),
        };
        match rustix::io::write(target, &pending.bytes) {
            Ok(count) => drop(pending.bytes.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                // The program closed its input: what was meant for it is for nobody.
                pending.bytes.clear();
                pending.ended = true;
            }
        }
        self.close_input_at_end(pending);
    }

    fn close_input_at_end(&mut self, pending: &Pending) {
        if pending.ended
            && pending.bytes.is_empty()
            && let Streams::Pipes { input, .. } = &mut self.streams
        {
            *input = None;
        }
    }

    fn forward_signals(&self) {
        let Some(signals) = &self.signals else { return };
        while let Some(number) = cais_sys::signal::read_signalfd(signals.as_fd()) {
            self.signal(number);
        }
    }

    fn signal(&self, number: i32) {
        if number == SIGWINCH && matches!(self.streams, Streams::Terminal(_)) {
            let (rows, columns) = super::front::terminal_size();
            return self.resize(rows, columns);
        }
        if let Some(signal) = from_number(number) {
            // It may just have ended: that is the next event.
            pidfd::send_signal(self.pidfd, signal).unwrap_or_default();
        }
    }

    fn hear_front(&mut self, pending: &mut Pending) {
        let mut buffer = vec![0u8; MAX];
        let Watcher::Front { socket, .. } = &self.watcher else {
            return;
        };
        let received = channel::receive(socket.as_fd(), &mut buffer, &mut Vec::new());
        match received.ok().flatten().map(Message::parse) {
            None => self.lose_front(),
            Some(Some(Message::Detach)) => self.watcher = Watcher::Nobody,
            Some(Some(Message::Data(bytes))) => {
                pending.bytes.extend_from_slice(bytes);
                self.write_input(pending);
            }
            Some(Some(Message::Resize { rows, columns })) => self.resize(rows, columns),
            Some(Some(Message::Signal(number))) => self.signal(i32::from(number)),
            Some(_) => {}
        }
    }

    /// The watcher went away without a word: it was killed, and its terminal is still in
    /// raw mode.
    fn lose_front(&mut self) {
        if let Watcher::Front {
            restore: Some(terminal),
            ..
        } = &self.watcher
        {
            terminal.restore();
        }
        self.watcher = Watcher::Nobody;
    }

    fn resize(&self, rows: u16, columns: u16) {
        if let Streams::Terminal(master) = &self.streams {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            // A size that does not take is no reason to end the session.
            rustix::termios::tcsetwinsize(master, size).unwrap_or_default();
        }
    }

    /// Reads what is left after the program's end. Somebody else may hold the other
    /// end still (a process in the host's pid namespace): that is not waited for.
    fn drain(&mut self, open: [bool; 2], log_error: &mut Option<EngineError>) -> Result<()> {
        for (stream, open) in [Stream::Stdout, Stream::Stderr].into_iter().zip(open) {
            if !open || (stream == Stream::Stderr && matches!(self.streams, Streams::Terminal(_))) {
                continue;
            }
            loop {
                let source = self.source(stream);
                let mut fds = [PollFd::from_borrowed_fd(source, PollFlags::IN)];
                let now = rustix::time::Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let ready = poll(&mut fds, Some(&now)).unwrap_or(0) > 0;
                if !ready || !self.pass_output(stream, log_error)? {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// Writes everything, waiting where the other side is slow.
pub(super) fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8]) -> std::result::Result<(), Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Reads a byte from a pipe, then asks for a moment, then ends the program.
    #[derive(Debug)]
    struct Bell {
        pipe: OwnedFd,
        due: Option<Instant>,
        heard: Rc<RefCell<Vec<&'static str>>>,
    }

    impl Attendant for Bell {
        fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
            if self.due.is_none() {
                wanted.push((self.pipe.as_fd(), PollFlags::IN));
            }
        }

        fn deadline(&self) -> Option<Instant> {
            self.due
        }

        fn attend(&mut self, ready: &[PollFlags], program: &Program<'_>) -> Attention {
            if self.due.is_some() {
                assert!(ready.is_empty());
                self.heard.borrow_mut().push("deadline");
                program.signal(rustix::process::Signal::KILL);
                return Attention::Leaves;
            }
            assert_eq!(ready, [PollFlags::IN]);
            self.heard.borrow_mut().push("descriptor");
            self.due = Some(Instant::now());
            Attention::Stays
        }
    }

    #[test]
    fn attendants_are_called_for_descriptors_and_deadlines() {
        let mut program = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&program);
        let pidfd = pidfd::open(pid).unwrap();
        let (output, their_output) = pipe().unwrap();
        let (error, their_error) = pipe().unwrap();
        let (bell, push) = pipe().unwrap();
        rustix::io::write(&push, b"x").unwrap();
        let heard = Rc::new(RefCell::new(Vec::new()));
        let attendant = Bell {
            pipe: bell,
            due: None,
            heard: Rc::clone(&heard),
        };
        let relay = Relay {
            pidfd: pidfd.as_fd(),
            streams: Streams::Pipes {
                input: None,
                output,
                error,
            },
            watcher: Watcher::Nobody,
            log: None,
            signals: None,
            attendants: vec![Box::new(attendant)],
        };
        let ended = relay.run().unwrap();
        drop((their_output, their_error));
        assert_eq!(ended, Ended::Killed(9));
        assert_eq!(*heard.borrow(), ["descriptor", "deadline"]);
        assert!(program.wait().is_err(), "the loop has waited for it");
    }
}
