//! SIGKILL at every step of every command of the OCI runtime, and many containers at once:
//! `state` never lies, and `delete --force` leaves nothing.

use crate::oci_support::Bundle;
use crate::support::{Done, eventually};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a command whose process, or whose stub, kills itself at a step.
fn killed(bundle: &Bundle, words: &[&str], mark: &str) -> Done {
    let mut command = bundle.command(words);
    command.env("CAIS_TEST_KILL", mark);
    bundle.finish(command)
}

/// What `state` says must be what the kernel says.
fn check_truth(bundle: &Bundle, id: &str, of: &str) -> String {
    // One that was just killed may be about to end.
    let mut seen = String::new();
    eventually(&format!("{of}: the state is the truth"), || {
        let Some(state) = bundle.state(id) else {
            "absent".clone_into(&mut seen);
            return true;
        };
        state["status"].as_str().unwrap().clone_into(&mut seen);
        let pid = state["pid"].as_i64().unwrap();
        let executable = fs::read_link(format!("/proc/{pid}/exe"));
        let executable = executable
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        match seen.as_str() {
            "created" => executable.contains("cais-init"),
            "running" => executable.ends_with("bin/busybox"),
            "stopped" => pid == 0,
            // Nobody is at work any more.
            _ => false,
        }
    });
    seen
}

/// Nothing stays, and the id can be used again.
fn check_gone(bundle: &Bundle, id: &str, of: &str) {
    let done = bundle.oci(&["delete", "--force", id]);
    assert_eq!(done.code, 0, "{of}: {}", done.stderr);
    bundle.assert_nothing_is_left(of);
}

fn sleeper() -> (Bundle, String) {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 1000");
    bundle.save();
    let id = bundle.id().to_owned();
    (bundle, id)
}

/// Calls `attempt` with one step after the other until it says that all passed unharmed.
fn at_every_step(victim: &str, least: u32, mut attempt: impl FnMut(&str) -> bool) {
    for step in 0..200 {
        if attempt(&format!("{victim}:{step}")) {
            assert!(step >= least, "{victim}: only {step} steps");
            return;
        }
    }
    panic!("no attempt of {victim} passed unharmed");
}

#[test]
fn create_is_killed_at_every_step() {
    let (bundle, id) = sleeper();
    at_every_step("caller", 8, |mark| {
        let done = killed(&bundle, &["create", &id], mark);
        let status = check_truth(&bundle, &id, mark);
        assert!(
            ["absent", "stopped", "created"].contains(&status.as_str()),
            "{mark}: {status}"
        );
        if status == "created" {
            // Whoever lost its create may still go on with it.
            bundle.ok(&["start", &id]);
            assert_eq!(check_truth(&bundle, &id, mark), "running");
        }
        check_gone(&bundle, &id, mark);
        done.code == 0
    });
}

#[test]
fn a_create_that_was_killed_can_be_repeated_after_delete() {
    let (bundle, id) = sleeper();
    for step in 0..6 {
        killed(&bundle, &["create", &id], &format!("caller:{step}"));
        if bundle.status(&id) != "absent" {
            // As with runc, somebody has to say that it may go.
            assert_eq!(bundle.oci(&["create", &id]).code, 1);
            bundle.ok(&["delete", "--force", &id]);
        }
        bundle.ok(&["create", &id]);
        bundle.ok(&["delete", "--force", &id]);
    }
}

#[test]
fn the_stub_is_killed_at_every_step() {
    let (bundle, id) = sleeper();
    at_every_step("stub", 40, |mark| {
        let created = killed(&bundle, &["create", &id], mark).code == 0;
        let status = check_truth(&bundle, &id, mark);
        // A failed create takes everything back by itself.
        assert_eq!(status, if created { "created" } else { "absent" }, "{mark}");
        if !created {
            bundle.assert_nothing_is_left(mark);
            return false;
        }
        let started = bundle.oci(&["start", &id]).code == 0;
        let status = check_truth(&bundle, &id, mark);
        assert_eq!(status, if started { "running" } else { "stopped" }, "{mark}");
        check_gone(&bundle, &id, mark);
        started
    });
}

#[test]
fn start_is_killed_at_every_step() {
    let (bundle, id) = sleeper();
    at_every_step("caller", 1, |mark| {
        bundle.ok(&["create", &id]);
        let done = killed(&bundle, &["start", &id], mark);
        let status = check_truth(&bundle, &id, mark);
        if status == "created" {
            bundle.ok(&["start", &id]);
            assert_eq!(check_truth(&bundle, &id, mark), "running");
        } else {
            assert_eq!(status, "running", "{mark}");
        }
        check_gone(&bundle, &id, mark);
        done.code == 0
    });
}

