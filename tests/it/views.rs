//! What shows containers: `ps` with its filters and forms, `top`, `stats`, `port`, `info`;
//! prune; the configuration; other names of commands and of the program.

use crate::support::{Done, TestEnv, executable};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Four containers: two that run, one that failed, one that ended well.
fn fill(env: &TestEnv) {
    env.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "app=web",
        "-v",
        "/tmp:/shared",
        "host",
        "sleep",
        "1000",
    ]);
    env.ok(&["run", "--name", "done", "host", "true"]);
    assert_eq!(
        env.cais(&["run", "--name", "failed", "host", "sh", "-c", "exit 7"])
            .code,
        7
    );
    env.ok(&[
        "run",
        "-d",
        "--name",
        "web-2",
        "-l",
        "app=other",
        "--network",
        "host",
        "--expose",
        "8080/udp",
        "host",
        "sleep",
        "1000",
    ]);
}

#[test]
fn ps_by_filters() {
    let env = TestEnv::new();
    fill(&env);
    for (words, want) in [
        (&["ps"][..], "web-2 web"),
        (&["ps", "-a"], "web-2 failed done web"),
        (&["ps", "-l"], "web-2"),
        (&["ps", "-n", "2"], "web-2 failed"),
        (&["ps", "-n", "-1"], "web-2 web"),
        (&["ps", "-f", "name=web"], "web-2 web"),
        (&["ps", "-f", "name=^/web$"], "web"),
        (&["ps", "-a", "-f", "name=done|failed"], "failed done"),
        (&["ps", "-f", "status=exited"], "failed done"),
        (
            &["ps", "-f", "status=exited", "-f", "status=running"],
            "web-2 failed done web",
        ),
        (&["ps", "-a", "-f", "exited=7"], "failed"),
        (&["ps", "-f", "exited=7"], ""),
        (&["ps", "-f", "label=app"], "web-2 web"),
        (&["ps", "-f", "label=app=web"], "web"),
        (&["ps", "-f", "label=app", "-f", "label=none"], ""),
        (&["ps", "-a", "-f", "before=failed"], "done web"),
        (&["ps", "-a", "-f", "since=done"], "web-2 failed"),
        (&["ps", "-f", "network=host"], "web-2"),
        (&["ps", "-f", "volume=/shared"], "web"),
        (&["ps", "-f", "volume=/tmp"], "web"),
        (&["ps", "-f", "ancestor=host"], "web-2 web"),
        (&["ps", "-f", "ancestor=nosuch"], ""),
        (&["ps", "-f", "health=none"], "web-2 web"),
        (&["ps", "-f", "health=healthy"], ""),
        (&["ps", "-f", "expose=80"], ""),
        (&["ps", "-f", "publish=80/tcp"], ""),
        (&["ps", "-f", "expose=8080/udp"], "web-2"),
        (&["ps", "-f", "expose=8000-9000/udp"], "web-2"),
        (&["ps", "-f", "is-task=true"], ""),
        (&["container", "ls", "-a"], "web-2 failed done web"),
    ] {
        let text = env.ok(&[words, &["--format", "{{.Names}}"]].concat());
        let names: Vec<&str> = text.lines().collect();
        assert_eq!(names.join(" "), want, "{words:?}");
    }
    for (filter, code) in [
        ("status=x", 1),
        ("exited=x", 1),
        ("since=x", 1),
        ("color=red", 1),
        ("x", 125),
    ] {
        assert_eq!(env.cais(&["ps", "-f", filter]).code, code, "{filter}");
    }
    let id = env.ok(&["ps", "-q", "--no-trunc", "-f", "name=^web$"]);
    assert_eq!(
        env.ok(&["ps", "-q", "-f", &format!("id={}", &id[..9])]).trim(),
        &id[..12]
    );
}

