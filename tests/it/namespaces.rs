//! Each namespace from both sides: isolated when private, shared when asked.

use crate::support::TestEnv;
use std::fs;

const KINDS: [&str; 7] = ["pid", "net", "ipc", "uts", "cgroup", "mnt", "user"];

fn host(kind: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{kind}"))
        .unwrap()
        .display()
        .to_string()
}

fn inside(env: &TestEnv, flags: &[&str], kind: &str) -> String {
    let done = env.sh(flags, &format!("readlink /proc/self/ns/{kind}"));
    assert_eq!(done.code, 0, "{flags:?}: {}", done.stderr);
    done.stdout.trim().to_owned()
}

#[test]
fn all_are_private_by_default() {
    let env = TestEnv::new();
    for kind in KINDS {
        assert_ne!(inside(&env, &[], kind), host(kind), "{kind}");
    }
}

#[test]
fn the_hosts_where_asked() {
    let env = TestEnv::new();
    for (flag, kind) in [
        ("--ipc=host", "ipc"),
        ("--uts=host", "uts"),
        ("--network=host", "net"),
        ("--cgroupns=host", "cgroup"),
        ("--userns=host", "user"),
    ] {
        assert_eq!(inside(&env, &[flag], kind), host(kind), "{flag}");
    }
    assert_eq!(inside(&env, &["--userns=host", "--pid=host"], "pid"), host("pid"));
}

#[test]
fn another_containers_where_asked() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "first",
        "--hostname",
        "harbour",
        "host",
        "sh",
        "-c",
        "echo here > /dev/shm/mark; sleep 1000",
    ]);
    for (flag, kind) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--network", "net"),
    ] {
        let theirs = env.ok(&["exec", "first", "readlink", &format!("/proc/self/ns/{kind}")]);
        assert_eq!(
            inside(&env, &[flag, "container:first"], kind),
            theirs.trim(),
            "{flag}"
        );
    }
    assert!(
        env.sh(&["--pid", "container:first"], "ps ax")
            .stdout
            .contains("sleep 1000")
    );
    assert_eq!(
        env.sh(&["--ipc", "container:first"], "cat /dev/shm/mark").stdout,
        "here\n"
    );
    assert_eq!(
        env.sh(&["--uts", "container:first"], "hostname").stdout,
        "harbour\n"
    );
    let gone = env.cais(&["run", "--rm", "--pid", "container:nobody", "host", "true"]);
    assert!(
        gone.code == 125 && gone.stderr.contains("No such container"),
        "{}",
        gone.stderr
    );
}

#[test]
fn what_they_isolate() {
    let env = TestEnv::new();
    assert_eq!(
        env.sh(&[], "ls /proc | grep -c '^[0-9]'")
            .stdout
            .trim()
            .parse::<u32>()
            .unwrap_or(99)
            / 10,
        0,
        "few processes"
    );
    assert_eq!(env.sh(&[], "ls /sys/class/net").stdout, "lo\n");
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(
        env.sh(
            &["--hostname", "pier", "--domainname", "sea"],
            "hostname; cat /proc/sys/kernel/domainname"
        )
        .stdout,
        "pier\nsea\n"
    );
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), name);
    assert_eq!(
        env.sh(
            &["--sysctl", "net.ipv4.ip_forward=1"],
            "cat /proc/sys/net/ipv4/ip_forward"
        )
        .stdout,
        "1\n"
    );
    assert_eq!(env.sh(&["--ipc=none"], "ls /dev | grep -c shm").stdout, "0\n");
    let loopback = env.sh(&[], "cat /sys/class/net/lo/flags").stdout;
    assert_eq!(loopback.trim(), "0x9", "lo is up");
}

#[test]
fn users_have_ranges_of_their_own() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "one", "host", "sleep", "1000"]);
    env.ok(&["run", "-d", "--name", "two", "host", "sleep", "1000"]);
    let base = |name: &str| {
        env.ok(&["exec", name, "cat", "/proc/self/uid_map"])
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let (one, two) = (base("one"), base("two"));
    assert!(one != two && one >= 0x4000_0000 && two >= 0x4000_0000);
    // Seen from outside the process has an id of the range.
    let pid = env.field("one", "Pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains(&format!("Uid:\t{one}")), "{status}");
    let shared = env.path("shared");
    fs::create_dir(&shared).unwrap();
    let mount = format!("{}:/mnt", shared.display());
    let done = env.sh(
        &["-v", &mount],
        "touch /mnt/root; chown 1000 /mnt/root; stat -c %u /mnt/root",
    );
    assert_eq!(done.stdout, "1000\n", "{}", done.stderr);
    assert_eq!(
        rustix::fs::stat(shared.join("root")).unwrap().st_uid,
        1000,
        "the same owner on both sides"
    );
    let kept = env.sh(&["--userns=keep-id"], "cat /proc/self/uid_map").stdout;
    assert_eq!(
        kept.split_whitespace().take(3).collect::<Vec<_>>(),
        ["0", "0", "1"]
    );
}

/// Each hierarchy begins at the container's own group, whether it may be written to or not.
#[test]
fn the_hierarchies_begin_at_the_own_group() {
    let env = TestEnv::new();
    let script = "grep -E ' - cgroup2? ' /proc/self/mountinfo | while read a b c root place rest; do \
                  [ $root = / ] && echo ok || echo $place begins at $root; done | sort -u; \
                  find /sys/fs/cgroup -mindepth 1 -name 'cais-*'";
    for flags in [
        &[][..],
        &["--cap-add", "SYS_ADMIN"],
        &["--userns", "host"],
        &["--privileged"],
    ] {
        let seen = env.sh(flags, script).stdout;
        assert_eq!(seen, "ok\n", "{flags:?}");
    }
}
