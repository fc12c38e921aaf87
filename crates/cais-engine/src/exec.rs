//! `cais exec`: a further process in the namespaces, the cgroup and under the limits
//! of a running container.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::events;
use crate::id::ContainerId;
use crate::list;
use crate::monitor::front::{DetachKeys, RawTerminal, terminal_size};
use crate::monitor::watcher::Own;
use crate::monitor::{PipeSet, Relay, Streams, make_pipe, make_pipes};
use crate::pause::open_group;
use crate::record::Record;
use crate::run::prepare::{adjust_for_user, facts_of_running, open_process_root, resolve_user};
use crate::state::{ProcessName, Status};
use crate::stop::open_init;
use crate::store::{Store, ensure_directory};
use cais_linux::SysError;
use cais_linux::cgroups::Group;
use cais_runtime::create::{Alone, Running, Surroundings, Timing, create};
use cais_runtime::plan::{Plan, plan_exec};
use cais_runtime::spec::{ConsoleSize, Process, Spec};
use cais_sys::clone::StubProcess;
use cais_sys::process::{Forked, fork};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::path::{Path, PathBuf};

/// What the user asked of `cais exec`.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The container.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `--env`: `KEY=value`.
    pub env: Vec<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--workdir`.
    pub workdir: Option<String>,
    /// `--interactive`.
    pub interactive: bool,
    /// `--tty`.
    pub tty: bool,
    /// `--detach`.
    pub detach: bool,
    /// The keys by which the user leaves a terminal.
    pub detach_keys: Vec<u8>,
    /// `--privileged`.
    pub privileged: bool,
    /// Where the times of the start go, if they are wanted.
    pub timings: Option<fn(&[Timing])>,
}

/// A process that is ready to be started.
struct Planned {
    plan: Plan,
    record: Record,
    /// The container's cgroup.
    group: Option<Group>,
    /// The container's first process.
    init: OwnedFd,
    /// The host's ids of the process's user.
    owner: Option<(u32, u32)>,
}

/// Runs a process in a container. `None` where it was detached.
///
/// # Errors
/// Where the container does not run, or the process was not started.
pub fn exec(engine: &Engine, options: &ExecOptions) -> Result<Option<u8>> {
    let planned = plan_in(engine, options)?;
    launch(engine, options, &planned)
}

fn plan_in(engine: &Engine, options: &ExecOptions) -> Result<Planned> {
    let container = list::container(&engine.store, &options.container)?;
    if let Status::Paused { .. } = container.status {
        return Err(EngineError::Paused(options.container.clone()));
    }
    let init = open_init(&container)?;
    let spec = crate::run::prepare::read_bundle(engine, &container.record.id)?;
    let process = plan_exec_process(&container, &spec, options, &init)?;
    let mut facts = facts_of_running(engine, &container, &spec, options.privileged)?;
    let cgroup = container.state.as_ref().map_or("", |state| state.cgroup.as_str());
    let group = open_group(cgroup)?;
    facts.tasks = group.as_ref().map_or(0, |group| group.tasks().len());
    let plan = plan_exec(&spec, &process, &facts).map_err(EngineError::Plan)?;
    let owner = plan
        .root_ids
        .map(|_| crate::run::users::host_ids(&spec, process.user.uid, process.user.gid));
    Ok(Planned {
        plan,
        record: container.record,
        group,
        init,
        owner,
    })
}

/// Starts it with these standard streams.
fn start(engine: &Engine, planned: &Planned, stdio: [BorrowedFd<'_>; 3], timings: bool) -> Result<Running> {
    let group = planned.group.as_ref();
    let around = Surroundings {
        stdio,
        tasks: group.map(Group::tasks).unwrap_or_default(),
        cgroup: group.and_then(Group::clone_into),
        target: Some(planned.init.as_fd()),
        listener: None,
        timings,
        kill_before: engine.checkpoints.stub(),
        checkpoint: &|name| engine.checkpoints.pass(name),
    };
    Ok(create(&planned.plan, &around, &mut Alone)?)
}

pub(crate) fn open_null() -> Result<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", "\"/dev/null\"", errno))
        .map_err(EngineError::system("open the null device"))
}

/// Starts a process whose output and errors come by one pipe, non-blocking. The caller waits
/// for it.
pub(crate) fn spawn_with_output(engine: &Engine, options: &ExecOptions) -> Result<(StubProcess, OwnedFd)> {
    let planned = plan_in(engine, options)?;
    let null = open_null()?;
    let (ours, theirs) = make_pipe(planned.owner)?;
    let running = start(
        engine,
        &planned,
        [null.as_fd(), theirs.as_fd(), theirs.as_fd()],
        false,
    )?;
    Ok((running.process, ours))
}

/// Where the processes are noted that were started in a container beside its first one.
pub(crate) fn directory(store: &Store, id: &ContainerId) -> PathBuf {
    store.run().join("execs").join(id.as_str())
}

/// The ids of those that still run.
pub(crate) fn running(store: &Store, id: &ContainerId) -> Vec<String> {
    let entries = std::fs::read_dir(directory(store, id))
        .into_iter()
        .flatten()
        .flatten();
    let runs = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let (pid, start) = text.split_once(' ')?;
        let process = ProcessName {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        };
        process.is_alive().then_some(())
    };
    let mut ids: Vec<String> = entries
        .filter(|entry| runs(&entry.path()).is_some())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    ids.sort();
    ids
}

/// Notes the process in the journal of events, and as one that runs. What cannot be written is
/// missing in `inspect`, and nowhere else.
fn note(engine: &Engine, record: &Record, options: &ExecOptions, process: &StubProcess) -> Result<String> {
    let id = ContainerId::random()?.as_str().to_owned();
    let place = directory(&engine.store, &record.id);
    if let Some(name) = ProcessName::read(process.pid.as_raw_nonzero().get())
        && ensure_directory(&place).is_ok()
    {
        std::fs::write(place.join(&id), format!("{} {}", name.pid, name.start)).unwrap_or_default();
    }
    let command = options.command.join(" ");
    let of = |action: &str| {
        events::of_container(record, &format!("{action}: {command}"), &[("execID", id.clone())])
    };
    events::write(&engine.store, &[of("exec_create"), of("exec_start")]);
    Ok(id)
}

fn launch(engine: &Engine, options: &ExecOptions, planned: &Planned) -> Result<Option<u8>> {
    let null = open_null()?;
    let pipes = if options.tty || options.detach {
        None
    } else {
        Some(make_pipes(options.interactive, planned.owner)?)
    };
    let stdio = match &pipes {
        Some(PipeSet {
            theirs: [input, output, error],
            ..
        }) => [input.as_fd(), output.as_fd(), error.as_fd()],
        None => [null.as_fd(), null.as_fd(), null.as_fd()],
    };
    let signals = crate::run::take_signals()?;
    let mut running = start(engine, planned, stdio, options.timings.is_some())?;
    let id = note(engine, &planned.record, options, &running.process)?;
    if let Some(show) = options.timings {
        show(&running.timings);
    }
    let streams = match (pipes, running.terminal.take()) {
        // The process belongs to the container now; nobody waits for it here.
        _ if options.detach => return Ok(None),
        (Some(pipes), _) => pipes.ours,
        (None, Some(master)) => Streams::Terminal(master),
        (None, None) => {
            return Err(EngineError::Invalid(
                "the process opened no terminal: this is a bug in cais".to_owned(),
            ));
        }
    };
    let raw = (options.tty && options.interactive).then(RawTerminal::enter);
    let mut relay = Relay::new(running.process.pidfd.as_fd(), streams);
    relay.own = Some(Own {
        input: options.interactive,
        shows: [true, true],
    });
    relay.signals = Some(signals.as_fd());
    if options.tty {
        relay.detach_keys = DetachKeys::new(options.detach_keys.clone());
    }
    let over = relay.run();
    drop(raw);
    if let Some(streams) = over.detached {
        return leave_running(running.process.pidfd.as_fd(), streams).map(|()| None);
    }
    let place = directory(&engine.store, &planned.record.id);
    std::fs::remove_file(place.join(&id)).unwrap_or_default();
    let code = over.ended?.code();
    let said = [("execID", id), ("exitCode", code.to_string())];
    events::container(&engine.store, &planned.record, "exec_die", &said);
    Ok(Some(code))
}

/// The user left: a process of its own goes on reading the terminal, since a program whose
/// terminal is gone is sent SIGHUP.
fn leave_running(pidfd: BorrowedFd<'_>, streams: Streams) -> Result<()> {
    let forked = fork()
        .map_err(|errno| SysError::new("clone3", "", errno))
        .map_err(EngineError::system("make a process that reads on"))?;
    if forked == Forked::Child {
        let code = crate::run::become_monitor(0).map_or(1, |_signals| {
            let mut relay = Relay::new(pidfd, streams);
            relay.is_child = false;
            // Nobody is told how it ends.
            u8::from(relay.run().ended.is_err())
        });
        cais_sys::process::exit_now(code);
    }
    Ok(())
}

/// The process: the container's own one with what the user asked instead.
fn plan_exec_process(
    container: &crate::state::Container,
    spec: &Spec,
    options: &ExecOptions,
    init: &OwnedFd,
) -> Result<Process> {
    let mut process = spec.process.clone().unwrap_or_default();
    process.args.clone_from(&options.command);
    process.terminal = options.tty && !options.detach;
    if process.terminal {
        let (rows, columns) = terminal_size();
        process.console_size = Some(ConsoleSize {
            height: u64::from(rows),
            width: u64::from(columns),
        });
        if !process.env.iter().any(|entry| entry.starts_with("TERM=")) {
            process.env.push("TERM=xterm".to_owned());
        }
    }
    if let Some(directory) = &options.workdir {
        process.cwd.clone_from(directory);
    }
    if options.privileged {
        crate::run::prepare::grant_all(&mut process);
    }
    if let Some(user) = &options.user {
        let root = open_root(container, init)?;
        let resolved = resolve_user(root.as_fd(), user, &[])?;
        process.user.uid = resolved.uid;
        process.user.gid = resolved.gid;
        process.user.additional_gids = resolved.groups;
        set_variable(&mut process.env, "HOME", &resolved.home.to_string_lossy());
    }
    if !options.privileged {
        adjust_for_user(&mut process);
    }
    for entry in &options.env {
        put_variable(&mut process.env, entry);
    }
    Ok(process)
}

/// The root file system as the container's first process sees it.
fn open_root(container: &crate::state::Container, init: &OwnedFd) -> Result<OwnedFd> {
    let not_running = || EngineError::NotRunning(container.record.name.clone());
    let pid = container.init().ok_or_else(not_running)?.pid;
    let root = open_process_root(pid)?;
    // Still the same process, so it was its root.
    let ended = cais_linux::process::pidfd::await_end(init.as_fd(), Some(std::time::Duration::ZERO));
    if ended.unwrap_or(true) {
        Err(not_running())
    } else {
        Ok(root)
    }
}

/// Takes over what the user says of a variable: `KEY=value`, or `KEY` for none.
pub(crate) fn put_variable(env: &mut Vec<String>, entry: &str) {
    match entry.split_once('=') {
        Some((key, value)) => set_variable(env, key, value),
        None => env.retain(|known| known.split_once('=').is_none_or(|(name, _)| name != entry)),
    }
}

/// Sets a variable, in place where it is there.
pub(crate) fn set_variable(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let is_it = |known: &&mut String| known.split_once('=').is_some_and(|(name, _)| name == key);
    match env.iter_mut().find(is_it) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}
