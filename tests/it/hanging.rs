//! What processes are doing that do not come to their end. Whoever reads what CI printed is to
//! learn what hung, and where. `cargo xtask test` uses this file too.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// How the environment tells of which test a process is: then come the id of the process that
/// runs the tests, and a number.
const STORE: &str = "CAIS_DATA=/var/tmp/cais-test-";

#[derive(Debug)]
struct Process {
    id: u32,
    parent: u32,
}

/// Kills `top` with its [`family`], and tells what they were doing.
pub(crate) fn end(top: u32, is_ours: impl Fn(&str, &[u32]) -> bool) -> String {
    let all = read_processes();
    let hanging = family(top, &all, is_ours);
    let doing = hanging.iter().map(|process| process.describe()).collect();
    for process in hanging {
        if let Some(id) = i32::try_from(process.id).ok().and_then(Pid::from_raw) {
            // It may have ended by itself meanwhile.
            kill_process(id, Signal::KILL).unwrap_or_default();
        }
    }
    doing
}

/// All that are there.
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

/// Of all these `top`, its children, theirs, and so on; and with them those whose monitors have
/// left it, known by the store of the run of tests, or of the test, that `is_ours` knows.
fn family(top: u32, all: &[Process], is_ours: impl Fn(&str, &[u32]) -> bool) -> Vec<&Process> {
    let below = below(&[top], all);
    let is_root = |process: &&Process| {
        let store = process.store();
        below.contains(&process.id) || store.is_some_and(|store| is_ours(&store, &below))
    };
    let roots: Vec<u32> = all.iter().filter(is_root).map(|process| process.id).collect();
    let ids = self::below(&roots, all);
    all.iter().filter(|process| ids.contains(&process.id)).collect()
}

fn below(tops: &[u32], all: &[Process]) -> Vec<u32> {
    let mut found = tops.to_vec();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = all.iter().filter(|process| process.parent == parent);
        let new: Vec<u32> = children
            .map(|process| process.id)
            .filter(|id| !found.contains(id))
            .collect();
        found.extend(new);
        next += 1;
    }
    found
}

/// What a process was executed with, and what [`family`] knows its test by.
pub(crate) fn name(id: u32) -> (String, Option<String>) {
    let process = Process { id, parent: 0 };
    (process.words(), process.store())
}

impl Process {
    fn words(&self) -> String {
        let words = String::from_utf8_lossy(&self.read("cmdline")).replace('\0', " ");
        words.trim_end().to_owned()
    }

    fn read(&self, file: &str) -> Vec<u8> {
        fs::read(format!("/proc/{}/{file}", self.id)).unwrap_or_default()
    }

    /// Of its test's store, what makes it another one than those of other tests.
    fn store(&self) -> Option<String> {
        let environment = self.read("environ");
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let path = variables.find_map(|variable| variable.strip_prefix(STORE).map(str::to_owned))?;
        path.split('/').next().map(str::to_owned)
    }

    /// What it is, where in the kernel each of its threads waits, and what it has open.
    fn describe(&self) -> String {
        let mut text = format!("process {} of {}: {}\n", self.id, self.parent, self.words());
        for thread in entries(&format!("/proc/{}/task", self.id)) {
            let read = |file: &str| {
                let bytes = self.read(&format!("task/{thread}/{file}"));
                String::from_utf8_lossy(&bytes).trim().to_owned()
            };
            let states = read("status");
            let state = states.lines().find_map(|line| line.strip_prefix("State:"));
            let state = state.unwrap_or("").trim();
            let (call, stack) = (read("syscall"), read("stack").replace('\n', ", "));
            text += &format!("  thread {thread}: {state}; system call {call}; {stack}\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_belongs_to_whom() {
        let process = |(id, parent)| Process { id, parent };
        let all = [(1, 0), (7, 1), (9, 7), (3, 9), (4, 1), (5, 4)].map(process);
        assert_eq!(below(&[7], &all), [7, 9, 3]);
        assert_eq!(below(&[3, 4], &all), [3, 4, 5]);
        assert_eq!(below(&[7, 9], &all), [7, 9, 3]);
    }
}
