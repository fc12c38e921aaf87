//! The life of a container from command to command: made, started, paused, renamed, changed,
//! restarted, ended.

use crate::support::{Done, TestEnv, eventually};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

mod drivers;
mod logs;
mod monitors;

/// Kills the monitor of a container.
pub(crate) fn kill_monitor(env: &TestEnv, container: &str) {
    let monitor: i32 = env.field(container, "MonitorPid").parse().unwrap();
    let monitor = rustix::process::Pid::from_raw(monitor).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    eventually("the monitor is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", monitor.as_raw_nonzero()));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
}

/// The command, fed with `input`, which stays open until `close`.
fn piped(env: &TestEnv, words: &[&str]) -> Command {
    let mut command = env.command(words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn made_first_and_started_later() {
    let env = TestEnv::new();
    let id = env.ok(&[
        "create",
        "--name",
        "later",
        "host",
        "sh",
        "-c",
        "echo run; exit 4",
    ]);
    assert_eq!(id.trim().len(), 64);
    assert_eq!(env.field("later", "Status"), "created");
    assert!(!env.leftovers().iter().any(|left| left.contains("userns")));
    let done = env.cais(&["start", "-a", "later"]);
    assert_eq!((done.code, done.stdout.as_str()), (4, "run\n"));
    assert_eq!(env.field("later", "Status"), "exited");
    assert_eq!(env.ok(&["wait", "later"]), "4\n");
    let done = env.cais(&["create", "-d", "host", "true"]);
    assert_eq!(done.code, 125, "{}", done.stderr);
    env.ok(&["rm", "later"]);
}

#[test]
fn standing_still() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "still", "host", "sleep", "1000"]);
    env.ok(&["pause", "still"]);
    assert_eq!(env.field("still", "Status"), "paused");
    assert!(env.ok(&["ps"]).contains("(Paused)"));
    for words in [
        &["pause", "still"][..],
        &["exec", "still", "true"],
        &["attach", "still"],
    ] {
        let done = env.cais(words);
        assert_eq!(done.code, 1, "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains("paused"), "{}", done.stderr);
    }
    env.ok(&["unpause", "still"]);
    assert_eq!(env.field("still", "Status"), "running");
    env.ok(&["exec", "still", "true"]);
    assert_eq!(env.cais(&["unpause", "still"]).code, 1);
    env.ok(&["pause", "still"]);
    env.ok(&["stop", "still"]);
    assert_eq!(env.field("still", "Status"), "exited");
    env.ok(&["start", "still"]);
    env.ok(&["pause", "still"]);
    env.ok(&["rm", "-f", "still"]);
}

#[test]
fn another_name() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "one", "host", "sleep", "1000"]);
    env.ok(&["create", "--name", "other", "host", "true"]);
    let done = env.cais(&["rename", "one", "other"]);
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("in use"), "{}", done.stderr);
    env.ok(&["rename", "one", "two"]);
    assert_eq!(env.cais(&["inspect", "one"]).code, 1);
    assert!(env.ok(&["inspect", "two"]).contains("\"Name\": \"/two\""));
    env.ok(&["create", "--name", "one", "host", "true"]);
    assert_eq!(env.cais(&["rename", "two", "bad name"]).code, 1);
    // A name that was invented is forgotten too.
    let id = env.ok(&["create", "host", "true"]);
    let filter = format!("id={}", id.trim());
    let invented = env.ok(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]);
    let invented = invented.trim().to_owned();
    env.ok(&["rename", &invented, "chosen"]);
    assert_eq!(env.cais(&["inspect", &invented]).code, 1);
    env.ok(&["rm", "-f", "two", "one", "other", "chosen"]);
}

