//! The life of a container, from both sides.

use crate::support::{TestEnv, eventually, make_rootfs};

#[test]
fn the_exit_code_is_the_programs() {
    let env = TestEnv::new();
    assert_eq!(env.sh(&[], "exit 7").code, 7);
    assert_eq!(env.cais(&["run", "--rm", "host", "no-such-program"]).code, 127);
    assert_eq!(env.cais(&["run", "--rm", "host", "/etc"]).code, 126);
    assert_eq!(env.cais(&["run", "--bogus", "host", "true"]).code, 125);
    assert_eq!(env.cais(&["run", "nosuchimage", "true"]).code, 125);
    let killed = env.sh(&["--init"], "kill -TERM $$; sleep 5");
    assert_eq!(killed.code, 143, "{}", killed.stderr);
}

#[test]
fn the_streams_stay_apart() {
    let env = TestEnv::new();
    let done = env.sh(&[], "echo out; echo err >&2; echo again > /dev/stdout");
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("out\nagain\n", "err\n")
    );
}

#[test]
fn everything_is_its_own() {
    let env = TestEnv::new();
    let host = |kind: &str| {
        std::fs::read_link(format!("/proc/self/ns/{kind}"))
            .unwrap()
            .display()
            .to_string()
    };
    let inside = env
        .sh(
            &[],
            "for n in pid net ipc uts cgroup mnt user; do readlink /proc/self/ns/$n; done",
        )
        .stdout;
    for (kind, seen) in ["pid", "net", "ipc", "uts", "cgroup", "mnt", "user"]
        .iter()
        .zip(inside.lines())
    {
        assert_ne!(host(kind), seen, "{kind}");
    }
    let host_ipc = env.sh(
        &[
            "--userns=host",
            "--ipc=host",
            "--pid=host",
            "--network=host",
            "--uts=host",
        ],
        "for n in pid net ipc uts; do readlink /proc/self/ns/$n; done",
    );
    assert_eq!(
        host_ipc.stdout.lines().collect::<Vec<_>>(),
        ["pid", "net", "ipc", "uts"].map(host),
        "{}",
        host_ipc.stderr
    );
}

#[test]
fn what_it_changes_stays_inside() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "--name",
        "changer",
        "host",
        "sh",
        "-c",
        "rm -r /usr/share/doc; echo x > /etc/new; echo y >> /etc/hostname.bak; chmod 700 /opt",
    ]);
    assert!(std::path::Path::new("/usr/share/doc").exists() && !std::path::Path::new("/etc/new").exists());
    let diff = env.ok(&["diff", "changer"]);
    for line in ["D /usr/share/doc", "A /etc/new", "C /etc", "C /opt"] {
        assert!(diff.lines().any(|known| known == line), "{line} in\n{diff}");
    }
    assert_eq!(env.ok(&["start", "-a", "changer"]), "");
    env.ok(&["rm", "changer"]);
}

#[test]
fn a_detached_container_lives_and_is_ended() {
    let env = TestEnv::new();
    let id = env.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "host",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]);
    eventually("it logs", || env.ok(&["logs", "web"]) == "ready\n");
    assert!(env.ok(&["ps"]).contains("web"));
    assert_eq!(env.ok(&["exec", "web", "hostname"]).trim(), &id[..12]);
    assert_eq!(env.cais(&["exec", "web", "sh", "-c", "exit 3"]).code, 3);
    assert_eq!(env.cais(&["rm", "web"]).code, 1);
    let taken = env.cais(&["run", "--rm", "--name", "web", "host", "true"]);
    assert!(
        taken.code == 125 && taken.stderr.contains("in use"),
        "{}",
        taken.stderr
    );
    env.ok(&["stop", "web"]);
    assert_eq!(env.ok(&["wait", "web"]), "137\n");
    env.ok(&["rm", "web"]);
}

#[test]
fn limits_hold() {
    let env = TestEnv::new();
    let bomb = env.sh(
        &["--pids-limit", "12"],
        "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait",
    );
    assert!(bomb.stderr.contains("fork"), "{}", bomb.stderr);
    let eater = env.cais(&[
        "run",
        "--name",
        "eater",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        "host",
        "sh",
        "-c",
        "x=a; while :; do x=$x$x; done",
    ]);
    assert_eq!(eater.code, 137, "{}", eater.stderr);
    assert!(env.ok(&["inspect", "eater"]).contains("\"OOMKilled\": true"));
    assert_eq!(env.cais(&["run", "--rm", "-m", "1m", "host", "true"]).code, 0);
    let device = env.sh(
        &["--userns=host", "--cap-add", "MKNOD"],
        "mknod /root/d b 254 0; dd if=/root/d of=/dev/null bs=512 count=1",
    );
    assert!(
        device.code != 0 && device.stderr.contains("not permitted"),
        "{}",
        device.stderr
    );
}

#[test]
fn a_directory_as_root_with_hostile_links() {
    let env = TestEnv::new();
    let root = env.path("root");
    make_rootfs(&root);
    let dir = root.display().to_string();
    assert_eq!(
        env.ok(&["run", "--rm", "-u", "ana", "--rootfs", &dir, "id"]),
        "uid=1000(ana) gid=1000(ana) groups=77(extra)\n"
    );
    for name in ["proc", "sys", "dev"] {
        std::fs::remove_dir(root.join(name)).unwrap();
        std::os::unix::fs::symlink("/tmp", root.join(name)).unwrap();
        let done = env.cais(&["run", "--rm", "--rootfs", &dir, "true"]);
        assert_eq!(done.code, 125, "{name} as a link: {}", done.stderr);
        std::fs::remove_file(root.join(name)).unwrap();
        std::fs::create_dir(root.join(name)).unwrap();
    }
}

#[test]
fn killed_at_every_step_nothing_stays() {
    let env = TestEnv::new();
    for victim in ["caller", "stub", "monitor"] {
        let detach: &[&str] = if victim == "monitor" { &["-d"] } else { &[] };
        for step in 0.. {
            let words = [&["run", "--rm", "--name", "victim"], detach, &["host", "true"]].concat();
            let done = super::support::Done::from(
                env.command(&words)
                    .env("CAIS_TEST_KILL", format!("{victim}:{step}"))
                    .output()
                    .unwrap(),
            );
            // The next command finds and removes what is left.
            env.cais(&["ps", "-a"]);
            eventually(
                &format!("nothing of {victim}:{step} is left: {:?}", env.leftovers()),
                || {
                    env.cais(&["ps", "-a"]);
                    env.leftovers().is_empty()
                },
            );
            let unharmed = if victim == "monitor" {
                step > 24
            } else {
                done.code == 0
            };
            if unharmed {
                assert_eq!(done.code, 0, "{victim}:{step}: {}", done.stderr);
                break;
            }
            assert!(step < 120, "{victim} is killed at every step: {}", done.stderr);
        }
    }
}
