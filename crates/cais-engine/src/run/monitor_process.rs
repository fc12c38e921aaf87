//! A monitor of its own: a process that this command makes and watches, or that takes this
//! command's memory over and lets it go.

use super::foreground::{Manner, Outcome, chain, show_timings, sweep_in_passing, take_nudges, take_signals};
use super::launch::{Launched, Start, events_of, exit_code, launch};
use super::lifetime::{Audience, Keeper};
use super::prepare::Prepared;
use crate::checkpoint::Checkpoints;
use crate::cleanup;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::events;
use crate::id::ContainerId;
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::front::{self, SavedTerminal, Session, SessionEnd};
use crate::monitor::protocol::{MAX, Message};
use crate::monitor::watcher::Front;
use crate::options::{LogDriver, NetworkMode, RunOptions};
use cais_linux::SysError;
use cais_linux::process::channel;
use cais_sys::process::{Forked, fork};
use cais_sys::turns::{Turn, hand_over};
use rustix::fd::{AsFd, OwnedFd};
use std::cell::Cell;

/// What a monitor has from the command that made it.
struct MonitorHolds {
    /// The container's lock, until it runs.
    lock: ContainerLock,
    /// The channel to the command.
    front: OwnedFd,
    /// The command's terminal.
    saved: Option<SavedTerminal>,
}

/// Starts the container in a process that takes this one's memory over: this one says
/// `farewell` and ends when the program runs. Returns only where the start failed.
pub(super) fn start_successor(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    (lock, farewell): (ContainerLock, fn(Option<&ContainerId>) -> u8),
) -> Result<Outcome> {
    let failure = Cell::new(None);
    let successor = |lock: ContainerLock, turn: Turn| {
        let checkpoints = engine.checkpoints.for_monitor();
        match start_in_monitor(engine, prepared, manner, &checkpoints, &|| turn.lend()) {
            Ok((launched, signals)) => {
                lock.release();
                turn.take_over();
                look_after(engine, &checkpoints, launched, &signals, Audience::default())
            }
            Err(error) => {
                give_up(engine, prepared, lock);
                failure.set(Some(error));
                125
            }
        }
    };
    let mut meanwhile = || {
        engine.checkpoints.pass("wait for the monitor");
        sweep_in_passing(engine, manner);
    };
    hand_over(lock, successor, &mut meanwhile, &mut || {
        farewell(Some(&prepared.record.id))
    })
    .map_err(|errno| SysError::new("clone3", "CLONE_VM", errno))
    .map_err(EngineError::system("make the monitor"))?;
    match failure.take() {
        Some(error) => Err(error),
        // Killed, perhaps while it changed the heap: what it left the next command sweeps.
        None => cais_sys::process::exit_now(farewell(None)),
    }
}

/// The monitor ended without a word.
fn killed() -> EngineError {
    EngineError::Invalid("the monitor was killed while it started the container".to_owned())
}

/// Starts the container in a process of its own, and watches it or leaves it.
pub(super) fn start_monitor(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    lock: ContainerLock,
) -> Result<Outcome> {
    let (ours, theirs) = channel::pair().map_err(EngineError::system("open a channel to the monitor"))?;
    let saved = SavedTerminal::read();
    // Here, where no page is shared yet: the new process runs when this one waits.
    let mut buffer = vec![0u8; MAX];
    let forked = fork()
        .map_err(|errno| SysError::new("clone3", "", errno))
        .map_err(EngineError::system("make the monitor"))?;
    match forked {
        Forked::Child => {
            drop((ours, buffer));
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
            let signals = if manner.detach || !manner.sig_proxy {
                None
            } else {
                Some(take_signals()?)
            };
            await_start(&ours, &mut buffer)?;
            sweep_in_passing(engine, manner);
            if manner.detach {
                return Ok(Outcome::Detached);
            }
            let program = list::container(&engine.store, prepared.record.id.as_str())
                .and_then(|container| crate::stop::open_init(&container));
            let session = Session {
                signals,
                input: manner.interactive,
                keys: manner.detach_keys.clone(),
                terminal: prepared.record.options.tty,
                // It may have ended already: the monitor tells how.
                program: program.ok(),
            };
            match front::watch(&ours, session)? {
                SessionEnd::Exited(code) => Ok(Outcome::Ended(code)),
                SessionEnd::Detached => Ok(Outcome::Detached),
            }
        }
    }
}

/// Waits until the monitor says that the program runs, or why not.
fn await_start(monitor: &OwnedFd, buffer: &mut [u8]) -> Result<()> {
    let received = channel::receive(monitor.as_fd(), buffer, &mut Vec::new())
        .map_err(EngineError::system("listen to the monitor"))?;
    match received.map(Message::parse) {
        Some(Some(Message::Started)) => Ok(()),
        Some(Some(Message::Failed(code, message))) => Err(EngineError::Monitor {
            message: message.to_owned(),
            code,
        }),
        _ => Err(killed()),
    }
}

/// Leaves the command that made the monitor. Returns the signalfd of the monitor.
///
/// # Errors
/// As setsid(2), open(2) and signalfd(2).
pub(crate) fn become_monitor(sockets: u32) -> Result<OwnedFd> {
    let signals = take_nudges()?;
    leave_caller(sockets)?;
    Ok(signals)
}

