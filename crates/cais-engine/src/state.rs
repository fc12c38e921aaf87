//! A container while it runs (a file of its own in the run directory), and what may be said of it at any moment.
//!
//! A process is named by its id and its start time, since ids are used again. A
//! state whose processes are gone is a leftover: [`crate::sweep`] removes it.

use crate::error::Result;
use crate::id::ContainerId;
use crate::record::{Exit, Record};
use crate::store::{Store, read_json, to_json, write_file, write_json, write_over};
use cais_linux::cgroups::{Group, Layout};
use cais_linux::process::start_time::read_stat;
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Its id in the host's pid namespace.
    pub pid: i32,
    /// Its start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start: u64,
}

impl ProcessName {
    /// The process that has this id now.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let stat = read_stat(pid)?;
        Some(Self {
            pid,
            start: stat.start,
        })
    }

    /// This process.
    #[must_use]
    pub fn of_this() -> Option<Self> {
        Self::read(std::process::id().cast_signed())
    }

    /// Whether it is still there; a zombie is not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        read_stat(self.pid).is_some_and(|stat| stat.start == self.start && !stat.has_ended())
    }
}

/// The state of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The version of the file's form.
    pub version: u32,
    /// The process that looks after the container.
    pub monitor: ProcessName,
    /// The container's first process; absent until it runs.
    pub init: Option<ProcessName>,
    /// When it started (RFC 3339).
    pub started: String,
    /// The cgroup, relative to each hierarchy; empty where it has none.
    pub cgroup: String,
    /// The index of its range of ids, where it has one.
    pub id_range: Option<u32>,
    /// Whether the container is removed when it ends.
    pub remove: bool,
    /// Whether its processes were stopped, or are about to be (`pause`). Its cgroup knows.
    #[serde(default)]
    pub paused: bool,
    /// Whether its last run has ended and the monitor will start it again.
    #[serde(default)]
    pub restarting: bool,
    /// The inodes of the pipes of its output and errors, where it has pipes.
    #[serde(default)]
    pub pipes: Option<[u64; 2]>,
    /// How often its policy has started it again since the user did.
    #[serde(default)]
    pub restart_count: u32,
    /// How it ended, where that could not be recorded yet: the disk is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Exit>,
}

impl RunState {
    /// Reads the state; `None` where the container does not run.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn read(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        read_json(&store.state(id))
    }

    /// Whether a later state is of the same run: another command may have started the container
    /// again. Another monitor takes over the same run, and one monitor starts the next run by
    /// the restart policy.
    #[must_use]
    pub fn goes_on_in(&self, later: &Self) -> bool {
        self.monitor == later.monitor || self.started == later.started
    }

    /// Whether nothing is left to be done but to record the end, which waits for room on the
    /// disk.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && !self.monitor.is_alive()
    }

    /// Writes the state.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, store: &Store, id: &ContainerId) -> Result<()> {
        write_json(&store.state(id), self)
    }

    /// Writes the state, on a full disk over the one that is there.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_at_any_cost(&self, store: &Store, id: &ContainerId) -> Result<()> {
        let path = store.state(id);
        let bytes = to_json(&path, self)?;
        match write_file(&path, &bytes) {
            Err(error) if error.is_full() => write_over(&path, &bytes),
            other => other,
        }
    }
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It was never started, or is being started for the first time.
    Created,
    /// It runs.
    Running {
        /// Its first process.
        init: ProcessName,
        /// Since when.
        started: String,
    },
    /// Its processes stand still.
    Paused {
        /// Its first process.
        init: ProcessName,
        /// Since when it runs.
        started: String,
    },
    /// Its last run ended so, and its policy will start it again.
    Restarting(Exit),
    /// It does not run; how the last run ended. Without a code nobody saw it.
    Exited(Exit),
}

/// A container: what was asked and what it is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// What was asked.
    pub record: Record,
    /// What it is doing.
    pub status: Status,
    /// Its state while it runs.
    pub state: Option<RunState>,
}

