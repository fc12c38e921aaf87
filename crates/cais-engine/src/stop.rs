//! Ending what runs: `kill`, `stop`.

use crate::error::{EngineError, Result};
use crate::events;
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::door::nudge;
use crate::pause::thaw_to_end;
use crate::record::{Record, mark_stopped};
use crate::state::{Container, Status};
use crate::store::Store;
use crate::wait::await_cleanup;
use cais_linux::process::pidfd;
use cais_sys::signal::from_number;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::time::{Duration, Instant};

/// How long `stop` waits before it kills, as Docker's.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens the first process of a running container.
///
/// # Errors
/// [`EngineError::NotRunning`].
pub fn open_init(container: &Container) -> Result<OwnedFd> {
    let not_running = || EngineError::NotRunning(container.record.name.clone());
    let init = container.init().ok_or_else(not_running)?;
    let pid = Pid::from_raw(init.pid).ok_or_else(not_running)?;
    let fd = match pidfd::open(pid) {
        Err(error) if error.errno() == Errno::SRCH => return Err(not_running()),
        other => other.map_err(EngineError::system("open the container's first process"))?,
    };
    // The id may have been used again between reading the state and opening.
    if init.is_alive() {
        Ok(fd)
    } else {
        Err(not_running())
    }
}

/// Sends a signal to the first process. Where it asks for the end (SIGKILL, or the
/// container's stop signal), no restart policy starts the container again.
///
/// # Errors
/// [`EngineError::NotRunning`], or the signal cannot be sent.
pub fn kill(store: &Store, name: &str, number: i32) -> Result<()> {
    let signal =
        from_number(number).ok_or_else(|| EngineError::Invalid(format!("{number} is not a signal")))?;
    let container = list::container(store, name)?;
    let ends = signal == Signal::KILL || signal == stop_signal(&container.record);
    let container = if ends { mark(store, &container)? } else { container };
    let init = open_init(&container)?;
    match pidfd::send_signal(init.as_fd(), signal) {
        Err(error) if error.errno() == Errno::SRCH => {
            return Err(EngineError::NotRunning(container.record.name));
        }
        other => other.map_err(EngineError::system(format!(
            "send a signal to {}",
            container.record.name
        )))?,
    }
    note_kill(store, &container, number);
    if ends {
        thaw_to_end(store, &container)?;
    }
    Ok(())
}

fn note_kill(store: &Store, container: &Container, number: i32) {
    events::container(
        store,
        &container.record,
        "kill",
        &[("signal", number.to_string())],
    );
}

/// Notes that the user wants the container to end, with its lock held: a monitor that is
/// about to start it again has done so when the lock is free, or sees the note. Returns the
/// container as it is then.
pub(crate) fn mark(store: &Store, container: &Container) -> Result<Container> {
    let record = &container.record;
    let gone = || EngineError::NoSuchContainer(record.name.clone());
    let lock = ContainerLock::acquire(store, &record.id)?.ok_or_else(gone)?;
    let now = list::container(store, record.id.as_str())?;
    if now.state.is_some() {
        mark_stopped(store, &record.id)?;
    }
    lock.release();
    if let Status::Restarting(_) = now.status
        && let Some(state) = &now.state
    {
        nudge(state.monitor);
    }
    Ok(now)
}

/// The signal that asks this container to end.
pub(crate) fn stop_signal(record: &Record) -> Signal {
    let named = record.options.stop_signal.as_deref();
    named
        .and_then(crate::options::signal::parse_signal_number)
        .and_then(from_number)
        .unwrap_or(Signal::TERM)
}

/// A container that was asked to end, or killed, and that nobody has waited for yet.
#[derive(Debug)]
pub struct Ending {
    container: Container,
    /// When it is killed where it has not ended by then; absent where that was done.
    patience: Option<Instant>,
}

