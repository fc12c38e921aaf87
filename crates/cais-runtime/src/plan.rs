//! The plan of a container: pure data made from the configuration.

mod cgroup_mounts;
mod devices;
pub mod facts;
mod filesystem;
mod hooks;
pub mod limits;
pub mod namespaces;
mod planner;
mod process;
pub mod sources;
pub mod steps;

pub use planner::{plan_container, plan_exec};
pub use steps::{Buffer, StepList};

use crate::error::CreateError;
use limits::ProcessLimits;
use rustix::io::Errno;
use sources::Source;
use std::path::PathBuf;

/// The maps of a new user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMaps {
    /// The text for /proc/PID/uid_map.
    pub uid: String,
    /// The text for /proc/PID/gid_map.
    pub gid: String,
}

/// What is to be done, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The namespaces that the first process is cloned into (`CLONE_NEW*`).
    pub namespaces: u64,
    /// The maps of its user namespace, where it has one of its own.
    pub id_maps: Option<IdMaps>,
    /// The user namespace to be entered before the new namespaces are made, so that they belong
    /// to it: another container's, or the one that a new one is to be below.
    pub join_user: Option<PathBuf>,
    /// The pid namespace of another container.
    pub join_pid: Option<PathBuf>,
    /// The namespaces of the process that it joins that are entered before it is born
    /// (`CLONE_NEW*`): those of a container with a pid namespace, where everything that comes
    /// later can be seen.
    pub enter_first: u32,
    /// Whether it is born into the user namespace of that process too: the only way for a
    /// caller without privilege.
    pub enter_user: bool,
    /// The host's uid and gid that are 0 in the container's user namespace.
    pub root_ids: Option<(u32, u32)>,
    /// Whether the stub waits for a message before it becomes the program.
    pub awaits_start: bool,
    /// Whether the stub waits for a message while somebody else puts it into its cgroup.
    pub awaits_cgroup: bool,
    /// Whether the stub waits for a message while hooks run on the host.
    pub awaits_hooks: bool,
    /// Whether the stub lets go of this process and waits for another one that starts it.
    pub holds: bool,
    /// The CPUs on which the process begins: a bit map.
    pub initial_affinity: Option<Vec<u8>>,
    /// Limits that are set from outside.
    pub limits: ProcessLimits,
    /// What the caller opens, in the order of the slots.
    pub sources: Vec<Source>,
    /// What the stub does.
    pub steps: StepList,
    /// What the user should know: things asked for that this machine gives only in part.
    pub warnings: Vec<String>,
}

impl Plan {
    /// The error for a step that failed, as the stub reported it.
    #[must_use]
    pub fn failure(&self, index: u32, errno: i32, detail: &[u8]) -> CreateError {
        let number = usize::try_from(index).unwrap_or(usize::MAX);
        let step = self.steps.iter().nth(number).map(|(step, _)| step);
        let name = step.map_or("the plan", |step| step.name());
        failure(
            (number, self.steps.count(), name),
            Errno::from_raw_os_error(errno),
            detail,
        )
    }
}

/// The error for a failed step: its index, how many there are, its name. A program that
/// cannot be executed is an error of its own.
pub(crate) fn failure(step: (usize, usize, &'static str), errno: Errno, detail: &[u8]) -> CreateError {
    let detail = String::from_utf8_lossy(detail).into_owned();
    let program = detail
        .strip_prefix("execve(\"")
        .and_then(|rest| rest.strip_suffix("\")"));
    match program {
        Some(program) => CreateError::Execute {
            program: program.to_owned(),
            errno,
        },
        None => CreateError::Step {
            number: step.0.saturating_add(1),
            of: step.1,
            name: step.2,
            detail,
            errno,
        },
    }
}

#[cfg(test)]
mod tests;
