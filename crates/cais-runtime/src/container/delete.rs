//! `delete`: what a container holds is given back. All parts are tried; the directory goes
//! last, so that what stays can be tried again.

use super::error::{Result, RuntimeError};
use super::state::{Directory, State, Status, probe_status};
use super::{Runtime, cgroups, hooks};
use cais_linux::SysError;
use cais_linux::process::pidfd;
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal};
use std::time::Duration;

/// How long a killed process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a container that has stopped; with `force` also one that has not. Returns what
/// went wrong with `poststop` hooks, which stops nothing.
///
/// # Errors
/// [`RuntimeError::NotFound`] without `force`; [`RuntimeError::Wrong`] where it still runs.
pub fn delete(runtime: &Runtime, id: &str, force: bool) -> Result<Vec<RuntimeError>> {
    let directory = match Directory::open(runtime, id) {
        Err(RuntimeError::NotFound(_)) if force => return Ok(Vec::new()),
        other => other?,
    };
    let Some(state) = directory.read()? else {
        // A `create` was killed before it wrote anything down: it held nothing.
        directory.remove()?;
        return if force {
            Ok(Vec::new())
        } else {
            Err(RuntimeError::NotFound(id.to_owned()))
        };
    };
    let status = probe_status(runtime, &state);
    if !matches!(status, Status::Stopped | Status::Creating) && !force {
        // One that waits for its start has no program yet: it may go, as with runc.
        if status != Status::Created {
            return Err(RuntimeError::Wrong(format!(
                "cannot delete container {id} that is not stopped: {status}"
            )));
        }
    }
    runtime.checkpoints.pass("tear down");
    tear_down(runtime, directory, &state)?;
    Ok(hooks::run_all(
        "poststop",
        &state.poststop,
        &state,
        Status::Stopped,
    ))
}

/// Ends the processes, removes the cgroup and what else was made, and at last the directory.
pub(super) fn tear_down(runtime: &Runtime, directory: Directory, state: &State) -> Result<()> {
    kill_first(state)?;
    runtime.checkpoints.pass("remove the cgroup");
    let mut group = cgroups::open(state)?;
    if let (Some(unit), Some(_)) = (&state.systemd_unit, &group) {
        super::systemd::stop(runtime, unit)?;
        group = cgroups::open(state)?;
    }
    if let Some(group) = group {
        // Processes of a container without a pid namespace of its own outlive the first one.
        group
            .kill_all()
            .and_then(|()| group.remove())
            .map_err(RuntimeError::cgroup(format!(
                "remove the cgroup {}",
                state.cgroup
            )))?;
    }
    if let Some(resctrl) = &state.resctrl {
        match std::fs::remove_dir(resctrl) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RuntimeError::file(format!("remove {}", resctrl.display()))(error));
            }
            _ => {}
        }
    }
    runtime.checkpoints.pass("remove the directory");
    directory.remove()
}

/// Kills the first process and waits until it is gone.
fn kill_first(state: &State) -> Result<()> {
    if !state.is_alive() {
        return Ok(());
    }
    let Some(pid) = Pid::from_raw(state.pid) else {
        return Ok(());
    };
    // One that stands still hears nothing, not even this, with cgroup v1.
    if let Ok(Some(group)) = cgroups::open(state)
        && group.is_frozen()
    {
        let killed = pidfd::open(pid).and_then(|process| pidfd::send_signal(process.as_fd(), Signal::KILL));
        killed.unwrap_or_default();
        group
            .thaw()
            .map_err(RuntimeError::cgroup("let the container run, to end it"))?;
    }
    let Ok(process) = pidfd::open(pid) else {
        return Ok(());
    };
    // Opened by number: it must still be the one that was written down.
    if !state.is_alive() {
        return Ok(());
    }
    match pidfd::send_signal(process.as_fd(), Signal::KILL) {
        Err(error) if error.errno() == rustix::io::Errno::SRCH => return Ok(()),
        other => other.map_err(RuntimeError::system("kill the container's first process"))?,
    }
    let gone = pidfd::await_end(process.as_fd(), Some(PATIENCE))
        .map_err(RuntimeError::system("wait for the container's first process"))?;
    if gone {
        Ok(())
    } else {
        Err(RuntimeError::System {
            action: "wait for the container's first process".to_owned(),
            source: SysError::new("poll", "pidfd", rustix::io::Errno::TIMEDOUT),
        })
    }
}