#[test]
fn a_rename_that_is_killed_half_way_is_forgotten_or_done() {
    let env = TestEnv::new();
    env.ok(&["create", "--name", "before", "host", "true"]);
    for step in 0..6 {
        let mark = format!("caller:{step}");
        let mut command = env.command(&["rename", "before", "after"]);
        let done = Done::of(command.env("CAIS_TEST_KILL", &mark));
        let (before, after) = (
            env.cais(&["inspect", "before"]).code == 0,
            env.cais(&["inspect", "after"]).code == 0,
        );
        assert!(before != after, "{mark}: {before} {after}");
        if after {
            // The old name is free, the new one is not.
            assert_ne!(env.cais(&["create", "--name", "after", "host", "true"]).code, 0);
            env.ok(&["rename", "after", "before"]);
        } else {
            env.ok(&["create", "--name", "after", "host", "true"]);
            env.ok(&["rm", "after"]);
        }
        if done.code == 0 {
            break;
        }
    }
    env.ok(&["rm", "before"]);
}

#[test]
fn other_limits_while_it_runs() {
    let env = TestEnv::new();
    env.ok(&[
        "run", "-d", "--name", "limited", "-m", "64m", "host", "sleep", "1000",
    ]);
    env.ok(&[
        "update",
        "-m",
        "128m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--label-add",
        "a=b",
        "limited",
    ]);
    let read = |name: &str| {
        let found = env
            .cgroups()
            .into_iter()
            .find_map(|group| std::fs::read_to_string(group.join(name)).ok());
        found.map(|text| text.trim().to_owned())
    };
    let memory = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    assert_eq!(memory.as_deref(), Some("134217728"));
    let pids = read("pids.max");
    assert_eq!(pids.as_deref(), Some("50"));
    let quota = read("cpu.cfs_quota_us").or_else(|| read("cpu.max"));
    assert!(quota.unwrap().starts_with("50000"));
    let before = env.ok(&["inspect", "limited"]);
    // What does not fit changes nothing.
    for words in [
        &["update", "-m", "1", "limited"][..],
        &["update", "limited"],
        &["update", "--cpu-quota", "5", "limited"],
    ] {
        assert_ne!(env.cais(words).code, 0, "{words:?}");
    }
    assert_eq!(env.ok(&["inspect", "limited"]), before);
    env.ok(&["stop", "limited"]);
    env.ok(&["start", "limited"]);
    assert_eq!(read("pids.max").as_deref(), Some("50"));
    env.ok(&["rm", "-f", "limited"]);
}

#[test]
fn watchers_see_everything_until_the_end() {
    let env = TestEnv::new();
    let script = "read line; echo \"got $line\"; echo err >&2; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; exit 6";
    env.ok(&["run", "-di", "--name", "watched", "host", "sh", "-c", script]);
    let silent = piped(&env, &["attach", "--no-stdin", "watched"]).spawn().unwrap();
    let mut asking = piped(&env, &["attach", "watched"]).spawn().unwrap();
    // Both are there when both have been welcomed: the events say so.
    let events = || std::fs::read_to_string(env.path("run").join("events")).unwrap();
    eventually("both watch", || events().matches("\"attach\"").count() >= 4);
    let mut input = asking.stdin.take().unwrap();
    input.write_all(b"hello\n").unwrap();
    let want: String = (0..20000).fold("got hello\n".to_owned(), |text, number| {
        format!("{text}{number}\n")
    });
    for watcher in [silent, asking] {
        let done = Done::end_of(watcher);
        assert_eq!(done.code, 6);
        assert_eq!(done.stderr, "err\n");
        assert!(
            done.stdout == want,
            "{} bytes of {}",
            done.stdout.len(),
            want.len()
        );
    }
    drop(input);
    assert_eq!(env.cais(&["attach", "watched"]).code, 1);
    env.ok(&["rm", "watched"]);
}

#[test]
fn input_ends_with_the_one_who_gives_it() {
    let env = TestEnv::new();
    env.ok(&["create", "-i", "--name", "once", "host", "cat"]);
    let mut first = piped(&env, &["start", "-ai", "once"]).spawn().unwrap();
    first.stdin.take().unwrap().write_all(b"one\n").unwrap();
    let done = Done::end_of(first);
    assert_eq!((done.code, done.stdout.as_str()), (0, "one\n"), "{}", done.stderr);
    env.ok(&["rm", "once"]);
}

