//! The journal of events: what happened to which object, one JSON object a line in
//! Docker's shape, in `/run/cais/events`.
//!
//! Each writer appends whole lines (`O_APPEND`), so that there is neither a lock nor a
//! process in between. A file that has grown is put aside as `events.1`, and the one before
//! is forgotten. An event that cannot be written is lost: what it tells of has happened all
//! the same, and the state on disk is what counts.

use crate::record::Record;
use crate::store::Store;
use crate::time;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The size at which the file is put aside, in bytes: some ten thousand events.
const MAX_SIZE: u64 = 4 * 1024 * 1024;

/// Whom an event concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Its id, or its name where it has none.
    #[serde(rename = "ID")]
    pub id: String,
    /// Image, name, labels and what else there is to say.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}

/// One event. `status`, `id` and `from` are those of Docker before API 1.52, for containers
/// and images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// As `action`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// As `actor.id`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// `container`, `image`, `network`, `volume`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// What happened: `create`, `start`, `die` …
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// Always `local`.
    pub scope: String,
    /// Seconds since 1970.
    pub time: u64,
    /// Nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

impl Event {
    /// An event of now.
    #[must_use]
    pub fn new(kind: &str, action: &str, actor: Actor) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let has_status = matches!(kind, "container" | "image");
        Self {
            status: if has_status {
                action.to_owned()
            } else {
                String::new()
            },
            id: if has_status {
                actor.id.clone()
            } else {
                String::new()
            },
            from: actor.attributes.get("image").cloned().unwrap_or_default(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            actor,
            scope: "local".to_owned(),
            time: now.as_secs(),
            time_nano: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// When it happened (RFC 3339).
    #[must_use]
    pub fn moment(&self) -> String {
        time::format(UNIX_EPOCH + std::time::Duration::from_nanos(self.time_nano))
    }
}

/// The image of a container, as `events` and `ps` name it.
#[must_use]
pub fn image_of(record: &Record) -> String {
    use crate::options::RootSource;
    match &record.options.root {
        RootSource::Host => "host".to_owned(),
        RootSource::Image { name, .. } => name.clone(),
        RootSource::Directory { path, .. } => path.display().to_string(),
    }
}

/// Notes what happened to a container.
pub fn container(store: &Store, record: &Record, action: &str, more: &[(&str, String)]) {
    write(store, &[of_container(record, action, more)]);
}

/// The event of a container, to be written with others.
#[must_use]
pub fn of_container(record: &Record, action: &str, more: &[(&str, String)]) -> Event {
    let mut attributes: BTreeMap<String, String> = record.options.labels.iter().cloned().collect();
    attributes.insert("image".to_owned(), image_of(record));
    attributes.insert("name".to_owned(), record.name.clone());
    attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    let actor = Actor {
        id: record.id.as_str().to_owned(),
        attributes,
    };
    Event::new("container", action, actor)
}

/// Notes what happened to something else: an image, a network, a volume.
pub fn other(store: &Store, kind: &str, id: &str, action: &str, attributes: &[(&str, &str)]) {
    let pairs = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let actor = Actor {
        id: id.to_owned(),
        attributes: pairs.collect(),
    };
    write(store, &[Event::new(kind, action, actor)]);
}

/// The file before the current one.
#[must_use]
pub fn older(store: &Store) -> PathBuf {
    store.run().join("events.1")
}

/// Appends events, all at once.
pub fn write(store: &Store, events: &[Event]) {
    let mut text = Vec::with_capacity(512);
    for event in events {
        // A struct of strings and numbers always becomes JSON.
        if serde_json::to_writer(&mut text, event).is_ok() {
            text.push(b'\n');
        }
    }
    // See above: nobody can be told.
    append(store, &text).unwrap_or_default();
}

fn append(store: &Store, text: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = options.open(store.events())?;
    if file.metadata()?.len() > MAX_SIZE && rotate(store, &file)? {
        file = options.open(store.events())?;
    }
    file.write_all(text)
}

/// Puts the file aside, unless somebody else does or did.
fn rotate(store: &Store, file: &File) -> std::io::Result<bool> {
    if flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    let current = std::fs::metadata(store.events())?;
    if current.ino() == file.metadata()?.ino() {
        std::fs::rename(store.events(), older(store))?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_bounded_and_its_lines_are_whole() {
        let base = std::env::temp_dir().join(format!("cais-events-{}", std::process::id()));
        let store = Store::new(base.join("data"), base.join("run"));
        store.ensure().unwrap();
        let filler = "x".repeat(1000);
        for _ in 0..(2 * MAX_SIZE / 1000 + 1000) {
            other(&store, "image", "sha256:1", "pull", &[("name", &filler)]);
        }
        let sizes: Vec<u64> = [store.events(), older(&store)]
            .iter()
            .map(|path| std::fs::metadata(path).unwrap().len())
            .collect();
        assert!(sizes.iter().all(|size| *size < MAX_SIZE + 4096), "{sizes:?}");
        let text = std::fs::read_to_string(store.events()).unwrap();
        for line in text.lines() {
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!((event.kind.as_str(), event.action.as_str()), ("image", "pull"));
            assert_eq!(event.status, "pull");
        }
        std::fs::remove_dir_all(base).unwrap();
    }
}