#[test]
fn ps_in_forms() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "app=x",
        "-v",
        "/tmp:/shared",
        "host",
        "sh",
        "-c",
        "echo hello >/written; sleep 1000",
    ]);
    let json: serde_json::Value = serde_json::from_str(&env.ok(&["ps", "--format", "json"])).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status"
        ]
    );
    assert_eq!(json["Labels"], "app=x");
    assert_eq!(json["Mounts"], "/tmp");
    assert_eq!(json["State"], "running");
    assert_eq!(json["Command"], "\"sh -c 'echo hello >…\"");
    let table = env.ok(&["ps", "-s"]);
    let heading: Vec<&str> = table
        .lines()
        .next()
        .unwrap()
        .split("  ")
        .filter(|word| !word.is_empty())
        .collect();
    assert_eq!(
        heading.iter().map(|word| word.trim()).collect::<Vec<_>>(),
        [
            "CONTAINER ID",
            "IMAGE",
            "COMMAND",
            "CREATED",
            "STATUS",
            "PORTS",
            "NAMES",
            "SIZE"
        ]
    );
    assert_eq!(
        env.ok(&["ps", "--format", "table {{.Label \"app\"}}\\t{{.Names}}"]),
        "app       NAMES\nx         web\n"
    );
    assert_eq!(env.cais(&["ps", "--format", "{{.Nosuch}}"]).code, 1);
    let configured = env
        .command(&["ps"])
        .env("CAIS_PS_FORMAT", "{{.Names}}!")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&configured.stdout), "web!\n");
}

