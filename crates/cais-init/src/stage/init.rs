//! `--init`: a first process that reaps what others leave behind and hands on the
//! signals that it gets. The program runs as its child.

use super::{Stage, StepResult, plain};
use cais_sys::process::{Forked, exit_now, fork};
use cais_sys::signal::{SignalSet, set_mask, signalfd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, WaitOptions, WaitStatus};

const SIGCHLD: i32 = 17;

/// Keeps signals until somebody can hear them: the first process of a pid namespace loses
/// those that it neither blocks nor handles. Who made this process had them blocked for it.
/// [`Stage::execute`] lets them go again.
pub(super) fn hold_signals() {
    set_mask(SignalSet::ALL);
}

impl<'a> Stage<'a> {
    /// Forks; the child goes on with the plan. All signals are blocked by now
    /// ([`hold_signals`]), so that none falls between.
    pub(super) fn become_init(&mut self) -> StepResult<'a> {
        let signals = signalfd(SignalSet::ALL).map_err(plain("signalfd"))?;
        match fork().map_err(plain("clone3"))? {
            Forked::Child => {
                // A process group of its own: a key of the terminal must not reach it
                // twice, directly and through the init.
                rustix::process::setpgid(None, None).map_err(plain("setpgid"))?;
                let group = rustix::process::getpid();
                // Not a terminal, or not ours: then there is no foreground to take.
                cais_sys::tty::set_foreground_of_stdin(group).unwrap_or_default();
                Ok(())
            }
            Forked::Parent(child) => {
                // The caller waits for the end of the channel: the child holds it alone.
                self.channel = None;
                for slot in &mut self.slots {
                    *slot = None;
                }
                // Dying with the caller was for the time of set-up.
                rustix::process::set_parent_process_death_signal(None).map_err(plain("prctl"))?;
                exit_now(serve(&signals, child))
            }
        }
    }
}

/// Reaps and forwards until `child` ends; returns its exit status as a shell gives it.
fn serve(signals: &OwnedFd, child: Pid) -> u8 {
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        if poll(&mut fds, None).is_err() {
            continue;
        }
        while let Some(number) = cais_sys::signal::read_signalfd(signals.as_fd()) {
            if number != SIGCHLD {
                forward(child, number);
            }
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == child {
                return exit_status(status);
            }
        }
    }
}

fn forward(child: Pid, number: i32) {
    if let Some(signal) = cais_sys::signal::from_number(number) {
        // The child may just have ended: its status tells.
        rustix::process::kill_process(child, signal).unwrap_or_default();
    }
}

fn exit_status(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
