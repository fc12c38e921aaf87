//! What a monitor looks after beside the program's streams: connections of `attach`,
//! probes of its health, answers to its questions for names, forwarded ports.
//!
//! An attendant says at each turn for which descriptors it waits, and until when at the
//! latest. The loop ([`super::Relay`]) waits for everything at once with one poll(2), in
//! the foreground and detached alike; an attendant that waits for nothing costs nothing.
//! It runs in a process with one thread: whatever it does, it must not wait.
//!
//! Where attendants come from: `crate::run::equip`.

use cais_linux::process::pidfd;
use rustix::event::PollFlags;
use rustix::fd::BorrowedFd;
use rustix::process::Signal;
use std::cell::Cell;
use std::fmt::Debug;
use std::time::Instant;

/// The descriptors that are waited for, and what for.
pub type Wanted<'a> = Vec<(BorrowedFd<'a>, PollFlags)>;

/// Whether an attendant is still needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// It stays.
    Stays,
    /// It is done: it is dropped.
    Leaves,
}

/// The program, for an attendant.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its first process; none when it has ended.
    pub(super) pidfd: Option<BorrowedFd<'a>>,
    /// Whether it is to be started again when it has ended, whatever its restart policy.
    pub(super) restart: &'a Cell<bool>,
}

impl Program<'_> {
    /// Sends a signal to the first process. One that has just ended is no error: its end is
    /// the loop's next event.
    pub fn signal(&self, signal: Signal) {
        if let Some(pidfd) = self.pidfd {
            pidfd::send_signal(pidfd, signal).unwrap_or_default();
        }
    }

    /// Asks that it is started again when it has ended, whatever its restart policy.
    pub fn want_restart(&self) {
        self.restart.set(true);
    }
}

/// Something that the monitor looks after. Its errors are its own: it has nobody to tell,
/// and the program goes on.
pub trait Attendant {
    /// Adds the descriptors that it waits for now, which may be none.
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>);

    /// When it is to be called even though nothing happened. `None`: never.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether it stays when the program has ended, until it leaves by itself.
    fn outlives_the_program(&self) -> bool {
        false
    }

    /// Called when a command has changed what is written of the container and asks the
    /// monitor to look ([`super::door::nudge`]).
    fn look_again(&mut self) {}

    /// Called when one of its descriptors is ready or its deadline has passed. `ready` has
    /// one element for each descriptor that [`Attendant::want`] added, in that order; empty
    /// flags where it is not ready.
    fn attend(&mut self, ready: &[PollFlags], program: &Program<'_>) -> Attention;
}

/// Without what it holds: to write that out would be much code for nobody.
impl Debug for dyn Attendant {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Attendant")
    }
}
