//! Under systemd, which runs in the virtual machine of `cargo xtask vm-test systemd`: the
//! journal, units that start containers, the unit of `cais system install`. On a machine
//! without systemd there is nothing to test with, and what cais says then is tested instead.

use crate::support::{TestEnv, eventually, executable};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Some of these make systemd begin anew, which others would notice.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

fn output(program: &str, words: &[&str]) -> Output {
    Command::new(program).args(words).output().unwrap()
}

#[track_caller]
fn run(program: &str, words: &[&str]) -> String {
    let done = output(program, words);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        done.status.success(),
        "{program} {words:?}: {}{}",
        text(&done.stdout),
        text(&done.stderr)
    );
    text(&done.stdout)
}

/// A property of a unit, as systemctl(1) shows it.
fn property(unit: &str, name: &str) -> String {
    let text = run("systemctl", &["show", "--value", "--property", name, unit]);
    text.trim().to_owned()
}

fn unique(name: &str) -> String {
    format!("cais-test-{name}-{}", std::process::id())
}

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A unit below /run, gone with this.
struct Unit {
    name: String,
    path: PathBuf,
}

impl Unit {
    fn new(name: &str, service: &str) -> Self {
        let name = format!("{}.service", unique(name));
        let path = Path::new("/run/systemd/system").join(&name);
        fs::write(&path, format!("[Service]\n{service}")).unwrap();
        run("systemctl", &["daemon-reload"]);
        Self { name, path }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        output("systemctl", &["stop", &self.name]);
        fs::remove_file(&self.path).unwrap_or_default();
        output("systemctl", &["daemon-reload"]);
        output("systemctl", &["reset-failed", &self.name]);
    }
}

/// The lines of a command of this test's store, for units.
fn environment(env: &TestEnv) -> String {
    let path = |name| env.path(name).display().to_string();
    format!(
        "Environment=CAIS_DATA={} CAIS_RUN={} CAIS_CONFIG=\n",
        path("data"),
        path("run")
    )
}

#[test]
fn the_journal_has_what_the_program_says() {
    let env = TestEnv::new();
    let name = unique("journal");
    let script = "echo to out; echo to err >&2; printf 'no end'; sleep 0.1; \
        head -c 40000 /dev/zero | tr '\\0' x; echo; echo last";
    let flags = ["run", "--log-driver", "journald", "--log-opt", "tag={{.Name}}"];
    let more = [
        "--log-opt",
        "labels=team",
        "--label",
        "team=blue",
        "--name",
        &name,
    ];
    let words = [&flags[..], &more, &["host", "sh", "-c", script]].concat();
    let done = env.cais(&words);
    if !systemd_runs() {
        assert!(
            done.code == 125 && done.stderr.contains("log driver journald"),
            "{}",
            done.stderr
        );
        return;
    }
    assert_eq!(done.code, 0, "{}", done.stderr);
    let wanted = format!("CONTAINER_NAME={name}");
    let journal = |words: &[&str]| run("journalctl", &[&["--all", &wanted][..], words].concat());
    eventually("all lines are in the journal", || {
        journal(&["-o", "cat"]).ends_with("last\n")
    });
    // In pieces of 16 KiB, as Docker's.
    let begin = format!("to out\nto err\nno end{}\n", "x".repeat(16 * 1024 - 6));
    let text = journal(&["-o", "cat"]);
    assert!(text.starts_with(&begin), "{} bytes", text.len());
    assert_eq!(text.matches('x').count(), 40_000);
    assert_eq!(journal(&["-o", "cat", "-p", "err"]), "to err\n");
    let id = env.ok(&["inspect", "-f", "{{.Id}}", &name]);
    let entry: serde_json::Value = serde_json::from_str(&journal(&["-o", "json", "-p", "err"])).unwrap();
    let expected = [
        ("CONTAINER_ID_FULL", id.trim_end()),
        ("CONTAINER_ID", &id[..12]),
        ("CONTAINER_TAG", &name),
        ("SYSLOG_IDENTIFIER", &name),
        ("IMAGE_NAME", "host"),
        ("TEAM", "blue"),
        ("MESSAGE", "to err"),
    ];
    for (key, value) in expected {
        assert_eq!(entry[key], value, "{key} in {entry}");
    }
    assert_eq!(
        journal(&["-o", "json", "CONTAINER_PARTIAL_MESSAGE=true"])
            .lines()
            .count(),
        2
    );
    read_back(&env, &name);
    env.ok(&["rm", &name]);
    follow(&env, &name);
    env.ok(&["rm", &name]);
}

