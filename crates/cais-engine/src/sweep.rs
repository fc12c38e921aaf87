//! Finding and removing what a killed process of ours left behind.
//!
//! A sweep looks at what is cheap to list: containers without a record whose maker is
//! gone, states whose monitor is gone, leases without a holder. It takes a container's
//! lock before it touches it, so that nothing is swept that somebody is making.

use crate::cleanup::{self, Known};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::options::SeccompOption;
use crate::record::{Exit, Record, is_marked_stopped};
use crate::state::{ProcessName, RunState};
use crate::store::Store;
use crate::userns::{self, Abandoned};
use crate::{names, time};
use cais_linux::process::pidfd;
use cais_sys::process::{Forked, exit_now, fork};
use rustix::fd::AsFd;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Up to so many containers are all looked through before each start.
const FEW: usize = 16;
/// Of more, so many are looked through in passing, by one start in [`EVERY`].
const SOME: usize = 64;
const EVERY: usize = 8;

/// A sweep that is done piece by piece, each of which takes a fraction of a millisecond.
#[derive(Debug)]
pub struct Sweep {
    store: Store,
    in_passing: bool,
    stage: Stage,
    /// The containers that are still to be looked at.
    ids: Vec<ContainerId>,
    /// Ranges of ids whose makers were gone before any state was read.
    abandoned: Vec<Abandoned>,
    in_use: InUse,
    first: Result<()>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Begin,
    /// The containers; then whether anything else.
    Containers {
        all: bool,
    },
    States,
    Names,
    Volumes,
    Networks,
    End,
}

/// The ranges of ids that states name: each state is read once for everything.
#[derive(Debug, Default)]
struct InUse {
    ranges: Vec<u32>,
    /// Whether a state could not be read, which may name any.
    is_unknown: bool,
}

impl InUse {
    fn read(&mut self, store: &Store, id: &ContainerId) -> Result<Option<RunState>> {
        let read = RunState::read(store, id);
        self.is_unknown |= read.is_err();
        self.ranges
            .extend(read.iter().flatten().filter_map(|state| state.id_range));
        read
    }
}

impl Sweep {
    /// Of everything; or in passing, for a start, which is to take as long with a thousand
    /// containers as with ten: of many only some are looked through then, other ones each time,
    /// and not by every start. What the start itself needs (a name, a range of ids, an address)
    /// it frees where it is left over.
    #[must_use]
    pub fn of(store: &Store, in_passing: bool) -> Self {
        Self {
            store: store.clone(),
            in_passing,
            stage: Stage::Begin,
            ids: Vec::new(),
            abandoned: Vec::new(),
            in_use: InUse::default(),
            first: Ok(()),
        }
    }

    /// Does all that is left.
    ///
    /// # Errors
    /// The first that was met, by earlier pieces too.
    pub fn finish(mut self) -> Result<()> {
        while self.step() {}
        self.first
    }

    /// Does the next piece. Tells whether there was one.
    pub fn step(&mut self) -> bool {
        let (store, stage) = (&self.store, self.stage);
        let done = match stage {
            Stage::Begin => self.begin(),
            Stage::Containers { all } => match self.ids.pop() {
                Some(id) => {
                    let read = self.in_use.read(store, &id);
                    read.and_then(|state| sweep_known(store, &id, state.as_ref()))
                }
                None => {
                    self.stage = if all { Stage::States } else { Stage::End };
                    return true;
                }
            },
            Stage::States => sweep_states(store, &mut self.in_use),
            Stage::Names => {
                sweep_names(store);
                if !self.in_use.is_unknown {
                    userns::sweep(&self.abandoned, &self.in_use.ranges);
                }
                Ok(())
            }
            Stage::Volumes => crate::volumes::sweep(store),
            Stage::Networks => crate::network::sweep::sweep(store),
            Stage::End => return false,
        };
        self.stage = match stage {
            Stage::Begin | Stage::Containers { .. } => self.stage,
            Stage::States => Stage::Names,
            Stage::Names => Stage::Volumes,
            Stage::Volumes => Stage::Networks,
            Stage::Networks | Stage::End => Stage::End,
        };
        if self.first.is_ok() {
            self.first = done;
        }
        true
    }

