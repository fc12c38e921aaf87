//! `pause` and `unpause`: the processes of a container stand still, and go on.
//!
//! The wish is written before the cgroup is changed, and the cgroup is asked whenever the
//! state says that it stands still: so a command that is killed half way leaves nothing
//! that is not true.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list;
use crate::lock::ContainerLock;
use crate::state::{Container, RunState, Status};
use crate::store::Store;
use crate::{events, names};
use cais_linux::cgroups::{Group, Layout};

/// The cgroup of a container that runs; `None` where it has none.
///
/// # Errors
/// Where it cannot be opened.
pub fn open_group(cgroup: &str) -> Result<Option<Group>> {
    if cgroup.is_empty() {
        return Ok(None);
    }
    let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
    Group::open_existing(&layout, cgroup).map_err(EngineError::cgroup(format!("open the cgroup {cgroup}")))
}

/// A container that is locked, with its state and its cgroup.
struct Held {
    lock: ContainerLock,
    container: Container,
    state: RunState,
    group: Group,
}

fn hold(engine: &Engine, name: &str) -> Result<Held> {
    let store = &engine.store;
    let id = names::find(store, name)?;
    let missing = || EngineError::NoSuchContainer(name.to_owned());
    let lock = ContainerLock::acquire(store, &id)?.ok_or_else(missing)?;
    let container = list::container(store, id.as_str())?;
    let not_running = || EngineError::NotRunning(container.record.name.clone());
    let state = container.state.clone().filter(|_| container.is_running());
    let state = state.ok_or_else(not_running)?;
    let group = open_group(&state.cgroup)?.ok_or_else(|| {
        EngineError::Invalid(format!(
            "container {} has no cgroup of its own: its processes cannot be stopped together",
            container.record.name
        ))
    })?;
    Ok(Held {
        lock,
        container,
        state,
        group,
    })
}

/// Stops all processes of a container.
///
/// # Errors
/// Where it does not run or stands still already, or its cgroup cannot be frozen.
pub fn pause(engine: &Engine, name: &str) -> Result<()> {
    let held = hold(engine, name)?;
    let record = &held.container.record;
    if matches!(held.container.status, Status::Paused { .. }) {
        return Err(EngineError::Invalid(format!(
            "container {name} is already paused"
        )));
    }
    let mut state = held.state;
    state.paused = true;
    engine.checkpoints.pass("write that it is to stand still");
    state.write(&engine.store, &record.id)?;
    engine.checkpoints.pass("freeze the cgroup");
    let frozen = held
        .group
        .freeze()
        .map_err(EngineError::cgroup(format!("pause container {}", record.name)));
    // Killed meanwhile it could not end, and who killed it may have looked before.
    let is_killed = state.init.is_some_and(|init| is_being_killed(init.pid));
    if is_killed {
        held.group.thaw().map_err(EngineError::cgroup(format!(
            "let container {} go on",
            record.name
        )))?;
    }
    if frozen.is_err() || is_killed {
        state.paused = false;
        state.write(&engine.store, &record.id)?;
    }
    held.lock.release();
    frozen?;
    if is_killed {
        return Err(EngineError::NotRunning(record.name.clone()));
    }
    events::container(&engine.store, record, "pause", &[]);
    Ok(())
}

/// Lets them go on.
///
/// # Errors
/// Where the container does not stand still, or its cgroup cannot be thawed.
pub fn unpause(engine: &Engine, name: &str) -> Result<()> {
    let held = hold(engine, name)?;
    let record = &held.container.record;
    if !matches!(held.container.status, Status::Paused { .. }) {
        return Err(EngineError::Invalid(format!("container {name} is not paused")));
    }
    engine.checkpoints.pass("thaw the cgroup");
    held.group
        .thaw()
        .map_err(EngineError::cgroup(format!("unpause container {}", record.name)))?;
    let mut state = held.state;
    state.paused = false;
    engine.checkpoints.pass("write that it goes on");
    state.write(&engine.store, &record.id)?;
    held.lock.release();
    events::container(&engine.store, record, "unpause", &[]);
    Ok(())
}

/// Whether SIGKILL is on its way to a process (`SigPnd` and `ShdPnd` of proc_pid_status(5)), or
/// it is gone.
fn is_being_killed(pid: i32) -> bool {
    const KILL: u64 = 1 << 8;
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return true;
    };
    let pending = status
        .lines()
        .filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    pending
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & KILL != 0)
}

/// Lets the processes of a container go on that are to end: one that stands still hears
/// nothing, not even SIGKILL (cgroup v1). The signal was sent before: `pause` first notes what
/// it is about to do, and looks for such a signal when it has done it, so one of the two
/// sees the other.
pub(crate) fn thaw_to_end(store: &Store, container: &Container) -> Result<()> {
    let state = RunState::read(store, &container.record.id)?;
    let Some(state) = state.filter(|state| state.paused) else {
        return Ok(());
    };
    let cgroup = state.cgroup.as_str();
    if let Some(group) = open_group(cgroup)?.filter(Group::is_frozen) {
        group.thaw().map_err(EngineError::cgroup(format!(
            "let container {} go on",
            container.record.name
        )))?;
        events::container(store, &container.record, "unpause", &[]);
    }
    Ok(())
}
