//! Ending what runs: `kill`, `stop`, `wait`.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::list;
use crate::record::Exit;
use crate::state::{Container, ProcessName};
use crate::store::Store;
use cais_linux::SysError;
use cais_linux::process::pidfd;
use cais_sys::signal::from_number;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
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

/// Sends a signal to the first process.
///
/// # Errors
/// [`EngineError::NotRunning`], or the signal cannot be sent.
pub fn kill(store: &Store, name: &str, signal: i32) -> Result<()> {
    let container = list::container(store, name)?;
    let init = open_init(&container)?;
    let signal =
        from_number(signal).ok_or_else(|| EngineError::Invalid(format!("{signal} is not a signal")))?;
    match pidfd::send_signal(init.as_fd(), signal) {
        Err(error) if error.errno() == Errno::SRCH => Err(EngineError::NotRunning(container.record.name)),
        other => other.map_err(EngineError::system(format!(
            "send a signal to {}",
            container.record.name
        ))),
    }
}

/// Asks a container to end, and kills it where it does not within `timeout`. One that
/// does not run is no error.
///
/// # Errors
/// Where a signal cannot be sent.
pub fn stop(store: &Store, name: &str, signal: Option<i32>, timeout: Option<Duration>) -> Result<()> {
    let container = list::container(store, name)?;
    let init = match open_init(&container) {
        Err(EngineError::NotRunning(_)) => return Ok(()),
        other => other?,
    };
    let options = &container.record.options;
    let wanted = signal.or_else(|| {
        options
            .stop_signal
            .as_deref()
            .and_then(crate::options::signal::parse_signal_number)
    });
    let wanted = wanted.and_then(from_number).unwrap_or(Signal::TERM);
    let configured = options
        .stop_timeout
        .map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX / 2)));
    let timeout = timeout.or(configured).unwrap_or(STOP_TIMEOUT);
    // A first process hears only what it handles (pid_namespaces(7)): waiting for one
    // that cannot hear would be waiting for nothing.
    if wanted == Signal::KILL || hears(&container, wanted) {
        send(&container, &init, wanted)?;
        let ended = pidfd::await_end(init.as_fd(), Some(timeout))
            .map_err(EngineError::system("wait for the container"))?;
        if ended {
            return await_cleanup(store, &container.record.id, None).map(drop);
        }
    }
    send(&container, &init, Signal::KILL)?;
    pidfd::await_end(init.as_fd(), None).map_err(EngineError::system("wait for the container"))?;
    await_cleanup(store, &container.record.id, None).map(drop)
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
fn hears(container: &Container, signal: Signal) -> bool {
    use crate::options::NamespaceMode;
    if container.record.options.namespaces.pid != NamespaceMode::Private {
        return true;
    }
    let Some(init) = container.init() else {
        return false;
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid)).unwrap_or_default();
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

/// Waits until a container does not run any more and its end is recorded. Returns the
/// record; `None` where the container is gone, or where the time is up.
///
/// # Errors
/// Where the state cannot be watched.
pub fn await_cleanup(store: &Store, id: &ContainerId, timeout: Option<Duration>) -> Result<Option<Exit>> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let directory = store.states();
    let failed = |call: &'static str| {
        let directory = directory.clone();
        move |errno| EngineError::System {
            action: "watch the container's state".to_owned(),
            source: SysError::new(call, format!("{directory:?}"), errno),
        }
    };
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(failed("inotify_init1"))?;
    let events =
        inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVED_TO;
    match inotify::add_watch(&watch, directory.as_path(), events) {
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(failed("inotify_add_watch")(errno)),
    }
    loop {
        let state = crate::state::RunState::read(store, id)?;
        let Some(state) = state else {
            return Exit::read(store, id);
        };
        let Some(monitor) = open_monitor(state.monitor) else {
            // Killed before it could record the end: the sweep does it.
            crate::sweep::sweep_container(store, id)?;
            return Exit::read(store, id);
        };
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        let timespec = left.map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [
            PollFd::new(&watch, PollFlags::IN),
            PollFd::new(&monitor, PollFlags::IN),
        ];
        match poll(&mut fds, timespec.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        rustix::io::read(&watch, &mut buffer[..])
            .map(drop)
            .unwrap_or_default();
    }
}

fn open_monitor(name: ProcessName) -> Option<OwnedFd> {
    let fd = pidfd::open(Pid::from_raw(name.pid)?).ok()?;
    name.is_alive().then_some(fd)
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
