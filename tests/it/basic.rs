//! The life of a container, from both sides.

use crate::support::{Done, TestEnv, after, eventually, make_rootfs};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::process::Command;

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

/// An archive of these parts of a small root file system.
fn pack_root(env: &TestEnv, parts: &[&str]) -> String {
    let (root, archive) = (env.path("root"), env.path("root.tar"));
    make_rootfs(&root);
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(&root).arg("-cf").arg(&archive).args(parts);
    assert!(tar.status().unwrap().success());
    archive.to_str().unwrap().to_owned()
}

/// The same command under a mask of 077.
fn with_a_closed_mask(command: &Command) -> Done {
    Done::of(after("umask 077", command))
}

#[test]
fn the_mask_of_the_caller_closes_nothing() {
    let env = TestEnv::new();
    let archive = pack_root(&env, &["bin", "etc/passwd"]);
    let import = with_a_closed_mask(&env.command(&["import", &archive, "masked"]));
    assert_eq!(import.code, 0, "{}", import.stderr);
    for image in ["host", "masked"] {
        let words = [
            "run",
            "--rm",
            "-u",
            "1000",
            image,
            "sh",
            "-c",
            "umask; cd / && ls >/dev/null && cat /etc/hosts /etc/resolv.conf /etc/hostname >/dev/null && echo fine",
        ];
        let done = with_a_closed_mask(&env.command(&words));
        assert_eq!(
            (done.stdout.as_str(), done.code),
            ("0022\nfine\n", 0),
            "{image}: {}",
            done.stderr
        );
    }
    let saved = env.path("saved.tar");
    env.ok(&["save", "-o", saved.to_str().unwrap(), "masked"]);
    assert_eq!(fs::metadata(&saved).unwrap().permissions().mode() & 0o777, 0o600);
}

/// What is not to outlive its end needs no writing out there, and can be started anew all the
/// same.
#[test]
fn a_container_that_goes_at_its_end_can_be_restarted() {
    let env = TestEnv::new();
    let script = "echo x >> /count; cat /count; exec sleep 1000";
    env.ok(&["run", "-d", "--rm", "--name", "again", "host", "sh", "-c", script]);
    eventually("it runs", || env.ok(&["logs", "again"]) == "x\n");
    let overlay = env.ok(&["exec", "again", "grep", " / / ", "/proc/self/mountinfo"]);
    assert!(overlay.contains("volatile"), "{overlay}");
    for count in 2..4 {
        env.ok(&["restart", "-t", "0", "again"]);
        let lines = "x\n".repeat(count);
        eventually("it runs again", || env.ok(&["logs", "again"]).ends_with(&lines));
    }
    env.ok(&["rm", "-f", "again"]);
}

/// Where an image lacks the places of what is mounted into each container, nothing of it shows
/// as changed.
#[test]
fn places_for_mounts_are_no_change() {
    let env = TestEnv::new();
    let archive = pack_root(&env, &["bin"]);
    env.ok(&["import", &archive, "bare"]);
    let made = env.ok(&[
        "run",
        "--name",
        "bare",
        "bare",
        "sh",
        "-c",
        "ls /; cat /etc/hosts >/dev/null",
    ]);
    assert_eq!(made, "bin\ndev\netc\nproc\nsys\n");
    assert_eq!(env.ok(&["diff", "bare"]), "");
    env.ok(&["rm", "bare"]);
}

/// Some callers ignore SIGCHLD, and have the kernel forget how their children end.
#[test]
fn a_caller_may_ignore_its_children() {
    let env = TestEnv::new();
    // A shell's trap does not ignore it.
    let ignoring = "exec env --ignore-signal=CHLD \"$@\"";
    let run = |words: &[&str]| Done::of(after(ignoring, &env.command(words)));
    assert_eq!(run(&["run", "--rm", "host", "sh", "-c", "exit 7"]).code, 7);
    assert_eq!(run(&["run", "-d", "host", "no-such-program"]).code, 127);
    assert_eq!(
        run(&["run", "-d", "--name", "one", "host", "sh", "-c", "exit 8"]).code,
        0
    );
    assert_eq!(env.ok(&["wait", "one"]).trim(), "8");
    env.ok(&["run", "-d", "--name", "two", "host", "sleep", "1000"]);
    assert_eq!(run(&["exec", "two", "sh", "-c", "exit 5"]).code, 5);
    for id in env.ok(&["ps", "-aq"]).lines() {
        env.ok(&["rm", "-f", id]);
    }
}

/// On ext4, where its neighbours would slow it down.
#[test]
fn each_container_lies_apart_from_the_others() {
    use rustix::fs::{IFlags, Mode, OFlags, fstatfs, ioctl_getflags, open};
    const EXT4: i64 = 0xef53;
    let env = TestEnv::new();
    env.ok(&["run", "--rm", "host", "true"]);
    let path = env.path("data/apart");
    let directory = open(&path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    if fstatfs(&directory).unwrap().f_type != EXT4 {
        return;
    }
    assert!(ioctl_getflags(&directory).unwrap().contains(IFlags::TOPDIR));
    // One that a killed command has left is what the next one takes.
    for digit in "0123456789abcdef".chars() {
        let left = path.join(digit.to_string()).join("new");
        fs::DirBuilder::new().mode(0o700).create(left).unwrap();
    }
    let id = env.ok(&["create", "host", "true"]);
    assert!(!path.join(&id[..1]).join("new").exists());
    let made = env.path("data/containers").join(id.trim());
    assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
    // Without the places it is made where it belongs.
    fs::remove_dir_all(&path).unwrap();
    env.ok(&["run", "--rm", "host", "true"]);
    env.ok(&["rm", id.trim()]);
}