/// Asks a container to end. `None` where it does not run, which is no error.
///
/// # Errors
/// Where there is no such container, or a signal cannot be sent.
pub fn ask(
    store: &Store,
    name: &str,
    signal: Option<i32>,
    timeout: Option<Duration>,
) -> Result<Option<Ending>> {
    let container = mark(store, &list::container(store, name)?)?;
    let init = match open_init(&container) {
        // Between two runs its monitor sees the mark.
        Err(EngineError::NotRunning(_)) => {
            let is_restarting = matches!(container.status, Status::Restarting(_));
            let ending = Ending {
                container,
                patience: None,
            };
            return Ok(is_restarting.then_some(ending));
        }
        other => other?,
    };
    let wanted = signal
        .and_then(from_number)
        .unwrap_or_else(|| stop_signal(&container.record));
    let configured = container.record.options.stop_timeout.map(seconds);
    let timeout = timeout.or(configured).unwrap_or(STOP_TIMEOUT);
    // A first process hears only what it handles (pid_namespaces(7)): waiting for one
    // that cannot hear would be waiting for nothing.
    let heard = container
        .init()
        .is_some_and(|init| hears(&container.record, init.pid, wanted));
    let sent = if heard || wanted == Signal::KILL {
        wanted
    } else {
        Signal::KILL
    };
    end_by(store, &container, &init, sent)?;
    let patience = (sent != Signal::KILL).then(|| Instant::now() + timeout);
    Ok(Some(Ending { container, patience }))
}

impl Ending {
    /// Waits until it has ended and that is recorded; kills it when its time is up.
    ///
    /// # Errors
    /// Where it cannot be killed or waited for.
    pub fn finish(self, store: &Store) -> Result<()> {
        let container = &self.container;
        let left = |until: Instant| until.saturating_duration_since(Instant::now());
        let init = match open_init(container) {
            Err(EngineError::NotRunning(_)) => None,
            other => Some(other?),
        };
        if let (Some(init), Some(until)) = (&init, self.patience) {
            let waiting = || EngineError::system("wait for the container");
            if !pidfd::await_end(init.as_fd(), Some(left(until))).map_err(waiting())? {
                end_by(store, container, init, Signal::KILL)?;
            }
        }
        if let Some(run) = &container.state {
            await_cleanup(store, &container.record.id, run)?;
        }
        if container.is_running() {
            events::container(store, &container.record, "stop", &[]);
        }
        Ok(())
    }
}

/// Asks a container to end, and kills it where it does not within `timeout`. One that
/// does not run is no error.
///
/// # Errors
/// Where a signal cannot be sent.
pub fn stop(store: &Store, name: &str, signal: Option<i32>, timeout: Option<Duration>) -> Result<()> {
    ask(store, name, signal, timeout)?.map_or(Ok(()), |ending| ending.finish(store))
}

/// A timeout in seconds; a negative one is as long as it takes.
#[must_use]
pub fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(u64::from(u32::MAX)))
}

/// Sends a signal that is to end the container, and lets it go on where it stands still.
fn end_by(store: &Store, container: &Container, init: &OwnedFd, signal: Signal) -> Result<()> {
    send(container, init, signal)?;
    note_kill(store, container, signal.as_raw());
    thaw_to_end(store, container)
}

fn send(container: &Container, init: &OwnedFd, signal: Signal) -> Result<()> {
    match pidfd::send_signal(init.as_fd(), signal) {
        Err(error) if error.errno() == Errno::SRCH => Ok(()),
        other => other.map_err(EngineError::system(format!(
            "send a signal to {}",
            container.record.name
        ))),
    }
}

/// Whether the first process would act on `signal`. In a pid namespace of its own it
/// acts only on what it catches; in the host's the default action counts too.
pub(crate) fn hears(record: &Record, init: i32, signal: Signal) -> bool {
    use crate::options::NamespaceMode;
    if record.options.namespaces.pid != NamespaceMode::Private {
        return true;
    }
    let status = std::fs::read_to_string(format!("/proc/{init}/status")).unwrap_or_default();
    catches(&status, signal.as_raw())
}

/// Whether /proc/PID/status says that the process catches `signal` (`SigCgt`), or waits
/// for it by sigwait or signalfd (then it blocks it: `SigBlk`).
fn catches(status: &str, signal: i32) -> bool {
    let mask = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    let bit = 1u64 << (signal.clamp(1, 64) - 1);
    // What cannot be read is believed to hear: the timeout is the safe side.
    mask("SigCgt:").is_none_or(|caught| (caught | mask("SigBlk:").unwrap_or(0)) & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_hears_what_it_catches_or_awaits() {
        let status = "Name:\tx\nSigBlk:\t0000000000000200\nSigCgt:\t0000000000004002\n";
        assert!(catches(status, 15));
        assert!(catches(status, 2));
        assert!(catches(status, 10));
        assert!(!catches(status, 1));
        assert!(catches("", 15));
    }
}
