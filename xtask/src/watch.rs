//! Runs the tests, and does not wait for ever: of tests that say nothing for a long time it
//! tells what their processes are doing, and ends them. Whoever reads what CI printed is to
//! learn what hung, and where.

use crate::{Outcome, workspace};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// No test takes as long, on no machine.
const SILENCE: Duration = Duration::from_secs(600);
/// How the environment tells of which run of the tests a process is: then comes the id of the
/// process that runs them (tests/it/support.rs).
const STORE: &str = "CAIS_DATA=/var/tmp/cais-test-";

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

/// Tells what this process does, all below it, and those of its tests wherever they are, and
/// kills them.
fn end_what_hangs(top: u32, said: &str) {
    println!("{said}");
    let all = read_processes();
    let below = below(top, &all);
    let is_ours = |process: &&Process| {
        let runner = process.runner();
        below.contains(&process.id) || runner.is_some_and(|runner| below.contains(&runner))
    };
    let hanging: Vec<&Process> = all.iter().filter(is_ours).collect();
    for process in &hanging {
        println!("{}", process.describe());
    }
    for process in hanging {
        let id = i32::try_from(process.id).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            // It may have ended by itself meanwhile.
            kill_process(id, Signal::KILL).unwrap_or_default();
        }
    }
}

/// This process, its children, theirs, and so on.
fn below(top: u32, all: &[Process]) -> Vec<u32> {
    let mut found = vec![top];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = all.iter().filter(|process| process.parent == parent);
        found.extend(children.map(|process| process.id));
        next += 1;
    }
    found
}

#[derive(Debug)]
struct Process {
    id: u32,
    parent: u32,
}

impl Process {
    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{file}", self.id)).unwrap_or_default()
    }

    /// The process that runs the tests, of which this one was made.
    fn runner(&self) -> Option<u32> {
        let environment = self.read("environ");
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        variables.find_map(|variable| variable.strip_prefix(STORE)?.split('-').next()?.parse().ok())
    }

    /// What it is, where in the kernel each of its threads waits, and what it has open.
    fn describe(&self) -> String {
        let words = String::from_utf8_lossy(&self.read("cmdline")).replace('\0', " ");
        let mut text = format!("process {} of {}: {words}\n", self.id, self.parent);
        for thread in entries(&format!("/proc/{}/task", self.id)) {
            let read = |file: &str| {
                let bytes = self.read(&format!("task/{thread}/{file}"));
                String::from_utf8_lossy(&bytes).trim().to_owned()
            };
            let states = read("status");
            let state = states
                .lines()
                .find_map(|line| line.strip_prefix("State:"))
                .unwrap_or("");
            let stack = read("stack").replace('\n', ", ");
            text += &format!(
                "  thread {thread}:{state}; system call {}; {stack}\n",
                read("syscall")
            );
        }
        for descriptor in entries(&format!("/proc/{}/fd", self.id)) {
            let target = fs::read_link(format!("/proc/{}/fd/{descriptor}", self.id));
            text += &format!("  {descriptor} -> {}\n", target.unwrap_or_default().display());
        }
        text
    }
}

fn entries(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn read_processes() -> Vec<Process> {
    let ids = entries("/proc").into_iter().filter_map(|name| name.parse().ok());
    ids.filter_map(|id| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        let parent = parent.trim().parse().ok()?;
        Some(Process { id, parent })
    })
    .collect()
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
    fn who_is_below() {
        let process = |(id, parent)| Process { id, parent };
        let all = [(1, 0), (7, 1), (9, 7), (3, 9), (4, 1), (5, 4)].map(process);
        assert_eq!(below(7, &all), [7, 9, 3]);
        assert_eq!(below(3, &all), [3]);
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