    fn begin(&mut self) -> Result<()> {
        let store = &self.store;
        let number = usize::try_from(std::process::id()).unwrap_or(0);
        let is_due = !self.in_passing || number.is_multiple_of(EVERY);
        self.stage = Stage::Containers { all: false };
        // A directory has a link from each one in it; not on all file systems.
        let links = || fs::metadata(store.containers()).map_or(0, |data| data.nlink());
        if is_due || links() <= FEW as u64 + 2 {
            self.abandoned = userns::list_abandoned(store);
            let ids = store.list()?;
            if !self.in_passing || ids.len() <= FEW {
                self.ids = ids;
                self.stage = Stage::Containers { all: true };
            } else if is_due {
                let offset = number / EVERY * SOME % ids.len();
                self.ids = ids.iter().cycle().skip(offset).take(SOME).cloned().collect();
            }
        }
        sweep_after_boot(store)
    }
}

/// Once after each boot: containers that were to be removed at their end, and whose end
/// nobody saw.
fn sweep_after_boot(store: &Store) -> Result<()> {
    let done = store.run().join("swept");
    if done.exists() || !store.containers().is_dir() {
        return Ok(());
    }
    store.ensure()?;
    for id in store.list()? {
        let is_over = |record: &Record| record.options.remove && record.last_start.is_some();
        let record = Record::read(store, &id).ok().flatten();
        if !record.is_some_and(|record| is_over(&record)) || RunState::read(store, &id)?.is_some() {
            continue;
        }
        // Held by whoever starts it.
        if let Some(lock) = ContainerLock::try_acquire(store, &id)? {
            if RunState::read(store, &id)?.is_none() {
                cleanup::remove_container(store, &id)?;
            }
            lock.release();
        }
    }
    fs::write(&done, "").map_err(crate::EngineError::store(format!("write {}", done.display())))
}

/// Whether this container needs sweeping, whose state was read without a lock, so that it costs
/// little.
fn is_suspect(store: &Store, id: &ContainerId, state: Option<&RunState>) -> bool {
    match state {
        Some(state) => !state.monitor.is_alive(),
        None => !store.container(id).join("container.json").exists(),
    }
}

fn sweep_known(store: &Store, id: &ContainerId, state: Option<&RunState>) -> Result<()> {
    match is_suspect(store, id, state) {
        true => sweep_container(store, id),
        false => Ok(()),
    }
}

/// Sweeps one container, where its monitor or maker is gone. A program that still runs gets
/// another monitor; one that has ended is started again where its policy says so.
///
/// # Errors
/// Where something could not be removed.
pub fn sweep_container(store: &Store, id: &ContainerId) -> Result<()> {
    resume_or_sweep(store, id).map(drop)
}

/// The same; tells whether the container has a monitor now.
///
/// # Errors
/// Where something could not be removed.
pub(crate) fn resume_or_sweep(store: &Store, id: &ContainerId) -> Result<bool> {
    if !is_suspect(store, id, RunState::read(store, id)?.as_ref()) {
        return Ok(false);
    }
    // Held by its maker or by another sweep: then there is nothing to do here.
    let Some(lock) = ContainerLock::try_acquire(store, id)? else {
        return Ok(false);
    };
    let state = RunState::read(store, id)?;
    let record = Record::read(store, id)?;
    let mut remove = record.is_none();
    if let Some(state) = &state {
        if state.monitor.is_alive() {
            return Ok(true);
        }
        if let Some(record) = &record
            && state.init.is_some_and(|init| init.is_alive())
            && !is_watched(record)
        {
            crate::run::takeover::take_over(store, record, state, lock)?;
            return Ok(RunState::read(store, id)?.is_some_and(|state| state.monitor.is_alive()));
        }
        remove |= cleanup::goes_at_end(store, id, state);
        kill_init(state);
        let exit = end_of(store, id, state)?;
        cleanup::finish_run(store, id, state, &exit, Known::default())?;
        if let Some(record) = record.filter(|_| !remove) {
            lock.release();
            return Ok(start_by_policy(store, &record, &exit));
        }
    }
    if remove {
        cleanup::remove_container(store, id)?;
    }
    lock.release();
    Ok(false)
}

