//! sd_notify(3) for containers: the program gets a socket of its own, and what it says there
//! that it is ready is handed on to the one that whoever called this runtime listens at.
//!
//! The program never sees the socket of the host: it could speak for others there.

use super::error::{Result, RuntimeError};
use super::state::{Directory, State};
use crate::spec::{Mount, Spec};
use cais_linux::SysError;
use cais_linux::process::pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, sendto,
    socket_with,
};
use rustix::process::Pid;
use std::path::Path;

/// The directory of the socket, in that of the container.
const DIRECTORY: &str = "notify";
/// The socket's name.
const SOCKET: &str = "notify.sock";
/// Where the container sees the directory.
const INSIDE: &str = "/run/notify";

/// Changes a configuration so that the program has a socket in `directory`, the container's
/// on the host.
pub(super) fn plan(spec: &mut Spec, directory: &Path) {
    spec.mounts.push(Mount {
        destination: INSIDE.to_owned(),
        kind: Some("bind".to_owned()),
        source: Some(directory.join(DIRECTORY).to_string_lossy().into_owned()),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"]
            .map(str::to_owned)
            .to_vec(),
        ..Mount::default()
    });
    if let Some(process) = &mut spec.process {
        process.env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// Makes the directory that is mounted.
pub(super) fn make_directory(directory: &Directory) -> Result<()> {
    let path = directory.path.join(DIRECTORY);
    std::fs::create_dir(&path).map_err(RuntimeError::file(format!("make {}", path.display())))
}

/// Whether a container was made with a socket.
pub(super) fn is_wanted(directory: &Directory) -> bool {
    directory.path.join(DIRECTORY).is_dir()
}

/// Binds the socket, before the program can look for it.
pub(super) fn listen(directory: &Directory) -> Result<OwnedFd> {
    let failed = |call, errno| RuntimeError::System {
        action: "make the socket for notifications".to_owned(),
        source: SysError::new(call, SOCKET, errno),
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed("socket", errno))?;
    let path = format!(
        "/proc/self/fd/{}/{DIRECTORY}/{SOCKET}",
        directory.handle.as_raw_fd()
    );
    let address = SocketAddrUnix::new(path.as_str()).map_err(|errno| failed("bind", errno))?;
    bind(&socket, &address).map_err(|errno| failed("bind", errno))?;
    // Any user of the container may write to it.
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).map_err(
        RuntimeError::file(format!("open {SOCKET} to the container's users")),
    )?;
    Ok(socket)
}

/// Waits until the program says that it is ready, hands that on with the id of the first
/// process, and returns; also when the program ends without a word.
///
/// # Errors
/// Where the host's socket cannot be reached.
pub fn forward(socket: &OwnedFd, state: &State, host: &str) -> Result<()> {
    let failed = |call, errno| RuntimeError::System {
        action: format!("hand a notification on to {host}"),
        source: SysError::new(call, host.to_owned(), errno),
    };
    let Some(init) = Pid::from_raw(state.pid).and_then(|pid| pidfd::open(pid).ok()) else {
        return Ok(());
    };
    let mut buffer = [0u8; 4096];
    loop {
        let mut fds = [
            PollFd::new(socket, PollFlags::IN),
            PollFd::new(&init, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed("poll", errno)),
        }
        if !fds[0].revents().contains(PollFlags::IN) {
            if fds[1].revents().contains(PollFlags::IN) {
                return Ok(());
            }
            continue;
        }
        let (length, _) =
            recv(socket, &mut buffer[..], RecvFlags::empty()).map_err(|errno| failed("recvfrom", errno))?;
        let message = buffer.get(..length).unwrap_or(&[]);
        let is_ready = message
            .split(|byte| *byte == b'\n')
            .any(|line| line == b"READY=1");
        if is_ready {
            let text = format!("READY=1\nMAINPID={}", state.pid);
            return send(host, text.as_bytes()).map_err(|errno| failed("sendto", errno));
        }
    }
}

/// Sends to a socket by path, or by an abstract name that begins with `@`.
fn send(host: &str, message: &[u8]) -> std::result::Result<(), rustix::io::Errno> {
    let address = match host.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(host)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sendto(socket.as_fd(), message, SendFlags::NOSIGNAL, &address).map(drop)
}
