//! What the stub says, heard: how far it is, what it hands over, what failed.

use super::Timing;
use crate::error::CreateError;
use crate::plan::{self, Plan};
use cais_init::message::{REPORT_MAX, Report};
use cais_init::wire::{Field, Source as Bytes};
use cais_linux::SysError;
use cais_linux::process::channel;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// One thing that was heard.
pub(super) enum Heard {
    /// It waits for a word of this process.
    Created,
    /// It has let go of this process.
    Waiting,
    /// The master of the terminal.
    Terminal(OwnedFd),
    /// The descriptor of seccomp notifications.
    Listener(OwnedFd),
    /// A step took its time, its network is its own, or execve(2) comes next.
    Progress,
    /// The end.
    End,
}

/// Listens to a stub.
pub(super) struct Ear<'a> {
    /// The plan, where this process made it.
    pub(super) plan: Option<&'a Plan>,
    pub(super) channel: BorrowedFd<'a>,
    /// Whether the next thing was said to be execve(2).
    pub(super) executing: bool,
    /// Whether it is in the network namespace that is to be its own.
    pub(super) network_left: bool,
    /// The first failure.
    pub(super) failure: Option<CreateError>,
}

impl<'a> Ear<'a> {
    pub(super) fn new(plan: Option<&'a Plan>, channel: BorrowedFd<'a>) -> Self {
        Self {
            plan,
            channel,
            executing: false,
            network_left: true,
            failure: None,
        }
    }

    /// Waits for the next message.
    pub(super) fn hear(&mut self, clock: &mut Clock) -> Result<Heard, CreateError> {
        let mut buffer = [0u8; REPORT_MAX];
        let mut fds = Vec::new();
        let message = channel::receive(self.channel.as_fd(), &mut buffer, &mut fds)
            .map_err(CreateError::prepare("listen to the init stub"))?;
        let Some(message) = message else {
            return Ok(Heard::End);
        };
        if let Ok(bytes) = <[u8; 4]>::try_from(message) {
            // The stub could not even be executed: a bare errno.
            let errno = Errno::from_raw_os_error(i32::from_ne_bytes(bytes));
            self.failure = Some(if self.network_left {
                CreateError::Prepare {
                    action: "execute the init stub from a memfd".to_owned(),
                    source: SysError::new("execveat", "cais-init", errno),
                }
            } else {
                CreateError::Prepare {
                    action: "make the network namespace".to_owned(),
                    source: SysError::new("unshare", "CLONE_NEWNET", errno),
                }
            });
            return Ok(Heard::Progress);
        }
        Ok(match Report::decode(&mut Bytes(message)) {
            Ok(Report::NetworkLeft) => {
                self.network_left = true;
                Heard::Progress
            }
            Ok(Report::Created) => Heard::Created,
            Ok(Report::Waiting) => Heard::Waiting,
            Ok(Report::Executing) => {
                self.executing = true;
                Heard::Progress
            }
            Ok(Report::Took { step, nanoseconds }) => {
                if let Some(plan) = self.plan {
                    clock.step(plan, step, nanoseconds);
                }
                Heard::Progress
            }
            Ok(Report::Failed { step, errno, detail }) => {
                self.failure = Some(match self.plan {
                    Some(plan) => plan.failure(step, errno, detail),
                    None => {
                        let number = usize::try_from(step).unwrap_or(usize::MAX);
                        let errno = Errno::from_raw_os_error(errno);
                        plan::failure((number, number.saturating_add(1), "the start"), errno, detail)
                    }
                });
                Heard::Progress
            }
            Ok(Report::Terminal) => fds.pop().map_or(Heard::Progress, Heard::Terminal),
            Ok(Report::Listener) => fds.pop().map_or(Heard::Progress, Heard::Listener),
            Err(_) => Heard::Progress,
        })
    }
}

/// Measures the stages, where somebody wants to know.
#[derive(Debug)]
pub(super) struct Clock {
    last: Option<Instant>,
    pub(super) timings: Vec<Timing>,
}

impl Clock {
    pub(super) fn new(wanted: bool) -> Self {
        Self {
            last: wanted.then(Instant::now),
            timings: Vec::new(),
        }
    }

    pub(super) fn lap(&mut self, name: &str) {
        if let Some(last) = self.last {
            let now = Instant::now();
            self.timings.push(Timing {
                name: name.to_owned(),
                took: now - last,
                in_stub: false,
            });
            self.last = Some(now);
        }
    }

    fn step(&mut self, plan: &Plan, step: u32, nanoseconds: u64) {
        let name = plan.steps.describe(usize::try_from(step).unwrap_or(usize::MAX));
        self.timings.push(Timing {
            name,
            took: Duration::from_nanos(nanoseconds),
            in_stub: true,
        });
    }
}
