//! `cais pack --trace`: runs a command once in a container of the image `host`, and notes the
//! files that programs use.
//!
//! The container's system call filter asks about each call that names a file
//! (seccomp_unotify(2)); a process of ours looks what that is and lets the call go on. No
//! helper program is in the container, and nothing is slowed down but these calls.

mod calls;
mod watch;

pub(crate) use calls::watched_filter;

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::{NetworkMode, RootSource, RunOptions, SeccompOption};
use crate::run::{Manner, Outcome, chain, prepare, run};
use cais_image::pack::Use;
use cais_linux::SysError;
use cais_linux::process::channel;
use cais_linux::process::pidfd::{self, Ended};
use cais_sys::process::{Forked, fork};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use watch::Watch;

/// What came of a traced command.
#[derive(Debug)]
pub struct Traced {
    /// What the programs used.
    pub uses: BTreeSet<Use>,
    /// How the command ended.
    pub ended: Ended,
}

/// Runs a command in a container of the machine's own tree, whose changes are thrown away.
/// What `programs` use is noted, and what those use that they start. The command's output goes
/// to standard error.
///
/// # Errors
/// Where the container cannot be started or watched.
pub fn trace(engine: &Engine, options: RunOptions, programs: BTreeSet<PathBuf>) -> Result<Traced> {
    engine.store.ensure()?;
    let mut socket = Socket::bind(engine)?;
    let mut options = RunOptions {
        root: RootSource::Host,
        remove: true,
        // Signals reach the command, and what it leaves behind is reaped.
        init: true,
        ..options
    };
    options.namespaces.network = NetworkMode::None;
    options.security.seccomp = SeccompOption::Watched(socket.path.clone());
    let forked = fork()
        .map_err(|errno| SysError::new("clone", "", errno))
        .map_err(EngineError::system("make the process that runs the container"))?;
    let child = match forked {
        Forked::Child => {
            // Else it would still be listened there when the watcher is gone.
            drop(socket.listener.take());
            let code = run_container(engine, options);
            cais_sys::process::exit_now(code)
        }
        Forked::Parent(pid) => pidfd::open(pid).map_err(EngineError::system("watch the container"))?,
    };
    let heard = socket.accept(&child);
    drop(socket);
    let uses = match heard? {
        Some(listener) => Watch::new(programs).run(&listener)?,
        None => BTreeSet::new(),
    };
    let ended = pidfd::wait(child.as_fd()).map_err(EngineError::system("wait for the container"))?;
    Ok(Traced { uses, ended })
}

/// Runs the container; the exit code is the program's, or Docker's for a failed start.
fn run_container(engine: &Engine, options: RunOptions) -> u8 {
    let to_error = || {
        let error = cais_sys::process::standard_stream(true);
        rustix::stdio::dup2_stdout(error)
    };
    let manner = Manner {
        detach: false,
        interactive: false,
        shows: [true, true],
        sig_proxy: true,
        detach_keys: Vec::new(),
        timings: None,
        sweeps: None,
        farewell: None,
    };
    // Without the watcher the command cannot go on: whoever kills that one ends this, too, and
    // the next command sweeps. A signal to end in order could be lost while the command starts.
    let end = Some(rustix::process::Signal::KILL);
    let outcome = rustix::process::set_parent_process_death_signal(end)
        .and_then(|()| to_error())
        .map_err(|errno| SysError::new("dup2", "", errno))
        .map_err(EngineError::system("prepare the process that runs the container"))
        .and_then(|()| prepare(engine, options, false))
        .and_then(|prepared| run(engine, &prepared, &manner));
    match outcome {
        Ok(Outcome::Ended(code)) => code,
        Ok(Outcome::Detached) => 0,
        Err(error) => {
            tell(&chain(&error));
            crate::run::exit_code(&error)
        }
    }
}

/// The process that runs the container has no other way to say why it could not.
fn tell(text: &str) {
    let line = format!("cais: the traced command: {text}\n");
    rustix::io::write(cais_sys::process::standard_stream(true), line.as_bytes())
        .map(drop)
        .unwrap_or_default();
}

/// Where the container's notifications arrive.
struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    fn bind(engine: &Engine) -> Result<Self> {
        let path = engine
            .store
            .run()
            .join(format!("trace-{}.sock", std::process::id()));
        let action = || EngineError::store(format!("listen at {}", path.display()));
        remove_if_there(&path)?;
        let listener = UnixListener::bind(&path).map_err(action())?;
        let listener = Some(listener);
        Ok(Self { path, listener })
    }

    /// Waits for the notifications' descriptor; `None` where the container ended before.
    fn accept(&self, child: &OwnedFd) -> Result<Option<OwnedFd>> {
        let Some(own) = &self.listener else {
            return Ok(None);
        };
        loop {
            let mut fds = [PollFd::new(own, PollFlags::IN), PollFd::new(child, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => {
                    let source = SysError::new("poll", "", errno);
                    return Err(EngineError::system("wait for the container")(source));
                }
            }
            let [listener, child] = &fds;
            if listener.revents().is_empty() {
                if child.revents().is_empty() {
                    continue;
                }
                return Ok(None);
            }
            let (stream, _) = own
                .accept()
                .map_err(EngineError::store("hear of the container"))?;
            let mut received = Vec::new();
            let mut name = [0u8; 64];
            channel::receive(stream.as_fd(), &mut name, &mut received)
                .map_err(EngineError::system("hear of the container"))?;
            if let Some(fd) = received.pop() {
                return Ok(Some(fd));
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is replaced by the next process with this id.
        remove_if_there(&self.path).unwrap_or_default();
    }
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::store(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}
