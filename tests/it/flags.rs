//! Flags that concern the program and its files.

use crate::support::{TestEnv, eventually, make_rootfs};
use std::fs;
use std::io::Write;
use std::process::Stdio;

#[test]
fn environment_user_and_directory() {
    let env = TestEnv::new();
    let file = env.path("env");
    fs::write(&file, "# a note\nFROM_FILE=1\nBOTH=file\n").unwrap();
    let flags = [
        "-e",
        "A=b c",
        "-e",
        "BOTH=flag",
        "--env-file",
        file.to_str().unwrap(),
        "-w",
        "/usr/lib",
    ];
    assert_eq!(
        env.sh(&flags, "echo $A $FROM_FILE $BOTH $HOME; pwd").stdout,
        "b c 1 flag /root\n/usr/lib\n"
    );
    assert_eq!(env.sh(&["-w", "/made/here"], "pwd").stdout, "/made/here\n");
    assert_eq!(
        env.sh(&["-u", "nobody"], "id -un; id -gn").stdout,
        "nobody\nnogroup\n"
    );
    assert_eq!(
        env.sh(&["-u", "1234:5678", "--group-add", "77"], "id -u; id -g; id -G")
            .stdout,
        "1234\n5678\n5678 77\n"
    );
}

#[test]
fn standard_input_with_and_without() {
    let env = TestEnv::new();
    let mut command = env.command(&["run", "--rm", "-i", "host", "cat"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Written beside reading: a pipe holds less than this.
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 300_000]).unwrap());
    assert_eq!(child.wait_with_output().unwrap().stdout.len(), 300_000);
    writer.join().unwrap();
    assert_eq!(env.sh(&[], "cat | wc -c").stdout, "0\n");
}

#[test]
fn mounts() {
    let env = TestEnv::new();
    let data = env.path("data-dir");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    let path = data.display().to_string();
    assert_eq!(
        env.sh(&["-v", &format!("{path}:/mnt:ro")], "cat /mnt/file; touch /mnt/x")
            .stdout,
        "content"
    );
    assert!(!data.join("x").exists());
    env.sh(
        &["--mount", &format!("type=bind,source={path},target=/new/place")],
        "echo y > /new/place/y",
    );
    assert_eq!(fs::read_to_string(data.join("y")).unwrap(), "y\n");
    let one = format!("{path}/file:/etc/one-file:ro");
    assert_eq!(env.sh(&["-v", &one], "cat /etc/one-file").stdout, "content");
    let made = env.path("made-by-v");
    env.sh(&["-v", &format!("{}:/mnt", made.display())], "touch /mnt/z");
    assert!(made.join("z").exists());
    let tmpfs = env
        .sh(
            &["--tmpfs", "/mnt:size=64k,mode=1770"],
            "stat -c %a /mnt; df -k /mnt | tail -1",
        )
        .stdout;
    assert!(tmpfs.starts_with("1770\n") && tmpfs.contains(" 64 "), "{tmpfs}");
}

#[test]
fn a_directory_as_root() {
    let env = TestEnv::new();
    let root = env.path("root");
    make_rootfs(&root);
    let dir = root.display().to_string();
    assert_eq!(
        env.ok(&["run", "--rm", "-u", "ana", "--rootfs", &dir, "id"]),
        "uid=1000(ana) gid=1000(ana) groups=77(extra),1000(ana)\n"
    );
    env.ok(&["run", "--rm", "--rootfs", &dir, "touch", "/gone"]);
    assert!(!root.join("gone").exists());
    env.ok(&["run", "--rm", "--rootfs", &format!("{dir}:rw"), "touch", "/stays"]);
    assert!(root.join("stays").exists());
}

#[test]
fn explain_runs_and_makes_nothing() {
    let env = TestEnv::new();
    let text = env.ok(&["run", "--explain", "-m", "64m", "host", "touch", "/var/tmp/never"]);
    for part in [
        "PivotRoot",
        "InstallSeccomp",
        "Execute touch /var/tmp/never",
        "clone it into new namespaces",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!env.path("data").exists() && !env.path("run").exists());
    let timed = env.cais(&["run", "--rm", "--timings", "host", "true"]);
    assert!(
        timed.code == 0 && timed.stderr.contains("ms  clone"),
        "{}",
        timed.stderr
    );
}

#[test]
fn detached_logs_wait_and_cidfile() {
    let env = TestEnv::new();
    let file = env.path("cid");
    let id = env.ok(&[
        "run",
        "-d",
        "--cidfile",
        file.to_str().unwrap(),
        "--name",
        "talker",
        "-l",
        "a=b",
        "host",
        "sh",
        "-c",
        "echo one; echo two >&2; exit 4",
    ]);
    assert_eq!(fs::read_to_string(&file).unwrap(), id.trim());
    assert_eq!(env.ok(&["wait", "talker"]), "4\n");
    let logs = env.cais(&["logs", "talker"]);
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("one\n", "two\n"));
    assert_eq!(env.cais(&["logs", "-n", "1", "talker"]).stdout, "");
    assert!(env.ok(&["logs", "-t", "talker"]).starts_with("20"));
    assert_eq!(env.field("talker", "ExitCode"), "4");
    assert!(env.ok(&["inspect", "talker"]).contains("\"a\": \"b\""));
    assert!(
        env.ok(&["ps", "-a", "--format", "json"])
            .contains("\"State\":\"exited\"")
    );
}

#[test]
fn logs_follow_until_the_end() {
    let env = TestEnv::new();
    env.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "-i",
        "host",
        "sh",
        "-c",
        "echo start; sleep 1; echo end",
    ]);
    assert_eq!(env.ok(&["logs", "-f", "slow"]), "start\nend\n");
}

#[test]
fn signals_and_stopping() {
    let env = TestEnv::new();
    env.ok(&["run", "-d", "--name", "deaf", "host", "sleep", "1000"]);
    let began = std::time::Instant::now();
    env.ok(&["stop", "deaf"]);
    assert!(
        began.elapsed().as_secs() < 5,
        "a process that cannot hear is not waited for"
    );
    let trap = "trap 'echo heard; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    env.ok(&["run", "-d", "--name", "hearing", "host", "sh", "-c", trap]);
    eventually("it is ready", || env.ok(&["logs", "hearing"]).contains("ready"));
    env.ok(&["stop", "hearing"]);
    assert_eq!(env.field("hearing", "ExitCode"), "9");
    assert!(env.ok(&["logs", "hearing"]).contains("heard"));
    env.ok(&[
        "run",
        "-d",
        "--name",
        "user",
        "host",
        "sh",
        "-c",
        "trap 'exit 3' USR1; echo ready; while :; do sleep 0.1; done",
    ]);
    eventually("it is ready", || env.ok(&["logs", "user"]).contains("ready"));
    env.ok(&["kill", "-s", "USR1", "user"]);
    assert_eq!(env.ok(&["wait", "user"]), "3\n");
}
