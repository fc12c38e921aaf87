//! Runs the tests, and does not wait for ever: of tests that say nothing for a long time it
//! tells what their processes are doing, and ends them. Whoever reads what CI printed is to
//! learn what hung, and where.

#[path = "../../tests/it/hanging.rs"]
mod hanging;

use crate::{Outcome, workspace};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// No test takes as long, on no machine.
const SILENCE: Duration = Duration::from_secs(600);

/// Builds and runs tests in the workspace, with these arguments of `cargo test`, showing what
/// they print.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
    // As long as it takes, and the compiler is heard by nobody here.
    let own = arguments.iter().take_while(|word| **word != "--").copied();
    let build: Vec<&str> = own.chain(["--no-run"]).collect();
    workspace::run("cargo", &build, &[])?;
    println!("+ cargo {}", arguments.join(" "));
    let mut cargo = Command::new("cargo");
    cargo
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(workspace::root());
    watch(cargo, SILENCE, std::io::stdout())
}

fn watch(mut command: Command, silence: Duration, out: impl Write + Send + 'static) -> Outcome {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {command:?}: {error}"))?;
    let printed = forward(&mut child, out);
    let mut slow = Slow::default();
    loop {
        match printed.recv_timeout(silence) {
            Ok(bytes) => slow.hear(&bytes),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let said = format!(
                    "nothing was printed for {} s; not ended: {}",
                    silence.as_secs(),
                    slow.names.join(", ")
                );
                end_what_hangs(child.id(), &said);
                drop(child.wait());
                return Err(said);
            }
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed: {status}"))
}

/// Shows what the command prints as it comes, and hands it on.
fn forward(child: &mut Child, mut out: impl Write + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    let source = child.stdout.take();
    std::thread::spawn(move || {
        let Some(mut source) = source else { return };
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = source.read(&mut buffer) {
            let bytes = buffer.get(..length).unwrap_or_default();
            out.write_all(bytes)
                .and_then(|()| out.flush())
                .unwrap_or_default();
            if sender.send(bytes.to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The tests of which libtest said that they take long, and not yet how they ended.
#[derive(Debug, Default)]
struct Slow {
    names: Vec<String>,
    /// Of the line that is not whole yet.
    begun: Vec<u8>,
}

impl Slow {
    fn hear(&mut self, bytes: &[u8]) {
        self.begun.extend(bytes);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            let Some((name, said)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(' ')) else {
                continue;
            };
            if said.starts_with("has been running") {
                self.names.push(name.to_owned());
            } else {
                self.names.retain(|slow| slow != name);
            }
        }
    }
}

/// Tells what this process does, and all that belong to it, and kills them.
fn end_what_hangs(top: u32, said: &str) {
    let (words, _) = hanging::name(top);
    println!("{words}: {said}");
    let is_below = |store: &str, below: &[u32]| {
        let runner = store.split('-').next().and_then(|id| id.parse().ok());
        runner.is_some_and(|runner: u32| below.contains(&runner))
    };
    println!("{}", hanging::end(top, is_below));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slow_is_known_until_it_ends() {
        let mut slow = Slow::default();
        slow.hear(b"test a::b has been running for over 60 seconds\ntest c ha");
        slow.hear(b"s been running for over 60 seconds\ntest d ... ok\n");
        assert_eq!(slow.names, ["a::b", "c"]);
        slow.hear(b"test a::b ... ok\n");
        assert_eq!(slow.names, ["c"]);
    }

    #[test]
    fn what_hangs_is_ended_and_named() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "echo test x has been running for over 60 seconds; sleep 1000 & wait",
        ]);
        let error = watch(command, Duration::from_millis(300), std::io::sink()).unwrap_err();
        assert_eq!(error, "nothing was printed for 0 s; not ended: x");
    }

    #[test]
    fn an_end_is_told_as_it_is() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            watch(command, SILENCE, std::io::sink())
        };
        run("echo").unwrap();
        run("exit 3").unwrap_err();
    }
}