#[test]
fn run_is_killed_at_every_step() {
    let (mut bundle, id) = sleeper();
    bundle.sh("true");
    bundle.save();
    for victim in ["caller", "stub"] {
        at_every_step(victim, 8, |mark| {
            let done = killed(&bundle, &["run", &id], mark);
            // The program may just be running, or have ended.
            // The stub of one that was killed holds the lock until it is gone, too.
            eventually(&format!("{mark}: nobody makes it any more"), || {
                let known = ["absent", "stopped", "running", "created"];
                known.contains(&bundle.status(&id).as_str())
            });
            check_gone(&bundle, &id, mark);
            done.code == 0
        });
    }
}

#[test]
fn exec_is_killed_at_every_step() {
    let (bundle, id) = sleeper();
    bundle.ok(&["run", "-d", &id]);
    let count = || bundle.ok(&["ps", "--format", "json", &id]);
    let before = count();
    for victim in ["caller", "stub"] {
        at_every_step(victim, 5, |mark| {
            let done = killed(&bundle, &["exec", &id, "/bin/true"], mark);
            assert_eq!(bundle.status(&id), "running", "{mark}");
            eventually("no further process", || count() == before);
            done.code == 0
        });
    }
    assert_eq!(bundle.exec(&[], &["true"]).code, 0);
    check_gone(&bundle, &id, "exec");
}

#[test]
fn delete_is_killed_at_every_step() {
    let (bundle, id) = sleeper();
    for flags in [&["delete", "--force"][..], &["delete"]] {
        at_every_step("caller", 3, |mark| {
            bundle.ok(&["run", "-d", &id]);
            if flags.len() == 1 {
                bundle.ok(&["kill", &id, "KILL"]);
                eventually("it has ended", || bundle.status(&id) == "stopped");
            }
            let done = killed(&bundle, &[flags, &[&id]].concat(), mark);
            check_truth(&bundle, &id, mark);
            check_gone(&bundle, &id, mark);
            done.code == 0
        });
    }
}

#[test]
fn kill_and_pause_are_killed_at_every_step() {
    let (bundle, id) = sleeper();
    for verb in ["kill", "pause", "resume"] {
        at_every_step("caller", 0, |mark| {
            bundle.ok(&["run", "-d", &id]);
            if verb == "resume" {
                bundle.ok(&["pause", &id]);
            }
            let done = killed(&bundle, &[verb, &id], mark);
            let status = bundle.status(&id);
            assert!(
                ["running", "paused", "stopped"].contains(&status.as_str()),
                "{verb} {mark}: {status}"
            );
            check_gone(&bundle, &id, mark);
            done.code == 0
        });
    }
}

#[test]
fn two_hundred_lives_eight_at_a_time() {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 1000");
    bundle.save();
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let number @ 0..200 = next.fetch_add(1, Ordering::Relaxed) {
                    let id = bundle.id_of(&number.to_string());
                    bundle.ok(&["create", &id]);
                    assert_eq!(bundle.status(&id), "created", "{id}");
                    bundle.ok(&["start", &id]);
                    assert_eq!(bundle.status(&id), "running", "{id}");
                    bundle.ok(&["kill", &id, "KILL"]);
                    eventually("it has ended", || bundle.status(&id) == "stopped");
                    bundle.ok(&["delete", &id]);
                    assert_eq!(bundle.status(&id), "absent", "{id}");
                }
            });
        }
    });
    bundle.assert_nothing_is_left("two hundred");
    assert_eq!(bundle.ok(&["list", "-q"]), "");
}

/// Many who want the same container: one has it at a time, and none gets half of it.
#[test]
fn one_id_is_fought_for() {
    let (bundle, id) = sleeper();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (bundle, id) = (&bundle, &id);
            scope.spawn(move || {
                for _ in 0..12 {
                    match number % 4 {
                        0 | 1 => drop(bundle.oci(&["create", id])),
                        2 => drop(bundle.oci(&["start", id])),
                        _ => {
                            let done = bundle.oci(&["delete", "--force", id]);
                            assert_eq!(done.code, 0, "{}", done.stderr);
                        }
                    }
                }
            });
        }
    });
    check_gone(&bundle, &id, "the fight");
}
