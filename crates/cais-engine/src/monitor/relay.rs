//! The loop of the monitor.

mod after;
mod before;
mod fronts;
mod streams;

pub(crate) use after::{Seen, see_off};
pub(crate) use before::attend_early;

use super::Streams;
use super::attendant::{Attendant, Attention, Program, Wanted};
use super::door::Door;
use super::front::DetachKeys;
use super::watcher::{Front, Own};
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::log::{LogWriter, Stream};
use crate::store::Store;
use cais_linux::SysError;
use cais_linux::process::pidfd::{self, Ended};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::cell::Cell;
use std::time::{Duration, Instant};
pub(super) use streams::write_all;

/// After this long without an event a monitor gives its memory back.
const QUIET: Duration = Duration::from_secs(1);

/// Everything that the loop looks after.
#[derive(Debug)]
pub struct Relay<'a> {
    /// The program.
    pub pidfd: BorrowedFd<'a>,
    /// Whether it is a child of this process, whose status this process is told.
    pub is_child: bool,
    /// Its streams.
    pub streams: Streams,
    /// This process's own standard streams, where they show the program's.
    pub own: Option<Own>,
    /// The keys by which whoever types at this process's own terminal leaves.
    pub detach_keys: DetachKeys,
    /// Commands that watch.
    pub fronts: Vec<Front>,
    /// Whether the program's input ends when the watcher who gives it leaves.
    pub input_once: bool,
    /// Where further commands come from; it is opened when one asks.
    pub house: Option<House<'a>>,
    /// Where the output is kept, unless it is not.
    pub log: Option<LogWriter>,
    /// A signalfd with the signals that are handed on to the program, and the one that asks
    /// to look.
    pub signals: Option<BorrowedFd<'a>>,
    /// What else there is to look after.
    pub attendants: Vec<Box<dyn Attendant>>,
    pending: Pending,
    open: [bool; 2],
    log_error: Option<EngineError>,
    /// The commands that left in this round.
    gone: Vec<usize>,
    restart: Cell<bool>,
    /// Whether the user left by the detach keys.
    left: bool,
}

/// What is needed to open a door for watchers.
#[derive(Debug)]
pub struct House<'a> {
    /// The store.
    pub store: &'a Store,
    /// The container.
    pub id: &'a ContainerId,
    /// The door, once it is open.
    pub door: Option<Door>,
}

/// What is left when the program has ended.
#[derive(Debug)]
pub struct Over {
    /// How it ended. An error where waiting failed.
    pub ended: Result<Ended>,
    /// Why the end of the output is not in the log, where it is not.
    pub log_error: Option<EngineError>,
    /// The streams of a program that goes on, because the user left it.
    pub detached: Option<Streams>,
    /// The commands that watched: they are still to be told.
    pub fronts: Vec<Front>,
    /// What outlives the program.
    pub attendants: Vec<Box<dyn Attendant>>,
    /// Whether one of them wants the program to be started again.
    pub restart: bool,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Ended,
    Output,
    Error,
    Input,
    Signal,
    /// The command with this number says something.
    Front(usize),
    /// The command with this number takes more.
    FrontRoom(usize),
    Door,
    InputRoom,
    /// A descriptor of the attendant with this number.
    Attendant(usize),
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

/// How much may wait for a program that does not read its input.
const MOST_PENDING: usize = 256 * 1024;

impl<'a> Relay<'a> {
    /// A loop for this program, that nobody watches yet.
    #[must_use]
    pub fn new(pidfd: BorrowedFd<'a>, streams: Streams) -> Self {
        Self {
            pidfd,
            is_child: true,
            streams,
            own: None,
            detach_keys: DetachKeys::new(Vec::new()),
            left: false,
            fronts: Vec::new(),
            input_once: false,
            house: None,
            log: None,
            signals: None,
            attendants: Vec::new(),
            pending: Pending::default(),
            open: [true, true],
            log_error: None,
            gone: Vec::new(),
            restart: Cell::new(false),
        }
    }

    /// Runs until the program has ended and its output is read.
    #[must_use]
    pub fn run(mut self) -> Over {
        let ended = self.relay();
        // Whoever came in the last moment is told of the end too.
        while !self.left && self.admit() {}
        Over {
            detached: self.left.then_some(self.streams),
            ended,
            log_error: self.log_error,
            fronts: self.fronts,
            attendants: self
                .attendants
                .into_iter()
                .filter(|each| each.outlives_the_program())
                .collect(),
            restart: self.restart.get(),
        }
    }

