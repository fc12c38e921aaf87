//! What is begun comes to its end, or to nothing: many containers at once, volumes of
//! containers that come to nothing, signals that come early, places that are not there yet.

use crate::images::Layout;
use crate::kill_calls::injected;
use crate::network_support::Namespace;
use crate::support::{Done, TestEnv, eventually, make_rootfs};
use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

/// The journal of events, oldest first: action and name.
fn events(env: &TestEnv) -> Vec<(String, String)> {
    let text = fs::read_to_string(env.path("run").join("events")).unwrap_or_default();
    let parse = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (
            text(&event["Action"]),
            text(&event["Actor"]["Attributes"]["name"]),
        )
    };
    text.lines().map(parse).collect()
}

#[test]
fn many_are_killed_first_and_waited_for_then() {
    let env = TestEnv::new();
    let names: Vec<String> = (0..8).map(|number| format!("many{number}")).collect();
    for name in &names {
        env.ok(&["run", "-d", "-v", "/own", "--name", name, "host", "sleep", "1000"]);
    }
    let words: Vec<&str> = ["rm", "-f", "-v"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    assert_eq!(env.ok(&words).lines().collect::<Vec<_>>(), names);
    let all = events(&env);
    let last_kill = all.iter().rposition(|(action, _)| action == "kill").unwrap();
    let first_end = all.iter().position(|(action, _)| action == "destroy").unwrap();
    assert!(last_kill < first_end, "{all:?}");
    assert_eq!(all.iter().filter(|(action, _)| action == "kill").count(), 8);
    assert!(env.leftovers().is_empty() && volumes(&env).is_empty());
}

#[test]
fn many_are_asked_to_stop_at_once() {
    let env = TestEnv::new();
    let shared = env.path("shared");
    fs::create_dir(&shared).unwrap();
    let mount = format!("{}:/shared", shared.display());
    // The first ends only when the second was asked too.
    let scripts = [
        "trap 'while ! test -e /shared/asked; do sleep 0.02; done; exit 5' TERM; touch /shared/one; while :; do sleep 0.02; done",
        "trap 'touch /shared/asked; exit 6' TERM; touch /shared/two; while :; do sleep 0.02; done",
    ];
    for (name, script) in ["one", "two"].iter().zip(scripts) {
        env.ok(&[
            "run", "-d", "--name", name, "-v", &mount, "host", "sh", "-c", script,
        ]);
        eventually("it listens", || shared.join(name).exists());
    }
    env.ok(&["stop", "-t", "60", "one", "two"]);
    assert_eq!(env.field("one", "ExitCode"), "5");
    assert_eq!(env.field("two", "ExitCode"), "6");
}

fn volumes(env: &TestEnv) -> Vec<String> {
    let entries = fs::read_dir(env.path("data/volumes"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != ".anonymous")
        .collect();
    let marked = fs::read_dir(env.path("data/volumes/.anonymous"))
        .into_iter()
        .flatten();
    names.extend(
        marked
            .flatten()
            .map(|entry| format!("mark of {:?}", entry.file_name())),
    );
    names
}

#[test]
fn volumes_of_containers_that_come_to_nothing_go() {
    let env = TestEnv::new();
    env.ok(&["create", "--name", "taken", "host", "true"]);
    let failing: [(&str, &[&str]); 5] = [
        (
            "a name that is taken",
            &["run", "--name", "taken", "-v", "/own", "host", "true"],
        ),
        (
            "the same, detached",
            &["run", "-d", "--name", "taken", "-v", "/own", "host", "true"],
        ),
        (
            "the same, made only",
            &["create", "--name", "taken", "-v", "/own", "host", "true"],
        ),
        (
            "no such program, removed at its end",
            &["run", "--rm", "-v", "/own", "host", "/nosuch"],
        ),
        (
            "a place that cannot be",
            &[
                "run",
                "--rm",
                "-v",
                "/own",
                "-v",
                "/etc:/etc/passwd/x",
                "host",
                "true",
            ],
        ),
    ];
    for (what, words) in failing {
        assert_ne!(env.cais(words).code, 0, "{what}");
        assert!(volumes(&env).is_empty(), "{what}: {:?}", volumes(&env));
    }
    // Docker keeps a container whose program is not there, and so what is its own.
    assert_eq!(
        env.cais(&["run", "--name", "kept", "-v", "/own", "host", "/nosuch"])
            .code,
        127
    );
    assert_eq!(volumes(&env).len(), 1);
    env.ok(&["rm", "-v", "kept"]);
    assert!(volumes(&env).is_empty());
    // Without -v a volume stays, whoever sweeps.
    env.ok(&["create", "--name", "left", "-v", "/own", "host", "true"]);
    env.ok(&["rm", "left", "taken"]);
    env.ok(&["ps", "-a"]);
    assert_eq!(volumes(&env).len(), 1);
}

#[test]
fn volumes_of_commands_that_are_killed_go() {
    let env = TestEnv::new();
    for (victim, last) in [("caller", 60), ("monitor", 30)] {
        for step in 0..=last {
            let mark = format!("{victim}:{step}");
            let detached: &[&str] = if victim == "monitor" { &["-d"] } else { &[] };
            let words = [&["run", "--rm", "-v", "/own"], detached, &["host", "true"]].concat();
            let done = Done::of(env.command(&words).env("CAIS_TEST_KILL", &mark));
            eventually(&format!("no volume is left of {mark}"), || {
                env.cais(&["rm", "nosuch"]);
                env.leftovers().is_empty() && volumes(&env).is_empty()
            });
            if done.code == 0 && victim == "caller" {
                break;
            }
        }
    }
}

#[test]
fn a_signal_that_comes_before_the_init_listens_is_not_lost() {
    let env = TestEnv::new();
    let host = Namespace::new();
    host.cais(&env, &["network", "create", "slow"]);
    host.cais(&env, &["run", "--rm", "--network", "slow", "host", "true"]);
    // Whoever has this lock holds up a start just before its program would run.
    let directory = fs::File::open(env.path("run/networks/slow")).unwrap();
    flock(&directory, FlockOperation::LockExclusive).unwrap();
    let words = [
        "run",
        "-d",
        "--init",
        "--name",
        "early",
        "--network",
        "slow",
        "host",
        "sleep",
        "1000",
    ];
    let mut start = host.inside(&env.command(&words)).spawn().unwrap();
    eventually("it has a first process", || {
        env.cais(&["kill", "-s", "USR1", "early"]).code == 0
    });
    flock(&directory, FlockOperation::Unlock).unwrap();
    assert!(start.wait().unwrap().success());
    assert_eq!(env.ok(&["wait", "early"]), "138\n");
    host.cais(&env, &["rm", "early"]);
    host.cais(&env, &["network", "rm", "slow"]);
}

/// Nor is it where the init is not even executed yet.
#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn a_signal_that_comes_before_the_init_is_executed_is_not_lost() {
    let env = TestEnv::new();
    let command = env.command(&[
        "run",
        "-d",
        "--init",
        "--name",
        "early",
        "--network",
        "none",
        "host",
        "sleep",
        "1000",
    ]);
    let mut late = injected(&command, &["-f"], "execveat", "delay_enter=300000");
    let mut start = late.spawn().unwrap();
    eventually("it has a first process", || {
        env.cais(&["kill", "-s", "USR1", "early"]).code == 0
    });
    eventually("it has ended", || {
        let state = env.cais(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "early"]);
        state.stdout == "exited 138\n"
    });
    assert!(start.wait().unwrap().success());
    env.ok(&["rm", "early"]);
}

