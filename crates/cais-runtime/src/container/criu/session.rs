//! A conversation with CRIU: `criu swrk` gets one end of a socket and serves one request,
//! telling now and then how far it is and waiting for a word.

use super::message::{Fields, Request, Response, notified, parse_response, request};
use crate::container::error::{Result, RuntimeError};
use cais_linux::process::channel;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{FdFlags, fcntl_setfd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The largest answer. They are small: a script, a process, an errno.
const ANSWER_MAX: usize = 64 * 1024;
/// How many lines of the log an error shows.
const SHOWN_LINES: usize = 5;

/// What CRIU tells while it works.
#[derive(Debug)]
pub(in crate::container) struct Notice {
    /// Which moment: `post-dump`, `setup-namespaces`, `post-restore`, `orphan-pts-master`.
    pub(in crate::container) script: String,
    /// The process that it is about.
    pub(in crate::container) pid: i32,
    /// The descriptor that came with it.
    pub(in crate::container) descriptor: Option<OwnedFd>,
}

/// A running `criu swrk`. It ends with the conversation.
#[derive(Debug)]
pub(in crate::container) struct Session {
    child: Child,
    socket: OwnedFd,
    log: PathBuf,
}

impl Session {
    /// Starts CRIU. `lent` are descriptors that it keeps under their numbers here; `log` is
    /// where it writes its log.
    ///
    /// # Errors
    /// Where it is not installed.
    pub(in crate::container) fn start(program: &Path, lent: &[BorrowedFd<'_>], log: PathBuf) -> Result<Self> {
        let (ours, theirs) = channel::pair().map_err(RuntimeError::system("open a channel to criu"))?;
        for fd in lent.iter().copied().chain([theirs.as_fd()]) {
            fcntl_setfd(fd, FdFlags::empty())
                .map_err(|errno| cais_linux::SysError::new("fcntl", "F_SETFD, 0", errno))
                .map_err(RuntimeError::system("hand descriptors to criu"))?;
        }
        let spawned = Command::new(find(program))
            .arg("swrk")
            .arg(theirs.as_raw_fd().to_string())
            .spawn();
        // Whatever this process executes later is not to have them.
        for fd in lent {
            fcntl_setfd(fd, FdFlags::CLOEXEC).unwrap_or_default();
        }
        let child = spawned.map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                RuntimeError::Usage(format!(
                    "cannot execute {}: CRIU is not installed, and containers cannot be checkpointed or restored without it (Debian's package: criu)",
                    program.display()
                ))
            } else {
                RuntimeError::file(format!("execute {}", program.display()))(source)
            }
        })?;
        Ok(Self {
            child,
            socket: ours,
            log,
        })
    }

    /// CRIU's process.
    pub(in crate::container) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Asks for `kind` and waits until it is done. `take` hears of every notice; where it
    /// fails CRIU is told to stop.
    ///
    /// # Errors
    /// [`RuntimeError::Criu`] with the log's own words, or what `take` met.
    pub(in crate::container) fn ask(
        mut self,
        kind: Request,
        options: &Fields,
        take: &mut dyn FnMut(Notice) -> Result<()>,
    ) -> Result<Response> {
        let answered = self.converse(kind, options, take);
        // It ends when nobody talks to it any more.
        drop(self.socket);
        let status = self.child.wait();
        let response = answered?;
        match response {
            Some(response) if response.success => Ok(response),
            Some(response) => {
                let mut problem = format!("criu failed: type {} errno {}", kind.name(), response.errno);
                if !response.message.is_empty() {
                    problem.push_str(&format!(" ({})", response.message));
                }
                Err(failure(problem, self.log))
            }
            None => {
                let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                let problem = format!(
                    "criu failed: type {}: it ended without an answer ({how})",
                    kind.name()
                );
                Err(failure(problem, self.log))
            }
        }
    }

    /// The last answer; `None` where CRIU went away without one.
    fn converse(
        &self,
        kind: Request,
        options: &Fields,
        take: &mut dyn FnMut(Notice) -> Result<()>,
    ) -> Result<Option<Response>> {
        let talk = || RuntimeError::system("talk to criu");
        match channel::send(self.socket.as_fd(), request(kind, options).as_bytes(), &[]) {
            Err(error) if is_gone(&error) => return Ok(None),
            other => other.map_err(talk())?,
        }
        let mut buffer = vec![0u8; ANSWER_MAX];
        loop {
            let mut fds = Vec::new();
            let received = match channel::receive(self.socket.as_fd(), &mut buffer, &mut fds) {
                Err(error) if is_gone(&error) => return Ok(None),
                other => other.map_err(talk())?,
            };
            let Some(bytes) = received else { return Ok(None) };
            let response = parse_response(bytes).map_err(|_damaged| {
                failure(
                    "criu answered something that is no answer".to_owned(),
                    self.log.clone(),
                )
            })?;
            if response.kind != Request::Notify as u64 || !response.success {
                return Ok(Some(response));
            }
            let taken = take(Notice {
                script: response.script,
                pid: response.script_pid,
                descriptor: fds.pop(),
            });
            match channel::send(self.socket.as_fd(), notified(taken.is_ok()).as_bytes(), &[]) {
                Err(error) if is_gone(&error) => {}
                other => other.map_err(talk())?,
            }
            taken?;
        }
    }
}

fn is_gone(error: &cais_linux::SysError) -> bool {
    use rustix::io::Errno;
    matches!(error.errno(), Errno::PIPE | Errno::CONNRESET)
}

/// The executable: as it was named, or where Debian puts it, which is not in every user's
/// PATH.
fn find(program: &Path) -> PathBuf {
    let is_in = |directory: &Path| directory.join(program).is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&path).any(|directory| is_in(&directory));
    let usual = Path::new("/usr/sbin");
    if program.components().count() == 1 && !known && is_in(usual) {
        usual.join(program)
    } else {
        program.to_owned()
    }
}

/// The error, with what the log says of the reason.
fn failure(problem: String, log: PathBuf) -> RuntimeError {
    let text = std::fs::read(&log).unwrap_or_default();
    let said = error_lines(&String::from_utf8_lossy(&text));
    RuntimeError::Criu { problem, said, log }
}

/// The last lines of a log that tell of errors, without their times.
fn error_lines(log: &str) -> Vec<String> {
    let errors: Vec<&str> = log
        .lines()
        .filter_map(|line| line.find("Error (").and_then(|at| line.get(at..)))
        .collect();
    let skipped = errors.len().saturating_sub(SHOWN_LINES);
    errors.into_iter().skip(skipped).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_of_a_log() {
        let log = "(00.000) Version: 3.17\n(00.001) Error (criu/vdso.c:381): vdso: bounds\n(00.1) 1: Error (x.c:1): y\nDone\n";
        assert_eq!(
            error_lines(log),
            ["Error (criu/vdso.c:381): vdso: bounds", "Error (x.c:1): y"]
        );
        let many: String = (0..9)
            .map(|number| format!("Error (a.c:{number}): z\n"))
            .collect();
        assert_eq!(error_lines(&many).len(), SHOWN_LINES);
    }
}
