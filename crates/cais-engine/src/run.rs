//! `cais run`: from what the user asked to a program that runs, and to its end.
//!
//! 1. [`prepare`]: an id, the facts of the machine, the OCI configuration, the plan.
//!    Nothing is changed yet; `--explain` stops here.
//! 2. `claim`: the container's directory and its name.
//! 3. `launch`: the state, the cgroup, the process ([`cais_runtime::create`]), and while
//!    the stub works the container's files and its record.
//! 4. `lifetime`: the monitor, until the program ends; by its restart policy 3 and 4 again.
//! 5. `cleanup`: everything is given back, the end is recorded.
//!
//! In the foreground without a terminal one process does all of it. Otherwise 3 to 5
//! happen in a monitor of its own (`monitor_process`), and the command watches it or goes
//! away.

mod chores;
mod devices;
pub(crate) mod equip;
mod facts;
mod foreground;
mod launch;
mod lifetime;
mod monitor_process;
pub(crate) mod parts;
pub(crate) mod prepare;
mod seccomp;
pub(crate) mod takeover;
pub(crate) mod users;

pub(crate) use foreground::take_signals;
pub use foreground::{Manner, Outcome, chain, create, run, start_again, start_detached};
pub use launch::exit_code;
pub(crate) use monitor_process::become_monitor;
pub(crate) use prepare::prepare_again;
pub use prepare::{Prepared, explain, prepare};

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::record::{Record, VERSION};
use crate::store::{Store, write_json};
use crate::{apart, cleanup};
use crate::{names, time};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Claims a place for the container: its directory, locked, and its name. All the rest is
/// written while the stub works; last the record, whose presence says that the container
/// is complete.
pub(crate) fn claim(engine: &Engine, prepared: &Prepared) -> Result<ContainerLock> {
    let store = &engine.store;
    let id = &prepared.record.id;
    engine.checkpoints.pass("make the container's directory");
    let lock = make_locked(store, id)?;
    engine.checkpoints.pass("take the name");
    // An invented name is made of the id, which nobody else has.
    let named = match &prepared.record.options.name {
        Some(name) => names::take(store, name, id),
        None => Ok(()),
    };
    if named.is_err() {
        // What was made is half made: the error that counts is the one that stopped it.
        cleanup::remove_container(store, id).unwrap_or_default();
    }
    named.map(|()| lock)
}

/// Makes the container's directory and locks it. Between the two a sweep may take it for
/// something left behind: then it is made again.
fn make_locked(store: &Store, id: &ContainerId) -> Result<ContainerLock> {
    const TRIES: u32 = 1000;
    for _ in 0..TRIES {
        apart::make_directory(store, id)?;
        if let Some(lock) = ContainerLock::acquire(store, id)? {
            return Ok(lock);
        }
    }
    Err(EngineError::Invalid(format!(
        "container {} is removed as often as it is made",
        id.short()
    )))
}

/// Makes what the mounts need: the place for changes.
pub(crate) fn write_sources(engine: &Engine, prepared: &Prepared) -> Result<()> {
    let directory = engine.store.container(&prepared.record.id);
    // The upper directory shows as the root of the container: everybody may enter it.
    make_directory(&directory.join("upper"), 0o755)?;
    make_directory(&directory.join("work"), 0o700)?;
    parts::make_places(&directory, &prepared.root)
}

/// Writes the bundle, then the record. `started` is when it was started, if it was.
pub(crate) fn write_record(engine: &Engine, prepared: &Prepared, started: Option<&str>) -> Result<()> {
    let store = &engine.store;
    let id = &prepared.record.id;
    write_json(&store.container(id).join("config.json"), &prepared.spec)?;
    let mut record = prepared.record.clone();
    record.last_start = started.map(str::to_owned);
    record.write(store)?;
    crate::images::release_after_start(engine);
    prepared.volumes.release(store, &record.options);
    Ok(())
}

/// Makes a directory with this mode; one that is there stays as it is.
fn make_directory(path: &Path, mode: u32) -> Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(EngineError::Store {
            action: format!("make {}", path.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// An error with its causes, for a record.
pub(crate) fn error_text(error: &EngineError) -> String {
    chain(error)
}

/// The record of a new container.
pub(crate) fn new_record(id: ContainerId, options: crate::options::RunOptions) -> Record {
    let name = options.name.clone().unwrap_or_else(|| names::invent(&id));
    Record {
        version: VERSION,
        id,
        name,
        created: time::now(),
        last_start: None,
        options,
    }
}