/// And it comes back from there.
fn read_back(env: &TestEnv, name: &str) {
    let logs = env.cais(&["logs", name]);
    let all = format!("to out\nno end{}\nlast\n", "x".repeat(40_000));
    assert!(
        logs.stdout == all && logs.stderr == "to err\n",
        "{} bytes, {}",
        logs.stdout.len(),
        logs.stderr
    );
    assert_eq!(env.ok(&["logs", "-n", "1", name]), "last\n");
    assert_eq!(
        env.ok(&["logs", "-n", "1", "--details", name]),
        "TEAM=blue last\n"
    );
    assert_eq!(env.ok(&["logs", "--until", "2000-01-01T00:00:00Z", name]), "");
    let stamped = env.ok(&["logs", "-t", "-n", "1", name]);
    let moment = stamped.split(' ').next().unwrap();
    assert_eq!(env.ok(&["logs", "--since", moment, name]), "last\n");
}

/// Following goes on until the container ends, and loses nothing.
fn follow(env: &TestEnv, name: &str) {
    let script = "for i in $(seq 200); do echo line $i; test $i = 100 && sleep 1; done";
    let words = [
        "run",
        "-d",
        "--log-driver",
        "journald",
        "--name",
        name,
        "host",
        "sh",
        "-c",
    ];
    env.ok(&[&words[..], &[script]].concat());
    let expected: String = (1..=200).map(|i| format!("line {i}\n")).collect();
    assert_eq!(env.ok(&["logs", "-f", name]), expected);
}

#[test]
fn a_unit_is_ready_when_the_program_says_so() {
    if !systemd_runs() {
        return;
    }
    let (_alone, env) = (alone(), TestEnv::new());
    let name = unique("notify");
    let cais = executable().display().to_string();
    let lasting = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let script = format!("systemd-notify --ready --status=there; {lasting}");
    let common = format!(
        "Type=notify\nNotifyAccess=all\nTimeoutStartSec=120\n{}",
        environment(&env)
    );
    let run_words = format!("--network none --name {name} host sh -c \"{script}\"");
    // In the foreground, with and without a command that ends it.
    for stop in ["", &format!("ExecStop={cais} stop {name}\n")] {
        let unit = Unit::new(
            "notify",
            &format!("{common}ExecStart={cais} run --rm {run_words}\n{stop}"),
        );
        run("systemctl", &["start", &unit.name]);
        assert_eq!(property(&unit.name, "ActiveState"), "active");
        assert_eq!(property(&unit.name, "StatusText"), "there");
        assert_eq!(env.field(&name, "MonitorPid"), property(&unit.name, "MainPID"));
        run("systemctl", &["stop", &unit.name]);
        assert_eq!(property(&unit.name, "Result"), "success", "{stop:?}");
        assert_eq!(env.ok(&["ps", "-aq"]), "");
    }
    // Detached: the monitor is the main process.
    let unit = Unit::new(
        "notify",
        &format!("{common}ExecStart={cais} run -d {run_words}\nExecStop={cais} stop {name}\n"),
    );
    run("systemctl", &["start", &unit.name]);
    assert_eq!(property(&unit.name, "StatusText"), "there");
    assert_eq!(env.field(&name, "MonitorPid"), property(&unit.name, "MainPID"));
    // The program's end is the unit's.
    env.ok(&["kill", "-s", "TERM", &name]);
    eventually("the unit has ended", || {
        property(&unit.name, "ActiveState") == "inactive"
    });
    drop(unit);
    env.ok(&["rm", &name]);
    // One that is not ready in time is ended, and leaves nothing.
    let unit = Unit::new(
        "late",
        &format!(
            "{}ExecStart={cais} run --rm --network none --name {name} host sh -c \"{lasting}\"\n",
            common.replace("TimeoutStartSec=120", "TimeoutStartSec=3\nTimeoutStopSec=10")
        ),
    );
    assert!(!output("systemctl", &["start", &unit.name]).status.success());
    assert_eq!(property(&unit.name, "Result"), "timeout");
    eventually("nothing is left", || env.ok(&["ps", "-aq"]).is_empty());
}

