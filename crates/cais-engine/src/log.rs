//! What a program says, kept: in files of Docker's or of Kubernetes' form, rotated by size so
//! that no container fills the disk, or given to the journal or a syslog.
//!
//! `writer` takes what the monitor reads; `reader` gives it back.

mod background;
pub mod format;
pub mod journal;
pub mod reader;
mod remote;
mod writer;

pub use writer::LogWriter;

use crate::error::Result;
use crate::options::{LogDriver, LogOptions};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The longest piece of a line that one entry holds, as Docker's.
const MAX_ENTRY: usize = 16 * 1024;

/// Which of the two streams a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Its name in the files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// The form of the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Docker's `json-file`.
    Json,
    /// That of Kubernetes' runtimes.
    Cri,
}

/// The file that holds a container's log in Docker's form.
#[must_use]
pub fn path(container: &Path) -> PathBuf {
    container.join("log").join("json.log")
}

/// The files of a container's log: the form and the current one. `None` where the driver
/// keeps none.
#[must_use]
pub fn files(container: &Path, log: &LogOptions) -> Option<(Form, PathBuf)> {
    match log.driver {
        LogDriver::JsonFile => Some((Form::Json, path(container))),
        LogDriver::Cri => Some((Form::Cri, container.join("log").join("cri.log"))),
        _ => None,
    }
}

/// The n-th older file; 0 is the current one.
#[must_use]
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// Checks that whoever is to take the log is there, before a container is made.
///
/// # Errors
/// Where the journal or the syslog cannot be reached.
pub fn check_reachable(log: &LogOptions) -> Result<()> {
    remote::check_reachable(log)
}
