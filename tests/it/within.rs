//! Commands that must come to their end.

use crate::hanging;
use crate::support::patience;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// None takes as long, on no machine: in seconds.
const LIMIT: u32 = 240;

/// Runs a command without input to its end, and until nobody has the other end of what it
/// prints to. One that hangs is killed, and the test fails with what its processes were doing.
pub(crate) fn output(command: &mut Command) -> Output {
    end(spawn(command))
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}: is its Debian package installed?"))
}

/// The same for one that was started before, whatever its input is.
pub(crate) fn end(child: Child) -> Output {
    end_within(child, Duration::from_secs(1) * LIMIT * patience())
}

fn end_within(child: Child, limit: Duration) -> Output {
    let id = child.id();
    // Now, while it is there.
    let (named, store) = hanging::name(id);
    let (sender, receiver) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()).unwrap_or_default());
    if let Ok(output) = receiver.recv_timeout(limit) {
        return output.unwrap();
    }
    let doing = hanging::end(id, |test, _| store.as_deref() == Some(test));
    let told = format!("{named} has not ended after {} s:\n{doing}", limit.as_secs());
    // Who cleans up after a failure goes on.
    assert!(std::thread::panicking(), "{told}");
    Output {
        status: ExitStatus::from_raw(9),
        stdout: Vec::new(),
        stderr: told.into_bytes(),
    }
}

#[test]
fn what_hangs_is_told_and_ended() {
    let told = std::panic::catch_unwind(|| {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        end_within(spawn(&mut command), Duration::from_millis(300))
    });
    let told = told.unwrap_err();
    let told = told.downcast_ref::<String>().unwrap();
    assert!(told.contains("sleep 1000\n  thread"), "{told}");
}

#[test]
fn what_ends_is_heard() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo error >&2; exit 3"]);
    let output = output(&mut command);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out\n"[..], &b"error\n"[..])
    );
}
