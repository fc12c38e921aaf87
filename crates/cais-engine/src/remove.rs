//! `rm`: a container and everything that it changed are forgotten.

use crate::cleanup;
use crate::error::{EngineError, Result};
use crate::events;
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::door::nudge;
use crate::state::{Container, RunState, Status};
use crate::stop::{kill, mark};
use crate::store::Store;
use crate::wait::await_cleanup;
use rustix::process::Signal;

/// Removes a container. One that runs is killed first where `force` is set. The volumes that
/// are its own go along where that is asked for.
///
/// # Errors
/// [`EngineError::Running`] without `force`, and what removing meets.
pub fn remove(store: &Store, name: &str, force: bool, with_volumes: bool) -> Result<()> {
    let container = list::container(store, name)?;
    let id = container.record.id.clone();
    if container.state.is_some() {
        if !force && (container.is_running() || matches!(container.status, Status::Restarting(_))) {
            return Err(EngineError::Running(container.record.name));
        }
        end(store, &container)?;
    }
    let Some(lock) = ContainerLock::acquire(store, &id)? else {
        // It removed itself at its end.
        return Ok(());
    };
    if RunState::read(store, &id)?.is_some() {
        return Err(EngineError::Running(container.record.name));
    }
    cleanup::remove_container(store, &id)?;
    lock.release();
    if with_volumes {
        crate::volumes::remove_anonymous(store, &container.record.options)?;
    }
    if !container.record.options.remove || container.state.is_none() {
        events::container(store, &container.record, "destroy", &[]);
    }
    Ok(())
}

/// Kills the container and waits until its monitor has recorded the end.
fn end(store: &Store, container: &Container) -> Result<()> {
    let id = &container.record.id;
    let container = match mark(store, container) {
        Err(EngineError::NoSuchContainer(_)) => return Ok(()),
        other => other?,
    };
    match kill(store, id.as_str(), Signal::KILL.as_raw()) {
        Ok(()) | Err(EngineError::NotRunning(_) | EngineError::NoSuchContainer(_)) => {}
        Err(error) => return Err(error),
    }
    if let Some(state) = &container.state {
        nudge(state.monitor);
    }
    await_cleanup(store, id, None).map(drop)
}
