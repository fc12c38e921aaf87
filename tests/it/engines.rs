//! Engines of others with this runtime in runc's place. Each script runs with runc too, so
//! that the script itself is proven: what differs is then ours.
//!
//! The engines come from Debian's packages and are started here, on sockets and in
//! directories of the test's own.

use crate::engines_support::{Bench, Engine, ok, run};
use crate::support::{eventually, executable};
use std::fs;
use std::path::Path;
use std::process::Command;

/// What Docker and Podman have in common. `run` is `run` with the flags of this engine.
fn containers_live(engine: &Engine<'_>, run_flags: &[&str], image: &str) {
    let run = |flags: &[&str], command: &[&str]| {
        let words = [&["run", "--network", "none"], run_flags, flags, &[image], command].concat();
        engine.call(&words)
    };
    let inside = run(
        &[
            "--rm",
            "-u",
            "7:8",
            "-e",
            "A=5",
            "-w",
            "/tmp",
            "--hostname",
            "pier",
        ],
        &["sh", "-c", "id -u; id -g; echo $A; pwd; busybox hostname; exit 9"],
    );
    assert_eq!(
        (inside.code, inside.stdout.as_str()),
        (9, "7\n8\n5\n/tmp\npier\n"),
        "{}",
        inside.stderr
    );
    for (program, code) in [("no-such-program", 127), ("/etc", 126), ("/no/such", 127)] {
        assert_eq!(run(&["--rm"], &[program]).code, code, "{program}");
    }
    let flags = [
        "--rm",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--tmpfs",
        "/t:size=1m",
        "--ulimit",
        "nofile=99:99",
        "--ulimit",
        "nproc=1024:1024",
        "--security-opt",
        "no-new-privileges",
    ];
    let script = "busybox grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; echo x >/x || echo read-only; echo y >/t/y && cat /t/y";
    let done = run(&flags, &["sh", "-c", script]);
    let want = "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n99\nread-only\ny\n";
    assert_eq!(done.stdout, want, "{}", done.stderr);
    let shared = run(
        &["--rm", "--pid", "host", "--ipc", "host", "--uts", "host"],
        &[
            "sh",
            "-c",
            "for n in pid ipc uts; do readlink /proc/self/ns/$n; done",
        ],
    );
    let own: String = ["pid", "ipc", "uts"]
        .iter()
        .map(|name| {
            format!(
                "{}\n",
                fs::read_link(format!("/proc/self/ns/{name}")).unwrap().display()
            )
        })
        .collect();
    assert_eq!(shared.stdout, own, "{}", shared.stderr);
    let terminal = [&["run", "--network", "none"], run_flags, &["--rm", "-it", image]].concat();
    let seen = engine.at_terminal(&[&terminal[..], &["sh", "-c", "test -t 0 && echo terminal"]].concat());
    assert!(seen.contains("terminal"), "{seen:?}");
    a_container_lives(engine, run_flags, image);
}

