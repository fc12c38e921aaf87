//! `kill`, `pause`, `resume`, `ps`: what is done with the processes of a container.

use super::error::{Result, RuntimeError};
use super::state::{self, State, Status, probe_status};
use super::{Runtime, cgroups};
use cais_linux::cgroups::Group;
use cais_linux::process::pidfd;
use rustix::fd::AsFd;
use rustix::process::{Pid, Signal};

/// Sends a signal to the first process, or with `all` to every process.
///
/// # Errors
/// `container not running` where there is nobody to hear it.
pub fn kill(runtime: &Runtime, id: &str, signal: Signal, all: bool) -> Result<()> {
    let state = state::read(runtime, id)?;
    if all {
        return kill_all(&state, signal);
    }
    if !state.is_alive() {
        return Err(RuntimeError::Wrong("container not running".to_owned()));
    }
    let pid = Pid::from_raw(state.pid).ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let process =
        pidfd::open(pid).map_err(|_gone| RuntimeError::Wrong("container not running".to_owned()))?;
    // Opened by number: it must still be the one that was written down.
    if !state.is_alive() {
        return Err(RuntimeError::Wrong("container not running".to_owned()));
    }
    send(process.as_fd(), signal)?;
    if signal == Signal::KILL
        && let Ok(Some(group)) = cgroups::open(&state)
        && group.is_frozen()
    {
        // With cgroup v1 one that stands still dies when it is let go.
        group
            .thaw()
            .map_err(RuntimeError::cgroup("let the killed container go"))?;
    }
    Ok(())
}

fn send(process: rustix::fd::BorrowedFd<'_>, signal: Signal) -> Result<()> {
    match pidfd::send_signal(process, signal) {
        Err(error) if error.errno() == rustix::io::Errno::SRCH => {
            Err(RuntimeError::Wrong("container not running".to_owned()))
        }
        other => other.map_err(RuntimeError::system("signal the container")),
    }
}

fn kill_all(state: &State, signal: Signal) -> Result<()> {
    let Some(group) = cgroups::open(state)? else {
        return Ok(());
    };
    let all = group
        .all_processes()
        .map_err(RuntimeError::cgroup("list the processes"))?;
    for process in all.iter().filter_map(|pid| pidfd::open(*pid).ok()) {
        match send(process.as_fd(), signal) {
            // It ended meanwhile.
            Ok(()) | Err(RuntimeError::Wrong(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn group_of(state: &State) -> Result<Group> {
    cgroups::open(state)?
        .ok_or_else(|| RuntimeError::Wrong(format!("container {} has no cgroup of its own", state.id)))
}

/// Stops all processes.
///
/// # Errors
/// Where the container does not run, or has no cgroup.
pub fn pause(runtime: &Runtime, id: &str) -> Result<()> {
    let state = state::read(runtime, id)?;
    match probe_status(runtime, &state) {
        Status::Running | Status::Created => group_of(&state)?
            .freeze()
            .map_err(RuntimeError::cgroup("pause the container")),
        status => Err(RuntimeError::wrong("container not running", status)),
    }
}

/// Lets them run again.
///
/// # Errors
/// Where the container is not paused.
pub fn resume(runtime: &Runtime, id: &str) -> Result<()> {
    let state = state::read(runtime, id)?;
    match probe_status(runtime, &state) {
        Status::Paused => group_of(&state)?
            .thaw()
            .map_err(RuntimeError::cgroup("resume the container")),
        status => Err(RuntimeError::wrong("container not paused", status)),
    }
}

/// The ids of all processes.
///
/// # Errors
/// Where the cgroup cannot be read.
pub fn processes(runtime: &Runtime, id: &str) -> Result<Vec<i32>> {
    let state = state::read(runtime, id)?;
    let group = group_of(&state)?;
    let all = group
        .all_processes()
        .map_err(RuntimeError::cgroup("list the processes"))?;
    Ok(all.iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}

/// Reads a signal: a number, or a name with or without `SIG`.
#[must_use]
pub fn parse_signal(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<i32>() {
        return cais_sys::signal::from_number(number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let (base, offset) = match name.split_once(['+', '-']) {
        Some((base, offset)) => (base, Some(offset)),
        None => (name, None),
    };
    // Real-time signals as runc writes them: RTMIN+3, RTMAX-2.
    if let ("RTMIN" | "RTMAX", offset) = (base, offset) {
        let offset: i32 = offset.map_or(Ok(0), str::parse).ok()?;
        let number = if base == "RTMIN" { 34 + offset } else { 64 - offset };
        return (34..=64)
            .contains(&number)
            .then(|| cais_sys::signal::from_number(number))?;
    }
    let at = NAMES.iter().position(|known| *known == name)?;
    cais_sys::signal::from_number(i32::try_from(at + 1).ok()?)
}

/// The names by number, from 1 (signal(7), x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in [
            ("9", Some(9)),
            ("KILL", Some(9)),
            ("sigterm", Some(15)),
            ("SIGUSR2", Some(12)),
            ("RTMIN+3", Some(37)),
            ("SIGRTMAX", Some(64)),
            ("SIGSYS", Some(31)),
            ("", None),
            ("0", None),
            ("MOON", None),
            ("65", None),
            ("RTMIN+99", None),
        ] {
            assert_eq!(parse_signal(text).map(Signal::as_raw), number, "{text:?}");
        }
    }
}
