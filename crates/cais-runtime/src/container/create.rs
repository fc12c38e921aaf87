//! `create` and the first half of `run`: a container that waits for its start, or whose
//! program runs already.

use super::error::{Result, RuntimeError};
use super::facts::{self, Gathered};
use super::handover;
use super::state::{Container, Directory, START_SOCKET, State, Status};
use super::{Runtime, cgroups, hooks, netdevices, notify, systemd};
use crate::create::{Companion, Surroundings, create as create_process};
use crate::error::CreateError;
use crate::plan::{Plan, plan_container};
use crate::spec::{Process, Spec, parse_spec};
use crate::time;
use cais_linux::SysError;
use cais_linux::cgroups::Making;
use cais_linux::process::start_time::read_stat;
use cais_linux::resctrl;
use cais_sys::clone::StubProcess;
use cais_sys::process::{standard_stream, stdin};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What the caller asks of a new container.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// The bundle.
    pub bundle: PathBuf,
    /// The socket that gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that gets the pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// How many of them are those of socket activation (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// Whether the program is to have a socket for sd_notify(3).
    pub notify: bool,
    /// Whether the root is entered without pivot_root(2), which a ramdisk does not allow.
    pub no_pivot: bool,
    /// Whether the session keyring stays.
    pub no_new_keyring: bool,
    /// Whether it waits for `start`.
    pub hold: bool,
    /// Whether the caller stays until the program ends.
    pub foreground: bool,
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    /// Its state.
    pub state: State,
    /// Its first process, as its parent (this process) sees it.
    pub process: StubProcess,
    /// The master of its terminal, where no socket took it.
    pub terminal: Option<OwnedFd>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Makes a container.
///
/// # Errors
/// See [`RuntimeError`]; nothing is left of the container then.
pub fn create(runtime: &Runtime, id: &str, options: &CreateOptions) -> Result<Created> {
    super::state::check_id(id)?;
    let (mut state, process) = read_bundle(id, options)?;
    if options.notify {
        notify::plan(&mut state.config, &runtime.root.join(id));
    }
    let layout = facts::read_layout(runtime)?;
    if runtime.systemd {
        systemd::plan(runtime, &mut state)?;
    } else {
        state.cgroup = facts::cgroup_path(runtime, &layout, &state.config, id);
    }
    let Gathered { mut facts, notify } = facts::gather(runtime, &state, &process, &layout)?;
    facts.foreign_cgroup = runtime.systemd;
    facts.hold = options.hold;
    facts.own_null = true;
    facts.preserve_fds = options.preserve_fds;
    facts.keep_keyring = options.no_new_keyring;
    facts.no_pivot = options.no_pivot;
    // Only with the cgroup it is known how many of its files are joined; the plan is made
    // once before, so that nothing is touched for a configuration that cannot be.
    plan_container(&state.config, &facts)?;
    runtime.checkpoints.pass("make the directory");
    let directory = Directory::make(runtime, id)?;
    let made = (|| {
        // What is written down is given back later, with force if need be: another
        // container's group never is (it would take that one's processes along).
        let (path, unit) = (std::mem::take(&mut state.cgroup), state.systemd_unit.take());
        cgroups::check_free(&layout, &path)?;
        (state.cgroup, state.systemd_unit) = (path, unit);
        runtime.checkpoints.pass("write the state");
        directory.write_new(&state)?;
        if options.notify {
            notify::make_directory(&directory)?;
        }
        runtime.checkpoints.pass("make the cgroup");
        let group = if runtime.systemd {
            None
        } else {
            // Where this fails, the group is none of ours to remove.
            let path = std::mem::take(&mut state.cgroup);
            let group = cgroups::make(runtime, &layout, &state.config, &path)?;
            if group.is_some() {
                state.cgroup = path;
            }
            group
        };
        facts.tasks = if group.is_some() { layout.v1.len() } else { 0 };
        facts.cgroup_path.clone_from(&state.cgroup);
        let plan = plan_container(&state.config, &facts)?;
        let files = Files {
            runtime,
            directory: &directory,
            state: &mut state,
            notify,
            group,
        };
        launch(&plan, options, files)
    })();
    match made {
        Ok((process, terminal, warnings)) => {
            let created = Created {
                state: state.state,
                process,
                terminal,
                warnings,
            };
            runtime.checkpoints.pass("hand over");
            match hand_over(&created, options) {
                Ok(()) => Ok(Created {
                    terminal: created.terminal.filter(|_| options.console_socket.is_none()),
                    ..created
                }),
                Err(error) => Err(undo(runtime, directory, &created.state, error)),
            }
        }
        Err(error) => Err(undo(runtime, directory, &state, error)),
    }
}