impl Container {
    /// Reads everything about a container; `None` where it is not there or half made.
    ///
    /// # Errors
    /// Where a file cannot be read or is damaged.
    pub fn read(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        let Some(record) = Record::read(store, id)? else {
            return Ok(None);
        };
        let state = RunState::read(store, id)?;
        let status = find_status(store, &record, state.as_ref())?;
        Ok(Some(Self {
            record,
            status,
            state,
        }))
    }

    /// The first process, where it runs.
    #[must_use]
    pub fn init(&self) -> Option<ProcessName> {
        match &self.status {
            Status::Running { init, .. } | Status::Paused { init, .. } => Some(*init),
            _ => None,
        }
    }

    /// Whether it runs or stands still, as Docker counts it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.init().is_some()
    }
}

fn find_status(store: &Store, record: &Record, state: Option<&RunState>) -> Result<Status> {
    if let Some(state) = state {
        if let Some(init) = state.init.filter(ProcessName::is_alive) {
            let started = state.started.clone();
            return Ok(if state.paused && is_frozen(&state.cgroup) {
                Status::Paused { init, started }
            } else {
                Status::Running { init, started }
            });
        }
        if let Some(exit) = &state.ended {
            return Ok(Status::Exited(exit.clone()));
        }
        if state.restarting && state.monitor.is_alive() {
            return Ok(Status::Restarting(
                Exit::read(store, &record.id)?.unwrap_or_default(),
            ));
        }
    }
    let exit = Exit::read(store, &record.id)?;
    // A start of which no end is recorded: unless it is going on, nobody saw the end.
    let unseen = record
        .last_start
        .as_ref()
        .filter(|start| exit.as_ref().is_none_or(|exit| exit.started < **start));
    Ok(match (exit, unseen) {
        (_, Some(start)) if state.is_none_or(|state| !state.monitor.is_alive()) => {
            Status::Exited(Exit::unseen(start))
        }
        (Some(exit), _) => Status::Exited(exit),
        (None, _) => Status::Created,
    })
}

/// Whether the processes of this cgroup stand still.
fn is_frozen(cgroup: &str) -> bool {
    let layout = Layout::read().ok();
    let group = layout.and_then(|layout| Group::open_existing(&layout, cgroup).ok().flatten());
    group.is_some_and(|group| group.is_frozen())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_its_namesake_is_not() {
        let this = ProcessName::read(std::process::id().cast_signed()).unwrap();
        assert!(this.is_alive());
        assert!(
            !ProcessName {
                start: this.start + 1,
                ..this
            }
            .is_alive()
        );
    }

    /// The files of each release, kept as they were written: a later engine reads them.
    #[test]
    fn files_of_version_1_are_read() {
        let base = std::env::temp_dir().join(format!("cais-fixture-{}", std::process::id()));
        let store = Store::new(base.join("data"), base.join("run"));
        store.ensure().unwrap();
        let record = include_str!("../fixtures/v1/container.json");
        let parsed: Record = cais_json::from_str(record).unwrap();
        assert_eq!((parsed.version, parsed.name.as_str()), (1, "fixture"));
        assert_eq!(parsed.options.limits.memory, Some(64 << 20));
        let directory = store.container(&parsed.id);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("container.json"), record).unwrap();
        let read = || Container::read(&store, &parsed.id).unwrap().unwrap().status;
        assert_eq!(read(), Status::Created);
        std::fs::write(
            directory.join("exit.json"),
            include_str!("../fixtures/v1/exit.json"),
        )
        .unwrap();
        assert!(matches!(read(), Status::Exited(Exit { code: Some(137), .. })));
        let state = include_str!("../fixtures/v1/state.json");
        std::fs::write(store.state(&parsed.id), state).unwrap();
        let state = RunState::read(&store, &parsed.id).unwrap().unwrap();
        assert!(!state.paused && !state.restarting && state.pipes.is_none());
        let later = record.replacen("\"version\":1", "\"version\":2", 1);
        std::fs::write(directory.join("container.json"), later).unwrap();
        assert!(
            Container::read(&store, &parsed.id)
                .unwrap_err()
                .to_string()
                .contains("version 2")
        );
        std::fs::remove_dir_all(base).unwrap();
    }
}