#[test]
fn restarts_as_the_policy_says() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "twice",
        "--restart",
        "on-failure:2",
        "host",
        "sh",
        "-c",
        "echo x; exit 3",
    ]);
    assert_eq!(env.ok(&["wait", "twice"]), "3\n");
    assert_eq!(env.ok(&["logs", "twice"]), "x\nx\nx\n");
    let id = env.ok(&["ps", "-aq", "--no-trunc", "--filter", "name=twice"]);
    let exit = env.path("data/containers").join(id.trim()).join("exit.json");
    assert!(
        std::fs::read_to_string(exit)
            .unwrap()
            .contains("\"restart_count\":2")
    );
    env.ok(&[
        "run",
        "-d",
        "--name",
        "well",
        "--restart",
        "on-failure",
        "host",
        "true",
    ]);
    assert_eq!(env.ok(&["wait", "well"]), "0\n");
    let done = env.cais(&["run", "--rm", "--restart", "always", "host", "true"]);
    assert_eq!(done.code, 125);
    // One that is restarted again and again can be stopped, killed and removed at any moment.
    for words in [&["stop", "ever"][..], &["kill", "ever"], &["rm", "-f", "ever"]] {
        env.ok(&[
            "run",
            "-d",
            "--name",
            "ever",
            "--restart",
            "always",
            "host",
            "sh",
            "-c",
            "sleep 0.05",
        ]);
        eventually("it was restarted", || {
            std::fs::read_to_string(env.path("run").join("events"))
                .unwrap()
                .lines()
                .filter(|line| line.contains("\"start\"") && line.contains("\"ever\""))
                .count()
                > 2
        });
        let done = env.cais(words);
        if words[0] != "kill" {
            assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
        } else if done.code != 0 {
            assert!(done.stderr.contains("not running"), "{}", done.stderr);
        }
        if words[0] != "rm" {
            env.ok(&["wait", "ever"]);
            env.ok(&["rm", "ever"]);
        }
    }
    env.ok(&["rm", "-f", "twice", "well"]);
}

#[test]
fn a_policy_that_changes_while_it_waits_holds() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "tired",
        "--restart",
        "always",
        "host",
        "false",
    ]);
    eventually("it waits", || env.field("tired", "Status") == "restarting");
    env.ok(&["update", "--restart", "no", "tired"]);
    assert_eq!(env.ok(&["wait", "tired"]), "1\n");
    env.ok(&["rm", "tired"]);
}

#[test]
fn health_is_probed_without_and_with_a_program() {
    let env = TestEnv::new();
    let fast = [
        "--health-interval",
        "50ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "2s",
    ];
    let probes: [&[&str]; 3] = [
        &["--health-cmd", "test -e /tmp/well"],
        &["--health-tcp", "7777"],
        &["--health-unix", "/tmp/well.sock"],
    ];
    for probe in probes {
        let words = [
            &["run", "-d", "--name", "patient"][..],
            &fast,
            probe,
            &["host", "sleep", "1000"],
        ]
        .concat();
        env.ok(&words);
        eventually("it is unhealthy", || env.ok(&["ps"]).contains("(unhealthy)"));
        let server = "import socket,os,threading,time
open('/tmp/well','w')
u=socket.socket(socket.AF_UNIX); u.bind('/tmp/well.sock'); u.listen(9)
t=socket.socket(); t.bind(('127.0.0.1',7777)); t.listen(9)
time.sleep(1000)";
        env.ok(&["exec", "-d", "patient", "python3", "-c", server]);
        assert_eq!(
            env.ok(&["wait", "--condition", "healthy", "patient"]),
            "healthy\n"
        );
        assert!(env.ok(&["ps"]).contains("(healthy)"));
        env.ok(&["rm", "-f", "patient"]);
    }
    let events = std::fs::read_to_string(env.path("run").join("events")).unwrap();
    assert!(events.contains("health_status: unhealthy") && events.contains("health_status: healthy"));
    assert_eq!(
        env.cais(&["run", "--health-cmd", "x", "--health-tcp", "1", "host", "true"])
            .code,
        125
    );
}

