//! Many commands at once on the same containers and on different ones: each succeeds, or fails
//! with a message that fits; names stay unique, and nothing is left half done.
//!
//! `CAIS_TEST_MINUTES` sets how long it goes on; without it a few rounds are run.

use crate::support::{Done, TestEnv};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const NAMES: [&str; 6] = ["ant", "bee", "cat", "dog", "eel", "fox"];
const COMMANDS: usize = 64;

/// Messages that a command may end with because another one was faster.
const FITTING: [&str; 16] = [
    "no such container",
    "No such container",
    "is not running",
    "is running",
    "in use",
    "already paused",
    "is not paused",
    "is paused",
    "being started by another",
    "same name",
    "has just ended",
    "cannot attach to",
    "monitor was killed",
    "is removed as often",
    "removal",
    "sent signal 9",
];

/// A small generator of numbers (xorshift): the same seed gives the same run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }
}

fn words(numbers: &mut Numbers) -> Vec<&'static str> {
    let name = NAMES[numbers.below(NAMES.len())];
    let other = NAMES[numbers.below(NAMES.len())];
    match numbers.below(16) {
        0..=3 => vec!["run", "-d", "--name", name, "host", "sleep", "1000"],
        4 => vec!["create", "--name", name, "host", "sleep", "1000"],
        5 => vec!["start", name],
        6 => vec!["stop", name],
        7 => vec!["kill", name],
        8 => vec!["rm", "-f", name],
        9 => vec!["rm", name],
        10 => vec!["rename", name, other],
        11 => vec!["exec", name, "true"],
        12 => vec!["logs", name],
        13 => vec!["pause", name],
        14 => vec!["unpause", name],
        _ => vec!["ps", "-a"],
    }
}

/// What is wrong with the end of a command.
fn fault(done: &Done, words: &[&str]) -> Option<String> {
    // What the container's program did is no failure of the command.
    let killed = words[0] == "exec" && matches!(done.code, 137 | 125 | 1);
    let fits = done.code == 0 || killed || FITTING.iter().any(|text| done.stderr.contains(text));
    let told = || format!("cais {words:?} ended with {}: {}", done.code, done.stderr);
    (!fits || done.stderr.contains("damaged")).then(told)
}

fn round(env: &TestEnv, seed: u64) {
    // Nothing panics before the last has ended: an `exec` in a container that stands still ends
    // only when that goes on.
    let faults: Vec<String> = std::thread::scope(|scope| {
        let (mut brief, mut lasting) = (Vec::new(), Vec::new());
        for number in 0..COMMANDS {
            let mut numbers = Numbers(seed * 1000 + u64::try_from(number).unwrap() + 1);
            for _ in 0..10 {
                numbers.below(2);
            }
            let words = words(&mut numbers);
            let is_exec = words[0] == "exec";
            let running = scope.spawn(move || fault(&env.cais(&words), &words));
            if is_exec {
                lasting.push(running);
            } else {
                brief.push(running);
            }
        }
        let brief: Vec<_> = brief.into_iter().map(|running| running.join().unwrap()).collect();
        for name in NAMES {
            env.cais(&["unpause", name]);
        }
        let lasting = lasting.into_iter().map(|running| running.join().unwrap());
        brief.into_iter().chain(lasting).flatten().collect()
    });
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    let listed = env.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut names = BTreeSet::new();
    for line in listed.lines() {
        let (name, state) = line.split_once(' ').unwrap();
        assert!(
            names.insert(name),
            "seed {seed}: two containers of one name: {listed}"
        );
        let known = ["created", "running", "paused", "exited"];
        assert!(known.contains(&state), "seed {seed}: {line}");
        // What is listed can be looked at, and what is not can be made.
        env.ok(&["inspect", name]);
    }
    for name in NAMES {
        if !names.contains(name) {
            env.ok(&["create", "--name", name, "host", "true"]);
            env.ok(&["rm", name]);
        }
    }
}

#[test]
fn many_commands_at_once_agree() {
    let env = TestEnv::new();
    let minutes = std::env::var("CAIS_TEST_MINUTES")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let begun = Instant::now();
    let mut seed = 1;
    loop {
        round(&env, seed);
        seed += 1;
        let over = match minutes {
            None => seed > 4,
            Some(minutes) => begun.elapsed() > Duration::from_secs(60 * minutes),
        };
        if over {
            return;
        }
    }
}
