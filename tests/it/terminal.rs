//! A real terminal, by way of script(1), which gives one.

use crate::support::TestEnv;
use std::process::{Command, Stdio};

/// Runs a shell line under a terminal of its own; `typed` is what a user types.
fn under_terminal(env: &TestEnv, line: &str, typed: &str) -> (String, i32) {
    use std::io::Write;
    let template = env.command(&["ps"]);
    let mut command = Command::new("script");
    command
        .args(["-qec", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (key, value) in template.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    let mut child = command.env("CAIS", crate::support::executable()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        String::from_utf8_lossy(&output.stdout).replace('\r', ""),
        output.status.code().unwrap_or(-1),
    )
}

#[test]
fn the_program_has_a_terminal_and_its_exit_code_comes_back() {
    let env = TestEnv::new();
    let line = "stty rows 33 cols 99; $CAIS run --rm -t host sh -c 'test -t 0 && tty; stty size; test -c /dev/console; exit 5'";
    let (output, code) = under_terminal(&env, line, "");
    assert_eq!((output.as_str(), code), ("/dev/pts/0\n33 99\n", 5));
}

#[test]
fn the_terminal_is_restored() {
    let env = TestEnv::new();
    let line = "before=$(stty -g); $CAIS run --rm -it host sh -c 'echo inside'; test \"$before\" = \"$(stty -g)\" && echo same";
    let (output, _) = under_terminal(&env, line, "");
    assert!(output.contains("inside") && output.contains("same"), "{output}");
    // Killed, it cannot restore by itself: its monitor does.
    let line = "before=$(stty -g); $CAIS run -it --name killed host sleep 1000 & sleep 1; kill -9 $!; wait; sleep 1; test \"$before\" = \"$(stty -g)\" && echo same";
    let (output, _) = under_terminal(&env, line, "");
    assert!(output.contains("same"), "{output}");
}

#[test]
fn the_detach_keys_leave_it_running() {
    let env = TestEnv::new();
    let (_, code) = under_terminal(
        &env,
        "$CAIS run -it --name stays host sh -c 'read line; sleep 1000'",
        "hello\n\u{10}\u{11}",
    );
    assert_eq!(code, 0);
    assert!(env.ok(&["ps"]).contains("stays"));
    let (output, code) = under_terminal(&env, "$CAIS exec -t stays sh -c 'tty; exit 3'", "");
    assert_eq!((output.as_str(), code), ("/dev/pts/1\n", 3));
}
