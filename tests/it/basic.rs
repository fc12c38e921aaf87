//! The life of a container, from both sides.

use crate::support::{TestEnv, eventually};

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
