//! The state of a container on disk, and what the kernel says of it.

use super::error::{Result, RuntimeError};
use super::facts::listener_of;
use super::{Runtime, cgroups};
use crate::spec::{Hook, Spec};
use cais_linux::SysError;
use cais_linux::process::start_time::read_stat;
use cais_order::InOrder;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The socket at which a container waits for its start.
pub(super) const START_SOCKET: &str = "start.sock";
/// The file of the state.
const STATE_FILE: &str = "state.json";
/// The file of the configuration, written once, before the state is.
const CONFIG_FILE: &str = "config.json";
/// The version of the files. Those of version 1 carry none, and have the configuration in the
/// state.
const VERSION: u32 = 2;

/// What is written down of a container, but for its configuration: that is large (the seccomp
/// profile alone has 50 KB), and what most commands ask for is not in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The version of the file's form.
    pub version: u32,
    /// Its id.
    pub id: String,
    /// The first process; 0 before it was made.
    pub pid: i32,
    /// When the first process started, in clock ticks since boot.
    pub start_time: u64,
    /// The bundle.
    pub bundle: PathBuf,
    /// The root file system on the host.
    pub rootfs: PathBuf,
    /// When it was made (RFC 3339).
    pub created: String,
    /// The cgroup, relative to each hierarchy; empty for none.
    pub cgroup: String,
    /// The unit of systemd that the cgroup belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd_unit: Option<String>,
    /// The user who made it.
    pub owner: u32,
    /// The directory of cache and memory bandwidth allocation that was made for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<PathBuf>,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The configuration's hooks that `start` runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// The configuration's hooks that `delete` runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
    /// Who wants the seccomp notifications, and with which words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<(String, Option<String>)>,
    /// The configuration, in a file of version 1.
    #[serde(rename = "config", skip_serializing)]
    pub(super) embedded: Option<Box<Spec>>,
}

/// A container with its configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Container {
    /// Its state.
    pub state: State,
    /// Its configuration.
    pub config: Spec,
}

impl Container {
    /// A state with this configuration, and what it repeats of it.
    pub(super) fn new(mut state: State, config: Spec) -> Self {
        state.version = VERSION;
        state.take_from(&config);
        Self { state, config }
    }
}

impl std::ops::Deref for Container {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Container {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What a container is doing (runtime-spec, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes stand still.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The state as `state` prints it and hooks read it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciState<'a> {
    /// The version of the specification.
    pub oci_version: &'a str,
    /// The id.
    pub id: &'a str,
    /// What it is doing.
    pub status: String,
    /// The first process; 0 where it has ended.
    pub pid: i32,
    /// The bundle.
    pub bundle: &'a Path,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<&'a Path>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<&'a str>,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// The user who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<&'a str>,
}

impl State {
    /// Repeats what is asked for without the configuration.
    fn take_from(&mut self, config: &Spec) {
        self.annotations.clone_from(&config.annotations);
        if let Some(hooks) = &config.hooks {
            self.poststart.clone_from(&hooks.poststart);
            self.poststop.clone_from(&hooks.poststop);
        }
        self.listener = listener_of(config);
    }

    /// The state for a hook, or for whoever answers seccomp notifications.
    #[must_use]
    pub fn for_hook(&self, status: Status) -> OciState<'_> {
        OciState {
            oci_version: crate::spec::VERSION,
            id: &self.id,
            status: status.to_string(),
            pid: self.pid,
            bundle: &self.bundle,
            rootfs: None,
            created: None,
            annotations: &self.annotations,
            owner: None,
        }
    }

    /// Whether the first process is still there; a zombie is not.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.pid > 0
            && read_stat(self.pid).is_some_and(|stat| stat.start == self.start_time && !stat.has_ended())
    }
}

/// Checks an id.
///
/// # Errors
/// [`RuntimeError::BadId`].
pub fn check_id(id: &str) -> Result<()> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    let good = !id.is_empty() && id.len() <= 1024 && id.bytes().all(known) && id != "." && id != "..";
    if good {
        Ok(())
    } else {
        Err(RuntimeError::BadId(id.to_owned()))
    }
}

/// The directory of a container, locked.
#[derive(Debug)]
pub struct Directory {
    pub(super) path: PathBuf,
    /// Holds the lock until it is closed.
    pub(super) handle: OwnedFd,
}

