//! Containers whose monitor was killed.

use super::{kill_monitor, run_sleep};
use crate::support::{TestEnv, after, eventually};

/// Whoever finds a container without a monitor may look after one itself: of that one the new
/// monitor holds nothing, neither its tree nor its pipes nor its ports.
#[test]
fn a_new_monitor_has_nothing_of_another_container() {
    let env = TestEnv::new();
    for (name, policy) in [("orphan", "no"), ("policy", "always")] {
        run_sleep(&env, name, policy);
    }
    // Whatever looks at a container finds one that has lost its monitor: all is asked before.
    let process = |name: &str, key: &str| {
        let pid = env.field(name, key).parse().unwrap();
        rustix::process::Pid::from_raw(pid).unwrap()
    };
    let ended = [
        process("orphan", "MonitorPid"),
        process("policy", "MonitorPid"),
        process("policy", "Pid"),
    ];
    for pid in ended {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    for pid in ended {
        eventually("it is gone", || rustix::process::test_kill_process(pid).is_err());
    }
    env.ok(&["run", "--rm", "host", "true"]);
    for name in ["orphan", "policy"] {
        let monitor = env.field(name, "MonitorPid");
        let held = std::fs::read_dir(format!("/proc/{monitor}/fd"))
            .unwrap()
            .flatten();
        let held: Vec<String> = held
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .map(|target| target.display().to_string())
            .collect();
        let trees = held.iter().filter(|target| target.starts_with("mnt:")).count();
        // That of its own it holds where it made the program.
        assert_eq!(trees, usize::from(name == "policy"), "{name}: {held:?}");
    }
    env.ok(&["rm", "-f", "orphan", "policy"]);
}

/// Terminal, directory and descriptors of the command that made it: whoever reads the other end
/// of a pipe that the command had sees its end, and a directory can be removed.
#[test]
fn a_monitor_has_nothing_of_its_caller() {
    use std::io::Read;
    let env = TestEnv::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let start = env.command(&[
        "run",
        "-d",
        "--name",
        "left",
        "host",
        "sh",
        "-c",
        "ls -l /proc/self/fd; echo end; exec sleep 1000",
    ]);
    let mut caller = after("cd /tmp; exec 7>&1 8>&2", &start);
    caller.stderr(writer.try_clone().unwrap()).stdout(writer);
    assert!(caller.spawn().unwrap().wait().unwrap().success());
    drop(caller);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert_eq!(said.trim().len(), 64, "{said}");
    let own = |entry: &str| {
        let path = format!("/proc/{}/{entry}", env.field("left", "MonitorPid"));
        std::fs::read_link(path).unwrap().display().to_string()
    };
    assert_eq!(
        [own("cwd"), own("fd/0"), own("fd/1")],
        ["/", "/dev/null", "/dev/null"]
    );
    let session = env
        .field("left", "MonitorPid")
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    assert_eq!(rustix::process::getsid(session).ok(), session);
    eventually("it has said all", || env.ok(&["logs", "left"]).ends_with("end\n"));
    // 3 is the directory that ls(1) reads.
    let inside = env.ok(&["logs", "left"]);
    let pipes = inside.lines().filter(|line| line.contains("pipe:")).count();
    assert!(
        pipes == 2 && !inside.contains(" 7 ->") && !inside.contains(" 8 ->"),
        "{inside}"
    );
    env.ok(&["rm", "-f", "left"]);
}

#[test]
fn a_container_outlives_its_monitor() {
    let env = TestEnv::new();
    let script = "trap 'echo bye; exit 5' TERM; echo first; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done";
    env.ok(&["run", "-d", "--name", "orphan", "host", "sh", "-c", script]);
    let pid = env.field("orphan", "Pid");
    kill_monitor(&env, "orphan");
    let ps = env.ok(&["ps"]);
    assert!(ps.contains("Up "), "{ps}");
    assert_eq!(env.field("orphan", "Pid"), pid);
    eventually("the log goes on", || {
        env.ok(&["logs", "orphan"]).lines().count() > 50
    });
    // No line is missing.
    let log = env.ok(&["logs", "orphan"]);
    for (number, line) in log.lines().skip(1).enumerate() {
        assert_eq!(line, format!("line {}", number + 1));
    }
    env.ok(&["exec", "orphan", "true"]);
    env.ok(&["stop", "orphan"]);
    let code = env.field("orphan", "ExitCode");
    if code == "-1" {
        // Before Linux 6.15 nobody but its parent is told.
        assert!(env.ok(&["inspect", "orphan"]).contains("PIDFD_INFO_EXIT"));
    } else {
        assert_eq!(code, "5");
        assert!(env.ok(&["logs", "orphan"]).ends_with("bye\n"));
    }
    assert!(env.cgroups().is_empty());
    env.ok(&["rm", "orphan"]);
}

#[test]
fn a_program_that_ends_without_a_monitor_is_seen_and_restarted_by_its_policy() {
    let env = TestEnv::new();
    for (policy, status) in [("no", "exited"), ("always", "running")] {
        run_sleep(&env, "alone", policy);
        let pid: i32 = env.field("alone", "Pid").parse().unwrap();
        kill_monitor(&env, "alone");
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        eventually("it is gone", || rustix::process::test_kill_process(pid).is_err());
        env.ok(&["ps"]);
        assert_eq!(env.field("alone", "Status"), status);
        if status == "exited" {
            assert!(
                env.ok(&["ps", "-a"]).contains("Exited (unknown)")
                    || env.ok(&["ps", "-a"]).contains("Exited")
            );
            assert!(env.ok(&["inspect", "alone"]).contains("monitor was killed"));
        }
        env.ok(&["rm", "-f", "alone"]);
    }
}

/// A start sweeps while its program is executed and between what that asks for; the rest comes
/// when it has ended.
#[test]
fn a_start_sweeps_however_soon_its_program_ends() {
    let env = TestEnv::new();
    env.ok(&["run", "--rm", "host", "true"]);
    let run = env.path("run");
    for _ in 0..10 {
        // A range of ids and what a resolver knows, of containers that are no more.
        let range = run.join("userns/7");
        let resolver = run.join("resolvers").join("a".repeat(64));
        std::os::unix::fs::symlink("1 0", &range).unwrap();
        std::fs::create_dir_all(run.join("resolvers")).unwrap();
        std::fs::write(
            &resolver,
            r#"{"networks":[],"hosts":[],"forward":false,"servers":[]}"#,
        )
        .unwrap();
        env.ok(&["run", "--rm", "host", "true"]);
        assert!(std::fs::read_link(&range).is_err());
        assert!(!resolver.exists());
    }
}
