//! What is handed to others: the master of a terminal to whoever listens at the console
//! socket, the pidfd, the seccomp notifications, the process id in a file.

use super::error::{Result, RuntimeError};
use super::state::{State, Status};
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::path::{Path, PathBuf};

/// Connects to a unix socket of the stream kind.
///
/// # Errors
/// As connect(2).
pub fn connect_stream(path: &Path) -> Result<OwnedFd> {
    let failed = |call, errno| RuntimeError::System {
        action: format!("connect to {}", path.display()),
        source: SysError::new(call, format!("{path:?}"), errno),
    };
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed("socket", errno))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("connect", errno))?;
    connect(&socket, &address).map_err(|errno| failed("connect", errno))?;
    Ok(socket)
}

/// Sends a descriptor with a name to the socket at `path`.
///
/// # Errors
/// As connect(2) and sendmsg(2).
pub fn send_descriptor(path: &Path, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
    let socket = connect_stream(path)?;
    cais_sys::socket::send_with_fds(socket.as_fd(), name.as_bytes(), &[fd]).map_err(|errno| {
        RuntimeError::System {
            action: format!("send a descriptor to {}", path.display()),
            source: SysError::new("sendmsg", name.to_owned(), errno),
        }
    })
}

/// Writes a process id: beside, then renamed, since others wait for the file.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let action = || format!("write the pid file {}", path.display());
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let beside: PathBuf = path.with_file_name(format!(".{name}"));
    std::fs::write(&beside, pid.to_string())
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(RuntimeError::file(action()))
}

/// Sends the descriptor of seccomp notifications to `linux.seccomp.listenerPath`, with the
/// state that the specification asks for (runtime-spec, "The Container Process State").
///
/// # Errors
/// As [`send_descriptor`].
pub fn send_notifications(
    path: &Path,
    metadata: Option<&str>,
    state: &State,
    pid: i32,
    listener: BorrowedFd<'_>,
) -> Result<()> {
    let text = cais_json::json!({
        "ociVersion": crate::spec::VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": metadata.unwrap_or(""),
        "state": cais_json::to_value(&state.for_hook(Status::Creating)).unwrap_or_default(),
    });
    send_descriptor(path, &text.to_string(), listener)
}
