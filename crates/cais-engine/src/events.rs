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
use cais_order::Gather;
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
    let mut attributes: BTreeMap<String, String> = record.options.labels.iter().cloned().into_map();
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
    write(store, &[of_other(kind, id, action, attributes)]);
}

/// The event of something else, to be written with others.
#[must_use]
pub fn of_other(kind: &str, id: &str, action: &str, attributes: &[(&str, &str)]) -> Event {
    let pairs = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let actor = Actor {
        id: id.to_owned(),
        attributes: pairs.collect(),
    };
    Event::new(kind, action, actor)
}

/// The events of what a container has from outside, when it comes and when it goes: its
/// networks and its volumes.
#[must_use]
pub fn of_surroundings(
    record: &Record,
    networks: Option<&cais_net::endpoint::Endpoints>,
    comes: bool,
) -> Vec<Event> {
    use crate::options::MountKind;
    let container = record.id.as_str();
    let mut all = Vec::new();
    for endpoint in networks.iter().flat_map(|all| &all.endpoints) {
        let action = if comes { "connect" } else { "disconnect" };
        let attributes = [
            ("container", container),
            ("name", &endpoint.network),
            ("type", endpoint.driver.name()),
        ];
        all.push(of_other("network", &endpoint.network_id, action, &attributes));
    }
    for mount in &record.options.mounts {
        let MountKind::Volume { name, .. } = &mount.kind else {
            continue;
        };
        all.push(if comes {
            let writable = if mount.read_only { "false" } else { "true" };
            let attributes = [
                ("container", container),
                ("destination", &mount.target),
                ("driver", "local"),
                ("propagation", ""),
                ("read/write", writable),
            ];
            of_other("volume", name, "mount", &attributes)
        } else {
            of_other(
                "volume",
                name,
                "unmount",
                &[("container", container), ("driver", "local")],
            )
        });
    }
    all
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
        if let Ok(line) = cais_json::to_vec(event) {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
    }
    // See above: nobody can be told.
    append(store, &text).unwrap_or_default();
}

fn append(store: &Store, text: &[u8]) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = match options.open(store.events()) {
        // The first command after a boot.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::store::ensure_directory(store.run()).map_err(std::io::Error::other)?;
            options.open(store.events())?
        }
        other => other?,
    };
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

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// From this moment on, in nanoseconds since 1970; none before.
    pub since: Option<u64>,
    /// Before this moment.
    pub until: Option<u64>,
    /// `KEY=VALUE` each: those of one key are alternatives, those of different keys must all
    /// hold.
    pub filters: Vec<(String, String)>,
}

impl EventQuery {
    /// Reads a filter.
    ///
    /// # Errors
    /// For a key that there is not.
    pub fn add_filter(&mut self, text: &str) -> crate::Result<()> {
        const KEYS: [&str; 9] = [
            "type",
            "event",
            "container",
            "image",
            "label",
            "network",
            "volume",
            "scope",
            "daemon",
        ];
        match text.split_once('=') {
            Some((key, value)) if KEYS.contains(&key) => {
                self.filters.push((key.to_owned(), value.to_owned()));
                Ok(())
            }
            _ => Err(crate::EngineError::Invalid(format!(
                "invalid filter {text:?}: give type, event, container, image, label, network or volume=VALUE"
            ))),
        }
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn takes(&self, event: &Event) -> bool {
        let in_time = self.since.is_none_or(|since| event.time_nano >= since)
            && self.until.is_none_or(|until| event.time_nano < until);
        in_time
            && self.filters.iter().all(|(key, _)| {
                let mut same = self.filters.iter().filter(|(other, _)| other == key);
                same.any(|(_, value)| matches(event, key, value))
            })
    }
}

fn matches(event: &Event, key: &str, value: &str) -> bool {
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    let names = |kind: &str| {
        event.kind == kind
            && (event.actor.id == value
                || attribute("name") == Some(value)
                || (value.len() >= 4 && event.actor.id.starts_with(value)))
    };
    match key {
        "type" => event.kind == value,
        "event" => event.action == value || event.action.split(':').next() == Some(value),
        "container" => names("container"),
        "network" => names("network"),
        "volume" => names("volume"),
        "image" => names("image") || attribute("image") == Some(value),
        "label" => match value.split_once('=') {
            Some((name, wanted)) => attribute(name) == Some(wanted),
            None => attribute(value).is_some(),
        },
        "scope" => event.scope == value,
        // There is none of whom events could tell.
        _ => false,
    }
}

/// Reads the journal, and goes on as it grows.
#[derive(Debug)]
pub struct EventReader {
    store: Store,
    file: Option<File>,
    rest: Vec<u8>,
    inotify: rustix::fd::OwnedFd,
}

impl EventReader {
    /// Opens the journal: from its beginning, or only what comes from now on.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub fn open(store: &Store, from_beginning: bool) -> crate::Result<Self> {
        use rustix::fs::inotify;
        store.ensure()?;
        let failed = |errno: rustix::io::Errno| crate::EngineError::Store {
            action: "watch the journal of events".to_owned(),
            source: errno.into(),
        };
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let watch = inotify::init(flags).map_err(failed)?;
        let changes =
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_FROM;
        inotify::add_watch(&watch, store.run(), changes).map_err(failed)?;
        let mut reader = Self {
            store: store.clone(),
            file: None,
            rest: Vec::new(),
            inotify: watch,
        };
        reader.file = if from_beginning {
            File::open(older(store))
                .ok()
                .or_else(|| File::open(store.events()).ok())
        } else {
            let mut file = File::open(store.events()).ok();
            if let Some(file) = &mut file {
                use std::io::Seek;
                file.seek(std::io::SeekFrom::End(0))
                    .map_err(crate::EngineError::store("read the journal"))?;
            }
            file
        };
        Ok(reader)
    }

