//! Who waits for the program: this process itself, a monitor that this process
//! watches, or a monitor that is left alone.

use super::launch::{Launched, exit_code, launch};
use super::prepare::Prepared;
use super::{claim, follow};
use crate::cleanup;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::monitor::Watcher;
use crate::monitor::front::{self, SavedTerminal, SessionEnd};
use crate::monitor::protocol::{MAX, Message};
use cais_linux::SysError;
use cais_linux::process::channel;
use cais_runtime::create::Timing;
use cais_sys::process::{Forked, fork};
use cais_sys::signal::{SignalSet, block, signalfd};
use rustix::fd::{AsFd, OwnedFd};

/// How a run went, as far as this command saw it.
#[derive(Debug)]
pub enum Outcome {
    /// The program ended with this status.
    Ended(u8),
    /// It runs on without this command.
    Detached(ContainerId),
}

/// How to run.
#[derive(Debug)]
pub struct Manner {
    /// Whether nobody watches.
    pub detach: bool,
    /// Whether standard input goes to the program.
    pub interactive: bool,
    /// The keys by which the user leaves a terminal.
    pub detach_keys: Vec<u8>,
    /// Called with the times of the start, where they are wanted.
    pub timings: Option<fn(&[Timing])>,
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
    }
    let lock = claimed?;
    let outcome = start_locked(engine, prepared, manner, lock);
    if outcome.is_err() {
        forget_failed(engine, prepared);
    }
    outcome
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
    }
}

/// Starts a container that was made before and does not run.
///
/// # Errors
/// Where it cannot be started.
pub fn start_again(engine: &Engine, prepared: &Prepared, manner: &Manner) -> Result<Outcome> {
    let id = &prepared.record.id;
    let gone = || EngineError::NoSuchContainer(prepared.record.name.clone());
    let lock = ContainerLock::acquire(&engine.store, id)?.ok_or_else(gone)?;
    if crate::state::RunState::read(&engine.store, id)?.is_some() {
        // Somebody else was faster.
        return Err(EngineError::Invalid(format!(
            "container {} is being started by another command",
            prepared.record.name
        )));
    }
    start_locked(engine, prepared, manner, lock)
}

fn start_locked(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    lock: ContainerLock,
) -> Result<Outcome> {
    let terminal = prepared.record.options.tty;
    if manner.detach || terminal {
        return start_monitor(engine, prepared, manner, lock);
    }
    let signals = take_signals()?;
    let launched = launch(
        engine,
        prepared,
        manner.interactive,
        manner.timings.is_some(),
        &engine.checkpoints,
    )?;
    lock.release();
    show_timings(manner, &launched);
    let watcher = Watcher::Own {
        interactive: manner.interactive,
    };
    let ended = follow(engine, launched, watcher, Some(signals), &engine.checkpoints)?;
    Ok(Outcome::Ended(ended.code()))
}

fn show_timings(manner: &Manner, launched: &Launched) {
    if let Some(show) = manner.timings {
        show(launched.timings());
    }
}

/// Signals that are handed on to the program instead of ending this process. Those of
/// job control stay as they are.
fn take_signals() -> Result<OwnedFd> {
    const HANDED_ON: [u32; 10] = [1, 2, 3, 10, 12, 14, 15, 16, 18, 28];
    let set = HANDED_ON
        .iter()
        .fold(SignalSet::EMPTY, |set, signal| set.with(*signal));
    block(set);
    signalfd(set)
        .map_err(|errno| SysError::new("signalfd4", "", errno))
        .map_err(EngineError::system("listen for signals"))
}

/// Starts the container in a process of its own, and watches it or leaves it.
fn start_monitor(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    lock: ContainerLock,
) -> Result<Outcome> {
    let (ours, theirs) = channel::pair().map_err(EngineError::system("open a channel to the monitor"))?;
    let saved = SavedTerminal::read();
    let signals = take_signals()?;
    let forked = fork()
        .map_err(|errno| SysError::new("clone3", "", errno))
        .map_err(EngineError::system("make the monitor"))?;
    match forked {
        Forked::Child => {
            drop(ours);
            drop(signals);
            let held = MonitorHolds {
                lock,
                front: theirs,
                saved,
            };
            let code = monitor_main(engine, prepared, manner, held);
            cais_sys::process::exit_now(code)
        }
        Forked::Parent(_) => {
            drop(theirs);
            // The monitor holds the lock by the same open file; it frees it.
            drop(lock);
            engine.checkpoints.pass("wait for the monitor");
            await_start(&ours)?;
            if manner.detach {
                return Ok(Outcome::Detached(prepared.record.id.clone()));
            }
            match front::watch(&ours, &signals, manner.interactive, manner.detach_keys.clone())? {
                SessionEnd::Exited(code) => Ok(Outcome::Ended(code)),
                SessionEnd::Detached => Ok(Outcome::Detached(prepared.record.id.clone())),
            }
        }
    }
}

/// Waits until the monitor says that the program runs, or why not.
fn await_start(monitor: &OwnedFd) -> Result<()> {
    let mut buffer = vec![0u8; MAX];
    let received = channel::receive(monitor.as_fd(), &mut buffer, &mut Vec::new())
        .map_err(EngineError::system("listen to the monitor"))?;
    match received.map(Message::parse) {
        Some(Some(Message::Started)) => Ok(()),
        Some(Some(Message::Failed(code, message))) => Err(EngineError::Monitor {
            message: message.to_owned(),
            code,
        }),
        _ => Err(EngineError::Invalid(
            "the monitor was killed while it started the container".to_owned(),
        )),
    }
}

/// What a monitor has from the command that made it.
struct MonitorHolds {
    /// The container's lock, until it runs.
    lock: ContainerLock,
    /// The channel to the command.
    front: OwnedFd,
    /// The command's terminal.
    saved: Option<SavedTerminal>,
}

/// The monitor's whole life. Returns its exit status, which nobody reads.
fn monitor_main(engine: &Engine, prepared: &Prepared, manner: &Manner, held: MonitorHolds) -> u8 {
    let MonitorHolds { lock, front, saved } = held;
    let checkpoints = engine.checkpoints.for_monitor();
    let send =
        |message: Message<'_>| channel::send(front.as_fd(), &message.encode(), &[]).unwrap_or_default();
    if let Err(errno) = cais_sys::process::leave_terminal() {
        send(Message::Failed(
            125,
            &format!("cannot leave the terminal: {errno}"),
        ));
        return 125;
    }
    let timings = manner.timings.is_some();
    let launched = match launch(engine, prepared, manner.interactive, timings, &checkpoints) {
        Ok(launched) => launched,
        Err(error) => {
            if prepared.record.options.remove {
                cleanup::remove_container(&engine.store, &prepared.record.id).unwrap_or_default();
            }
            lock.release();
            send(Message::Failed(exit_code(&error), &chain(&error)));
            return 125;
        }
    };
    lock.release();
    show_timings(manner, &launched);
    send(Message::Started);
    let watcher = if manner.detach {
        drop(front);
        Watcher::Nobody
    } else {
        Watcher::Front {
            socket: front,
            restore: saved,
        }
    };
    // Its end is recorded; an error of the relay stands there too.
    follow(engine, launched, watcher, None, &checkpoints).map_or(125, |ended| ended.code())
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
