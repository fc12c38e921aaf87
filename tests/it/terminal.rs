//! A real terminal, by way of script(1), which gives one.

use crate::support::{TestEnv, executable};
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Runs a shell line under a terminal of its own. When the output shows `prompt`, the user
/// types `typed`.
fn under_terminal(env: &TestEnv, line: &str, prompt: &str, typed: &str) -> (String, i32) {
    let template = env.command(&["ps"]);
    let mut command = Command::new("script");
    command
        .args(["-qec", line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    for (key, value) in template.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    let mut child = command.env("CAIS", executable()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut seen, mut typed) = (Vec::new(), Some(typed));
    let mut buffer = [0u8; 1024];
    while let Ok(count) = output.read(&mut buffer)
        && count > 0
    {
        seen.extend_from_slice(&buffer[..count]);
        if String::from_utf8_lossy(&seen).contains(prompt)
            && let Some(typed) = typed.take()
        {
            input.write_all(typed.as_bytes()).unwrap();
        }
    }
    let code = child.wait().unwrap().code().unwrap_or(-1);
    (String::from_utf8_lossy(&seen).replace('\r', ""), code)
}

#[test]
fn the_program_has_a_terminal_and_its_exit_code_comes_back() {
    let env = TestEnv::new();
    let inside = "test -t 0 && tty; stty size; test -c /dev/console; exit 5";
    let line = format!("stty rows 33 cols 99; $CAIS run --network none --rm -t host sh -c '{inside}'");
    let (output, code) = under_terminal(&env, &line, "never", "");
    assert_eq!((output.as_str(), code), ("/dev/pts/0\n33 99\n", 5));
}

#[test]
fn the_terminal_is_restored() {
    let env = TestEnv::new();
    let compare = "test \"$before\" = \"$(stty -g)\" && echo same";
    let line =
        format!("before=$(stty -g); $CAIS run --network none --rm -it host sh -c 'echo inside'; {compare}");
    let (output, _) = under_terminal(&env, &line, "never", "");
    assert!(output.contains("inside") && output.contains("same"), "{output}");
    // Killed, it cannot restore by itself: its monitor does, as soon as it notices.
    let wait = "for i in 1 2 3 4 5 6 7 8 9; do test \"$before\" = \"$(stty -g)\" && break; sleep 0.3; done";
    let line = format!(
        "before=$(stty -g); $CAIS run --network none -it --name killed host sh -c 'echo ready; sleep 1000' </dev/tty & \
         until $CAIS ps -q | grep -q .; do :; done; sleep 0.5; kill -9 $!; {wait}; {compare}"
    );
    let (output, _) = under_terminal(&env, &line, "never", "");
    assert!(output.contains("same"), "{output}");
}

#[test]
fn the_detach_keys_leave_it_running() {
    let env = TestEnv::new();
    let line = "$CAIS run --network none -it --name stays host sh -c 'echo ready; read line; sleep 1000'";
    let (_, code) = under_terminal(&env, line, "ready", "\u{10}\u{11}");
    assert_eq!(code, 0);
    assert!(env.ok(&["ps"]).contains("stays"));
    let (output, code) = under_terminal(&env, "$CAIS exec -t stays sh -c 'tty; exit 3'", "never", "");
    assert_eq!((output.as_str(), code), ("/dev/pts/1\n", 3));
}

#[test]
fn the_keys_that_are_configured_leave_it_too() {
    let env = TestEnv::new();
    let begin = "export CAIS_DETACH_KEYS=ctrl-x,x; $CAIS";
    let script = "sh -c 'echo ready; read line; sleep 1000'";
    let run = format!("{begin} run --network none -it --name stays host {script}");
    // Docker's own keys are input like any other then.
    let typed = "\u{10}\u{11}\u{18}x";
    assert_eq!(under_terminal(&env, &run, "ready", typed).1, 0);
    let exec = format!("{begin} exec -it stays {script}");
    assert_eq!(under_terminal(&env, &exec, "ready", typed).1, 0);
    env.ok(&["kill", "stays"]);
    env.ok(&["wait", "stays"]);
    assert_eq!(
        under_terminal(&env, &format!("{begin} start -ai stays"), "ready", typed).1,
        0
    );
    let attach = format!("({begin} logs -f stays & sleep 0.2; echo again) ; {begin} attach stays");
    assert_eq!(under_terminal(&env, &attach, "again", typed).1, 0);
    assert!(env.ok(&["ps"]).contains("stays"));
    // Those that are given count more.
    let exec = format!("{begin} exec -it --detach-keys ctrl-y stays {script}");
    assert_eq!(under_terminal(&env, &exec, "ready", "\u{18}x\u{19}").1, 0);
}
