//! Volumes: directories that outlive containers (`volumes/<name>/{volume.json,_data}`).
//!
//! A volume is made beside and renamed in, so it is whole or not there. Whoever is about to
//! start a container holds it by a shared flock(2) on its directory; whoever removes it takes
//! an exclusive one, and then looks whether a container has it.

mod fill;

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::list::containers;
use crate::options::mount::parse_mode_words;
use crate::options::{MountKind, MountOption, RunOptions};
use crate::prune::PruneFilter;
use crate::record::Record;
use crate::store::{Store, ensure_directory, read_json, write_json};
use crate::time;
use cais_linux::SysError;
use cais_order::{Gather, InOrder};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, open, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What volumes that are being made begin with.
const NEW: &str = ".new-";
/// What volumes that are being removed begin with.
const GONE: &str = ".gone-";
/// Where the names of anonymous volumes stand that no record names yet, or soon none does.
const MARKED: &str = ".anonymous";

/// A volume: `volume.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for one container, without a name.
    pub anonymous: bool,
}

fn failed(call: &'static str, path: &Path) -> impl Fn(Errno) -> EngineError {
    let path = path.to_owned();
    move |errno| EngineError::System {
        action: format!("hold the volume {}", path.display()),
        source: SysError::new(call, format!("{path:?}"), errno),
    }
}

/// Where volumes are.
#[must_use]
pub fn directory(store: &Store) -> PathBuf {
    store.data().join("volumes")
}

/// Where the files of a volume are.
#[must_use]
pub fn data(store: &Store, name: &str) -> PathBuf {
    directory(store).join(name).join("_data")
}

/// Whether a text can be the name of a volume: Docker's grammar.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.len() <= 255 && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Makes a volume; one of this name that is there is it. Without a name it gets one.
///
/// # Errors
/// For a name that is none; where it cannot be made.
pub fn create(store: &Store, name: Option<&str>, labels: &BTreeMap<String, String>) -> Result<Volume> {
    let name = match name {
        Some(name) if is_name(name) => name.to_owned(),
        Some(name) => {
            return Err(EngineError::Invalid(format!(
                "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
            )));
        }
        None => ContainerId::random()?.to_string(),
    };
    let volume = Volume {
        name,
        created: time::now(),
        labels: labels.clone(),
        anonymous: false,
    };
    ensure(store, volume)
}

/// Makes a volume unless it is there.
fn ensure(store: &Store, volume: Volume) -> Result<Volume> {
    let base = directory(store);
    let path = base.join(&volume.name);
    if let Some(found) = read_json(&path.join("volume.json"))? {
        return Ok(found);
    }
    ensure_directory(&base)?;
    let beside = base.join(format!("{NEW}{}", ContainerId::random()?.short()));
    let lock = make_locked(&beside)?;
    let made = make_directory(&beside.join("_data"), 0o755)
        .and_then(|()| write_json(&beside.join("volume.json"), &volume))
        .and_then(|()| {
            match renameat_with(CWD, &beside, CWD, &path, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(true),
                // Somebody was faster.
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(failed("renameat2", &path)(errno)),
            }
        });
    if !matches!(made, Ok(true)) {
        fs::remove_dir_all(&beside).unwrap_or_default();
    }
    drop(lock);
    match made? {
        true => {
            crate::events::other(store, "volume", &volume.name, "create", &[("driver", "local")]);
            Ok(volume)
        }
        false => find(store, &volume.name),
    }
}

/// Makes a directory that a sweep leaves alone as long as the lock is held.
fn make_locked(path: &Path) -> Result<OwnedFd> {
    make_directory(path, 0o700)?;
    let directory = open_directory(path)?;
    let directory = directory.ok_or_else(|| failed("open", path)(Errno::NOENT))?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).map_err(failed("flock", path))?;
    Ok(directory)
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .map_err(EngineError::store(format!("make {}", path.display())))
}

fn open_directory(path: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match open(path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("open", path)(errno)),
    }
}

/// All volumes, by name.
///
/// # Errors
/// Where they cannot be read.
pub fn list(store: &Store) -> Result<Vec<Volume>> {
    let base = directory(store);
    let entries = match fs::read_dir(&base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EngineError::store(format!("read {}", base.display()))(error)),
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_name(&name) {
            found.extend(read_json::<Volume>(&entry.path().join("volume.json"))?);
        }
    }
    found.order_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Finds a volume.
///
/// # Errors
/// Where there is none.
pub fn find(store: &Store, name: &str) -> Result<Volume> {
    let none = || EngineError::Invalid(format!("no such volume: {name}"));
    if !is_name(name) {
        return Err(none());
    }
    read_json(&directory(store).join(name).join("volume.json"))?.ok_or_else(none)
}

/// The volumes that containers have, with the ids of these.
///
/// # Errors
/// Where the containers cannot be listed.
pub fn in_use(store: &Store) -> Result<BTreeMap<String, Vec<String>>> {
    let mut used: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for container in containers(store)? {
        for name in names(&container.record.options) {
            let id = container.record.id.as_str().to_owned();
            used.entry(name.to_owned()).or_default().push(id);
        }
    }
    Ok(used)
}