/// systemd takes controllers away from groups that are not its own where it thinks that nobody
/// needs them.
#[test]
fn limits_hold_whatever_systemd_does() {
    if !systemd_runs() {
        return;
    }
    let (_alone, env) = (alone(), TestEnv::new());
    let flags = [
        "--cpus",
        "0.5",
        "-m",
        "64m",
        "--pids-limit",
        "50",
        "--cpuset-cpus",
        "0",
    ];
    let words = [
        &["run", "-d", "--name", "held"][..],
        &flags,
        &["host", "sleep", "1000"],
    ]
    .concat();
    env.ok(&words);
    let limits = || {
        let script = "cd /sys/fs/cgroup; cat cpu.max memory.max pids.max cpuset.cpus 2>&1 || \
            cat cpu/cpu.cfs_quota_us memory/memory.limit_in_bytes pids/pids.max cpuset/cpuset.cpus";
        env.cais(&["exec", "held", "sh", "-c", script]).stdout
    };
    let before = limits();
    assert!(
        before.contains("50000") && before.contains("67108864"),
        "{before}"
    );
    let unit = Unit::new(
        "other",
        "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nCPUWeight=50\n",
    );
    run("systemctl", &["start", &unit.name]);
    run("systemctl", &["daemon-reload"]);
    run(
        "systemctl",
        &["set-property", "--runtime", &unit.name, "CPUQuota=10%"],
    );
    run("systemctl", &["stop", &unit.name]);
    drop(unit);
    run("systemctl", &["daemon-reexec"]);
    assert_eq!(limits(), before);
    env.ok(&["rm", "-f", "held"]);
}

/// The unit of `cais system install` on the machine's own store, in a machine that is only
/// there for tests.
#[test]
fn the_unit_of_system_install() {
    if !Path::new("/mnt/cais").exists() || !systemd_runs() {
        return;
    }
    let _alone = alone();
    fs::copy(executable(), "/usr/local/bin/cais").unwrap();
    let cais = |words: &[&str]| run("/usr/local/bin/cais", words);
    cais(&["system", "install"]);
    cais(&["system", "install"]);
    run("systemctl", &["daemon-reload"]);
    assert_eq!(run("systemctl", &["is-enabled", "cais"]), "enabled\n");
    for (name, policy) in [
        ("always", "always"),
        ("kept", "unless-stopped"),
        ("ended", "unless-stopped"),
        ("once", "no"),
    ] {
        let words = [
            "run",
            "-d",
            "--network",
            "none",
            "--restart",
            policy,
            "--name",
            name,
        ];
        cais(&[&words[..], &["host", "sleep", "100000"]].concat());
    }
    cais(&["stop", "ended"]);
    let states = || cais(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let started = || cais(&["inspect", "-f", "{{.State.StartedAt}}", "always"]);
    let expected = "once exited\nended exited\nkept running\nalways running\n";
    run("systemctl", &["start", "cais"]);
    let before = started();
    run("systemctl", &["restart", "cais"]);
    assert_eq!(states(), expected);
    assert_ne!(started(), before);
    // Monitors are no part of the unit that could be killed with it.
    run("systemctl", &["stop", "cais"]);
    assert_eq!(states(), expected.replace("running", "exited"));
    run("systemctl", &["start", "cais"]);
    assert_eq!(states(), expected);
    // The monitors are processes of the unit: containers outlive them.
    run("systemctl", &["kill", "-s", "KILL", "cais"]);
    assert_eq!(states(), expected);
    assert_eq!(cais(&["exec", "kept", "echo", "here"]), "here\n");
    if Path::new("/run/cais-vm-boots").exists() {
        // The machine is booted anew after the tests, and looks at them then.
        fs::write("/var/lib/cais-vm-booted", expected).unwrap();
        return;
    }
    for name in ["always", "kept", "ended", "once"] {
        cais(&["rm", "-f", name]);
    }
    run("systemctl", &["disable", "--now", "cais"]);
}

/// After the boot that the test before asked for.
#[test]
fn containers_that_run_after_a_boot() {
    let Ok(expected) = fs::read_to_string("/var/lib/cais-vm-booted") else {
        return;
    };
    if Path::new("/run/cais-vm-boots").exists() {
        // Not yet.
        return;
    }
    run("systemctl", &["start", "cais"]);
    assert_eq!(property("cais", "Result"), "success");
    let cais = |words: &[&str]| run("/usr/local/bin/cais", words);
    assert_eq!(cais(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]), expected);
    assert_eq!(cais(&["exec", "always", "echo", "here"]), "here\n");
}
