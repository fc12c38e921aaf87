//! `wait`: until a container has ended, is gone, or is well.

use crate::error::{EngineError, Result};
use crate::health;
use crate::id::ContainerId;
use crate::list;
use crate::monitor::door::{open_monitor, visit};
use crate::monitor::front::await_exit;
use crate::record::Exit;
use crate::state::{ProcessName, RunState};
use crate::stop::open_init;
use crate::store::Store;
use cais_linux::SysError;
use cais_linux::process::pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::inotify;
use rustix::io::Errno;

/// What is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does not run, nor will its restart policy start it again.
    #[default]
    NotRunning,
    /// Its next end, whatever follows.
    NextExit,
    /// It is removed.
    Removed,
    /// Its health is good; or it has ended.
    Healthy,
}

impl Condition {
    /// Reads Docker's word, or ours.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "not-running" => Self::NotRunning,
            "next-exit" => Self::NextExit,
            "removed" => Self::Removed,
            "healthy" => Self::Healthy,
            _ => return None,
        })
    }
}

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The container ended with this code; absent where nobody saw it.
    Ended(Option<u8>),
    /// It is well.
    Healthy,
}

/// Watches the directories in which a container's life shows.
struct Watch {
    inotify: OwnedFd,
}

fn failed(call: &'static str) -> impl FnOnce(Errno) -> EngineError {
    move |errno| EngineError::System {
        action: "watch the container's state".to_owned(),
        source: SysError::new(call, "", errno),
    }
}

impl Watch {
    fn new(store: &Store) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let inotify = inotify::init(flags).map_err(failed("inotify_init1"))?;
        let events =
            inotify::WatchFlags::DELETE | inotify::WatchFlags::DELETE_SELF | inotify::WatchFlags::MOVED_TO;
        for directory in [store.states(), store.containers(), store.healths()] {
            match inotify::add_watch(&inotify, directory.as_path(), events) {
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("inotify_add_watch")(errno)),
            }
        }
        Ok(Self { inotify })
    }

    /// Waits until something changes there, or until `other` is ready.
    fn wait(&self, other: Option<&OwnedFd>) -> Result<()> {
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(other.map(|other| PollFd::new(other, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        while rustix::io::read(&self.inotify, &mut buffer[..]).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}

/// Waits until a run of a container is over and its end is recorded. One that another command
/// has started since is another matter.
///
/// # Errors
/// Where the state cannot be watched.
pub fn await_cleanup(store: &Store, id: &ContainerId, run: &RunState) -> Result<()> {
    let watch = Watch::new(store)?;
    loop {
        let state = RunState::read(store, id)?;
        let Some(state) = state.filter(|state| run.goes_on_in(state)) else {
            return Ok(());
        };
        let Some(monitor) = open_monitor(state.monitor) else {
            if crate::sweep::resume_or_sweep(store, id)? {
                continue;
            }
            return Ok(());
        };
        watch.wait(Some(&monitor))?;
    }
}

/// Waits for a container.
///
/// # Errors
/// Where there is none, where its state cannot be watched, and where the health is waited
/// for of one that has no probe.
pub fn wait(store: &Store, name: &str, condition: Condition) -> Result<Waited> {
    let container = list::container(store, name)?;
    let id = container.record.id.clone();
    if condition == Condition::Healthy && container.record.options.health.active().is_none() {
        return Err(EngineError::Invalid(format!(
            "container {name} has no health check: give it one with --health-cmd, --health-http, --health-tcp or --health-unix"
        )));
    }
    // With --rm nobody records its status: its monitor tells it, or else the kernel.
    let init = open_init(&container).ok();
    let mut visit = Visit::default();
    let before = Exit::read(store, &id)?;
    if condition == Condition::Healthy {
        crate::store::ensure_directory(&store.healths())?;
    }
    let watch = Watch::new(store)?;
    loop {
        let state = RunState::read(store, &id)?;
        let goes_on = state.as_ref().is_some_and(|state| {
            let run = container.state.as_ref();
            !state.is_over() && run.is_none_or(|run| run.goes_on_in(state))
        });
        let exists = store.container(&id).join("container.json").exists();
        let unrecorded = state.as_ref().filter(|state| state.is_over());
        let exit = match unrecorded.and_then(|state| state.ended.clone()) {
            Some(exit) => Some(exit),
            None => Exit::read(store, &id)?,
        };
        let over = match condition {
            Condition::NotRunning | Condition::Healthy => !goes_on,
            Condition::NextExit => !exists || exit != before,
            Condition::Removed => !store.container(&id).exists(),
        };
        if over {
            let recorded = exit.and_then(|exit| exit.code);
            let told = recorded.or_else(|| visit.await_exit());
            return Ok(Waited::Ended(
                told.or_else(|| asked_of_kernel(init.as_ref(), &container)),
            ));
        }
        if condition == Condition::Healthy && health::read(store, &id).is_some_and(|state| state.is_healthy())
        {
            return Ok(Waited::Healthy);
        }
        let monitor = state.as_ref().map(|state| state.monitor);
        let monitor_fd = monitor.and_then(open_monitor);
        if container.record.options.remove
            && let Some(monitor) = monitor.filter(|_| goes_on)
        {
            visit.begin(store, &id, monitor);
        }
        if monitor.is_some() && monitor_fd.is_none() && unrecorded.is_none() {
            crate::sweep::resume_or_sweep(store, &id)?;
            continue;
        }
        watch.wait(monitor_fd.as_ref())?;
    }
}

/// A visit to the monitor of a container of which nothing is left at its end: it tells whoever is
/// at its door how the program ended. The kernel does since Linux 6.15.
#[derive(Default)]
struct Visit(Option<(ProcessName, OwnedFd)>);

impl Visit {
    /// Goes there, unless it was done.
    fn begin(&mut self, store: &Store, id: &ContainerId, monitor: ProcessName) {
        if self.0.as_ref().is_none_or(|(visited, _)| *visited != monitor) {
            // One that ends in this moment tells nobody any more.
            self.0 = visit(store, id, "", monitor).ok().map(|socket| (monitor, socket));
        }
    }

    fn await_exit(&self) -> Option<u8> {
        await_exit(self.0.as_ref()?.1.as_fd())
    }
}

/// The status of the first process, or 0 where the container was never started (Docker).
fn asked_of_kernel(init: Option<&OwnedFd>, container: &crate::state::Container) -> Option<u8> {
    match init {
        Some(init) => pidfd::await_status(init.as_fd()).ok().map(pidfd::Ended::code),
        None if container.record.last_start.is_none() => Some(0),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_have_dockers_names() {
        for (text, want) in [
            ("not-running", Some(Condition::NotRunning)),
            ("next-exit", Some(Condition::NextExit)),
            ("removed", Some(Condition::Removed)),
            ("healthy", Some(Condition::Healthy)),
            ("", None),
        ] {
            assert_eq!(Condition::parse(text), want);
        }
    }
}
