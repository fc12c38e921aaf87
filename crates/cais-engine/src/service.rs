//! What a service manager gives a command that it starts, handed on to the program:
//! sd_notify(3) and sd_listen_fds(3).
//!
//! The program never has the manager's own socket: it could speak for other services there,
//! and the manager believes only processes that it knows. It has one of its own in
//! `notify/<id>` below the run directory, which the monitor reads; what may be said is passed
//! on by the monitor, with its own process id as the main one.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::options::{NamespaceMode, RunOptions};
use crate::store::{Store, ensure_directory};
use cais_linux::SysError;
use cais_runtime::spec::{Mount, Spec};
use rustix::event::PollFlags;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recv, sendto,
    socket_with,
};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Where the program has its socket.
const INSIDE: &str = "/run/notify";
const SOCKET: &str = "notify.sock";
const READY: &str = "READY=1";

/// What a program may say of itself (sd_notify(3)). What concerns descriptors, process ids and
/// access is between the manager and processes that it knows.
const ALLOWED: [&str; 9] = [
    "READY=",
    "RELOADING=",
    "STOPPING=",
    "STATUS=",
    "ERRNO=",
    "BUSERROR=",
    "WATCHDOG=",
    "EXTEND_TIMEOUT_USEC=",
    "MONOTONIC_USEC=",
];

/// Who says that the service is ready: the words of `--sdnotify`.
pub const WORDS: [&str; 4] = ["container", "conmon", "healthy", "ignore"];
const HEALTHY: Option<&str> = Some(WORDS[2]);

/// What the manager gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Where it listens: a path, or an abstract name behind `@`.
    notify: Option<String>,
    /// How many sockets it has opened for the service: 3 and on.
    listen: u32,
    /// What they are called.
    names: Option<String>,
}

impl Service {
    /// Reads the environment. Sockets that are for another process are none.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Self {
        let filled = |name: &str| var(name).filter(|text| !text.is_empty());
        let number = |name: &str| filled(name).and_then(|text| text.parse::<u32>().ok());
        let is_ours = number("LISTEN_PID") == Some(std::process::id());
        let listen = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        Self {
            notify: filled("NOTIFY_SOCKET"),
            listen,
            names: filled("LISTEN_FDNAMES").filter(|_| listen > 0),
        }
    }

    /// How many descriptors from 3 on go to the program.
    pub(crate) fn listen(&self) -> u32 {
        self.listen
    }

    /// Where the manager is told, and who tells it, where somebody does.
    fn notified(&self, options: &RunOptions) -> Option<(&str, bool)> {
        let by_program = match options.sdnotify.as_deref() {
            None | Some("container") => true,
            Some("conmon" | "healthy") => false,
            Some(_) => return None,
        };
        Some((self.notify.as_deref()?, by_program))
    }

    fn has_socket(&self, options: &RunOptions) -> bool {
        matches!(self.notified(options), Some((_, true)))
    }

    /// Adds to a configuration what the program sees of all that.
    ///
    /// # Errors
    /// Where the program would not know that the sockets are for it.
    pub(crate) fn plan(
        &self,
        spec: &mut Spec,
        store: &Store,
        id: &ContainerId,
        options: &RunOptions,
    ) -> Result<()> {
        if options.sdnotify.as_deref() == HEALTHY && options.health.active().is_none() {
            return Err(EngineError::Invalid(
                "--sdnotify healthy: the container has no health check: give it one with --health-cmd, --health-http, --health-tcp or --health-unix".to_owned(),
            ));
        }
        let mut variables = Vec::new();
        if self.has_socket(options) {
            variables.push(("NOTIFY_SOCKET", format!("{INSIDE}/{SOCKET}")));
            spec.mounts.push(Mount {
                destination: INSIDE.to_owned(),
                kind: Some("bind".to_owned()),
                source: Some(directory(store, id).display().to_string()),
                options: ["bind", "nosuid", "noexec", "nodev", "ro"]
                    .map(str::to_owned)
                    .to_vec(),
                ..Mount::default()
            });
        }
        if self.listen > 0 {
            if options.namespaces.pid != NamespaceMode::Private {
                return Err(EngineError::Invalid(
                    "LISTEN_FDS: a program finds its sockets by its process id, which is not known with --pid: leave --pid out, or unset LISTEN_FDS".to_owned(),
                ));
            }
            // The init is the first process, and the program its first child.
            let pid = if options.init { "2" } else { "1" };
            variables.push(("LISTEN_PID", pid.to_owned()));
            variables.push(("LISTEN_FDS", self.listen.to_string()));
            variables.extend(self.names.clone().map(|names| ("LISTEN_FDNAMES", names)));
        }
        if let Some(process) = &mut spec.process {
            for (key, value) in variables {
                crate::exec::set_variable(&mut process.env, key, &value);
            }
        }
        Ok(())
    }

    /// Makes the program's socket, before the program can look for it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) fn open(
        &self,
        store: &Store,
        id: &ContainerId,
        options: &RunOptions,
    ) -> Result<Option<Box<dyn Attendant>>> {
        let Some((host, true)) = self.notified(options) else {
            return Ok(None);
        };
        let socket = make_socket(store, id)?;
        Ok(Some(Box::new(Relay {
            socket,
            host: host.to_owned(),
        })))
    }

    /// What the keeper of the container's health is to say, where it is.
    pub(crate) fn when_healthy(&self, options: &RunOptions) -> Option<Ready> {
        let (host, _) = self.notified(options)?;
        (options.sdnotify.as_deref() == HEALTHY).then(|| Ready(host.to_owned()))
    }

    /// Says that the program runs, where that is ours to say, and which process lives on. A
    /// manager that does not listen any more is told nothing.
    pub(crate) fn note_start(&self, options: &RunOptions) {
        let Some((host, by_program)) = self.notified(options) else {
            return;
        };
        let mut lines = Vec::new();
        if options.detach {
            lines.push(format!("MAINPID={}", std::process::id()));
        }
        if !by_program && options.sdnotify.as_deref() != HEALTHY {
            lines.push(READY.to_owned());
        }
        if !lines.is_empty() {
            send(host, lines.join("\n").as_bytes()).unwrap_or_default();
        }
    }
}