/// Gives everything back after a failure. The error that counts is the one that came first.
pub(super) fn undo(
    runtime: &Runtime,
    directory: Directory,
    state: &State,
    error: RuntimeError,
) -> RuntimeError {
    super::delete::tear_down(runtime, directory, state).unwrap_or_default();
    // Where hooks may have run, those that clean up after them do too (runtime-spec,
    // "Lifecycle", 3 and 4).
    if state.pid != 0 {
        drop(hooks::run_all(
            "poststop",
            &state.poststop,
            state,
            Status::Stopped,
        ));
    }
    error
}

/// Reads and checks the configuration of a bundle.
pub(super) fn read_bundle(id: &str, options: &CreateOptions) -> Result<(Container, Process)> {
    let bundle = real_path(&options.bundle).map_err(RuntimeError::file(format!(
        "find the bundle {}",
        options.bundle.display()
    )))?;
    let file = bundle.join("config.json");
    let bytes = std::fs::read(&file).map_err(|source| {
        if source.kind() == std::io::ErrorKind::NotFound {
            RuntimeError::Usage(format!("JSON specification file {} not found", file.display()))
        } else {
            RuntimeError::file(format!("read {}", file.display()))(source)
        }
    })?;
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| RuntimeError::Json {
        file: file.clone(),
        source,
    };
    let mut spec = parse_spec(&bytes).map_err(|error| wrong(error.into()))?;
    check_version(&spec.oci_version).map_err(|problem| wrong(problem.into()))?;
    crate::spec::validate::check(&spec).map_err(|error| wrong(error.into()))?;
    let root = spec
        .root
        .as_ref()
        .ok_or_else(|| wrong("root: missing the root file system".into()))?;
    if root.path.is_empty() {
        return Err(wrong(
            "root.path: missing the path of the root file system".into(),
        ));
    }
    let rootfs = real_path(&bundle.join(&root.path)).map_err(|error| {
        wrong(format!("root.path: {}: {error}", bundle.join(&root.path).display()).into())
    })?;
    if !rootfs.is_dir() {
        return Err(wrong(
            format!("root.path: {} is not a directory", rootfs.display()).into(),
        ));
    }
    for mount in &mut spec.mounts {
        let binds = mount.kind.as_deref() == Some("bind")
            || mount
                .options
                .iter()
                .any(|option| option == "bind" || option == "rbind");
        if let (true, Some(source)) = (binds, &mut mount.source)
            && !source.starts_with('/')
        {
            *source = bundle.join(&*source).to_string_lossy().into_owned();
        }
    }
    if let (Some(process), true) = (&mut spec.process, options.listen_fds > 0) {
        // They are meant for the first process of the container.
        process.env.push(format!("LISTEN_FDS={}", options.listen_fds));
        process.env.push("LISTEN_PID=1".to_owned());
    }
    let process = spec.process.clone().unwrap_or_default();
    check_process_terminal(&process, options.foreground, options.console_socket.is_some())?;
    let state = State {
        id: id.to_owned(),
        bundle,
        rootfs,
        created: time::now(),
        owner: rustix::process::geteuid().as_raw(),
        ..State::default()
    };
    Ok((Container::new(state, spec), process))
}

/// The path without links. The bundle is the caller's own: no container writes there.
#[allow(clippy::disallowed_methods, reason = "a path of the caller on the host")]
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    std::fs::canonicalize(path)
}

/// Versions 1.x are understood; what a later one adds is ignored, as it asks.
fn check_version(version: &str) -> std::result::Result<(), String> {
    let major = version.split('.').next().unwrap_or("");
    let numbers = version.split(['-', '+']).next().unwrap_or("").split('.');
    let is_version = numbers.clone().count() == 3
        && numbers
            .clone()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    match (is_version, major) {
        (true, "1") => Ok(()),
        (true, _) => Err(format!("ociVersion: {version} is not supported: only 1.x is")),
        (false, _) => Err(format!("ociVersion: {version:?} is no version such as \"1.3.0\"")),
    }
}