/// From its start to its end: what is done with a container meanwhile.
fn a_container_lives(engine: &Engine<'_>, run_flags: &[&str], image: &str) {
    let run = |flags: &[&str], command: &[&str]| {
        let words = [&["run", "--network", "none"], run_flags, flags, &[image], command].concat();
        engine.call(&words)
    };
    let start = run(
        &["-d", "--name", "web", "--ipc", "shareable", "-m", "64m"],
        &["sleep", "1000"],
    );
    assert_eq!(start.code, 0, "{}", start.stderr);
    assert_eq!(engine.ok(&["exec", "web", "id", "-u"]), "0");
    let exec = engine.call(&[
        "exec",
        "-u",
        "5:6",
        "-e",
        "B=1",
        "-w",
        "/bin",
        "web",
        "sh",
        "-c",
        "id -u; echo $B; pwd; exit 3",
    ]);
    assert_eq!(
        (exec.code, exec.stdout.as_str()),
        (3, "5\n1\n/bin\n"),
        "{}",
        exec.stderr
    );
    let seen = engine.at_terminal(&["exec", "-it", "web", "sh", "-c", "test -t 1 && echo terminal"]);
    assert!(seen.contains("terminal"), "{seen:?}");
    // Docker before version 23 says 126, whichever the runtime.
    assert!(matches!(
        engine.call(&["exec", "web", "no-such-program"]).code,
        126 | 127
    ));
    engine.ok(&["pause", "web"]);
    assert_ne!(
        engine.call(&["exec", "web", "true"]).code,
        0,
        "exec in a paused container"
    );
    engine.ok(&["unpause", "web"]);
    engine.ok(&["update", "-m", "128m", "--memory-swap", "256m", "web"]);
    let join = [
        "--rm",
        "--pid",
        "container:web",
        "--ipc",
        "container:web",
        "--network",
        "container:web",
    ];
    let joined = engine.call(&[&["run"], run_flags, &join[..], &[image, "busybox", "ps"]].concat());
    assert!(
        joined.stdout.contains("sleep 1000"),
        "{}{}",
        joined.stdout,
        joined.stderr
    );
    assert!(engine.ok(&["top", "web"]).contains("sleep"));
    assert!(engine.ok(&["stats", "--no-stream", "web"]).contains("web"));
    let limit =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(engine.ok(&["exec", "web", "sh", "-c", limit]), "134217728");
    engine.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(engine.ok(&["exec", "web", "id", "-u"]), "0");
    engine.ok(&["kill", "web"]);
    eventually("the container has ended", || {
        engine.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "web"]) == "exited 137"
    });
    engine.ok(&["start", "web"]);
    engine.ok(&["rm", "-f", "web"]);
}

#[test]
#[ignore = "needs Debian's docker.io: `cargo xtask test` installs it and runs this"]
fn docker_with_this_runtime_as_with_runc() {
    let mut bench = Bench::new("docker");
    let runtime = format!("cais={}", bench.path("cais-runtime"));
    let host = bench.start_docker(&[], &["--add-runtime", &runtime, "--default-runtime", "cais"]);
    let engine = Engine {
        words: vec!["/usr/bin/docker", "-H", &host],
    };
    engine.ok(&["import", &bench.archive(), "bench"]);
    for (name, _) in bench.runtimes() {
        containers_live(&engine, &["--runtime", name], "bench");
    }
    // A build with the default runtime, which is ours.
    let context = bench.path("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(
        Path::new(&context).join("Dockerfile"),
        "FROM bench\nRUN echo built >/proof\nCMD [\"cat\", \"/proof\"]\n",
    )
    .unwrap();
    let build = Command::new("/usr/bin/docker")
        .args(["-H", &host, "build", "--network", "none", "-t", "built", &context])
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .unwrap();
    assert!(
        build.status.success(),
        "{}",
        String::from_utf8_lossy(&build.stderr)
    );
    assert_eq!(engine.ok(&["run", "--rm", "--network", "none", "built"]), "built");
    there_and_back(&bench, &engine);
}

/// `docker save` → `cais load` → `cais save` → `docker load`: the same image.
fn there_and_back(bench: &Bench, engine: &Engine<'_>) {
    let (there, back) = (bench.path("there.tar"), bench.path("back.tar"));
    let id = engine.ok(&["inspect", "-f", "{{.Id}}", "built"]);
    engine.ok(&["save", "-o", &there, "built"]);
    let (data, run_directory) = (
        format!("CAIS_DATA={}", bench.path("cais")),
        format!("CAIS_RUN={}", bench.path("cais-run")),
    );
    let cais = executable();
    let cais = Engine {
        words: vec!["env", &data, &run_directory, cais.to_str().unwrap()],
    };
    cais.ok(&["load", "-i", &there]);
    assert_eq!(cais.ok(&["run", "--rm", "--network", "none", "built"]), "built");
    cais.ok(&["save", "-o", &back, "built"]);
    engine.ok(&["rmi", "-f", "built"]);
    engine.ok(&["load", "-i", &back]);
    assert_eq!(engine.ok(&["inspect", "-f", "{{.Id}}", "built"]), id);
    assert_eq!(engine.ok(&["run", "--rm", "--network", "none", "built"]), "built");
}

fn podman_words<'a>(config: &'a str, root: &'a str, run_root: &'a str, runtime: &'a str) -> Vec<&'a str> {
    vec![
        "env",
        config,
        "podman",
        "--root",
        root,
        "--runroot",
        run_root,
        "--cgroup-manager",
        "cgroupfs",
        "--storage-driver",
        "vfs",
        "--runtime",
        runtime,
    ]
}