    /// Hands over all events that are there.
    ///
    /// # Errors
    /// Where the journal cannot be read, or `take` fails.
    pub fn read_on(&mut self, take: &mut dyn FnMut(&Event) -> crate::Result<()>) -> crate::Result<()> {
        use std::io::Read;
        loop {
            if self.file.is_none() {
                self.file = File::open(self.store.events()).ok();
            }
            let Some(file) = &mut self.file else {
                return Ok(());
            };
            let read = crate::EngineError::store("read the journal of events");
            // Known before its end is read: nothing is added to one that was put aside but by
            // who had it open.
            let inode = file.metadata().map(|data| data.ino()).unwrap_or(0);
            let is_current = std::fs::metadata(self.store.events()).is_ok_and(|data| data.ino() == inode);
            let mut text = std::mem::take(&mut self.rest);
            file.read_to_end(&mut text).map_err(read)?;
            let mut lines = text.split_inclusive(|byte| *byte == b'\n').peekable();
            while let Some(line) = lines.next() {
                if line.ends_with(b"\n") {
                    if let Ok(event) = cais_json::from_slice(line) {
                        take(&event)?;
                    }
                } else if lines.peek().is_none() {
                    self.rest = line.to_vec();
                }
            }
            if is_current {
                return Ok(());
            }
            self.file = File::open(self.store.events()).ok();
            if self.file.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits until there may be more, or until the time is up.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait(&self, left: Option<std::time::Duration>) -> crate::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        let timeout = left.map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(crate::EngineError::Store {
                    action: "wait for events".to_owned(),
                    source: errno.into(),
                });
            }
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        while rustix::io::read(&self.inotify, &mut buffer[..]).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_as_docker_has_them() {
        let attributes = [("image", "alpine"), ("name", "web"), ("tier", "front")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let actor = Actor {
            id: "abcdef012345".to_owned(),
            attributes: attributes.into(),
        };
        let event = Event::new("container", "health_status: healthy", actor);
        for (filters, want) in [
            (&[][..], true),
            (&["type=container"], true),
            (&["type=image"], false),
            (&["type=image", "type=container"], true),
            (&["container=web", "event=health_status"], true),
            (&["container=abcdef"], true),
            (&["container=other"], false),
            (&["image=alpine", "label=tier=front"], true),
            (&["label=tier=back"], false),
            (&["label=tier"], true),
        ] {
            let mut query = EventQuery::default();
            for filter in filters {
                query.add_filter(filter).unwrap();
            }
            assert_eq!(query.takes(&event), want, "{filters:?}");
        }
        assert!(EventQuery::default().add_filter("bogus=x").is_err());
    }

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
            let event: Event = cais_json::from_str(line).unwrap();
            assert_eq!((event.kind.as_str(), event.action.as_str()), ("image", "pull"));
            assert_eq!(event.status, "pull");
        }
        std::fs::remove_dir_all(base).unwrap();
    }
}