impl Directory {
    /// Makes the directory of a new container.
    ///
    /// # Errors
    /// [`RuntimeError::Exists`], or what the file system says.
    pub(super) fn make(runtime: &Runtime, id: &str) -> Result<Self> {
        check_id(id)?;
        ensure_root(&runtime.root)?;
        let path = runtime.root.join(id);
        for attempt in 0..2 {
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o711)) {
                Ok(()) => break,
                // Left by a `create` that was killed before it wrote anything down.
                Err(Errno::EXIST) if attempt == 0 && remove_abandoned(&path)? => {}
                Err(Errno::EXIST) => return Err(RuntimeError::Exists(id.to_owned())),
                Err(errno) => {
                    let source = SysError::new("mkdir", format!("{path:?}"), errno);
                    return Err(RuntimeError::system("make the container's directory")(source));
                }
            }
        }
        let exists = || RuntimeError::Exists(id.to_owned());
        let directory = Self::lock(path, id)?.ok_or_else(exists)?;
        // Between the making and the locking another `create` may have taken it for one that was
        // left, and made its own container here.
        match directory.read()? {
            None => Ok(directory),
            Some(_) => Err(exists()),
        }
    }

    /// Locks the directory of a container that is there, waiting for whoever has it.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`].
    pub fn open(runtime: &Runtime, id: &str) -> Result<Self> {
        check_id(id)?;
        Self::lock(runtime.root.join(id), id)?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))
    }

    fn lock(path: PathBuf, id: &str) -> Result<Option<Self>> {
        let failed = |call, errno| RuntimeError::System {
            action: format!("lock container {id}"),
            source: SysError::new(call, format!("{path:?}"), errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = match open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|errno| failed("open", errno))?,
        };
        rustix::io::retry_on_intr(|| flock(&handle, FlockOperation::LockExclusive))
            .map_err(|errno| failed("flock", errno))?;
        // It may have been removed while we waited.
        let links = fstat(&handle).map_err(|errno| failed("fstat", errno))?.st_nlink;
        Ok((links > 0).then_some(Self { path, handle }))
    }

    /// Writes the configuration, and then the state: only with that there is a container.
    pub(super) fn write_new(&self, container: &Container) -> Result<()> {
        let place = self.path.join(CONFIG_FILE);
        let text = cais_json::to_vec(&container.config).map_err(damaged(&place))?;
        write_private(&place, &text).map_err(RuntimeError::file(format!("write {}", place.display())))?;
        self.write(&container.state)
    }

    /// Writes the state: beside, then renamed.
    pub(super) fn write(&self, state: &State) -> Result<()> {
        let (new, place) = (self.path.join("state.new"), self.path.join(STATE_FILE));
        let text = cais_json::to_vec(state).map_err(damaged(&place))?;
        write_private(&new, &text)
            .and_then(|()| std::fs::rename(&new, &place))
            .map_err(RuntimeError::file(format!("write {}", place.display())))
    }

    /// Reads the state; `None` where none was written yet.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn read(&self) -> Result<Option<State>> {
        read_file(&self.path)
    }

    /// The same with the configuration.
    ///
    /// # Errors
    /// Where one of them cannot be read or is damaged.
    pub fn read_container(&self) -> Result<Option<Container>> {
        read_container_in(&self.path)
    }

    /// Removes the directory: the container is gone.
    pub(super) fn remove(self) -> Result<()> {
        remove_directory(&self.path)
    }
}

/// Writes a file that is its owner's alone: the environment in it may hold secrets, and
/// `delete` believes what stands there.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

fn ensure_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if root.is_dir() {
        return Ok(());
    }
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(root)
        .map_err(RuntimeError::file(format!("make {}", root.display())))
}

/// Removes a directory that holds no state and that nobody works on, under its lock: whoever
/// waits for that finds it gone. False where it is somebody's.
fn remove_abandoned(path: &Path) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(handle) = open(path, flags, Mode::empty()) else {
        return Ok(false);
    };
    let is_free = flock(&handle, FlockOperation::NonBlockingLockExclusive).is_ok();
    let is_linked = fstat(&handle).is_ok_and(|stat| stat.st_nlink > 0);
    if !is_free || !is_linked || path.join(STATE_FILE).exists() {
        return Ok(false);
    }
    remove_directory(path)?;
    Ok(true)
}

fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RuntimeError::file(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

fn read_file(directory: &Path) -> Result<Option<State>> {
    let file = directory.join(STATE_FILE);
    let bytes = match std::fs::read(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(RuntimeError::file(format!("read {}", file.display())))?,
    };
    let mut state: State = cais_json::from_slice(&bytes).map_err(damaged(&file))?;
    if state.version > VERSION {
        return Err(RuntimeError::Json {
            file,
            source: format!(
                "it is of version {}, and this cais knows {VERSION}: use the newer one",
                state.version
            )
            .into(),
        });
    }
    if let Some(config) = state.embedded.take() {
        state.take_from(&config);
        state.embedded = Some(config);
    }
    Ok(Some(state))
}

fn damaged<E: std::error::Error + Send + Sync + 'static>(file: &Path) -> impl FnOnce(E) -> RuntimeError {
    let file = file.to_owned();
    move |error| RuntimeError::Json {
        file,
        source: error.into(),
    }
}

fn read_container_in(directory: &Path) -> Result<Option<Container>> {
    let Some(mut state) = read_file(directory)? else {
        return Ok(None);
    };
    if let Some(config) = state.embedded.take() {
        return Ok(Some(Container {
            state,
            config: *config,
        }));
    }
    let file = directory.join(CONFIG_FILE);
    let bytes = std::fs::read(&file).map_err(RuntimeError::file(format!("read {}", file.display())))?;
    let config = cais_json::from_slice(&bytes).map_err(damaged(&file))?;
    Ok(Some(Container { state, config }))
}

