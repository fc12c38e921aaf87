//! Who waits for the program: this process itself, a monitor that this process
//! watches, or a monitor that is left alone.

use super::chores::Chores;
use super::claim;
use super::launch::{Launched, Start, events_of, launch};
use super::lifetime::{Audience, Keeper};
use super::prepare::Prepared;
use crate::cleanup;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::monitor::door::NUDGE;
use crate::monitor::watcher::Own;
use crate::options::{RestartPolicy, RunOptions};
use crate::record::{Record, clear_notes};
use crate::sweep::Sweep;
use cais_linux::SysError;
use cais_runtime::create::Timing;
use cais_sys::signal::{SignalSet, block, signalfd};
use rustix::fd::{AsFd, OwnedFd};
use std::cell::RefCell;

/// How a run went, as far as this command saw it.
#[derive(Debug)]
pub enum Outcome {
    /// The program ended with this status.
    Ended(u8),
    /// It runs on without this command.
    Detached,
}

/// How to run.
#[derive(Debug)]
pub struct Manner {
    /// Whether nobody watches.
    pub detach: bool,
    /// Whether standard input goes to the program.
    pub interactive: bool,
    /// Whether standard output and error of the program are shown.
    pub shows: [bool; 2],
    /// Whether signals to this command go to the program.
    pub sig_proxy: bool,
    /// The keys by which the user leaves a terminal.
    pub detach_keys: Vec<u8>,
    /// Called with the times of the start, where they are wanted.
    pub timings: Option<fn(&[Timing])>,
    /// Whether this command sweeps, beside the start or after it; called with what that meets.
    pub sweeps: Option<fn(&EngineError)>,
    /// Called where nobody watches and the program runs, as the last thing that this process
    /// does: it ends with the status that is returned, and its memory goes on with the monitor.
    /// Without it the caller goes on. Without a container the monitor was killed before it had
    /// started one: then nothing may be allocated, since it may have left the heap half changed.
    pub farewell: Option<fn(Option<&ContainerId>) -> u8>,
}

/// Makes a container and runs it.
///
/// # Errors
/// Where it cannot be made or started; nothing is left of it then, unless it was made
/// completely and is to stay.
pub fn run(engine: &Engine, prepared: &Prepared, manner: &Manner) -> Result<Outcome> {
    let claimed = claim(engine, prepared);
    if claimed.is_err() {
        prepared.release(engine);
        prepared.forget_volumes(engine);
    }
    let lock = claimed?;
    let outcome = start_locked(engine, prepared, manner, lock);
    if outcome.is_err() {
        forget_failed(engine, prepared);
    }
    outcome
}

/// Makes a container without starting it.
///
/// # Errors
/// Where it cannot be made; nothing is left of it then.
pub fn create(engine: &Engine, prepared: &Prepared) -> Result<ContainerId> {
    let store = &engine.store;
    let id = &prepared.record.id;
    let made = claim(engine, prepared).and_then(|lock| {
        engine.checkpoints.pass("make the directories");
        let written = super::write_sources(engine, prepared).and_then(|()| {
            engine.checkpoints.pass("write the record");
            super::write_record(engine, prepared, None)
        });
        if written.is_err() {
            // What was made is half made: the error that counts is the one that stopped it.
            cleanup::remove_container(store, id).unwrap_or_default();
        }
        lock.release();
        written
    });
    engine.checkpoints.pass("free the range of ids and the addresses");
    // It has them while it runs.
    prepared.release(engine);
    if made.is_err() {
        prepared.forget_volumes(engine);
    }
    made?;
    crate::events::container(store, &prepared.record, "create", &[]);
    Ok(id.clone())
}

/// After a start that failed: what a killed monitor left is swept, and a container that
/// is half made, or not to stay, is removed. The error that counts is the one that stopped
/// the start; what cannot be removed now the next command finds.
fn forget_failed(engine: &Engine, prepared: &Prepared) {
    let id = &prepared.record.id;
    crate::sweep::sweep_container(&engine.store, id).unwrap_or_default();
    let record = crate::record::Record::read(&engine.store, id);
    let complete = matches!(record, Ok(Some(_))) && !prepared.record.options.remove;
    if !complete && !engine.store.state(id).exists() {
        cleanup::remove_container(&engine.store, id).unwrap_or_default();
        prepared.forget_volumes(engine);
    }
}

/// Starts a container that was made before and does not run.
///
/// # Errors
/// Where it cannot be started.
pub fn start_again(engine: &Engine, id: &ContainerId, manner: &Manner) -> Result<Outcome> {
    // What was asked is read with the lock held: a rename or an update has happened by then, or
    // waits. It would be undone by the record that is written at the start.
    let (lock, record) = lock_stopped(engine, id)?;
    let prepared = super::prepare_again(engine, record)?;
    if let Err(error) = clear_notes(&engine.store, id) {
        prepared.release(engine);
        return Err(error);
    }
    if !manner.detach {
        crate::events::container(&engine.store, &prepared.record, "attach", &[]);
    }
    start_locked(engine, &prepared, manner, lock)
}