#[test]
#[ignore = "needs Debian's podman: `cargo xtask test` installs it and runs this"]
fn podman_with_this_runtime_as_with_runc() {
    let bench = Bench::new("podman");
    let archive = bench.archive();
    // Podman asks for more descriptors than this machine may give.
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    fs::write(bench.path("containers.conf"), limits).unwrap();
    let config = format!("CONTAINERS_CONF={}", bench.path("containers.conf"));
    for (name, runtime) in bench.runtimes() {
        let (root, run_root) = (
            bench.path(&format!("root-{name}")),
            bench.path(&format!("run-{name}")),
        );
        let engine = Engine {
            words: podman_words(&config, &root, &run_root, &runtime),
        };
        engine.ok(&["import", "-q", &archive, "bench"]);
        containers_live(&engine, &[], "bench");
        healthcheck(&engine);
        pod(&engine);
    }
}

fn healthcheck(engine: &Engine<'_>) {
    let start = ["run", "-d", "--name", "sick", "--network", "none", "--health-cmd"];
    let check = ["test -e /tmp/well", "--health-interval", "disable"];
    engine.ok(&[&start[..], &check, &["bench", "sleep", "100"]].concat());
    assert_ne!(engine.call(&["healthcheck", "run", "sick"]).code, 0);
    engine.ok(&["exec", "sick", "touch", "/tmp/well"]);
    engine.ok(&["healthcheck", "run", "sick"]);
    engine.ok(&["rm", "-f", "-t", "0", "sick"]);
}

