//! `rm`: a container and everything that it changed are forgotten.

use crate::cleanup;
use crate::error::{EngineError, Result};
use crate::list;
use crate::lock::ContainerLock;
use crate::state::{Container, RunState};
use crate::stop::{await_cleanup, open_init};
use crate::store::Store;
use cais_linux::process::pidfd;
use rustix::fd::AsFd;
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
        if !force && container.init().is_some() {
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
    Ok(())
}

/// Kills the container and waits until its monitor has recorded the end.
fn end(store: &Store, container: &Container) -> Result<()> {
    match open_init(container) {
        Ok(init) => {
            pidfd::send_signal(init.as_fd(), Signal::KILL).unwrap_or_default();
            pidfd::await_end(init.as_fd(), None).map_err(EngineError::system("wait for the container"))?;
        }
        Err(EngineError::NotRunning(_)) => {}
        Err(error) => return Err(error),
    }
    await_cleanup(store, &container.record.id, None).map(drop)
}
