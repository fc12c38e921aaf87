//! A container while it runs (a file of its own in the run directory), and what may be said of it at any moment.
//!
//! A process is named by its id and its start time, since ids are used again. A
//! state whose processes are gone is a leftover: [`crate::sweep`] removes it.

use crate::error::Result;
use crate::id::ContainerId;
use crate::record::{Exit, Record};
use crate::store::{Store, read_json, write_json};
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
}

impl RunState {
    /// Reads the state; `None` where the container does not run.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn read(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        read_json(&store.state(id))
    }

    /// Writes the state.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, store: &Store, id: &ContainerId) -> Result<()> {
        write_json(&store.state(id), self)
    }
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is being made or started.
    Created,
    /// It runs.
    Running {
        /// Its first process.
        init: ProcessName,
        /// Since when.
        started: String,
    },
    /// It does not run; how the last run ended, where there was one that was seen.
    Exited(Option<Exit>),
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
        let status = match &state {
            Some(RunState {
                init: Some(init),
                started,
                ..
            }) if init.is_alive() => Status::Running {
                init: *init,
                started: started.clone(),
            },
            Some(RunState {
                init: None, monitor, ..
            }) if monitor.is_alive() => Status::Created,
            _ => match Exit::read(store, id)? {
                None if state.is_none() => Status::Exited(None),
                exit => Status::Exited(exit),
            },
        };
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
            Status::Running { init, .. } => Some(*init),
            _ => None,
        }
    }
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
}