    fn relay(&mut self) -> Result<Ended> {
        let mut quiet = true;
        loop {
            let ready = self.wait(quiet)?;
            quiet = ready.events.is_empty() && ready.calls.is_empty();
            self.call_attendants(&ready.calls);
            let has_ended = ready.events.contains(&Event::Ended);
            for event in ready.events {
                self.handle(event)?;
            }
            self.forget_gone();
            if has_ended {
                self.left = false;
                break;
            }
            if self.left {
                return Ok(Ended::Exited(0));
            }
        }
        let ended = if self.is_child {
            pidfd::wait(self.pidfd)
        } else {
            pidfd::await_status(self.pidfd)
        };
        let ended = ended.map_err(EngineError::system("learn how the program ended"));
        self.drain()?;
        if let Some(log) = &mut self.log {
            self.log_error = log.finish().err();
        }
        ended
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Output => self.open[0] = self.pass_output(Stream::Stdout)?,
            Event::Error => self.open[1] = self.pass_output(Stream::Stderr)?,
            Event::Input => self.read_input(),
            Event::InputRoom => self.write_input(),
            Event::Signal => self.take_signals(),
            Event::Front(number) => self.hear_front(number),
            Event::FrontRoom(number) => self.flush_front(number),
            Event::Door => drop(self.admit()),
            Event::Ended | Event::Attendant(_) => {}
        }
        Ok(())
    }

    /// Waits for the next events.
    fn wait(&self, quiet: bool) -> Result<Ready> {
        let wanted = self.wanted();
        let mut fds: Vec<PollFd<'_>> = wanted
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let deadline = self.attendants.iter().filter_map(|each| each.deadline()).min();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let nobody = self.own.is_none() && self.fronts.is_empty();
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
    fn wanted(&self) -> Vec<(Event, BorrowedFd<'_>, PollFlags)> {
        let mut wanted: Vec<(Event, BorrowedFd<'_>, PollFlags)> =
            vec![(Event::Ended, self.pidfd, PollFlags::IN)];
        // Somebody who watches cannot follow: the program waits for him.
        let held = self.fronts.iter().any(Front::is_full);
        for (stream, event) in [(Stream::Stdout, Event::Output), (Stream::Stderr, Event::Error)] {
            if let Some(source) = self.source(stream).filter(|_| !held) {
                wanted.push((event, source, PollFlags::IN));
            }
        }
        self.want_input(&mut wanted);
        if let Some(signals) = self.signals {
            wanted.push((Event::Signal, signals, PollFlags::IN));
        }
        if let Some(door) = self.house.as_ref().and_then(|house| house.door.as_ref()) {
            wanted.push((Event::Door, door.fd(), PollFlags::IN));
        }
        for (number, front) in self.fronts.iter().enumerate() {
            // What came before must be through first: no buffer grows without bound.
            if self.pending.bytes.len() < MOST_PENDING {
                wanted.push((Event::Front(number), front.socket().as_fd(), PollFlags::IN));
            }
            if front.has_queue() {
                wanted.push((Event::FrontRoom(number), front.socket().as_fd(), PollFlags::OUT));
            }
        }
        for (number, attendant) in self.attendants.iter().enumerate() {
            let mut theirs: Wanted<'_> = Vec::new();
            attendant.want(&mut theirs);
            wanted.extend(
                theirs
                    .into_iter()
                    .map(|(fd, flags)| (Event::Attendant(number), fd, flags)),
            );
        }
        wanted
    }

    /// Which events these are, and which attendants are to be called.
    fn sort_events(&self, flags: &[(Event, PollFlags)]) -> Ready {
        let mut ready = Ready::default();
        let mut theirs: Vec<Vec<PollFlags>> = self.attendants.iter().map(|_| Vec::new()).collect();
        for (event, flags) in flags {
            match event {
                Event::Attendant(number) => {
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
        let program = Program {
            pidfd: Some(self.pidfd),
            restart: &self.restart,
        };
        // From the last to the first: one that leaves moves only those behind it.
        for (number, flags) in calls.iter().rev() {
            if let Some(attendant) = self.attendants.get_mut(*number)
                && attendant.attend(flags, &program) == Attention::Leaves
            {
                drop(self.attendants.remove(*number));
            }
        }
    }
}

/// A duration as poll(2) takes it.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
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
        let streams = Streams::Pipes {
            input: None,
            output,
            error,
        };
        let mut relay = Relay::new(pidfd.as_fd(), streams);
        relay.attendants.push(Box::new(attendant));
        let ended = relay.run().ended.unwrap();
        drop((their_output, their_error));
        assert_eq!(ended, Ended::Killed(9));
        assert_eq!(*heard.borrow(), ["descriptor", "deadline"]);
        assert!(program.wait().is_err(), "the loop has waited for it");
    }
}
