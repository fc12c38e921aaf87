//! `start`: the container that waits at its socket gets its word, and what it says until its
//! program runs is heard.

use super::error::{Result, RuntimeError};
use super::state::{Directory, START_SOCKET, State, Status, probe_status};
use super::{Runtime, handover, hooks, notify};
use crate::create::await_program;
use cais_linux::SysError;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::path::Path;

/// Starts a container that was created. Returns what went wrong with `poststart` hooks, which
/// stops nothing (runtime-spec, "Lifecycle", 9). `notify` is the socket of the caller that
/// waits for the program to be ready (sd_notify(3)): then this waits too.
///
/// # Errors
/// Where it does not wait for its start, or its program cannot be executed.
pub fn start(runtime: &Runtime, id: &str, notify: Option<&str>) -> Result<Vec<RuntimeError>> {
    let directory = Directory::open(runtime, id)?;
    let state = directory
        .read()?
        .ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    match probe_status(runtime, &state) {
        Status::Created => {}
        Status::Stopped => {
            return Err(RuntimeError::Wrong(
                "cannot start a container that has stopped".to_owned(),
            ));
        }
        status => {
            return Err(RuntimeError::wrong(
                "cannot start an already running container",
                status,
            ));
        }
    }
    let ready = match notify {
        Some(_) if notify::is_wanted(&directory) => Some(notify::listen(&directory)?),
        _ => None,
    };
    runtime.checkpoints.pass("connect");
    let connection = connect_to(&directory)?;
    await_program(connection.as_fd(), |listener| {
        let Some((path, metadata)) = &state.listener else {
            return Err(RuntimeError::Usage(
                "linux.seccomp has the action SCMP_ACT_NOTIFY and no listenerPath".to_owned(),
            )
            .into());
        };
        let sent = handover::send_notifications(
            Path::new(path),
            metadata.as_deref(),
            &state,
            state.pid,
            listener.as_fd(),
        );
        Ok(sent?)
    })?;
    runtime.checkpoints.pass("remove the socket");
    std::fs::remove_file(directory.path.join(START_SOCKET)).unwrap_or_default();
    if let (Some(socket), Some(host)) = (&ready, notify) {
        notify::forward(socket, &state, host)?;
    }
    Ok(run_poststart(&state))
}

/// Runs the hooks of a container that runs now.
#[must_use]
pub fn run_poststart(state: &State) -> Vec<RuntimeError> {
    hooks::run_all("poststart", &state.poststart, state, Status::Running)
}

/// The address of the socket, by the descriptor of its directory.
pub(super) fn address(directory: &Directory) -> Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{START_SOCKET}", directory.handle.as_raw_fd());
    SocketAddrUnix::new(path.as_str()).map_err(|errno| RuntimeError::System {
        action: "name the start socket".to_owned(),
        source: SysError::new("bind", path, errno),
    })
}

fn connect_to(directory: &Directory) -> Result<OwnedFd> {
    let failed = |call, errno| RuntimeError::System {
        action: "reach the container's first process".to_owned(),
        source: SysError::new(call, START_SOCKET, errno),
    };
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed("socket", errno))?;
    connect(&socket, &address(directory)?).map_err(|errno| failed("connect", errno))?;
    Ok(socket)
}