#[test]
fn links_to_nothing_are_followed_to_what_is_made() {
    let env = TestEnv::new();
    let layout = Layout::new(env.path("layout"));
    let below = env.path("below");
    make_rootfs(&below);
    let links = [
        ("data", "/nowhere/data"),
        ("relative", "made/there"),
        ("up", "../../../var/up"),
        ("first", "second"),
        ("second", "/third/place"),
        ("text", "/fourth/text"),
        ("loop", "loop"),
    ];
    for (name, to) in links {
        symlink(to, below.join(name)).unwrap();
    }
    let config =
        json!({"Cmd": ["true"], "Volumes": {"/data": {}, "/relative": {}, "/up": {}, "/first/x": {}}});
    layout.finish(&[layout.layer(&below)], &config, "quay.io/team/links:1");
    env.ok(&["load", "-i", layout.path.to_str().unwrap()]);
    let image = "quay.io/team/links:1";
    let script = "cut -d' ' -f5 /proc/self/mountinfo | grep -E '/(data|there|up|place/x)$'; readlink /data";
    let script = script
        .replace("cut", "busybox cut")
        .replace("grep", "busybox grep");
    let done = env.cais(&["run", "--rm", image, "sh", "-c", &script]);
    let mut lines: Vec<&str> = done.stdout.lines().collect();
    lines.sort_unstable();
    let want = [
        "/made/there",
        "/nowhere/data",
        "/nowhere/data",
        "/third/place/x",
        "/var/up",
    ];
    assert_eq!(lines, want, "{}", done.stderr);
    // A file by way of a link; and one that leads to itself.
    let file = env.path("file");
    fs::write(&file, "text").unwrap();
    let mount = |to: &str| format!("{}:{to}", file.display());
    let done = env.cais(&["run", "--rm", "-v", &mount("/text"), image, "cat", "/fourth/text"]);
    assert_eq!(done.stdout, "text", "{}", done.stderr);
    let done = env.cais(&["run", "--rm", "-v", &mount("/loop"), image, "true"]);
    assert!(
        done.code == 125 && done.stderr.contains("symbolic links"),
        "{}",
        done.stderr
    );
}