/// A terminal needs somebody who holds its other end.
pub(super) fn check_process_terminal(process: &Process, foreground: bool, has_socket: bool) -> Result<()> {
    match (process.terminal, foreground, has_socket) {
        (true, false, false) => Err(RuntimeError::Usage(
            "cannot allocate tty if the runtime will detach without setting console socket: process.terminal is true, give --console-socket".to_owned(),
        )),
        (false, _, true) => Err(RuntimeError::Usage(
            "cannot use console socket if the runtime will not detach or allocate tty: process.terminal is false".to_owned(),
        )),
        (true, true, true) => Err(RuntimeError::Usage(
            "cannot use console socket if the runtime will not detach or allocate tty: leave --console-socket out or add --detach".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// The container's files and hooks, while the stub works.
struct Files<'a> {
    runtime: &'a Runtime,
    directory: &'a Directory,
    state: &'a mut Container,
    notify: Option<(String, Option<String>)>,
    group: Option<Making<'a>>,
}

impl Companion for Files<'_> {
    type Error = RuntimeError;

    fn while_the_stub_starts(&mut self, process: &StubProcess) -> Result<()> {
        if self.state.systemd_unit.is_none() {
            return Ok(());
        }
        self.runtime.checkpoints.pass("ask systemd for the cgroup");
        systemd::place(self.runtime, self.state, process.pid.as_raw_nonzero().get())
    }

    fn complete_cgroup(&mut self) -> Result<Vec<BorrowedFd<'_>>> {
        let Some(making) = &mut self.group else {
            return Ok(Vec::new());
        };
        match making.complete() {
            Ok(group) => Ok(group.tasks()),
            // Nothing is left of it.
            Err(error) => Err(cgroups::failed_to_make(
                &std::mem::take(&mut self.state.cgroup),
                error,
            )),
        }
    }

    fn while_the_stub_works(&mut self, process: &StubProcess) -> Result<()> {
        self.state.pid = process.pid.as_raw_nonzero().get();
        self.state.start_time = read_stat(self.state.pid).map_or(0, |stat| stat.start);
        allocate(self.state)?;
        netdevices::move_in(self.state)?;
        self.runtime.checkpoints.pass("write the state with the process");
        self.directory.write(self.state)
    }

    fn before_the_root_is_entered(&mut self, _process: &StubProcess) -> Result<()> {
        let Some(wanted) = &self.state.config.hooks else {
            return Ok(());
        };
        hooks::run("prestart", &wanted.prestart, self.state, Status::Creating)?;
        hooks::run(
            "createRuntime",
            &wanted.create_runtime,
            self.state,
            Status::Creating,
        )
    }

    fn take_notifications(&mut self, process: &StubProcess, listener: OwnedFd) -> Result<()> {
        let Some((path, metadata)) = &self.notify else {
            return Err(RuntimeError::Usage(
                "linux.seccomp has the action SCMP_ACT_NOTIFY and no listenerPath: nobody would answer"
                    .to_owned(),
            ));
        };
        let pid = process.pid.as_raw_nonzero().get();
        handover::send_notifications(
            Path::new(path),
            metadata.as_deref(),
            self.state,
            pid,
            listener.as_fd(),
        )
    }
}

/// `linux.intelRdt`: the group of caches and memory bandwidth, and the process in it; with
/// `enableMonitoring` one in it that counts this container alone.
fn allocate(container: &mut Container) -> Result<()> {
    let Container { state, config } = container;
    let Some(wanted) = config.linux.as_ref().and_then(|linux| linux.intel_rdt.as_ref()) else {
        return Ok(());
    };
    let root = resctrl::find_mount().ok_or_else(|| {
        RuntimeError::Usage("linux.intelRdt: this machine has no resctrl file system mounted".to_owned())
    })?;
    let mut schemata = wanted.schemata.clone();
    schemata.extend(wanted.l3_cache_schema.clone());
    schemata.extend(wanted.mem_bw_schema.clone());
    let name = wanted.clos_id.as_deref().unwrap_or(&state.id);
    let failed = || RuntimeError::system("apply linux.intelRdt");
    let (group, made) = resctrl::ensure_group(&root, name, &schemata).map_err(failed())?;
    if made && wanted.clos_id.is_none() {
        state.resctrl = Some(group.clone());
    }
    resctrl::add_process(&group, state.pid).map_err(failed())?;
    if !wanted.enable_monitoring {
        return Ok(());
    }
    let monitor = resctrl::ensure_monitor(&group, &state.id).map_err(failed())?;
    // It goes with the group around it, where that is the container's own.
    state.resctrl.get_or_insert_with(|| monitor.clone());
    resctrl::add_process(&monitor, state.pid).map_err(failed())
}

type Launched = (StubProcess, Option<OwnedFd>, Vec<String>);

fn launch(plan: &Plan, options: &CreateOptions, mut files: Files<'_>) -> Result<Launched> {
    let runtime = files.runtime;
    let listener = if options.hold {
        Some(listen(files.directory)?)
    } else {
        None
    };
    if let Some(process) = files
        .state
        .config
        .process
        .as_ref()
        .filter(|process| !process.terminal)
    {
        give_streams_to(&files.state.config, process);
    }
    let cgroup = files.group.as_ref().map(Making::clone_into).transpose();
    let cgroup = cgroup.map_err(RuntimeError::cgroup("open the cgroup"))?.flatten();
    let around = Surroundings {
        stdio: [stdin(), standard_stream(false), standard_stream(true)],
        tasks: Vec::new(),
        cgroup: cgroup.as_ref().map(AsFd::as_fd),
        target: None,
        listener: listener.as_ref().map(AsFd::as_fd),
        timings: false,
        kill_before: runtime.checkpoints.stub(),
        checkpoint: &|name| runtime.checkpoints.pass(name),
    };
    let running = create_process(plan, &around, &mut files)?;
    Ok((running.process, running.terminal, plan.warnings.clone()))
}

/// The socket at which the stub waits. Its path may be longer than an address can be, so it
/// is named by the descriptor of its directory.
fn listen(directory: &Directory) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
    let failed = |call, errno| RuntimeError::System {
        action: "listen for the start".to_owned(),
        source: SysError::new(call, START_SOCKET, errno),
    };
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed("socket", errno))?;
    let address = super::start::address(directory)?;
    bind(&socket, &address).map_err(|errno| failed("bind", errno))?;
    // Whatever the caller's mask is: whoever connects starts the container. Nobody can before
    // listen(2).
    let (mode, flags) = (
        rustix::fs::Mode::from_raw_mode(0o600),
        rustix::fs::AtFlags::empty(),
    );
    rustix::fs::chmodat(&directory.handle, START_SOCKET, mode, flags)
        .map_err(|errno| failed("fchmodat", errno))?;
    listen(&socket, 1).map_err(|errno| failed("listen", errno))?;
    Ok(socket)
}