#[test]
fn what_follows_when_it_is_unhealthy() {
    let env = TestEnv::new();
    for (action, policy, status) in [
        ("kill", "no", "exited"),
        ("stop", "always", "exited"),
        ("restart", "no", "running"),
    ] {
        env.ok(&[
            "run",
            "-d",
            "--name",
            "ill",
            "--restart",
            policy,
            "--health-cmd",
            "false",
            "--health-interval",
            "50ms",
            "--health-retries",
            "1",
            "--health-on-failure",
            action,
            "host",
            "sleep",
            "1000",
        ]);
        let first = env.field("ill", "StartedAt");
        if status == "exited" {
            env.ok(&["wait", "ill"]);
            assert_eq!(env.field("ill", "Status"), "exited");
        } else {
            eventually("it was restarted", || {
                env.field("ill", "Status") == "running" && env.field("ill", "StartedAt") != first
            });
        }
        env.ok(&["rm", "-f", "ill"]);
    }
}

/// Whether a process has a watch of inotify(7): it waits for something to change.
fn watches(process: &std::process::Child) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{}/fdinfo", process.id()));
    let mut texts = descriptors
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| text.contains("inotify wd:"))
}

#[test]
fn waiting_for_what_is_asked() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "brief",
        "host",
        "sh",
        "-c",
        "until test -e /go; do sleep 0.1; done; exit 9",
    ]);
    let waiting: Vec<_> = ["not-running", "next-exit", "removed"]
        .iter()
        .map(|condition| {
            piped(&env, &["wait", "--condition", condition, "brief"])
                .spawn()
                .unwrap()
        })
        .collect();
    eventually("all are watching", || waiting.iter().all(watches));
    env.ok(&["exec", "brief", "touch", "/go"]);
    for waiter in waiting {
        let done = Done::end_of(waiter);
        assert_eq!((done.code, done.stdout.as_str()), (0, "9\n"), "{}", done.stderr);
    }
    assert_eq!(env.cais(&["wait", "--condition", "bogus", "x"]).code, 1);
    env.ok(&["create", "--name", "never", "host", "true"]);
    assert_eq!(env.ok(&["wait", "never"]), "0\n");
    env.ok(&["rm", "never"]);
}

/// A container that sleeps, with this restart policy.
fn run_sleep(env: &TestEnv, name: &str, policy: &str) {
    let words = ["run", "-d", "--name", name, "--restart", policy];
    env.ok(&[&words[..], &["host", "sleep", "1000"]].concat());
}

#[test]
fn policies_hold_after_a_boot() {
    let env = TestEnv::new();
    let policies = [
        ("always", "always", false, "running"),
        ("stopped", "unless-stopped", true, "exited"),
        ("left", "unless-stopped", false, "running"),
        ("plain", "no", false, "exited"),
    ];
    for (name, policy, stop, _) in policies {
        run_sleep(&env, name, policy);
        if stop {
            env.ok(&["stop", name]);
        }
    }
    env.ok(&["create", "--name", "never", "--restart", "always", "host", "true"]);
    env.ok(&["run", "-d", "--rm", "--name", "gone", "host", "sleep", "1000"]);
    // The power goes: processes, and everything below the run directory.
    for name in ["always", "left", "plain", "gone"] {
        let pid: i32 = env.field(name, "Pid").parse().unwrap();
        kill_monitor(&env, name);
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        eventually("it is gone", || rustix::process::test_kill_process(pid).is_err());
    }
    for group in env.cgroups() {
        std::fs::remove_dir(group).unwrap_or_default();
    }
    std::fs::remove_dir_all(env.path("run")).unwrap();
    for (name, ..) in policies {
        assert_eq!(env.field(name, "Status"), "exited", "{name}");
    }
    let started = env.ok(&["system", "start-all"]);
    assert_eq!(started, "always\nleft\n");
    for (name, _, _, status) in policies {
        assert_eq!(env.field(name, "Status"), status, "{name}");
    }
    assert_eq!(env.field("never", "Status"), "created");
    assert_eq!(env.cais(&["inspect", "gone"]).code, 1);
    env.ok(&["system", "stop-all"]);
    assert_eq!(env.field("left", "Status"), "exited");
    assert_eq!(env.ok(&["system", "start-all"]), "always\nleft\n");
    env.ok(&["rm", "-f", "always", "stopped", "left", "plain", "never"]);
}
