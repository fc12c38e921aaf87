//! When the program has ended: what outlives it, and the time until it is started again.

use super::super::attendant::{Attendant, Attention, Wanted};
use super::{Program, timespec};
use crate::error::{EngineError, Result};
use cais_linux::SysError;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::cell::Cell;
use std::time::Instant;

/// Why [`see_off`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// All have left.
    AllGone,
    /// The time is up.
    TimeUp,
    /// Somebody asked to look.
    Nudged,
}

/// Looks after what outlives a program until all have left, or until a moment.
///
/// # Errors
/// As poll(2).
pub(crate) fn see_off(
    left: &mut Vec<Box<dyn Attendant>>,
    until: Option<Instant>,
    signals: Option<BorrowedFd<'_>>,
) -> Result<Seen> {
    loop {
        let now = Instant::now();
        match until {
            None if left.is_empty() => return Ok(Seen::AllGone),
            Some(until) if until <= now => return Ok(Seen::TimeUp),
            _ => {}
        }
        if signals.is_some_and(|signals| cais_sys::signal::read_signalfd(signals).is_some()) {
            return Ok(Seen::Nudged);
        }
        let mut wanted: Wanted<'_> = signals.into_iter().map(|fd| (fd, PollFlags::IN)).collect();
        for attendant in left.iter() {
            attendant.want(&mut wanted);
        }
        let mut fds: Vec<PollFd<'_>> = wanted
            .iter()
            .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let deadlines = left.iter().filter_map(|each| each.deadline());
        let until = deadlines.chain(until).min();
        let timeout = until.map(|until| timespec(until.saturating_duration_since(now)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(EngineError::System {
                    action: "wait for events".to_owned(),
                    source: SysError::new("poll", "", errno),
                });
            }
        }
        drop(fds);
        drop(wanted);
        call_all(left);
    }
}

/// Calls each of them: they are few, and one that has nothing to do does nothing.
fn call_all(left: &mut Vec<Box<dyn Attendant>>) {
    // There is no program any more to do anything with.
    let restart = Cell::new(false);
    let program = Program {
        pidfd: None,
        restart: &restart,
    };
    left.retain_mut(|attendant| attendant.attend(&[], &program) == Attention::Stays);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves after so many turns, and waits for nothing but its turn.
    struct Turns(u32, Instant);

    impl Attendant for Turns {
        fn want<'a>(&'a self, _wanted: &mut Wanted<'a>) {}

        fn deadline(&self) -> Option<Instant> {
            Some(self.1)
        }

        fn attend(&mut self, _ready: &[PollFlags], _program: &Program<'_>) -> Attention {
            self.0 -= 1;
            match self.0 {
                0 => Attention::Leaves,
                _ => Attention::Stays,
            }
        }
    }

    #[test]
    fn one_that_waits_for_its_turn_alone_gets_it() {
        let mut left: Vec<Box<dyn Attendant>> = vec![Box::new(Turns(3, Instant::now()))];
        assert_eq!(see_off(&mut left, None, None).unwrap(), Seen::AllGone);
    }
}
