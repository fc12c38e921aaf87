//! `exec`: a further process in a container.

use super::create::{Created, check_process_terminal};
use super::error::{Result, RuntimeError};
use super::state::{Container, State, Status, probe_status};
use super::{Runtime, cgroups, facts, handover};
use crate::create::{Companion, Surroundings, create as create_process};
use crate::plan::plan_exec;
use crate::spec::{Process, validate};
use cais_linux::cgroups::{Group, Layout};
use cais_linux::process::pidfd;
use cais_sys::clone::StubProcess;
use cais_sys::process::{standard_stream, stdin};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Pid;
use std::path::{Path, PathBuf};

/// What the caller asks of a further process.
#[derive(Debug, Clone, Default)]
pub struct ExecOptions {
    /// The process.
    pub process: Process,
    /// The socket that gets the master of the terminal.
    pub console_socket: Option<PathBuf>,
    /// The socket that gets the pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// A group below the container's, relative to it.
    pub cgroup: Option<String>,
    /// Whether a paused container is no error: the process waits.
    pub ignore_paused: bool,
    /// Whether the caller stays until the process ends.
    pub foreground: bool,
}

/// Whoever wants the seccomp notifications.
struct Notifier<'a> {
    state: &'a State,
    notify: Option<(String, Option<String>)>,
}

impl Companion for Notifier<'_> {
    type Error = RuntimeError;

    fn while_the_stub_starts(&mut self, _process: &StubProcess) -> Result<()> {
        Ok(())
    }

    fn while_the_stub_works(&mut self, _process: &StubProcess) -> Result<()> {
        Ok(())
    }

    fn take_notifications(&mut self, process: &StubProcess, listener: OwnedFd) -> Result<()> {
        let Some((path, metadata)) = &self.notify else {
            return Err(RuntimeError::Usage(
                "linux.seccomp has the action SCMP_ACT_NOTIFY and no listenerPath".to_owned(),
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

/// Starts a process in a container.
///
/// # Errors
/// Where the container does not run, or the process was not started.
pub fn exec(runtime: &Runtime, state: &Container, options: &ExecOptions) -> Result<Created> {
    match probe_status(runtime, state) {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        Status::Paused => {
            return Err(RuntimeError::Wrong(
                "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
            ));
        }
        Status::Stopped => {
            return Err(RuntimeError::Wrong(
                "cannot exec in a stopped container".to_owned(),
            ));
        }
        status => return Err(RuntimeError::wrong("cannot exec", status)),
    }
    let process = &options.process;
    validate::check_process(process, "process")?;
    check_process_terminal(process, options.foreground, options.console_socket.is_some())?;
    let init = open_init(state)?;
    let layout = facts::read_layout(runtime)?;
    let group = open_group(state, &layout, options)?;
    let gathered = facts::gather(runtime, state, process, &layout)?;
    let mut facts = gathered.facts;
    facts.tasks = group.as_ref().map_or(0, |group| group.tasks().len());
    facts.preserve_fds = options.preserve_fds;
    let plan = plan_exec(&state.config, process, &facts)?;
    if !process.terminal {
        super::create::give_streams_to(&state.config, process);
    }
    let around = Surroundings {
        stdio: [stdin(), standard_stream(false), standard_stream(true)],
        tasks: group.as_ref().map(Group::tasks).unwrap_or_default(),
        cgroup: group.as_ref().and_then(Group::clone_into),
        target: Some(init.as_fd()),
        listener: None,
        timings: false,
        kill_before: runtime.checkpoints.stub(),
        checkpoint: &|name| runtime.checkpoints.pass(name),
    };
    let mut notifier = Notifier {
        state,
        notify: gathered.notify,
    };
    let running = create_process(&plan, &around, &mut notifier)?;
    drop(around);
    if let (Some(path), Some(master)) = (&options.console_socket, &running.terminal) {
        handover::send_descriptor(path, "/dev/console", master.as_fd())?;
    }
    if let Some(path) = &options.pidfd_socket {
        handover::send_descriptor(path, "pidfd", running.process.pidfd.as_fd())?;
    }
    if let Some(path) = &options.pid_file {
        handover::write_pid_file(path, running.process.pid.as_raw_nonzero().get())?;
    }
    Ok(Created {
        state: state.state.clone(),
        process: running.process,
        terminal: running.terminal.filter(|_| options.console_socket.is_none()),
        warnings: plan.warnings,
    })
}

fn open_init(state: &State) -> Result<OwnedFd> {
    let gone = || RuntimeError::Wrong("cannot exec in a stopped container".to_owned());
    let pid = Pid::from_raw(state.pid).ok_or_else(gone)?;
    let init = pidfd::open(pid).map_err(|_gone| gone())?;
    // Opened by number: it must still be the one that was written down.
    if state.is_alive() { Ok(init) } else { Err(gone()) }
}

/// The container's cgroup, or the group below it that was asked for.
fn open_group(state: &State, layout: &Layout, options: &ExecOptions) -> Result<Option<Group>> {
    let Some(below) = &options.cgroup else {
        return cgroups::open(state);
    };
    let stays_inside = below
        .trim_matches('/')
        .split('/')
        .all(|part| !matches!(part, "." | ".."));
    if !stays_inside {
        return Err(RuntimeError::Usage(format!(
            "--cgroup {below}: {below} is not a sub cgroup path of the container"
        )));
    }
    let path = match below.trim_matches('/') {
        "" => state.cgroup.clone(),
        below => format!("{}/{below}", state.cgroup),
    };
    let group = Group::open_existing(layout, &path)
        .map_err(RuntimeError::cgroup(format!("open the cgroup {path}")))?;
    match group {
        Some(group) => Ok(Some(group)),
        None => Err(RuntimeError::Usage(format!(
            "--cgroup {below}: the container has no such cgroup"
        ))),
    }
}
