//! SIGKILL at every step: nothing stays, and the name can be used again.

use crate::support::{Done, TestEnv, eventually};

/// Kills `victim` at each of its steps in turn, until a run passes unharmed.
fn kill_at_every_step(victim: &str, flags: &[&str], last: u32) {
    let env = TestEnv::new();
    let words = [&["run", "--rm", "--name", "victim"], flags, &["host", "true"]].concat();
    let mut unharmed = false;
    for step in 0..=last {
        let mark = format!("{victim}:{step}");
        let done = Done::from(env.command(&words).env("CAIS_TEST_KILL", &mark).output().unwrap());
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