/// Two containers of a pod see each other's network and IPC.
fn pod(engine: &Engine<'_>) {
    engine.ok(&[
        "pod",
        "create",
        "--name",
        "quay",
        "--network",
        "none",
        "--infra-image",
        "bench",
        "--infra-command",
        "/bin/sleep 1000",
    ]);
    let in_pod =
        |command: &[&str]| engine.call(&[&["run", "--rm", "--pod", "quay", "bench"], command].concat());
    let first = in_pod(&["readlink", "/proc/self/ns/net"]);
    let second = in_pod(&["readlink", "/proc/self/ns/net"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert_eq!(first.stdout, second.stdout);
    engine.ok(&["pod", "rm", "-f", "-t", "0", "quay"]);
}

#[test]
#[ignore = "needs Debian's podman and uidmap: `cargo xtask test` installs them and runs this"]
fn podman_without_root() {
    let bench = Bench::new("rootless");
    let archive = bench.archive();
    let home = bench.path("home");
    fs::create_dir_all(&home).unwrap();
    ok(&["chown", "-R", "65534:65534", &home]);
    // The ranges of ids that an ordinary user has, for the time of the test.
    let _ranges = [Restored::append("/etc/subuid"), Restored::append("/etc/subgid")];
    for (name, runtime) in bench.runtimes() {
        let script = format!(
            "set -e; cd {home}; export HOME={home} XDG_RUNTIME_DIR={home}/run-{name}; mkdir -p $XDG_RUNTIME_DIR
             P='podman --root {home}/root-{name} --runroot {home}/rr-{name} --cgroup-manager cgroupfs --storage-driver vfs --runtime {runtime}'
             $P import -q {archive} bench >&2
             $P run --rm --network none bench id -u
             $P run -d --name web --network none bench sleep 100 >&2
             $P exec -u 5 web id -u
             $P rm -f -t 0 web >&2
             $P unshare rm -rf {home}/root-{name} {home}/rr-{name}"
        );
        let done = run(&[
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "bash",
            "-c",
            &script,
        ]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (0, "0\n5\n"),
            "{name}: {}",
            done.stderr
        );
    }
    // Podman leaves a process that holds its user namespace.
    let holders = run(&["pgrep", "-f", "-u", "65534", "podman"]).stdout;
    for pid in holders.lines() {
        run(&["kill", pid]);
    }
}

/// A file of /etc with a line more, put back at the end.
struct Restored {
    path: &'static str,
    before: String,
}

impl Restored {
    fn append(path: &'static str) -> Self {
        let before = fs::read_to_string(path).unwrap_or_default();
        fs::write(path, format!("{before}nobody:200000:65536\n")).unwrap();
        Self { path, before }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        fs::write(self.path, &self.before).unwrap_or_default();
    }
}

#[test]
#[ignore = "needs Debian's containerd: `cargo xtask test` installs it and runs this"]
fn containerd_with_this_runtime_as_with_runc() {
    let mut bench = Bench::new("containerd");
    let socket = bench.path("containerd.sock");
    let (root, state, config) = (bench.path("root"), bench.path("state"), bench.path("config.toml"));
    fs::write(
        &config,
        "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
    )
    .unwrap();
    bench.start(&[
        "containerd",
        "--config",
        &config,
        "--root",
        &root,
        "--state",
        &state,
        "--address",
        &socket,
    ]);
    let engine = Engine {
        words: vec!["ctr", "--address", &socket],
    };
    eventually("containerd answers", || engine.call(&["version"]).code == 0);
    for (name, runtime) in bench.runtimes() {
        let rootfs = bench.path("rootfs");
        let run_words = |id: &str, detach: &[&str], command: &[&str]| {
            let fixed = ["run", "--runc-binary", &runtime, "--env", "PATH=/bin", "--rootfs"];
            let words: Vec<String> = fixed
                .iter()
                .chain(detach)
                .copied()
                .chain([rootfs.as_str(), id])
                .chain(command.iter().copied())
                .map(str::to_owned)
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            engine.call(&words)
        };
        let done = run_words("once", &["--rm"], &["sh", "-c", "id -u; exit 4"]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (4, "0\n"),
            "{name}: {}",
            done.stderr
        );
        let missing = run_words("missing", &["--rm"], &["no-such-program"]);
        assert!(
            missing.stderr.contains("executable file not found in $PATH"),
            "{name}: {}",
            missing.stderr
        );
        engine.call(&["containers", "rm", "missing"]);
        let done = run_words("web", &["-d"], &["sleep", "1000"]);
        assert_eq!(done.code, 0, "{name}: {}", done.stderr);
        assert_eq!(
            engine.ok(&["tasks", "exec", "--exec-id", "e1", "web", "/bin/id", "-u"]),
            "0"
        );
        assert!(engine.ok(&["tasks", "ls"]).contains("RUNNING"));
        assert!(engine.ok(&["tasks", "ps", "web"]).contains("PID"));
        engine.ok(&["tasks", "pause", "web"]);
        assert!(engine.ok(&["tasks", "ls"]).contains("PAUSED"));
        engine.ok(&["tasks", "resume", "web"]);
        assert!(engine.ok(&["tasks", "metrics", "web"]).contains("memory"));
        engine.ok(&["tasks", "kill", "-s", "9", "web"]);
        eventually("the task has stopped", || {
            engine.ok(&["tasks", "ls"]).contains("STOPPED")
        });
        engine.ok(&["tasks", "rm", "web"]);
        engine.ok(&["containers", "rm", "web"]);
    }
}

#[test]
#[ignore = "needs Debian's buildah: `cargo xtask test` installs it and runs this"]
fn buildah_with_this_runtime_as_with_runc() {
    let bench = Bench::new("buildah");
    for (name, runtime) in bench.runtimes() {
        let (root, run_root) = (
            bench.path(&format!("root-{name}")),
            bench.path(&format!("run-{name}")),
        );
        let engine = Engine {
            words: vec![
                "buildah",
                "--root",
                &root,
                "--runroot",
                &run_root,
                "--storage-driver",
                "vfs",
            ],
        };
        let container = engine.ok(&["from", "scratch"]);
        engine.ok(&["add", "-q", &container, &bench.path("rootfs"), "/"]);
        let done = engine.call(&[
            "run",
            "--isolation",
            "oci",
            "--runtime",
            &runtime,
            "--network",
            "none",
            &container,
            "--",
            "sh",
            "-c",
            "echo built >/proof; id -u; exit 5",
        ]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (5, "0\n"),
            "{name}: {}",
            done.stderr
        );
        let done = engine.ok(&[
            "run",
            "--isolation",
            "oci",
            "--runtime",
            &runtime,
            "--network",
            "none",
            &container,
            "--",
            "cat",
            "/proof",
        ]);
        assert_eq!(done, "built", "{name}");
        engine.ok(&["rm", &container]);
    }
}