/// The containers that have this volume. Records in which its name does not stand are not
/// parsed: whoever removes a thousand containers with a volume each asks as often.
fn users(store: &Store, name: &str) -> Result<Vec<ContainerId>> {
    let mut found = Vec::new();
    for id in store.list()? {
        let text = fs::read_to_string(store.container(&id).join("container.json")).unwrap_or_default();
        if !text.contains(name) {
            continue;
        }
        // A record that is damaged holds nothing, as with `ps`.
        if let Ok(Some(record)) = Record::read(store, &id)
            && names(&record.options).any(|used| used == name)
        {
            found.push(id);
        }
    }
    Ok(found)
}

fn names(options: &RunOptions) -> impl Iterator<Item = &str> {
    options.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { name, .. } => Some(name.as_str()),
        _ => None,
    })
}

/// Removes a volume with all that is in it. With `force` one that is not there is no error.
///
/// # Errors
/// Where there is none, or a container has it.
pub fn remove(store: &Store, name: &str, force: bool) -> Result<()> {
    if let Err(error) = find(store, name) {
        return if force && is_name(name) {
            Ok(())
        } else {
            Err(error)
        };
    }
    let path = directory(store).join(name);
    let Some(directory) = open_directory(&path)? else {
        return Ok(());
    };
    let used = |who: &str| Err(EngineError::Invalid(format!("volume is in use: {name}: {who}")));
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return used("a container with it is being started, or runs"),
        other => other.map_err(failed("flock", &path))?,
    }
    // Somebody may have been faster.
    if fstat(&directory).map_err(failed("fstat", &path))?.st_nlink == 0 {
        return Ok(());
    }
    let containers = users(store, name)?;
    if !containers.is_empty() {
        return used(&format!(
            "[{}]",
            containers
                .iter()
                .map(ContainerId::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    let gone = self::directory(store).join(format!("{GONE}{}", ContainerId::random()?.short()));
    fs::rename(&path, &gone).map_err(EngineError::store(format!("remove the volume {name}")))?;
    crate::events::other(store, "volume", name, "destroy", &[("driver", "local")]);
    fs::remove_dir_all(&gone).map_err(EngineError::store(format!(
        "remove the files of the volume {name}"
    )))
}

/// Removes the volumes that no container has: those without a name of the user's, with `all`
/// every one. Returns their names and the bytes that came free.
///
/// # Errors
/// The first of the errors met; all were tried.
pub fn prune(engine: &Engine, all: bool, filter: &PruneFilter) -> Result<(Vec<String>, u64)> {
    let store = &engine.store;
    sweep(store)?;
    let used: BTreeSet<String> = in_use(store)?.into_keys().into_set();
    let (mut removed, mut freed) = (Vec::new(), 0u64);
    let mut first = Ok(());
    for volume in list(store)? {
        let labels = volume
            .labels
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let is_meant = (all || volume.anonymous) && !used.contains(&volume.name);
        if !is_meant || !filter.takes(Some(&volume.created), &labels) {
            continue;
        }
        let size = crate::disk::read_size(&data(store, &volume.name)).unwrap_or(0);
        match remove(store, &volume.name, false) {
            Ok(()) => {
                freed = freed.saturating_add(size);
                removed.push(volume.name);
            }
            Err(error) => first = first.and(Err(error)),
        }
    }
    first.map(|()| (removed, freed))
}

/// Removes what killed commands left: volumes half made, and half removed.
///
/// # Errors
/// Where something cannot be removed.
pub fn sweep(store: &Store) -> Result<()> {
    sweep_anonymous(store)?;
    let base = directory(store);
    for entry in fs::read_dir(&base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let is_ours = name.starts_with(NEW) || name.starts_with(GONE);
        let Some(directory) = is_ours.then(|| open_directory(&path)).transpose()?.flatten() else {
            continue;
        };
        // Whoever makes it holds it.
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(EngineError::store(format!("remove {}", path.display()))(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives names to the volumes that the user named none for.
pub(crate) fn name_all(options: &mut RunOptions) -> Result<()> {
    for mount in &mut options.mounts {
        if let MountKind::Volume { name, .. } = &mut mount.kind
            && name.is_empty()
        {
            *name = ContainerId::random()?.to_string();
        }
    }
    Ok(())
}

/// Volumes that nobody can remove meanwhile.
#[derive(Debug, Default)]
pub struct Held {
    directories: Vec<OwnedFd>,
}

fn mark_of(store: &Store, name: &str) -> PathBuf {
    directory(store).join(MARKED).join(name)
}

/// Marks a volume that no record names: whoever finds the mark, and nobody who holds the
/// volume, removes both.
fn mark(store: &Store, name: &str) -> Result<()> {
    let path = mark_of(store, name);
    ensure_directory(&directory(store).join(MARKED))?;
    fs::File::create(&path)
        .map(drop)
        .map_err(EngineError::store(format!("write {}", path.display())))
}

fn unmark(store: &Store, name: &str) {
    // One that stays is found by the next sweep, which then sees what holds the volume.
    fs::remove_file(mark_of(store, name)).unwrap_or_default();
}

/// Marks the volumes that are to go with a container whose record is about to go.
pub(crate) fn mark_anonymous(store: &Store, options: &RunOptions) -> Result<()> {
    anonymous(options).try_for_each(|name| mark(store, name))
}

/// Removes the anonymous volumes that killed commands left without a record.
///
/// # Errors
/// The first of the errors met; all were tried.
fn sweep_anonymous(store: &Store) -> Result<()> {
    let entries = fs::read_dir(directory(store).join(MARKED)).into_iter().flatten();
    let mut first = Ok(());
    for name in entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
    {
        match remove(store, &name, true) {
            Ok(()) => unmark(store, &name),
            // A container has it, or somebody is making one with it: then they see to it.
            Err(EngineError::Invalid(_)) => {
                if users(store, &name).is_ok_and(|users| !users.is_empty()) {
                    unmark(store, &name);
                }
            }
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

impl Held {
    /// Lets them go, here and in every process that has them by fork(2): the container is
    /// recorded, and that holds them.
    pub(crate) fn release(&self, store: &Store, options: &RunOptions) {
        anonymous(options).for_each(|name| unmark(store, name));
        for directory in &self.directories {
            // It cannot fail on a descriptor that was locked.
            flock(directory, FlockOperation::Unlock).unwrap_or_default();
        }
    }
}

/// Makes the volumes of a container that are missing, holds all of them, and fills those that
/// are empty with what the image has at their places.
///
/// # Errors
/// Where one cannot be made or filled.
pub(crate) fn hold(engine: &Engine, record: &Record) -> Result<Held> {
    let store = &engine.store;
    let mut directories = Vec::new();
    for mount in &record.options.mounts {
        let MountKind::Volume {
            name,
            anonymous,
            no_copy,
        } = &mount.kind
        else {
            continue;
        };
        directories.push(hold_one(store, name, *anonymous)?);
        if !no_copy {
            fill::fill(engine, &record.options, name, &mount.target)?;
        }
    }
    Ok(Held { directories })
}

fn hold_one(store: &Store, name: &str, anonymous: bool) -> Result<OwnedFd> {
    /// Somebody may remove it again as often as it is made.
    const TRIES: u32 = 1000;
    let path = directory(store).join(name);
    let is_new = anonymous && !path.exists();
    for _ in 0..TRIES {
        if is_new {
            mark(store, name)?;
        }
        ensure(
            store,
            Volume {
                name: name.to_owned(),
                created: time::now(),
                anonymous,
                ..Volume::default()
            },
        )?;
        let Some(directory) = open_directory(&path)? else {
            continue;
        };
        rustix::io::retry_on_intr(|| flock(&directory, FlockOperation::LockShared))
            .map_err(failed("flock", &path))?;
        // It may have been removed while we waited, or its mark before we held it.
        if path.exists() && (!is_new || mark_of(store, name).exists()) {
            return Ok(directory);
        }
    }
    Err(EngineError::Invalid(format!(
        "volume {name} is removed as often as it is made"
    )))
}

/// The names of the volumes that were made for this container alone.
fn anonymous(options: &RunOptions) -> impl Iterator<Item = &str> {
    options.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume {
            name,
            anonymous: true,
            ..
        } => Some(name.as_str()),
        _ => None,
    })
}

/// Removes the volumes that were made for this container alone. One that another has stays.
pub(crate) fn remove_anonymous(store: &Store, options: &RunOptions) -> Result<()> {
    let mut first = Ok(());
    for name in anonymous(options) {
        match remove(store, name, true) {
            Ok(()) => unmark(store, name),
            Err(EngineError::Invalid(_)) => {}
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

/// The mounts that `--volumes-from CONTAINER[:ro]` brings, as that container has them; its
/// tmpfs are its own.
///
/// # Errors
/// Where there is no such container.
pub fn mounts_from(store: &Store, text: &str) -> Result<Vec<MountOption>> {
    let (name, words) = text.split_once(':').unwrap_or((text, ""));
    let read_only = match parse_mode_words(words) {
        Some(mode) if mode.is_of_access() => mode.read_only,
        _ => {
            return Err(EngineError::Invalid(format!(
                "--volumes-from: {words:?} is not ro or rw, with z or Z where files have labels"
            )));
        }
    };
    let container = crate::list::container(store, name)?;
    let mounts = container.record.options.mounts.into_iter();
    let mounts = mounts.filter(|mount| !matches!(mount.kind, MountKind::Tmpfs { .. }));
    Ok(mounts
        .map(|mount| MountOption {
            read_only: mount.read_only || read_only,
            ..mount
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, good) in [
            ("data", true),
            ("a.b_c-1", true),
            ("0", true),
            ("", false),
            (".", false),
            ("../x", false),
            ("a/b", false),
            ("-a", false),
            ("é", false),
        ] {
            assert_eq!(is_name(name), good, "{name}");
        }
    }
}