/// Reads a container with its configuration, without a lock.
///
/// # Errors
/// As [`read`].
pub fn read_container(runtime: &Runtime, id: &str) -> Result<Container> {
    check_id(id)?;
    let not_found = || RuntimeError::NotFound(id.to_owned());
    let directory = runtime.root.join(id);
    match read_container_in(&directory) {
        // It was deleted between the reading of the one and of the other.
        Err(_) if !directory.exists() => Err(not_found()),
        other => other?.ok_or_else(not_found),
    }
}

/// Reads the state of a container, without a lock.
///
/// # Errors
/// [`RuntimeError::NotFound`], also for one that is not written down yet.
pub fn read(runtime: &Runtime, id: &str) -> Result<State> {
    check_id(id)?;
    read_file(&runtime.root.join(id))?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))
}

/// What the kernel says of a container.
#[must_use]
pub fn probe_status(runtime: &Runtime, state: &State) -> Status {
    if state.pid == 0 {
        return if is_busy(&runtime.root.join(&state.id)) {
            Status::Creating
        } else {
            Status::Stopped
        };
    }
    if !state.is_alive() {
        return Status::Stopped;
    }
    if waits_for_start(runtime, state) {
        return Status::Created;
    }
    match cgroups::open(state) {
        Ok(Some(group)) if group.is_frozen() => Status::Paused,
        _ => Status::Running,
    }
}

/// Whether somebody holds the lock of a container.
fn is_busy(path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
        .is_ok_and(|handle| flock(&handle, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Whether the first process is still the stub, at its socket. What it executes is the
/// kernel's word, which a `start` that was killed cannot leave wrong.
fn waits_for_start(runtime: &Runtime, state: &State) -> bool {
    let socket = runtime.root.join(&state.id).join(START_SOCKET);
    if !socket.exists() {
        return false;
    }
    let executable = std::fs::read_link(format!("/proc/{}/exe", state.pid));
    executable.is_ok_and(|path| path.to_string_lossy().starts_with("/memfd:cais-init"))
}

/// The states of all containers, by id. One that is damaged is left out.
///
/// # Errors
/// Where the directory cannot be read.
pub fn list(runtime: &Runtime) -> Result<Vec<State>> {
    let entries = match std::fs::read_dir(&runtime.root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(RuntimeError::file(format!("read {}", runtime.root.display())))?,
    };
    let mut states: Vec<State> = entries
        .flatten()
        .filter_map(|entry| read_file(&entry.path()).ok().flatten())
        .collect();
    states.order_by(|one, other| one.id.cmp(&other.id));
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 wrote it: the configuration stands in the state.
    const VERSION_1: &str = r#"{"id":"c","pid":0,"startTime":0,"bundle":"/b","rootfs":"/b/rootfs",
        "created":"2026-01-01T00:00:00Z","cgroup":"c","owner":0,"config":{"ociVersion":"1.2.0",
        "root":{"path":"rootfs"},"annotations":{"a":"b"},
        "hooks":{"poststart":[{"path":"/on"}],"poststop":[{"path":"/off"}]},
        "linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/l","listenerMetadata":"m"}}}}"#;

    /// A directory for one test.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cais-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn both_versions_are_read() {
        let path = directory("versions");
        std::fs::write(path.join(STATE_FILE), VERSION_1).unwrap();
        let first = read_container_in(&path).unwrap().unwrap();
        assert_eq!(first.config.oci_version, "1.2.0");
        assert_eq!(first.annotations.get("a").map(String::as_str), Some("b"));
        assert_eq!(
            (&*first.poststart[0].path, &*first.poststop[0].path),
            ("/on", "/off")
        );
        assert_eq!(first.listener, Some(("/l".to_owned(), Some("m".to_owned()))));
        assert_eq!(read_file(&path).unwrap().unwrap().annotations, first.annotations);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let written = Directory {
            handle: open(&path, flags, Mode::empty()).unwrap(),
            path: path.clone(),
        };
        let state = State {
            version: 0,
            ..first.state.clone()
        };
        let second = Container::new(state, first.config);
        written.write_new(&second).unwrap();
        assert_eq!(written.read_container().unwrap().unwrap(), second);
        assert_eq!(written.read().unwrap().unwrap(), second.state);
        let text = std::fs::read_to_string(path.join(STATE_FILE)).unwrap();
        assert!(
            text.starts_with("{\"version\":2,") && !text.contains("config"),
            "{text}"
        );
        std::fs::write(
            path.join(STATE_FILE),
            text.replace("\"version\":2", "\"version\":3"),
        )
        .unwrap();
        let later = format!("{:?}", read_file(&path).unwrap_err());
        assert!(later.contains("version 3"), "{later}");
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn ids() {
        for good in ["a", "A_b+c-d.e", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "ä", "a b", "../x"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
