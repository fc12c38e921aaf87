//! `rm`: a container and everything that it changed are forgotten.

use crate::cleanup;
use crate::error::{EngineError, Result};
use crate::events;
use crate::id::ContainerId;
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::door::nudge;
use crate::options::RunOptions;
use crate::state::{Container, RunState, Status};
use crate::stop::{kill, mark};
use crate::store::Store;
use crate::wait::await_cleanup;
use rustix::process::Signal;
use std::collections::BTreeSet;

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Removal {
    /// Kill it first where it runs.
    pub force: bool,
    /// The volumes that are its own go along.
    pub volumes: bool,
}

/// Removes containers. With `force` those that run are all killed first and waited for then:
/// the kernel takes long to end a set of namespaces, and ends many of them side by side.
/// `told` hears how each went.
pub fn remove_all(store: &Store, names: &[String], how: Removal, told: &mut dyn FnMut(&str, Result<()>)) {
    let mut killed = BTreeSet::new();
    if how.force && names.len() > 1 {
        // What fails here is found again below, and told.
        let running = names.iter().filter_map(|name| list::container(store, name).ok());
        for container in running.filter(|container| container.state.is_some()) {
            if kill_marked(store, &container).is_ok() {
                killed.insert(container.record.id);
            }
        }
    }
    // Volumes go when all records have gone that are to: each is looked for in those that stay.
    let mut own = Vec::new();
    for name in names {
        told(
            name,
            remove_one(store, name, how, &killed).map(|left| own.extend(left.map(|left| (name, left)))),
        );
    }
    for (name, options) in own {
        if let Err(error) = crate::volumes::remove_anonymous(store, &options) {
            told(name, Err(error));
        }
    }
}

/// Removes a container. One that runs is killed first where `force` is set.
///
/// # Errors
/// [`EngineError::Running`] without `force`, and what removing meets.
pub fn remove(store: &Store, name: &str, how: Removal) -> Result<()> {
    match remove_one(store, name, how, &BTreeSet::new())? {
        Some(options) => crate::volumes::remove_anonymous(store, &options),
        None => Ok(()),
    }
}

/// Returns the options of a container whose volumes are still to go.
fn remove_one(
    store: &Store,
    name: &str,
    how: Removal,
    killed: &BTreeSet<ContainerId>,
) -> Result<Option<RunOptions>> {
    let mut container = list::container(store, name)?;
    let id = container.record.id.clone();
    let mut is_killed = killed.contains(&id);
    let lock = loop {
        if let Some(state) = &container.state {
            if !how.force && (container.is_running() || matches!(container.status, Status::Restarting(_))) {
                return Err(EngineError::Running(container.record.name));
            }
            if !how.force {
                // It has ended, or it is being started: whoever does that holds the lock. That
                // one is not to be killed.
                let Some(lock) = ContainerLock::acquire(store, &id)? else {
                    return Ok(None);
                };
                let is_alive = |state: &RunState| state.init.is_some_and(|init| init.is_alive());
                let is_running = RunState::read(store, &id)?.as_ref().is_some_and(is_alive);
                lock.release();
                if is_running {
                    return Err(EngineError::Running(container.record.name));
                }
            } else if !is_killed {
                kill_marked(store, &container)?;
            }
            nudge(state.monitor);
            await_cleanup(store, &id, state)?;
        }
        let Some(lock) = ContainerLock::acquire(store, &id)? else {
            // It removed itself at its end.
            return Ok(None);
        };
        if RunState::read(store, &id)?.is_none_or(|state| state.is_over()) {
            break lock;
        }
        // Another command was faster, and started it again.
        lock.release();
        if !how.force {
            return Err(EngineError::Running(container.record.name));
        }
        container = match list::container(store, id.as_str()) {
            Err(EngineError::NoSuchContainer(_)) => return Ok(None),
            other => other?,
        };
        is_killed = false;
    };
    if how.volumes {
        // Killed from here on, a sweep finds them.
        crate::volumes::mark_anonymous(store, &container.record.options)?;
    }
    cleanup::remove_container(store, &id)?;
    lock.release();
    if !container.record.options.remove || container.state.is_none() {
        events::container(store, &container.record, "destroy", &[]);
    }
    Ok(how.volumes.then_some(container.record.options))
}

/// Notes that the container is to end, and kills it. One that has ended is no error.
fn kill_marked(store: &Store, container: &Container) -> Result<()> {
    let marked = mark(store, container);
    let killed = marked.and_then(|now| kill(store, now.record.id.as_str(), Signal::KILL.as_raw()));
    match killed {
        Err(EngineError::NotRunning(_) | EngineError::NoSuchContainer(_)) => Ok(()),
        other => other,
    }
}
