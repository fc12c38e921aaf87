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
pub(crate) use relay::{Seen, attend_early, see_off};

use crate::error::{EngineError, Result};
use cais_linux::SysError;
use rustix::fd::{AsRawFd, OwnedFd};
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

impl PipeSet {
    /// The inodes of output and errors, by which they are found again.
    pub(crate) fn inodes(&self) -> Option<[u64; 2]> {
        let [_, output, error] = &self.theirs;
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).ok().map(|status| status.st_ino);
        Some([inode(output)?, inode(error)?])
    }
}

/// Makes the pipes. The program's ends belong to `owner` (the host's uid and gid of
/// the program's user), so that it may open `/dev/stdout` anew.
///
/// Its ends of output and error can be read too (pipe(7) allows it): so the pipe has a
/// reader as long as the program has it, and a monitor that is killed costs the program
/// neither SIGPIPE nor its output; the next one opens the pipe by the program's descriptor
/// and reads on.
///
/// # Errors
/// As pipe2(2), open(2) and fchown(2).
pub fn make_pipes(interactive: bool, owner: Option<(u32, u32)>) -> Result<PipeSet> {
    let (output, their_output) = make_lasting_pipe(owner)?;
    let (error, their_error) = make_lasting_pipe(owner)?;
    let (their_input, input) = if interactive {
        let (theirs, ours) = new_pipe()?;
        give_to(&theirs, owner)?;
        set_nonblocking(&ours)?;
        (theirs, Some(ours))
    } else {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
            .map_err(|errno| SysError::new("open", "\"/dev/null\"", errno))
            .map_err(EngineError::system("open the program's input"))?;
        (null, None)
    };
    Ok(PipeSet {
        theirs: [their_input, their_output, their_error],
        ours: Streams::Pipes { input, output, error },
    })
}

pub(crate) fn new_pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| SysError::new("pipe2", "O_CLOEXEC", errno))
        .map_err(EngineError::system("make a pipe for the program"))
}

/// A pipe for output: our end, and the program's, which can be read too.
fn make_lasting_pipe(owner: Option<(u32, u32)>) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = new_pipe()?;
    let path = format!("/proc/self/fd/{}", theirs.as_raw_fd());
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let lasting = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}, O_RDWR"), errno))
        .map_err(EngineError::system("open the program's end of a pipe"))?;
    give_to(&lasting, owner)?;
    Ok((ours, lasting))
}

/// A pipe for output that this process reads without waiting: its end, and the program's.
pub(crate) fn make_pipe(owner: Option<(u32, u32)>) -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = new_pipe()?;
    give_to(&theirs, owner)?;
    set_nonblocking(&ours)?;
    Ok((ours, theirs))
}

fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    rustix::fs::fcntl_setfl(fd, rustix::fs::OFlags::NONBLOCK)
        .map_err(|errno| SysError::new("fcntl", "F_SETFL, O_NONBLOCK", errno))
        .map_err(EngineError::system("make a pipe for the program"))
}

fn give_to(pipe: &OwnedFd, owner: Option<(u32, u32)>) -> Result<()> {
    // An ordinary user can give nothing away: another user inside then cannot open its pipes anew.
    let Some((uid, gid)) = owner.filter(|_| rustix::process::geteuid().is_root()) else {
        return Ok(());
    };
    let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
    rustix::fs::fchown(pipe, Some(uid), Some(gid))
        .map_err(|errno| SysError::new("fchown", "a pipe", errno))
        .map_err(EngineError::system("give the program's pipes to its user"))
}