/// A container whose first process is stopped, and whose lock somebody holds, stops nobody
/// from looking.
#[test]
fn looking_at_a_stuck_container() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "stuck", "host", "sleep", "1000"]);
    let pid: i32 = env
        .ok(&["inspect", "-f", "{{.Cais.MonitorPid}}", "stuck"])
        .trim()
        .parse()
        .unwrap();
    let monitor = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::STOP).unwrap();
    let began = Instant::now();
    for words in [
        &["ps", "-a"][..],
        &["inspect", "stuck"],
        &["top", "stuck"],
        &["stats", "--no-stream"],
    ] {
        env.ok(words);
    }
    let took = began.elapsed();
    rustix::process::kill_process(monitor, rustix::process::Signal::CONT).unwrap();
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn processes_and_what_they_use() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "busy",
        "-m",
        "64m",
        "host",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    let top = env.ok(&["top", "busy"]);
    assert!(
        top.starts_with("UID                 PID                 PPID"),
        "{top}"
    );
    assert!(
        top.lines().nth(1).unwrap().ends_with("sh -c while :; do :; done"),
        "{top}"
    );
    let top = env.ok(&["top", "busy", "-o", "pid,comm"]);
    assert!(top.ends_with("sh\n"), "{top}");
    assert!(env.ok(&["top", "busy", "aux"]).starts_with("USER"));
    assert_eq!(env.cais(&["top", "busy", "-o", "comm"]).code, 1);
    assert_eq!(env.cais(&["top", "nosuch"]).code, 1);
    let shown = env.ok(&[
        "stats",
        "--no-stream",
        "--format",
        "{{.CPUPerc}} {{.MemUsage}} {{.PIDs}} {{.Name}}",
    ]);
    let words: Vec<&str> = shown.split_whitespace().collect();
    let share: f64 = words[0].trim_end_matches('%').parse().unwrap();
    assert!(share > 1.0, "{shown}");
    assert_eq!((words[3], words[4], words[5]), ("64MiB", "1", "busy"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&env.ok(&["stats", "--no-stream", "--format", "json", "busy"])).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "BlockIO",
            "CPUPerc",
            "Container",
            "ID",
            "MemPerc",
            "MemUsage",
            "Name",
            "NetIO",
            "PIDs"
        ]
    );
    env.ok(&["run", "--name", "done", "host", "true"]);
    let all = env.ok(&["stats", "--no-stream", "-a", "--format", "{{.Name}} {{.PIDs}}"]);
    assert!(all.contains("done 0"), "{all}");
    assert_eq!(env.cais(&["stats", "--no-stream", "nosuch"]).code, 1);
    // The stream ends with its reader.
    let mut stream = env.command(&["stats"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut buffer = [0u8; 8];
    std::io::Read::read_exact(stream.stdout.as_mut().unwrap(), &mut buffer).unwrap();
    assert_eq!(&buffer[..7], b"\x1b[2J\x1b[H");
    drop(stream.stdout.take());
    assert_eq!(Done::end_of(stream).code, 141);
    assert_eq!(env.ok(&["port", "busy"]), "");
    let none = env.cais(&["port", "busy", "80"]);
    assert_eq!(none.code, 1);
    assert!(
        none.stderr.contains("No public port '80/tcp' published for busy"),
        "{}",
        none.stderr
    );
}

#[test]
fn prune_removes_what_does_not_run() {
    let env = TestEnv::new();
    fill(&env);
    let asked = env.cais(&["container", "prune"]);
    assert_eq!(asked.code, 0);
    assert!(
        asked
            .stdout
            .starts_with("WARNING! This will remove all stopped containers.")
    );
    assert_eq!(env.ok(&["ps", "-aq"]).lines().count(), 4);
    env.ok(&["container", "prune", "-f", "--filter", "label=none"]);
    env.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(env.ok(&["ps", "-aq"]).lines().count(), 4);
    let pruned = env.ok(&["container", "prune", "-f"]);
    assert!(pruned.starts_with("Deleted Containers:\n"), "{pruned}");
    assert_eq!(env.ok(&["ps", "-a", "--format", "{{.Names}}"]), "web-2\nweb\n");
    env.ok(&["rm", "-f", "web", "web-2"]);
    // What was never started does not run either, as with Docker.
    env.ok(&["create", "--name", "left", "host", "true"]);
    assert!(env.ok(&["system", "prune", "-f"]).contains("Deleted Containers:"));
    assert_eq!(env.ok(&["ps", "-aq"]), "");
    assert_eq!(env.cais(&["system", "prune", "-f", "--filter", "x=1"]).code, 1);
}

#[test]
fn a_configuration_fills_in_what_is_left_open() {
    let env = TestEnv::new();
    let file = env.path("config.toml");
    fs::write(
        &file,
        "pids-limit = 77\nshm-size = \"1m\"\nuserns = \"host\"\ndefault-ulimits = [\"nofile=64:128\"]\nstop-timeout = 3\n",
    )
    .unwrap();
    let with = |words: &[&str]| {
        let output = env.command(words).env("CAIS_CONFIG", &file).output().unwrap();
        Done::from(output)
    };
    let shown = with(&[
        "run",
        "--rm",
        "host",
        "sh",
        "-c",
        "ulimit -n; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/self/uid_map",
    ]);
    let words: Vec<&str> = shown.stdout.split_whitespace().collect();
    assert_eq!(words, ["64", "1024", "0", "0", "4294967295"], "{}", shown.stderr);
    with(&["run", "--name", "kept", "--pids-limit", "5", "host", "true"]);
    let options = env.ok(&[
        "inspect",
        "-f",
        "{{.HostConfig.PidsLimit}} {{.Config.StopTimeout}} {{.HostConfig.UsernsMode}}",
        "kept",
    ]);
    assert_eq!(options.trim(), "5 3 host");
    let table = with(&["config", "show", "--format", "{{.Key}} {{.Value}} {{.Origin}}"]).stdout;
    assert!(
        table.contains(&format!("pids-limit 77 {}:1\n", file.display())),
        "{table}"
    );
    assert!(table.contains("ps-format table default\n"), "{table}");
    fs::write(&file, "pids-limit = 77\n\ncolour = \"red\"\n").unwrap();
    let wrong = with(&["run", "--rm", "host", "true"]);
    assert_eq!(wrong.code, 125);
    assert!(
        wrong
            .stderr
            .contains(&format!("{}:3: unknown key \"colour\"", file.display())),
        "{}",
        wrong.stderr
    );
}

#[test]
fn the_program_by_other_names() {
    let env = TestEnv::new();
    let docker = env.path("docker");
    symlink(executable(), &docker).unwrap();
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(&docker);
        command
            .args(words)
            .env("CAIS_DATA", env.path("data"))
            .env("CAIS_RUN", env.path("run"))
            .env("CAIS_CONFIG", "");
        Done::of(command)
    };
    assert_eq!(
        run(&[
            "container",
            "run",
            "--rm",
            "--network",
            "none",
            "host",
            "echo",
            "hi"
        ])
        .stdout,
        "hi\n"
    );
    let bogus = run(&["bogus"]);
    assert_eq!(
        (bogus.code, bogus.stderr.as_str()),
        (
            1,
            "docker: 'bogus' is not a docker command.\nSee 'docker --help'\n"
        )
    );
    let missing = run(&["container", "inspect", "nosuch"]);
    assert_eq!(
        (missing.code, missing.stdout.as_str(), missing.stderr.as_str()),
        (1, "[]\n", "Error: No such container: nosuch\n")
    );
    assert!(run(&["help", "ps"]).stdout.contains("Usage: docker ps"));
    assert_eq!(run(&["version", "-f", "{{.Server.Os}}"]).stdout, "linux\n");
    assert_eq!(run(&["system", "info", "-f", "{{.Containers}}"]).stdout, "0\n");
    let groups = run(&["container", "--help"]).stdout;
    for name in ["ls", "run", "prune", "inspect", "stats", "top"] {
        assert!(groups.contains(&format!("\n  {name} ")), "{name}: {groups}");
    }
}
