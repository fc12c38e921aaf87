//! SIGKILL at every step: nothing stays, and the name can be used again.

use crate::support::{Done, TestEnv, eventually};

/// Kills `victim` at each of its steps in turn, until a run passes unharmed.
fn kill_at_every_step(victim: &str, flags: &[&str], last: u32) {
    let env = TestEnv::new();
    let words = [&["run", "--rm", "--name", "victim"], flags, &["host", "true"]].concat();
    let mut unharmed = false;
    for step in 0..=last {
        let mark = format!("{victim}:{step}");
        let done = Done::of(env.command(&words).env("CAIS_TEST_KILL", &mark));
        unharmed = done.code == 0;
        // The next command finds and removes what is left.
        env.cais(&["ps", "-a"]);
        eventually(&format!("nothing of {mark} is left"), || {
            env.cais(&["ps", "-a"]);
            env.leftovers().is_empty()
        });
        if unharmed && victim != "monitor" {
            break;
        }
    }
    assert!(
        unharmed,
        "after {last} steps a run of {victim} must pass unharmed"
    );
}

#[test]
fn the_caller_at_every_step() {
    kill_at_every_step("caller", &[], 60);
}

#[test]
fn the_stub_at_every_step() {
    kill_at_every_step("stub", &[], 150);
}

#[test]
fn the_stub_of_a_detached_container_at_every_step() {
    kill_at_every_step("stub", &["-d"], 150);
}

#[test]
fn the_monitor_at_every_step() {
    kill_at_every_step("monitor", &["-d"], 30);
}

#[test]
fn the_caller_of_a_detached_container_at_every_step() {
    kill_at_every_step("caller", &["-d"], 30);
}

/// Kills a command at every step, on a container that is made anew each time; afterwards the
/// container is there as it was or as it was to be, or it is gone.
fn kill_a_command(prepare: &[&[&str]], words: &[&str], victim: &str, statuses: &[&str], last: u32) {
    let env = TestEnv::new();
    for step in 0..=last {
        for first in prepare {
            env.ok(first);
        }
        let mark = format!("{victim}:{step}");
        let done = Done::of(env.command(words).env("CAIS_TEST_KILL", &mark));
        env.cais(&["ps", "-a"]);
        let status = || {
            let listed = env.ok(&["ps", "-a", "--filter", "name=victim", "--format", "{{.State}}"]);
            listed.trim().to_owned()
        };
        eventually(&format!("{words:?} at {mark}: one of {statuses:?}"), || {
            statuses.contains(&status().as_str())
        });
        // Every command works on it, whatever was left.
        if !status().is_empty() {
            env.ok(&["rm", "-f", "victim"]);
        }
        eventually(&format!("nothing of {words:?} at {mark} is left"), || {
            env.cais(&["ps", "-a"]);
            env.leftovers().is_empty()
        });
        if done.code == 0 && victim == "caller" {
            return;
        }
    }
    assert!(
        victim != "caller",
        "after {last} steps {words:?} must pass unharmed"
    );
}

const RUN: &[&str] = &["run", "-d", "--name", "victim", "host", "sleep", "1000"];
const CREATE: &[&str] = &["create", "--name", "victim", "host", "sleep", "1000"];

#[test]
fn create_at_every_step() {
    kill_a_command(&[], CREATE, "caller", &["", "created"], 20);
}

#[test]
fn start_at_every_step() {
    let start = &["start", "victim"];
    let after = &["created", "running", "exited"];
    kill_a_command(&[CREATE], start, "caller", after, 20);
    kill_a_command(&[CREATE], start, "monitor", after, 20);
}

#[test]
fn pause_and_unpause_at_every_step() {
    let after = &["running", "paused"];
    kill_a_command(&[RUN], &["pause", "victim"], "caller", after, 10);
    kill_a_command(
        &[RUN, &["pause", "victim"]],
        &["unpause", "victim"],
        "caller",
        after,
        10,
    );
}

#[test]
fn update_at_every_step() {
    kill_a_command(
        &[RUN],
        &["update", "-m", "100m", "victim"],
        "caller",
        &["running"],
        10,
    );
}

#[test]
fn a_restart_by_policy_at_every_step_of_the_monitor() {
    let words = &[
        "run",
        "-d",
        "--restart",
        "always",
        "--name",
        "victim",
        "host",
        "false",
    ];
    let after = &["", "created", "running", "restarting", "exited"];
    kill_a_command(&[], words, "monitor", after, 45);
}
