//! The monitor: from the moment that the program runs until its end, one process of
//! ours moves its output to the log and to whoever watches, hands on signals, and
//! learns how it ended. It waits for events and has no other cause to wake.

pub mod attendant;
pub mod door;
pub mod front;
pub mod protocol;
mod relay;
pub mod watcher;

pub use relay::{House, Over, Relay};
pub(crate) use relay::{Seen, see_off};

use crate::error::{EngineError, Result};
use cais_linux::SysError;
use rustix::fd::{AsFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};

/// Standard input, output and error of a program, seen from outside.
#[derive(Debug)]
pub enum Streams {
    /// Three pipes; standard input only where somebody writes to it.
    Pipes {
        /// The end that we write to, non-blocking.
        input: Option<OwnedFd>,
        /// The end that we read from.
        output: OwnedFd,
        /// The end that we read from.
        error: OwnedFd,
    },
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Nothing of them comes by here.
    None,
}

/// The program's ends of the pipes, and ours.
#[derive(Debug)]
pub struct PipeSet {
    /// What becomes descriptors 0, 1 and 2 of the program.
    pub theirs: [OwnedFd; 3],
    /// Our ends.
    pub ours: Streams,
}

/// Makes the pipes. The program's ends belong to `owner` (the host's uid and gid of
/// the program's user), so that it may open `/dev/stdout` anew.
///
/// # Errors
/// As pipe2(2) and fchown(2).
pub fn make_pipes(interactive: bool, owner: Option<(u32, u32)>) -> Result<PipeSet> {
    let make = || {
        pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| SysError::new("pipe2", "O_CLOEXEC", errno))
            .map_err(EngineError::system("make a pipe for the program's output"))
    };
    let (output, their_output) = make()?;
    let (error, their_error) = make()?;
    let (their_input, input) = if interactive {
        let (theirs, ours) = make()?;
        rustix::fs::fcntl_setfl(&ours, rustix::fs::OFlags::NONBLOCK)
            .map_err(|errno| SysError::new("fcntl", "F_SETFL, O_NONBLOCK", errno))
            .map_err(EngineError::system("make a pipe for the program's input"))?;
        (theirs, Some(ours))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
            .map_err(|errno| SysError::new("open", "\"/dev/null\"", errno))
            .map_err(EngineError::system("open the program's input"))?;
        (null, None)
    };
    // An ordinary user can give nothing away: another user inside then cannot open its pipes anew.
    let owner = owner.filter(|_| rustix::process::geteuid().is_root());
    if let Some((uid, gid)) = owner {
        let pipes = [
            Some(&their_output),
            Some(&their_error),
            input.is_some().then_some(&their_input),
        ];
        for pipe in pipes.into_iter().flatten() {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            rustix::fs::fchown(pipe.as_fd(), Some(uid), Some(gid))
                .map_err(|errno| SysError::new("fchown", "a pipe", errno))
                .map_err(EngineError::system("give the program's pipes to its user"))?;
        }
    }
    Ok(PipeSet {
        theirs: [their_input, their_output, their_error],
        ours: Streams::Pipes { input, output, error },
    })
}