/// The program may open its standard streams anew (`/dev/stdout`): they belong to its user
/// then. What cannot be given stays as it is.
pub(super) fn give_streams_to(spec: &Spec, process: &Process) {
    let map = spec.linux.iter().flat_map(|linux| &linux.uid_mappings);
    let uid = process.user.uid;
    let mut maps = map.peekable();
    let host = if maps.peek().is_none() {
        Some(uid)
    } else {
        maps.find(|map| uid.wrapping_sub(map.container_id) < map.size && uid >= map.container_id)
            .map(|map| map.host_id + (uid - map.container_id))
    };
    let Some(host) = host.filter(|host| *host != 0) else {
        return;
    };
    for stream in [stdin(), standard_stream(false), standard_stream(true)] {
        let Ok(stat) = rustix::fs::fstat(stream) else {
            continue;
        };
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let is_pipe = matches!(kind, rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket);
        if is_pipe {
            rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(host)), None).unwrap_or_default();
        }
    }
}

/// Gives what others wait for.
fn hand_over(created: &Created, options: &CreateOptions) -> Result<()> {
    if let (Some(path), Some(master)) = (&options.console_socket, &created.terminal) {
        handover::send_descriptor(path, "/dev/console", master.as_fd())?;
    }
    if let Some(path) = &options.pidfd_socket {
        handover::send_descriptor(path, "pidfd", created.process.pidfd.as_fd())?;
    }
    if let Some(path) = &options.pid_file {
        handover::write_pid_file(path, created.state.pid)?;
    }
    Ok(())
}

impl From<RuntimeError> for CreateError {
    fn from(error: RuntimeError) -> Self {
        Self::Caller(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for good in ["1.0.0", "1.2.1", "1.9.0-dev", "1.0.2+x"] {
            assert_eq!(check_version(good), Ok(()), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.1", "x.y.z", "1..0"] {
            assert!(check_version(bad).is_err(), "{bad}");
        }
    }
}
