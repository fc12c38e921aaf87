//! Walls, and the attacks that broke those of others.

use crate::support::{TestEnv, make_rootfs};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn capabilities() {
    let env = TestEnv::new();
    let sets = |flags: &[&str]| env.sh(flags, "grep Cap /proc/self/status").stdout;
    let usual = sets(&[]);
    assert!(
        usual.contains("CapBnd:\t00000000a80425fb") && usual.contains("CapEff:\t00000000a80425fb"),
        "{usual}"
    );
    assert!(
        usual.contains("CapInh:\t0000000000000000") && usual.contains("CapAmb:\t0000000000000000"),
        "{usual}"
    );
    assert!(sets(&["--cap-drop", "ALL"]).contains("CapEff:\t0000000000000000"));
    assert!(sets(&["--cap-drop", "all", "--cap-add", "net_admin"]).contains("CapBnd:\t0000000000001000"));
    let user = sets(&["-u", "nobody"]);
    assert!(
        user.contains("CapEff:\t0000000000000000") && user.contains("CapPrm:\t0000000000000000"),
        "{user}"
    );
    env.ok(&["run", "-d", "--name", "box", "host", "sleep", "1000"]);
    let exec = env.ok(&["exec", "box", "grep", "Cap", "/proc/self/status"]);
    assert!(
        exec.contains("CapInh:\t0000000000000000") && exec.contains("CapBnd:\t00000000a80425fb"),
        "{exec}"
    );
}

#[test]
fn no_descriptor_of_the_host_is_open() {
    let env = TestEnv::new();
    // 3 is ls's own.
    assert_eq!(env.sh(&[], "ls /proc/self/fd").stdout, "0\n1\n2\n3\n");
    env.ok(&["run", "-d", "--name", "box", "host", "sleep", "1000"]);
    assert_eq!(env.ok(&["exec", "box", "ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
}

#[test]
fn cve_2024_21626_working_directories_through_descriptors() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "box", "host", "sleep", "1000"]);
    for number in 3..24 {
        let path = format!("/proc/self/fd/{number}");
        for words in [
            &["run", "--rm", "-w", &path, "host", "pwd"][..],
            &["exec", "-w", &path, "box", "pwd"],
        ] {
            let done = env.cais(words);
            assert_ne!(done.code, 0, "{words:?}: {}", done.stdout);
        }
    }
}

#[test]
fn links_in_the_root_lead_nowhere() {
    let env = TestEnv::new();
    let root = env.path("root");
    make_rootfs(&root);
    let dir = root.display().to_string();
    let secret = env.path("secret");
    fs::create_dir(&secret).unwrap();
    for name in ["proc", "sys", "dev"] {
        fs::remove_dir(root.join(name)).unwrap();
        symlink(&secret, root.join(name)).unwrap();
        let done = env.cais(&["run", "--rm", "--rootfs", &dir, "true"]);
        assert_eq!(done.code, 125, "{name} as a link: {}", done.stderr);
        fs::remove_file(root.join(name)).unwrap();
        fs::create_dir(root.join(name)).unwrap();
    }
    // A place for a mount that leads out of the root is one inside it.
    let data = env.path("data-to-share");
    fs::create_dir(&data).unwrap();
    symlink(&secret, root.join("data")).unwrap();
    let volume = format!("{}:/data/below", data.display());
    let done = env.cais(&["run", "--rm", "-v", &volume, "--rootfs", &dir, "true"]);
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 0, "{}", done.stderr);
    // The image's null device is not believed (CVE-2025-31133).
    symlink("/proc/sys/kernel/core_pattern", root.join("dev/null")).unwrap();
    let done = env.cais(&[
        "run",
        "--rm",
        "--rootfs",
        &dir,
        "sh",
        "-c",
        "stat -c %t:%T /dev/null",
    ]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "1:3\n"), "{}", done.stderr);
}

#[test]
fn users_are_read_strictly() {
    let env = TestEnv::new();
    for bad in [
        "4294967296",
        "-1",
        "+1",
        "65536:4294967296",
        "nosuchuser",
        "0:nosuchgroup",
        "1:2:3",
    ] {
        let done = env.cais(&["run", "--rm", "-u", bad, "host", "id"]);
        assert_eq!(done.code, 125, "-u {bad}: {}", done.stdout);
    }
    assert!(
        env.cais(&["run", "--rm", "-u", "1", "host", "id", "-u"])
            .stdout
            .starts_with("1\n")
    );
}