/// Starts a container that was made before, and leaves it.
///
/// # Errors
/// As [`start_again`].
pub fn start_detached(engine: &Engine, id: &ContainerId) -> Result<()> {
    let manner = Manner {
        detach: true,
        interactive: false,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: Vec::new(),
        timings: None,
        sweeps: None,
        farewell: None,
    };
    start_again(engine, id, &manner).map(drop)
}

/// Locks a container that does not run.
fn lock_stopped(engine: &Engine, id: &ContainerId) -> Result<(ContainerLock, Record)> {
    let store = &engine.store;
    let gone = || EngineError::NoSuchContainer(id.short().to_owned());
    let lock = ContainerLock::acquire(store, id)?.ok_or_else(gone)?;
    let record = Record::read(store, id)?.ok_or_else(gone)?;
    let state = crate::state::RunState::read(store, id)?;
    if let Some(state) = state.as_ref().filter(|state| state.is_over())
        && let Some(exit) = &state.ended
    {
        // First of all its last end is recorded.
        exit.write(store, id)?;
        crate::cleanup::finish_run(store, id, state, exit, crate::cleanup::Known::default())?;
    } else if state.is_some() {
        // Somebody else was faster.
        return Err(EngineError::Invalid(format!(
            "container {} is being started by another command",
            record.name
        )));
    }
    Ok((lock, record))
}

fn start_locked(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    lock: ContainerLock,
) -> Result<Outcome> {
    if let Some(farewell) = manner.farewell.filter(|_| manner.detach) {
        return super::monitor_process::start_successor(engine, prepared, manner, (lock, farewell));
    }
    if needs_monitor(&prepared.record.options, manner) {
        return super::monitor_process::start_monitor(engine, prepared, manner, lock);
    }
    let signals = take_signals()?;
    let chores = RefCell::new(Chores::new(&engine.store, manner.sweeps));
    let waits = |_: &mut Vec<OwnedFd>, starts: &dyn Fn() -> bool| {
        chores.borrow_mut().begin(events_of(prepared), starts);
        Ok(())
    };
    let start = Start {
        timings: manner.timings.is_some(),
        passed: super::monitor_process::passed_streams(&prepared.record.options)?,
        waits: Some(&waits),
        ..Start::default()
    };
    let mut launched = launch(engine, prepared, &start, &engine.checkpoints)?;
    lock.release();
    // The first in the row is called last.
    launched.attendants.insert(0, Box::new(chores.into_inner()));
    show_timings(manner, &launched);
    let audience = Audience {
        own: Some(Own {
            input: manner.interactive,
            shows: manner.shows,
        }),
        fronts: Vec::new(),
    };
    let keeper = Keeper {
        engine,
        signals: signals.as_fd(),
        checkpoints: &engine.checkpoints,
    };
    let ended = keeper.look_after(launched, audience)?;
    Ok(Outcome::Ended(ended.code()))
}

/// Whether the container needs a monitor that outlives this command, or stands between it
/// and a terminal.
fn needs_monitor(options: &RunOptions, manner: &Manner) -> bool {
    manner.detach || options.tty || options.restart != RestartPolicy::No || !manner.sig_proxy
}

pub(super) fn sweep_in_passing(engine: &Engine, manner: &Manner) {
    if let Some(tell) = manner.sweeps
        && let Err(error) = Sweep::of(&engine.store, true).finish()
    {
        tell(&error);
    }
}

pub(super) fn show_timings(manner: &Manner, launched: &Launched) {
    if let Some(show) = manner.timings {
        show(launched.timings());
    }
}

/// Signals that are handed on to the program instead of ending this process, and the one
/// that asks a monitor to look. Those of job control stay as they are.
const HANDED_ON: [u32; 11] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 28, NUDGE];

/// Takes those signals.
pub(crate) fn take_signals() -> Result<OwnedFd> {
    take(&HANDED_ON)
}

/// Takes the signal that asks a monitor to look.
pub(crate) fn take_nudges() -> Result<OwnedFd> {
    take(&[NUDGE])
}

fn take(numbers: &[u32]) -> Result<OwnedFd> {
    let set = numbers
        .iter()
        .fold(SignalSet::EMPTY, |set, signal| set.with(*signal));
    block(set);
    signalfd(set)
        .map_err(|errno| SysError::new("signalfd4", "", errno))
        .map_err(EngineError::system("listen for signals"))
}

/// An error with its causes, as one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Some errors say their cause themselves.
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}
