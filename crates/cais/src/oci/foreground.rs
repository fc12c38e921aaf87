//! `run` and `exec` that wait: signals are handed on, a terminal is relayed, and the end is
//! told as a shell would.

use super::Outcome;
use crate::failure::Failure;
use cais_engine::monitor::front::RawTerminal;
use cais_engine::monitor::watcher::Own;
use cais_engine::monitor::{Relay, Streams};
use cais_linux::process::pidfd;
use cais_sys::signal::{SignalSet, block, from_number, read_signalfd, signalfd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};

/// SIGCHLD, which is about children of this process, and no word for the program.
const SIGCHLD: i32 = 17;
/// Signals that are handed on; the others say that this process itself is wrong.
const HANDED_ON: [u32; 17] = [1, 2, 3, 10, 12, 13, 14, 15, 17, 18, 20, 21, 22, 23, 28, 29, 30];

/// Blocks the signals that are handed on. Done before the container is made, so that none
/// is lost.
pub(super) fn take_signals() -> Result<OwnedFd, Failure> {
    let set = HANDED_ON
        .iter()
        .fold(SignalSet::EMPTY, |set, signal| set.with(*signal));
    block(set);
    signalfd(set).map_err(|errno| Failure::new(format!("cannot listen for signals: {errno}")))
}

/// Waits for the end of the process. Returns its exit code.
pub(super) fn wait(process: &OwnedFd, terminal: Option<OwnedFd>, signals: &OwnedFd) -> Outcome {
    let ended = match terminal {
        None => forward_until_end(process, signals)?,
        Some(master) => {
            let raw = RawTerminal::enter();
            let mut relay = Relay::new(process.as_fd(), Streams::Terminal(master));
            relay.own = Some(Own {
                input: true,
                shows: [true, true],
            });
            relay.signals = Some(signals.as_fd());
            let over = relay.run();
            drop(raw);
            over.ended.map_err(Failure::from)?
        }
    };
    Ok(ended.code())
}

fn forward_until_end(process: &OwnedFd, signals: &OwnedFd) -> Result<pidfd::Ended, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot wait for the process: {error}"));
    loop {
        let mut fds = [
            PollFd::new(process, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(&errno)),
        }
        if fds[0].revents().contains(PollFlags::IN) {
            return pidfd::wait(process.as_fd()).map_err(|error| failed(&error));
        }
        while let Some(number) = read_signalfd(signals.as_fd()) {
            if number != SIGCHLD
                && let Some(signal) = from_number(number)
            {
                // It may just have ended: the loop sees it next.
                pidfd::send_signal(process.as_fd(), signal).unwrap_or_default();
            }
        }
    }
}
