//! Limits, seen from both sides: the file that the kernel reads, and what happens.

use crate::support::TestEnv;
use std::fs;

/// The first of these files that this machine has, below the container's own view.
fn read_limit(env: &TestEnv, flags: &[&str], files: &[&str]) -> String {
    let script = format!(
        "for f in {}; do [ -e /sys/fs/cgroup/$f ] && cat /sys/fs/cgroup/$f && exit; done",
        files.join(" ")
    );
    let done = env.sh(flags, &script);
    assert_eq!(done.code, 0, "{}", done.stderr);
    done.stdout.trim().to_owned()
}

#[test]
fn each_limit_reaches_its_file() {
    let env = TestEnv::new();
    for (flags, files, want) in [
        (
            &["-m", "64m"][..],
            &["memory/memory.limit_in_bytes", "memory.max"][..],
            &["67108864"][..],
        ),
        (&["--pids-limit", "77"], &["pids/pids.max", "pids.max"], &["77"]),
        (
            &["--cpus", "0.5"],
            &["cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us", "cpu.max"],
            &["50000", "50000 100000"],
        ),
        (
            &["--cpu-shares", "512"],
            &["cpu/cpu.shares", "cpu,cpuacct/cpu.shares", "cpu.weight"],
            &["512", "59"],
        ),
        (
            &["--cpuset-cpus", "0"],
            &["cpuset/cpuset.cpus", "cpuset.cpus"],
            &["0"],
        ),
        (
            &["-m", "64m", "--memory-reservation", "32m"],
            &["memory/memory.soft_limit_in_bytes", "memory.low"],
            &["33554432"],
        ),
        (&[], &["pids/pids.max", "pids.max"], &["4096"]),
    ] {
        let seen = read_limit(&env, flags, files);
        assert!(want.contains(&seen.as_str()), "{flags:?}: {seen}");
    }
}

#[test]
fn a_fork_bomb_stops_at_the_pids_limit() {
    let env = TestEnv::new();
    let done = env.sh(
        &["--pids-limit", "12"],
        "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done; wait",
    );
    assert!(done.stderr.contains("fork"), "{}", done.stderr);
}

#[test]
fn an_allocation_stops_at_the_memory_limit_and_is_reported() {
    let env = TestEnv::new();
    let eat = "x=a; while :; do x=$x$x; done";
    let done = env.cais(&[
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
        eat,
    ]);
    assert_eq!(done.code, 137, "{}", done.stderr);
    assert_eq!(env.field("eater", "OOMKilled"), "true");
}

#[test]
fn a_small_limit_is_enough_to_start() {
    let env = TestEnv::new();
    for limit in ["1m", "768k"] {
        let done = env.cais(&["run", "--rm", "-m", limit, "host", "true"]);
        assert_eq!(done.code, 0, "{limit}: {}", done.stderr);
    }
}

#[test]
fn cpu_use_stops_at_the_quota() {
    let env = TestEnv::new();
    // One second of wall time; with a fifth of a CPU the loop gets about 200 ms. What the start
    // used before is not counted: in an emulated machine that is more.
    let script = "
        read_used() {
            for file in /sys/fs/cgroup/cpuacct/cpuacct.usage /sys/fs/cgroup/cpu,cpuacct/cpuacct.usage; do
                if [ -e $file ]; then read -r used <$file; return; fi
            done
            while read -r key value; do [ $key = usage_usec ] && used=${value}000; done </sys/fs/cgroup/cpu.stat
        }
        read_used; before=$used; timeout 1 sh -c 'while :; do :; done'; read_used; echo $((used - before))";
    let done = env.sh(&["--cpus", "0.2"], script);
    let used: u64 = done.stdout.trim().parse().unwrap_or_else(|_| panic!("{done:?}"));
    assert!(used < 500_000_000, "{used} ns of CPU time in a second");
}

#[test]
fn a_device_is_refused_unless_a_rule_allows_it() {
    let env = TestEnv::new();
    // The kernel's log: every machine has it, and opening it to write changes nothing.
    let open = "mknod /root/d c 1 11 && exec 3> /root/d && echo opened";
    let done = env.sh(&["--userns=host"], open);
    assert!(
        done.code != 0 && done.stderr.contains("not permitted"),
        "{done:?}"
    );
    let allowed = env.sh(&["--userns=host", "--device-cgroup-rule", "c 1:11 wm"], open);
    assert_eq!(allowed.stdout, "opened\n", "{}", allowed.stderr);
    let device = env.sh(
        &["--userns=host", "--device", "/dev/kmsg:/dev/log:w"],
        "exec 3> /dev/log && echo opened; cat /dev/log",
    );
    assert!(
        device.stdout == "opened\n" && device.stderr.contains("not permitted"),
        "{device:?}"
    );
}

#[test]
fn process_limits() {
    let env = TestEnv::new();
    assert_eq!(
        env.sh(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn")
            .stdout,
        "100\n200\n"
    );
    // Fewer than the start itself needs.
    assert_eq!(
        env.sh(&["--ulimit", "nofile=10:20"], "ulimit -n; ulimit -Hn")
            .stdout,
        "10\n20\n"
    );
    assert_eq!(
        env.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj")
            .stdout,
        "500\n"
    );
    assert_eq!(
        env.sh(&["--shm-size", "1m"], "df -k /dev/shm | tail -1")
            .stdout
            .split_whitespace()
            .nth(1),
        Some("1024")
    );
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let held = own
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .map(|set| u64::from_str_radix(set.trim(), 16).unwrap())
        .unwrap();
    if held & (1 << 24) == 0 {
        // Without CAP_SYS_RESOURCE a limit is cut down, and that is said.
        let done = env.sh(&["--ulimit", "nofile=100:9999999"], "true");
        assert!(
            done.code == 0 && done.stderr.contains("cut down"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_parent_cgroup_of_the_users_choice() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "inside", "host", "sleep", "1000"]);
    assert!(!env.cgroups().is_empty(), "below the parent that the test chose");
    env.ok(&["rm", "-f", "inside"]);
    assert!(env.cgroups().is_empty());
}