/// CVE-2022-36109, CVE-2022-2990, CVE-2023-25173.
#[test]
fn the_own_group_is_among_the_others() {
    let env = TestEnv::new();
    let script = "grep ^Groups: /proc/self/status | tr '\\t' ' '";
    for (flags, groups) in [
        (&["-u", "1000:5"][..], "5"),
        (&["-u", "4242"], "0"),
        (&[], "0"),
        (&["-u", "1000:5", "--group-add", "7"], "5 7"),
        (&["-u", "1000:5", "--group-add", "5"], "5"),
    ] {
        let done = env.sh(flags, script);
        let shown: Vec<&str> = done.stdout.split_whitespace().skip(1).collect();
        let mut wanted: Vec<&str> = groups.split(' ').collect();
        if flags.is_empty() {
            // Of root the account files may say more.
            wanted.retain(|group| shown.contains(group));
            assert_eq!(wanted, ["0"], "{shown:?}");
            continue;
        }
        assert_eq!(shown, wanted, "{flags:?}: {}", done.stderr);
    }
    env.ok(&["run", "-d", "--name", "web", "host", "sleep", "1000"]);
    let shown = env.ok(&["exec", "-u", "1000:7", "web", "sh", "-c", script]);
    assert_eq!(shown.trim(), "Groups: 7");
    env.ok(&["rm", "-f", "web"]);
}

#[test]
fn paths_are_hidden_or_read_only() {
    let env = TestEnv::new();
    assert_eq!(
        env.sh(&[], "cat /proc/kcore /proc/keys /proc/timer_list | wc -c")
            .stdout,
        "0\n"
    );
    assert_ne!(env.sh(&[], "echo 1 > /proc/sys/kernel/panic").code, 0);
    assert_ne!(env.sh(&["--userns=host"], "echo b > /proc/sysrq-trigger").code, 0);
    assert_ne!(
        env.sh(&[], "mkdir /sys/fs/cgroup/pids/x || mkdir /sys/fs/cgroup/x")
            .code,
        0
    );
    let store = env.path("data").display().to_string();
    assert_eq!(env.sh(&[], &format!("ls {store} | wc -l")).stdout, "0\n");
}

#[test]
fn the_system_call_filter() {
    let env = TestEnv::new();
    // mount(2) is refused by the filter: for root in a user namespace the kernel would allow it.
    assert_ne!(env.sh(&[], "mount -t tmpfs x /mnt").code, 0);
    assert_eq!(
        env.sh(
            &["--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN"],
            "mount -t tmpfs x /mnt"
        )
        .code,
        0
    );
    assert_eq!(
        env.sh(&[], "grep -c 'Seccomp:.2' /proc/self/status").stdout,
        "1\n"
    );
    let profile = env.path("profile.json");
    fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#).unwrap();
    let flag = format!("seccomp={}", profile.display());
    // Twice: compiled, then from the cache.
    for _ in 0..2 {
        let done = env.sh(
            &["--security-opt", &flag],
            "mkdir /tmp/x; touch /tmp/y && echo made",
        );
        assert!(
            done.stdout == "made\n" && done.stderr.contains("not permitted"),
            "{done:?}"
        );
    }
    fs::write(&profile, "{ this is no profile").unwrap();
    let done = env.sh(&["--security-opt", &flag], "true");
    assert!(
        done.code == 125 && done.stderr.lines().count() == 1,
        "{}",
        done.stderr
    );
}

#[test]
fn no_new_privileges_and_read_only() {
    let env = TestEnv::new();
    assert_eq!(
        env.sh(
            &["--security-opt", "no-new-privileges"],
            "grep NoNewPrivs /proc/self/status"
        )
        .stdout,
        "NoNewPrivs:\t1\n"
    );
    let done = env.sh(&["--read-only"], "touch /x; touch /tmp/y && echo ok");
    assert_eq!(
        (done.stdout.as_str(), done.stderr.contains("Read-only")),
        ("ok\n", true)
    );
}

#[test]
fn landlock_rules() {
    let env = TestEnv::new();
    let rules = [
        "--security-opt",
        "landlock=rx:/usr",
        "--security-opt",
        "landlock=ro:/lib",
        "--security-opt",
        "landlock=rw:/tmp",
        "--security-opt",
        "landlock=rx:/bin",
    ];
    let done = env.sh(&rules, "cat /etc/passwd; echo x > /tmp/f && cat /tmp/f");
    if done.stderr.contains("ABI") {
        // This kernel is too old, and says so.
        assert_eq!(done.code, 125);
        return;
    }
    assert!(done.stdout == "x\n" && done.stderr.contains("denied"), "{done:?}");
}

#[test]
fn the_init_is_sealed_and_the_executable_stays() {
    let env = TestEnv::new();
    let before = fs::read(crate::support::executable()).unwrap();
    let attack = "cat /proc/1/comm; for p in /proc/[0-9]*/exe; do : 2>/dev/null > $p; done; true";
    let done = env.sh(&["--init", "--userns=host"], attack);
    assert!(done.stdout.contains("cais-init"), "{}", done.stdout);
    assert!(
        before == fs::read(crate::support::executable()).unwrap(),
        "the executable was changed"
    );
}

#[test]
fn privileged_is_what_it_says() {
    let env = TestEnv::new();
    let done = env.sh(
        &["--privileged"],
        "mount -t tmpfs x /mnt && echo mounted; readlink /proc/self/ns/user",
    );
    let user = fs::read_link("/proc/self/ns/user").unwrap();
    assert_eq!(
        done.stdout,
        format!("mounted\n{}\n", user.display()),
        "{}",
        done.stderr
    );
}