/// What is to be said once, when the container is well.
#[derive(Debug)]
pub(crate) struct Ready(String);

impl Ready {
    /// Says it. A manager that does not listen any more is told nothing.
    pub(crate) fn say(&self) {
        send(&self.0, READY.as_bytes()).unwrap_or_default();
    }
}

/// The directory that the program sees.
pub(crate) fn directory(store: &Store, id: &ContainerId) -> PathBuf {
    store.run().join("notify").join(id.as_str())
}

fn make_socket(store: &Store, id: &ContainerId) -> Result<OwnedFd> {
    let failed = |call| {
        move |errno| EngineError::System {
            action: "make the program's socket for notifications".to_owned(),
            source: SysError::new(call, SOCKET, errno),
        }
    };
    let place = directory(store, id);
    ensure_directory(&place)?;
    let told = || EngineError::store(format!("open {} to the program", place.display()));
    let open_to_all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&place, open_to_all).map_err(told())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(failed("socket"))?;
    // Its path may be longer than an address can be.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = open(&place, flags, Mode::empty()).map_err(failed("open"))?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    // That of the run before.
    std::fs::remove_file(&path).unwrap_or_default();
    let address = SocketAddrUnix::new(path.as_str()).map_err(failed("bind"))?;
    bind(&socket, &address).map_err(failed("bind"))?;
    // Any user of the container may write to it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).map_err(told())?;
    Ok(socket)
}

/// Sends to a socket by path, or by an abstract name that begins with `@`.
fn send(host: &str, message: &[u8]) -> std::result::Result<(), Errno> {
    let address = match host.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(host)?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sendto(socket.as_fd(), message, SendFlags::NOSIGNAL, &address).map(drop)
}

/// Passes on what the program says.
#[derive(Debug)]
struct Relay {
    socket: OwnedFd,
    host: String,
}

/// The lines of a message that a program may say.
fn allowed(message: &[u8]) -> Vec<u8> {
    let lines = message.split(|byte| *byte == b'\n');
    let good = lines.filter(|line| ALLOWED.iter().any(|word| line.starts_with(word.as_bytes())));
    good.collect::<Vec<_>>().join(&b'\n')
}

impl Attendant for Relay {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        wanted.push((self.socket.as_fd(), PollFlags::IN));
    }

    fn attend(&mut self, _ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        let mut buffer = [0u8; 4096];
        // Descriptors that come along are closed by the kernel: nobody takes them here.
        while let Ok((length, _)) = recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
            let message = allowed(buffer.get(..length).unwrap_or(&[]));
            if !message.is_empty() {
                // Nobody listens any more: the program goes on.
                send(&self.host, &message).unwrap_or_default();
            }
        }
        Attention::Stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_may_say() {
        for (said, passed) in [
            ("READY=1", "READY=1"),
            ("READY=1\nMAINPID=7\nSTATUS=fine", "READY=1\nSTATUS=fine"),
            ("FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all", ""),
            ("XREADY=1\n\nWATCHDOG=1\n", "WATCHDOG=1"),
        ] {
            assert_eq!(allowed(said.as_bytes()), passed.as_bytes(), "{said}");
        }
    }

    #[test]
    fn sockets_are_taken_by_whom_they_are_for() {
        let this = std::process::id().to_string();
        let read = |pid: &str, count: &str| {
            Service::read(|name| match name {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some(count.to_owned()),
                "LISTEN_FDNAMES" => Some("web".to_owned()),
                _ => None,
            })
        };
        assert_eq!(
            (read(&this, "2").listen, read(&this, "2").names.is_some()),
            (2, true)
        );
        for (pid, count) in [("1", "2"), ("", "2"), (&this, "x"), (&this, "-1"), (&this, "0")] {
            assert_eq!(read(pid, count), Service::default(), "{pid} {count}");
        }
    }
}
