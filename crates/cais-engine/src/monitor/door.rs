//! How a command reaches a monitor that runs already.
//!
//! A monitor has no socket until somebody wants one: a signal ([`NUDGE`], which is
//! ignored by default) asks it to look, and it opens the socket below the run directory.
//! So hundreds of containers that nobody attaches to have none, and a start costs nothing.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::state::ProcessName;
use crate::store::{Store, ensure_directory};
use cais_linux::SysError;
use cais_linux::process::pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, inotify, open, renameat, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    shutdown, socket_with, sockopt,
};
use rustix::process::{Pid, Signal};
use rustix::time::Timespec;

/// The signal that asks a monitor to look: SIGURG, which does nothing to a process that does
/// not wait for it.
pub const NUDGE: u32 = 23;

/// The socket at which a monitor can be reached, open.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
}

/// Asks a monitor to look.
pub fn nudge(monitor: ProcessName) {
    if let Some(fd) = open_monitor(monitor) {
        pidfd::send_signal(fd.as_fd(), Signal::URG).unwrap_or_default();
    }
}

/// Asks a monitor to look, and waits until it has: it hears of the signal before it hears that
/// a visitor has left again.
///
/// # Errors
/// As [`visit`]; one that ends meanwhile is none.
pub(crate) fn await_look(store: &Store, id: &ContainerId, monitor: ProcessName) -> Result<()> {
    nudge(monitor);
    let visitor = match visit(store, id, "", monitor) {
        Err(EngineError::NotRunning(_)) => return Ok(()),
        visitor => visitor?,
    };
    shutdown(&visitor, Shutdown::Write).unwrap_or_default();
    let limit = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    // A monitor that somebody has stopped is not waited for any longer.
    poll(&mut [PollFd::new(&visitor, PollFlags::IN)], Some(&limit))
        .map(drop)
        .map_err(failed("wait for the monitor", "poll"))
}

/// Opens a monitor by its name; `None` where it is gone.
pub(crate) fn open_monitor(name: ProcessName) -> Option<OwnedFd> {
    let fd = pidfd::open(Pid::from_raw(name.pid)?).ok()?;
    name.is_alive().then_some(fd)
}

fn failed(action: &'static str, call: &'static str) -> impl FnOnce(Errno) -> EngineError {
    move |errno| EngineError::System {
        action: action.to_owned(),
        source: SysError::new(call, "", errno),
    }
}

/// The directory of sockets, opened: their addresses go by it, since a path may be too long
/// for one (unix(7)).
fn open_sockets(store: &Store) -> Result<OwnedFd> {
    let path = store.sockets();
    ensure_directory(&path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(&path, flags, Mode::empty()).map_err(failed("open the directory of sockets", "open"))
}

fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
        .map_err(failed("name a socket", "bind"))
}

impl Door {
    /// Opens it. It appears under its name when it can be connected to.
    ///
    /// # Errors
    /// As socket(2), bind(2), rename(2).
    pub fn open(store: &Store, id: &ContainerId) -> Result<Self> {
        let directory = open_sockets(store)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("make a socket for watchers", "socket"))?;
        let beside = format!(".{}", std::process::id());
        match unlinkat(&directory, beside.as_str(), rustix::fs::AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed("make a socket for watchers", "unlinkat")(errno)),
        }
        bind(&listener, &address(directory.as_fd(), &beside)?)
            .map_err(failed("make a socket for watchers", "bind"))?;
        rustix::fs::chmodat(
            &directory,
            beside.as_str(),
            Mode::from_raw_mode(0o600),
            rustix::fs::AtFlags::empty(),
        )
        .map_err(failed("make a socket for watchers", "fchmodat"))?;
        listen(&listener, 16).map_err(failed("make a socket for watchers", "listen"))?;
        renameat(&directory, beside.as_str(), &directory, id.as_str())
            .map_err(failed("make a socket for watchers", "renameat"))?;
        Ok(Self { listener })
    }

    /// Its descriptor, ready when somebody is there.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Lets in whoever is there, if it is root or this user. A descriptor of a stranger is
    /// closed.
    pub(super) fn admit(&self) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let visitor = accept_with(&self.listener, flags).ok()?;
        let who = sockopt::socket_peercred(&visitor).ok()?;
        (who.uid.is_root() || who.uid == rustix::process::geteuid()).then_some(visitor)
    }
}

/// Connects to the monitor of a container, having asked it to open its door.
///
/// # Errors
/// [`EngineError::NotRunning`] where the monitor ends meanwhile.
pub fn visit(store: &Store, id: &ContainerId, name: &str, monitor: ProcessName) -> Result<OwnedFd> {
    let not_running = || EngineError::NotRunning(name.to_owned());
    let process = open_monitor(monitor).ok_or_else(not_running)?;
    let directory = open_sockets(store)?;
    let target = address(directory.as_fd(), id.as_str())?;
    // Giving up a watch takes the kernel some ten milliseconds.
    if let Some(socket) = knock(&target)? {
        return Ok(socket);
    }
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .map_err(failed("watch for the monitor's socket", "inotify_init1"))?;
    inotify::add_watch(&watch, store.sockets(), inotify::WatchFlags::MOVED_TO)
        .map_err(failed("watch for the monitor's socket", "inotify_add_watch"))?;
    let mut asked = false;
    loop {
        if let Some(socket) = knock(&target)? {
            return Ok(socket);
        }
        if !asked {
            asked = true;
            pidfd::send_signal(process.as_fd(), Signal::URG).map_err(|_gone| not_running())?;
        }
        let mut fds = [
            PollFd::new(&watch, PollFlags::IN),
            PollFd::new(&process, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(failed("wait for the monitor", "poll")(errno)),
        }
        if !fds[1].revents().is_empty() {
            return Err(not_running());
        }
        let mut buffer = [0u8; 4096];
        // Only that something changed matters, not what.
        rustix::io::read(&watch, &mut buffer[..])
            .map(drop)
            .unwrap_or_default();
    }
}

/// Connects; `None` where the socket is not there yet, or was left by another monitor.
fn knock(target: &SocketAddrUnix) -> Result<Option<OwnedFd>> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed("reach the monitor", "socket"))?;
    match connect(&socket, target) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(errno) => Err(failed("reach the monitor", "connect")(errno)),
    }
}