/// Whether a process waits for a lock of flock(2).
fn waits_for_a_lock(pid: u32) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&format!(" {pid} "));
    locks.lines().any(waits)
}

/// What a start writes down is what was asked when it began, and not what it read before
/// another command changed it: or two containers would have one name.
#[test]
fn a_start_does_not_undo_a_rename() {
    let env = TestEnv::new();
    for round in 0..8 {
        env.ok(&["create", "--name", "web", "host", "sleep", "1000"]);
        let id = env.ok(&["ps", "-aq", "--no-trunc"]);
        let directory = fs::File::open(env.path("data/containers").join(id.trim())).unwrap();
        flock(&directory, FlockOperation::LockExclusive).unwrap();
        let commands: Vec<_> = [&["rename", "web", "other"][..], &["start", "web"]]
            .into_iter()
            .map(|words| {
                let child = env.command(words).spawn().unwrap();
                eventually("it waits for the container", || waits_for_a_lock(child.id()));
                child
            })
            .collect();
        flock(&directory, FlockOperation::Unlock).unwrap();
        for mut command in commands {
            assert!(command.wait().unwrap().success());
        }
        let listed = env.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        assert_eq!(listed, "other running\n", "round {round}");
        env.ok(&["create", "--name", "web", "host", "true"]);
        env.ok(&["rm", "-f", "other", "web"]);
    }
}

