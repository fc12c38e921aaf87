//! SIGKILL at every system call that changes something, for commands about containers that
//! are there: strace(1) kills the command as it enters the call.

use crate::support::{Done, TestEnv, eventually, executable};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;

/// Calls that change files, processes or locks.
const CHANGING: &[&str] = &[
    "unlink",
    "unlinkat",
    "rmdir",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mkdir",
    "mkdirat",
    "write",
    "flock",
    "ftruncate",
    "kill",
    "pidfd_send_signal",
    "sendto",
    "umount2",
    "exit_group",
];

/// The same command below strace(1), with these options of it, where something is done to a call.
pub(crate) fn injected(command: &Command, options: &[&str], call: &str, what: &str) -> Command {
    let mut traced = Command::new("strace");
    traced
        .args(["-qq", "-o", "/dev/null"])
        .args(options)
        .args(["-e", &format!("trace={call}"), "-e"])
        .arg(format!("inject={call}:{what}"))
        .arg(executable())
        .args(command.get_args())
        .stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        traced.env(name, value.unwrap_or_default());
    }
    traced
}

/// The same command, killed at the `number`-th call of this kind.
fn killed_at(command: &Command, call: &str, number: u32) -> Command {
    injected(command, &[], call, &format!("signal=SIGKILL:when={number}"))
}

fn volumes(env: &TestEnv) -> Vec<String> {
    let entries = fs::read_dir(env.path("data/volumes")).into_iter().flatten();
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != ".anonymous").collect()
}

/// Prepares, and kills `words` at every call in turn. Afterwards the container is in one of
/// `statuses` (nothing: it is gone), can be removed with `finish`, and nothing is left.
fn kill_a_command(prepare: &[&[&str]], words: &[&str], statuses: &[&str]) {
    let env = TestEnv::new();
    let mut kills = 0;
    for call in CHANGING {
        for number in 1.. {
            for first in prepare {
                env.ok(first);
            }
            let done = Done::of(killed_at(&env.command(words), call, number));
            let at = format!("{words:?} at {call} {number}");
            assert!(matches!(done.code, 0 | 137), "{at}: {}", done.stderr);
            let status = || {
                let listed = env.ok(&["ps", "-a", "--format", "{{.State}}"]);
                listed.trim().to_owned()
            };
            eventually(
                &format!("{at}: one of {statuses:?}, and not {:?}", status()),
                || statuses.contains(&status().as_str()),
            );
            let listed = env.ok(&["ps", "-aq"]);
            for id in listed.lines() {
                env.ok(&["rm", "-f", "-v", id]);
            }
            eventually(&format!("nothing is left of {at}"), || {
                env.cais(&["ps", "-a"]);
                env.leftovers().is_empty()
            });
            eventually(&format!("no volume is left of {at}"), || {
                env.cais(&["rm", "nosuch"]);
                volumes(&env).is_empty()
            });
            if done.code == 0 {
                break;
            }
            kills += 1;
            assert!(number < 500, "{at} does not end");
        }
    }
    assert!(kills > 3, "{words:?} was killed {kills} times only");
}

const RUN: &[&str] = &[
    "run", "-d", "-v", "/own", "--name", "victim", "host", "sleep", "1000",
];
const ENDED: &[&str] = &["run", "-v", "/own", "--name", "victim", "host", "true"];

#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn rm_with_volumes_at_every_call() {
    kill_a_command(&[RUN], &["rm", "-f", "-v", "victim"], &["", "running", "exited"]);
    kill_a_command(&[ENDED], &["rm", "-v", "victim"], &["", "exited"]);
}

#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn stop_kill_and_restart_at_every_call() {
    kill_a_command(&[RUN], &["stop", "victim"], &["running", "exited"]);
    kill_a_command(&[RUN], &["kill", "victim"], &["running", "exited"]);
    kill_a_command(&[RUN], &["restart", "victim"], &["running", "exited"]);
}

#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn rename_and_prune_at_every_call() {
    kill_a_command(&[RUN], &["rename", "victim", "other"], &["running"]);
    let ended = &["run", "--name", "victim", "host", "true"];
    kill_a_command(&[ended], &["container", "prune", "-f"], &["", "exited"]);
    kill_a_command(&[RUN], &["update", "--label-add", "a=b", "victim"], &["running"]);
}

/// A change of ids makes the kernel forget that the stub is to die with the command (prctl(2),
/// `PR_SET_PDEATHSIG`). One that is killed in just that moment has run nothing.
#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn a_command_killed_while_the_stub_changes_its_ids_runs_nothing() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "web", "host", "sleep", "1000"]);
    let command = env.command(&["exec", "-u", "1000", "web", "touch", "/tmp/ran"]);
    let log = env.path("calls");
    let options = ["-f", "-o", log.to_str().unwrap()];
    let mut traced = injected(&command, &options, "setresuid", "delay_exit=500000");
    let mut strace = traced.spawn().unwrap();
    eventually("the stub changes its ids", || {
        fs::read_to_string(&log).is_ok_and(|calls| calls.contains("setresuid(1000"))
    });
    let id = strace.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let command = children.split_whitespace().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(command).unwrap(), Signal::KILL).unwrap();
    // It ends with the last of those that it looks after.
    strace.wait().unwrap();
    assert_eq!(env.ok(&["exec", "web", "ls", "/tmp"]), "");
}
