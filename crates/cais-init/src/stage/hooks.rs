//! Hooks that run in the container's namespaces: a program of the configuration in a
//! child of this process, with the state of the container on its standard input.

use super::{Failure, StepResult, plain};
use crate::wire::StrBlock;
use cais_sys::exec::{Vector, execve};
use cais_sys::process::{Forked, close_on_exec_from, exit_now, fork};
use cais_sys::signal::{SignalSet, set_mask};
use core::ffi::CStr;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, waitpid};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A hook and what it is told.
pub(super) struct Hook<'a> {
    pub(super) path: &'a CStr,
    pub(super) arguments: StrBlock<'a>,
    pub(super) environment: StrBlock<'a>,
    /// Seconds; 0 for none.
    pub(super) timeout: u32,
    /// The state in JSON, before and behind the process id.
    pub(super) state: [&'a [u8]; 2],
}

/// Runs a hook and waits for it. One that fails, or takes too long, fails the step.
pub(super) fn run<'a>(hook: &Hook<'a>) -> StepResult<'a> {
    let failed = |errno| Failure::new("run the hook", hook.path.to_bytes(), errno);
    let child_input = write_state(hook).map_err(plain("write the state into a pipe"))?;
    match fork().map_err(plain("fork"))? {
        Forked::Child => {
            let errno = become_hook(hook, child_input.as_fd());
            exit_now(if errno == Errno::NOENT { 127 } else { 126 })
        }
        Forked::Parent(child) => {
            drop(child_input);
            let status = await_child(child, hook.timeout).map_err(failed)?;
            if status == 0 {
                return Ok(());
            }
            Err(match status {
                127 => failed(Errno::NOENT),
                126 => failed(Errno::ACCESS),
                _ => Failure::new("the hook failed", hook.path.to_bytes(), Errno::CANCELED),
            })
        }
    }
}

fn become_hook(hook: &Hook<'_>, input: BorrowedFd<'_>) -> Errno {
    set_mask(SignalSet::EMPTY);
    let prepared = (|| {
        rustix::stdio::dup2_stdin(input)?;
        close_on_exec_from(3)?;
        let vector = |block: StrBlock<'_>| cais_sys::memory::allocate_pointers(block.count() + 1);
        Ok((vector(hook.arguments)?, vector(hook.environment)?))
    })();
    let (arguments, environment) = match prepared {
        Ok(vectors) => vectors,
        Err(errno) => return errno,
    };
    match (
        Vector::fill(arguments, hook.arguments.0),
        Vector::fill(environment, hook.environment.0),
    ) {
        (Some(arguments), Some(environment)) => execve(hook.path, arguments, environment),
        _ => Errno::INVAL,
    }
}

/// A pipe that holds the whole state: nobody waits for a hook that does not read it.
fn write_state(hook: &Hook<'_>) -> Result<OwnedFd, Errno> {
    let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let mut digits = [0u8; 11];
    let pid = decimal(getpid(), &mut digits);
    let [head, tail] = hook.state;
    let length = head.len() + tail.len() + 11;
    if length > 64 * 1024 {
        rustix::pipe::fcntl_setpipe_size(&input, length)?;
    }
    for part in [head, pid, tail] {
        let mut rest = part;
        while !rest.is_empty() {
            let written = rustix::io::write(&input, rest)?;
            rest = rest.get(written..).unwrap_or(&[]);
        }
    }
    // The hook reads as from any other file.
    rustix::fs::fcntl_setfl(&output, rustix::fs::OFlags::empty())?;
    Ok(output)
}

fn decimal(pid: Pid, buffer: &mut [u8; 11]) -> &[u8] {
    let mut rest = pid.as_raw_nonzero().get().unsigned_abs();
    let mut at = buffer.len();
    while rest > 0 && at > 0 {
        at -= 1;
        if let Some(place) = buffer.get_mut(at) {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
    }
    buffer.get(at..).unwrap_or(&[])
}

/// Waits; kills it at the end of its time. Returns the exit status, 255 for a signal.
fn await_child(child: Pid, timeout: u32) -> Result<u8, Errno> {
    let pidfd = pidfd_open(child, PidfdFlags::empty())?;
    let deadline = clock_gettime(ClockId::Monotonic).tv_sec + i64::from(timeout);
    let mut late = false;
    loop {
        let left = deadline - clock_gettime(ClockId::Monotonic).tv_sec;
        let wait = Timespec {
            tv_sec: left.max(0),
            tv_nsec: 0,
        };
        let wait = (timeout > 0).then_some(&wait);
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], wait) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(0) => {
                late = true;
                kill_process(child, Signal::KILL)?;
                break;
            }
            Ok(_) => break,
        }
    }
    let status = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(found) => break found,
        }
    };
    if late {
        return Err(Errno::TIMEDOUT);
    }
    let code = status.and_then(|(_, status)| status.exit_status());
    Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}