/// Whether a program is traced: when its watcher is gone, its calls fail and nobody wants it.
fn is_watched(record: &Record) -> bool {
    matches!(record.options.security.seccomp, SeccompOption::Watched(_))
}

/// How the run ended that nobody looked after any more.
fn end_of(store: &Store, id: &ContainerId, state: &RunState) -> Result<Exit> {
    if let Some(exit) = &state.ended {
        return Ok(exit.clone());
    }
    if state.restarting
        && let Some(exit) = Exit::read(store, id)?
    {
        // Its monitor was killed between two runs: the end of the last one is known.
        return Ok(exit);
    }
    Ok(Exit {
        code: None,
        started: state.started.clone(),
        finished: time::now(),
        oom_killed: false,
        restart_count: state.restart_count,
        error: "its monitor was killed, so how it ended is not known".to_owned(),
    })
}

/// Starts a container again whose monitor cannot do it any more. Tells whether it runs: why
/// it does not stands in its record.
fn start_by_policy(store: &Store, record: &Record, exit: &Exit) -> bool {
    let stopped = is_marked_stopped(store, &record.id);
    let policy = record.options.restart;
    if !policy.wants_restart(exit.code, exit.restart_count, stopped) {
        return false;
    }
    // In a process of its own: whoever sweeps may look after a container itself, and of that
    // one the new monitor is to hold nothing.
    match fork() {
        Ok(Forked::Child) => {
            crate::network::home::let_go_of_containers(&[]);
            let started = crate::run::start_detached(&Engine::over(store), &record.id);
            exit_now(u8::from(started.is_err()))
        }
        Ok(Forked::Parent(pid)) => {
            let ended = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
            matches!(ended, Ok(Some((_, status))) if status.exit_status() == Some(0))
        }
        // No process more can be made: a later sweep tries again.
        Err(_) => false,
    }
}

/// Ends the first process of a container that nobody looks after any more, and waits
/// until it is gone.
fn kill_init(state: &RunState) {
    let Some(init) = state.init else { return };
    let Some(fd) = Pid::from_raw(init.pid).and_then(|pid| pidfd::open(pid).ok()) else {
        return;
    };
    if init.is_alive() {
        pidfd::send_signal(fd.as_fd(), Signal::KILL).unwrap_or_default();
        pidfd::await_end(fd.as_fd(), None).unwrap_or_default();
    }
}

/// States of containers that are no more.
fn sweep_states(store: &Store, in_use: &mut InUse) -> Result<()> {
    let Ok(entries) = fs::read_dir(store.states()) else {
        return Ok(());
    };
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    for (name, pid) in names
        .iter()
        .filter_map(|name| Some((name, name.split_once('.')?.1)))
    {
        // Written beside and never renamed: its writer was killed.
        if pid.parse().ok().and_then(ProcessName::read).is_none() {
            fs::remove_file(store.states().join(name)).unwrap_or_default();
        }
    }
    for id in names
        .iter()
        .filter_map(|name| ContainerId::parse(name))
        .filter(|id| !store.container(id).exists())
    {
        let state = in_use.read(store, &id)?;
        if state.as_ref().is_some_and(|state| state.monitor.is_alive()) {
            continue;
        }
        if let Some(state) = state {
            kill_init(&state);
            cleanup::finish_run(store, &id, &state, &Exit::default(), Known::default())?;
        }
        fs::remove_file(store.state(&id)).unwrap_or_default();
    }
    Ok(())
}

/// Names whose container is gone.
fn sweep_names(store: &Store) {
    let Ok(entries) = fs::read_dir(store.names()) else {
        return;
    };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if let Ok(Some(id)) = names::holder(store, &name)
            && !store.container(&id).exists()
        {
            // Somebody else may have been faster.
            names::release(store, &name, &id).unwrap_or_default();
        }
    }
}
