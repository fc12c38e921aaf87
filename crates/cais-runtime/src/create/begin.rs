//! Making the process that becomes the stub.

use super::enter::{self, Join};
use super::listen::Clock;
use super::memory::SharedMemory;
use super::{Surroundings, open_namespace};
use crate::error::CreateError;
use crate::plan::Plan;
use crate::stub::STUB;
use cais_linux::SysError;
use cais_linux::process::{channel, pidfd, stub};
use cais_sys::clone::{CloneRequest, StubProcess, namespace};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Signal;

/// A process that has heard nothing yet: it makes its network namespace, or waits. Without
/// [`super::go_on`] nothing is left of it.
#[derive(Debug)]
pub struct Begun {
    /// This end of the channel to it.
    pub(super) ours: OwnedFd,
    pub(super) unfinished: Unfinished,
    /// What is to be waited for before anybody looks at the process.
    pub(super) memory: Option<SharedMemory>,
    pub(super) clock: Clock,
}

/// Makes the process. Neither standard streams nor `tasks` files are used yet.
///
/// # Errors
/// As clone3(2) and memfd_create(2).
pub fn begin(plan: &Plan, around: &Surroundings<'_>) -> Result<Begun, CreateError> {
    let mut clock = Clock::new(around.timings);
    (around.checkpoint)("seal the stub");
    let executable =
        stub::seal("cais-init", STUB, true).map_err(CreateError::prepare("copy the init stub"))?;
    let (ours, theirs) = channel::pair().map_err(CreateError::prepare("open a channel"))?;
    clock.lap("seal the stub");
    (around.checkpoint)("clone");
    let (memory, executes) = SharedMemory::watch(becomes_another(plan))?.unzip();
    let process = spawn(plan, around, &executable, (&ours, theirs))?;
    drop(executes);
    clock.lap("clone");
    Ok(Begun {
        ours,
        unfinished: Unfinished(Some(process)),
        memory,
        clock,
    })
}

/// Whether the new process makes its network namespace itself while this one goes on; a
/// go-between makes it with the process.
pub(super) fn leaves_network(plan: &Plan) -> bool {
    plan.namespaces & namespace::NETWORK != 0 && plan.join_pid.is_none()
}

/// Whether the new process becomes id 0 of a user namespace, which may be another id of the host.
fn becomes_another(plan: &Plan) -> bool {
    plan.id_maps.is_some() || plan.join_user.is_some() || plan.enter_user
}

fn spawn(
    plan: &Plan,
    around: &Surroundings<'_>,
    executable: &OwnedFd,
    (ours, theirs): (&OwnedFd, OwnedFd),
) -> Result<StubProcess, CreateError> {
    let join_user = plan.join_user.as_deref().map(open_namespace).transpose()?;
    if let Some(mask) = &plan.initial_affinity {
        cais_sys::sched::set_affinity(None, mask)
            .map_err(|errno| SysError::new("sched_setaffinity", "process.execCPUAffinity.initial", errno))
            .map_err(CreateError::prepare("choose the CPUs of the process"))?;
    }
    let request = CloneRequest {
        namespaces: plan.namespaces,
        join_user: join_user
            .as_ref()
            .map(AsFd::as_fd)
            .or(around.target.filter(|_| plan.enter_user)),
        cgroup: around.cgroup,
        stub: executable.as_fd(),
        // Of whoever is cloned: see below.
        channel: ours.as_fd(),
        parent_channel: ours.as_fd(),
        await_id_maps: plan.id_maps.is_some(),
        leaves_network: false,
        enters: false,
    };
    let shared;
    let join = match (&plan.join_pid, around.target) {
        (Some(path), _) => {
            shared = open_namespace(path)?;
            Join {
                target: shared.as_fd(),
                kinds: u32::try_from(namespace::PID).unwrap_or(0),
                hides: false,
            }
        }
        (None, Some(target)) if plan.enter_first != 0 => Join {
            target,
            kinds: plan.enter_first,
            hides: true,
        },
        _ => {
            let request = CloneRequest {
                channel: theirs.as_fd(),
                namespaces: plan.namespaces & !namespace::NETWORK,
                leaves_network: leaves_network(plan),
                ..request
            };
            return stub::spawn(&request).map_err(CreateError::prepare("make the container's first process"));
        }
    };
    enter::spawn(&request, &join, theirs)
}

/// The process until the program runs: killed and waited for where it goes out of scope.
#[derive(Debug)]
pub(super) struct Unfinished(Option<StubProcess>);

impl Unfinished {
    pub(super) fn process(&self) -> &StubProcess {
        self.0
            .as_ref()
            .unwrap_or_else(|| unreachable!("taken by finish, which consumes"))
    }

    pub(super) fn finish(mut self) -> StubProcess {
        self.0.take().unwrap_or_else(|| unreachable!("taken only here"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            // It may have ended by itself; what counts is that it is gone afterwards.
            pidfd::send_signal(process.pidfd.as_fd(), Signal::KILL).unwrap_or_default();
            pidfd::wait(process.pidfd.as_fd()).map(drop).unwrap_or_default();
        }
    }
}