/// Whether a start executes programs of others: for ids and the way out of a user without
/// privilege, or plugins of a network.
fn executes_helpers(engine: &Engine, prepared: &Prepared) -> bool {
    engine.rootless || matches!(prepared.record.options.namespaces.network, NetworkMode::Cni(_))
}

/// Leaves everything that ties a monitor to the command that made it: terminal, working
/// directory, and descriptors that the command itself was given, but for `sockets` of them that
/// are for the program.
fn leave_caller(sockets: u32) -> Result<()> {
    cais_sys::process::close_inherited(sockets);
    cais_sys::process::leave_terminal()
        .map_err(|errno| SysError::new("setsid", "", errno))
        .map_err(EngineError::system("leave the terminal"))?;
    rustix::process::chdir("/")
        .map_err(|errno| SysError::new("chdir", "\"/\"", errno))
        .map_err(EngineError::system("leave the working directory"))
}

/// The standard streams of this process, where the program is to have them as they are.
pub(super) fn passed_streams(options: &RunOptions) -> Result<Option<[OwnedFd; 3]>> {
    (options.log.driver == LogDriver::Passthrough)
        .then(own_streams)
        .transpose()
}

/// The standard streams of this process, for a program that is given them as they are.
fn own_streams() -> Result<[OwnedFd; 3]> {
    let duplicate = |fd| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3)
            .map_err(|errno| SysError::new("fcntl", "F_DUPFD_CLOEXEC", errno))
            .map_err(EngineError::system("pass the standard streams on"))
    };
    Ok([
        duplicate(cais_sys::process::stdin())?,
        duplicate(cais_sys::process::standard_stream(false))?,
        duplicate(cais_sys::process::standard_stream(true))?,
    ])
}

/// The whole life of a monitor that was copied off its command. Returns its exit status, which
/// nobody reads.
fn monitor_main(engine: &Engine, prepared: &Prepared, manner: &Manner, held: MonitorHolds) -> u8 {
    let MonitorHolds { lock, front, saved } = held;
    let checkpoints = engine.checkpoints.for_monitor();
    let send =
        |message: Message<'_>| channel::send(front.as_fd(), &message.encode(), &[]).unwrap_or_default();
    let (launched, signals) = match start_in_monitor(engine, prepared, manner, &checkpoints, &|| ()) {
        Ok(started) => started,
        Err(error) => {
            give_up(engine, prepared, lock);
            send(Message::Failed(exit_code(&error), &chain(&error)));
            return 125;
        }
    };
    lock.release();
    send(Message::Started);
    // The command often has to wait for this very processor: it goes first.
    rustix::thread::sched_yield();
    let mut audience = Audience::default();
    if manner.detach {
        drop(front);
    } else {
        let first = Front::first(front, saved, manner.interactive, manner.shows);
        audience.fronts.push(first);
    }
    look_after(engine, &checkpoints, launched, &signals, audience)
}

/// After a start that failed.
#[inline(never)]
fn give_up(engine: &Engine, prepared: &Prepared, lock: ContainerLock) {
    if prepared.record.options.remove {
        cleanup::remove_container(&engine.store, &prepared.record.id).unwrap_or_default();
    }
    lock.release();
}

/// Looks after the program to its end. Returns the exit status.
#[inline(never)]
fn look_after(
    engine: &Engine,
    checkpoints: &Checkpoints,
    launched: Launched,
    signals: &OwnedFd,
    audience: Audience,
) -> u8 {
    let keeper = Keeper {
        engine,
        signals: signals.as_fd(),
        checkpoints,
    };
    // Its end is recorded; an error of the relay stands there too.
    keeper
        .look_after(launched, audience)
        .map_or(125, |ended| ended.code())
}

/// Starts the program. Where this process only waits for the stub it has left its caller, and
/// calls `waits`: it sleeps more than it works from here on, so a processor is free.
#[inline(never)]
fn start_in_monitor(
    engine: &Engine,
    prepared: &Prepared,
    manner: &Manner,
    checkpoints: &Checkpoints,
    waits: &dyn Fn(),
) -> Result<(Launched, OwnedFd)> {
    let passed = passed_streams(&prepared.record.options)?;
    // The times of the start go to the command's standard error.
    let mut shown = None;
    if manner.timings.is_some() {
        shown = Some(rustix::io::fcntl_dupfd_cloexec(
            cais_sys::process::standard_stream(true),
            3,
        ));
    }
    let signals = take_nudges()?;
    let leaves_first = executes_helpers(engine, prepared);
    if leaves_first {
        // Before they are: what the command was given is not for them.
        leave_caller(engine.service.listen())?;
    }
    let waits = |remains: &mut Vec<OwnedFd>, _: &dyn Fn() -> bool| {
        remains.clear();
        if !leaves_first {
            leave_caller(engine.service.listen())?;
        }
        waits();
        Ok(())
    };
    let start = Start {
        timings: manner.timings.is_some(),
        restart_count: 0,
        passed,
        waits: Some(&waits),
    };
    let launched = launch(engine, prepared, &start, checkpoints)?;
    events::write(&engine.store, &events_of(prepared));
    if let Some(Ok(error)) = shown {
        // Standard error is the null device before and after.
        rustix::stdio::dup2_stderr(&error).unwrap_or_default();
        show_timings(manner, &launched);
        cais_sys::process::close_standard_error().unwrap_or_default();
    }
    Ok((launched, signals))
}