/// Stops a command, or lets it go on.
fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Whoever waits for the end of a run does not wait for that of the next one, which another
/// command has started before it looked.
#[test]
fn the_end_of_one_run_is_not_that_of_the_next() {
    let env = TestEnv::new();
    let shared = env.path("shared");
    fs::create_dir(&shared).unwrap();
    let mount = format!("{}:/shared", shared.display());
    let script = "trap 'touch /shared/asked' TERM; touch /shared/runs; \
        while ! test -e /shared/end; do sleep 0.02; done; rm /shared/end; exit 9";
    let flags = ["-v", &mount, "--name", "web"];
    env.ok(&[&["run", "-d"][..], &flags, &["host", "sh", "-c", script]].concat());
    eventually("it runs", || shared.join("runs").exists());
    let slow = [&["wait", "web"][..], &["stop", "-t", "1000", "web"]].map(|words| {
        let mut command = env.command(words);
        command.stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    });
    eventually("it was asked", || shared.join("asked").exists());
    for command in &slow {
        eventually("it waits", || {
            let wchan = fs::read_to_string(format!("/proc/{}/wchan", command.id())).unwrap();
            wchan.contains("poll")
        });
        signal(command.id(), rustix::process::Signal::STOP);
    }
    fs::write(shared.join("end"), "").unwrap();
    eventually("it has ended", || env.field("web", "Status") == "exited");
    env.ok(&["start", "web"]);
    for command in &slow {
        signal(command.id(), rustix::process::Signal::CONT);
    }
    let [waited, stopped] = slow.map(Done::end_of);
    assert_eq!(waited.stdout, "9\n");
    assert_eq!((stopped.code, stopped.stdout.as_str()), (0, "web\n"));
    assert_eq!(env.field("web", "Status"), "running");
    env.ok(&["rm", "-f", "web"]);
}

/// `rm` without `-f` is no reason to end what another command is starting.
#[test]
fn what_is_being_started_is_not_killed_by_rm() {
    let env = TestEnv::new();
    env.ok(&["create", "--name", "web", "host", "true"]);
    let id = env.ok(&["ps", "-aq", "--no-trunc"]);
    let directory = fs::File::open(env.path("data/containers").join(id.trim())).unwrap();
    let state = env.path("run/containers").join(id.trim());
    let named = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let start: u64 = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(19)
            .unwrap()
            .parse()
            .unwrap();
        json!({ "pid": pid, "start": start })
    };
    // As a start writes it: first without a process, and then with it.
    let mut noted = json!({
        "version": 1, "monitor": named(std::process::id()), "init": null, "cgroup": "",
        "started": "2026-01-01T00:00:00Z", "id_range": null, "remove": false,
    });
    flock(&directory, FlockOperation::LockExclusive).unwrap();
    fs::write(&state, noted.to_string()).unwrap();
    let mut command = env.command(&["rm", "web"]);
    let removing = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    eventually("it waits for the container", || waits_for_a_lock(removing.id()));
    let mut program = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    noted["init"] = named(program.id());
    fs::write(&state, noted.to_string()).unwrap();
    flock(&directory, FlockOperation::Unlock).unwrap();
    let done = Done::end_of(removing);
    assert!(program.try_wait().unwrap().is_none(), "it was killed");
    assert!(
        done.code == 1 && done.stderr.contains("running"),
        "{}",
        done.stderr
    );
    program.kill().unwrap();
    program.wait().unwrap();
    fs::remove_file(&state).unwrap();
    env.ok(&["rm", "web"]);
}

/// What was killed while it stood still, and nobody knew, is not made to stand still for ever.
#[test]
fn what_is_killed_ends_though_it_is_paused() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "web", "host", "sleep", "1000"]);
    let init = env.field("web", "Pid");
    let groups = fs::read_to_string(format!("/proc/{init}/cgroup")).unwrap();
    let path = |line: &str| {
        let (kind, path) = line.split_once(':')?.1.split_once(':')?;
        let version_1 = format!("/sys/fs/cgroup/freezer{path}/freezer.state");
        match kind {
            "freezer" => Some((version_1, "FROZEN")),
            "" => Some((format!("/sys/fs/cgroup{path}/cgroup.freeze"), "1")),
            _ => None,
        }
    };
    let mut files = groups.lines().filter_map(path);
    let (file, word) = files
        .find(|(file, _)| std::path::Path::new(file).exists())
        .unwrap();
    fs::write(file, word).unwrap();
    env.ok(&["kill", "web"]);
    let done = env.cais(&["pause", "web"]);
    assert!(
        done.code == 1 && done.stderr.contains("not running"),
        "{}",
        done.stderr
    );
    assert_eq!(env.ok(&["wait", "web"]), "137\n");
    env.ok(&["rm", "web"]);
}
