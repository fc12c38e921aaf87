//! `exec`: the process from a file, or the container's own with what the flags say.

use super::foreground;
use super::{Call, Failed, Outcome};
use cais_engine::monitor::front::terminal_size;
use cais_runtime::container::exec::{ExecOptions, exec as exec_process};
use cais_runtime::container::state::{self, Container};
use cais_runtime::spec::{ConsoleSize, Process, parse_json};

/// What runc answers where the process was not started.
const NOT_STARTED: u8 = 255;

pub(super) fn exec(call: &Call) -> Outcome {
    start(call).map_err(|failed| failed.code(NOT_STARTED))
}

fn start(call: &Call) -> Outcome {
    let (id, command) = call
        .given
        .rest
        .split_first()
        .ok_or_else(|| Failed::usage("exec takes a container id and a command"))?;
    let given = call.given.value("process").map(read_process).transpose()?;
    if given.is_none() && command.is_empty() {
        return Err(Failed::usage("exec needs a command, or --process with a file"));
    }
    let container = state::read_container(&call.runtime, id)?;
    let process = match given {
        Some(process) => process,
        None => own_process(call, &container, command)?,
    };
    let detach = call.given.has("detach");
    let options = ExecOptions {
        process,
        console_socket: call.path("console-socket"),
        pidfd_socket: call.path("pidfd-socket"),
        pid_file: call.path("pid-file"),
        preserve_fds: call.preserve_fds()?,
        cgroup: cgroup(call),
        ignore_paused: call.given.has("ignore-paused"),
        foreground: !detach,
    };
    let signals = if detach {
        None
    } else {
        Some(foreground::take_signals()?)
    };
    let created = exec_process(&call.runtime, &container, &options)?;
    for warning in &created.warnings {
        call.log.warn(warning);
    }
    match signals {
        Some(signals) => foreground::wait(&created.process.pidfd, created.terminal, &signals),
        None => Ok(0),
    }
}

fn read_process(file: &str) -> Result<Process, Failed> {
    let bytes = std::fs::read(file).map_err(|error| Failed::usage(format!("{file}: {error}")))?;
    parse_json(&bytes).map_err(|error| Failed::usage(format!("{file}: {error}")))
}

/// The container's own process with another command, as the flags change it.
fn own_process(call: &Call, container: &Container, command: &[String]) -> Result<Process, Failed> {
    let given = &call.given;
    let mut process = container.config.process.clone().unwrap_or_default();
    process.args = command.to_vec();
    process.terminal = given.has("tty");
    if process.terminal {
        let (rows, columns) = terminal_size();
        process.console_size = Some(ConsoleSize {
            height: u64::from(rows),
            width: u64::from(columns),
        });
    }
    if let Some(directory) = given.value("cwd") {
        directory.clone_into(&mut process.cwd);
    }
    process.env.extend(given.values("env").iter().cloned());
    if let Some(user) = given.value("user") {
        (process.user.uid, process.user.gid) = parse_user(user, process.user.gid)?;
    }
    for gid in given.values("additional-gids") {
        process.user.additional_gids.push(parse_id(gid)?);
    }
    if let Some(label) = given.value("process-label") {
        process.selinux_label = Some(label.to_owned());
    }
    if let Some(profile) = given.value("apparmor") {
        process.apparmor_profile = Some(profile.to_owned());
    }
    process.no_new_privileges |= given.has("no-new-privs");
    let sets = process.capabilities.get_or_insert_default();
    for capability in given.values("cap") {
        // Never the inheritable set (CVE-2022-29162).
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            if !set.contains(capability) {
                set.push(capability.clone());
            }
        }
    }
    Ok(process)
}

/// `UID[:GID]`, in decimal digits and nothing else (CVE-2026-30892).
fn parse_user(text: &str, own_gid: u32) -> Result<(u32, u32), Failed> {
    match text.split_once(':') {
        None => Ok((parse_id(text)?, own_gid)),
        Some((uid, gid)) => Ok((parse_id(uid)?, parse_id(gid)?)),
    }
}

fn parse_id(text: &str) -> Result<u32, Failed> {
    let wrong = || {
        Failed::usage(format!(
            "{text:?} is no id: a number from 0 to 4294967294 is wanted"
        ))
    };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    text.parse().ok().filter(|id| *id != u32::MAX).ok_or_else(wrong)
}

/// `[controller:]path`: one path for all hierarchies.
fn cgroup(call: &Call) -> Option<String> {
    let text = call.given.value("cgroup")?;
    Some(text.split_once(':').map_or(text, |(_, path)| path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_digits() {
        for (text, want) in [
            ("1", Some((1, 7))),
            ("1:2", Some((1, 2))),
            ("0", Some((0, 7))),
            ("1:", None),
            (":1", None),
            ("+1", None),
            ("-1", None),
            ("root", None),
            ("4294967295", None),
            ("4294967296", None),
            ("", None),
            (" 1", None),
        ] {
            assert_eq!(parse_user(text, 7).ok(), want, "{text:?}");
        }
    }
}
