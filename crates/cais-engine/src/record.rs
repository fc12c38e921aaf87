//! A container as the user asked for it (`container.json`), and how its last run
//! ended (`exit.json`): what outlives a boot.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::RunOptions;
use crate::state::ProcessName;
use crate::store::{Store, read_json, write_json};
use serde::{Deserialize, Serialize};

/// The version of the files that this engine writes.
pub const VERSION: u32 = 1;

/// `container.json`. Its presence says that the container was made completely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the file's form.
    pub version: u32,
    /// The id.
    pub id: ContainerId,
    /// The name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// When it was last started by a command (RFC 3339); absent before the first time.
    #[serde(default)]
    pub last_start: Option<String>,
    /// What the user asked.
    pub options: RunOptions,
}

/// `exit.json`: the end of the last run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The status as Docker gives it; absent where nobody was there to see it.
    pub code: Option<u8>,
    /// When it started (RFC 3339).
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// Why it could not be started or followed, where that was so.
    pub error: String,
    /// How often it was started again by its policy.
    #[serde(default)]
    pub restart_count: u32,
}

/// The file in a container's directory that says that the user asked it to end: no
/// restart policy starts it again.
const STOPPED: &str = "stopped";

/// Notes that the user asked the container to end.
///
/// # Errors
/// Where the note cannot be written.
pub fn mark_stopped(store: &Store, id: &ContainerId) -> Result<()> {
    let path = store.container(id).join(STOPPED);
    match std::fs::File::create(&path) {
        // Removed meanwhile: then nothing starts it again either.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other
            .map(drop)
            .map_err(EngineError::store(format!("write {}", path.display()))),
    }
}

/// The file in a container's directory that names the process that restarts it: as long as that
/// one is there the container stays at the end of its run, also where it is to be removed then.
const KEPT: &str = "kept";

/// Notes that this process restarts the container.
///
/// # Errors
/// Where the note cannot be written.
pub fn mark_kept(store: &Store, id: &ContainerId) -> Result<()> {
    let path = store.container(id).join(KEPT);
    match write_json(&path, &ProcessName::of_this()) {
        // It has ended meanwhile: whoever looks for it next says so.
        Err(_) if !store.container(id).exists() => Ok(()),
        other => other,
    }
}

/// Whether somebody restarts it.
pub(crate) fn is_marked_kept(store: &Store, id: &ContainerId) -> bool {
    let note = read_json::<Option<ProcessName>>(&store.container(id).join(KEPT));
    matches!(note, Ok(Some(Some(restarter))) if restarter.is_alive())
}

/// Whether the user asked the container to end since it was last started.
#[must_use]
pub fn is_marked_stopped(store: &Store, id: &ContainerId) -> bool {
    store.container(id).join(STOPPED).exists()
}

/// Forgets both notes: the user starts the container.
///
/// # Errors
/// Where a note cannot be removed.
pub fn clear_notes(store: &Store, id: &ContainerId) -> Result<()> {
    for name in [STOPPED, KEPT] {
        let path = store.container(id).join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::store(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

impl Record {
    /// Reads the record; `None` for a container that is not there or half made.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged, or is of a later version.
    pub fn read(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        let path = store.container(id).join("container.json");
        let record: Option<Self> = read_json(&path)?;
        match record {
            Some(record) if record.version > VERSION => Err(EngineError::Damaged {
                path: path.display().to_string(),
                detail: format!(
                    "it is of version {}, and this cais knows {VERSION}: use the newer one",
                    record.version
                ),
            }),
            other => Ok(other),
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, store: &Store) -> Result<()> {
        write_json(&store.container(&self.id).join("container.json"), self)
    }
}

impl Exit {
    /// The end of a run that nobody saw: the machine stopped, or the monitor was killed.
    #[must_use]
    pub fn unseen(started: &str) -> Self {
        Self {
            started: started.to_owned(),
            error: "how it ended was not seen: the machine or its monitor was stopped".to_owned(),
            ..Self::default()
        }
    }

    /// Reads how the last run ended; `None` where there was none.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn read(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        read_json(&store.container(id).join("exit.json"))
    }

    /// Writes it.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, store: &Store, id: &ContainerId) -> Result<()> {
        write_json(&store.container(id).join("exit.json"), self)
    }
}
