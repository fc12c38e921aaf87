//! Named moments of the engine's work at which tests kill it.
//!
//! `CAIS_TEST_KILL=caller:N` makes the process kill itself at its N-th checkpoint,
//! `CAIS_TEST_KILL=stub:N` makes the stub kill itself before its N-th step, and
//! `CAIS_TEST_KILL=monitor:N` does it to the monitor of a detached container. So a
//! test can go through every step instead of hoping to hit one.

use std::cell::Cell;

/// Whom to kill, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process that runs the use case.
    Caller,
    /// The stub.
    Stub,
    /// The monitor.
    Monitor,
    /// The process that changes the store of images, which counts by itself.
    Store,
}

/// Counts the checkpoints of one process.
#[derive(Debug, Default)]
pub struct Checkpoints {
    /// The victim and the step, where a test asked for one.
    wanted: Option<(Victim, u32)>,
    passed: Cell<u32>,
    is_monitor: bool,
}

impl Checkpoints {
    /// Reads what a test wants from the value of `CAIS_TEST_KILL`.
    #[must_use]
    pub fn new(wanted: Option<&str>) -> Self {
        Self {
            wanted: wanted.and_then(parse_wanted),
            passed: Cell::new(0),
            is_monitor: false,
        }
    }

    /// The same, counted anew in the monitor.
    #[must_use]
    pub fn for_monitor(&self) -> Self {
        Self {
            wanted: self.wanted,
            passed: Cell::new(0),
            is_monitor: true,
        }
    }

    /// The step before which the stub is to kill itself.
    #[must_use]
    pub fn stub(&self) -> Option<u32> {
        match self.wanted {
            Some((Victim::Stub, step)) => Some(step),
            _ => None,
        }
    }

    /// The step of the store of images at which this process is to kill itself.
    #[must_use]
    pub fn store(&self) -> Option<u32> {
        match self.wanted {
            Some((Victim::Store, step)) => Some(step),
            _ => None,
        }
    }

    /// Passes a checkpoint. `name` says what comes next; it is for the reader of the code.
    pub fn pass(&self, _name: &'static str) {
        let victim = if self.is_monitor {
            Victim::Monitor
        } else {
            Victim::Caller
        };
        let Some((wanted, step)) = self.wanted else { return };
        let passed = self.passed.get();
        self.passed.set(passed + 1);
        if wanted == victim && step == passed {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap_or_default();
        }
    }
}

fn parse_wanted(text: &str) -> Option<(Victim, u32)> {
    let (victim, step) = text.split_once(':')?;
    let victim = match victim {
        "caller" => Victim::Caller,
        "stub" => Victim::Stub,
        "monitor" => Victim::Monitor,
        "store" => Victim::Store,
        _ => return None,
    };
    Some((victim, step.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_who_and_when() {
        assert_eq!(parse_wanted("stub:12"), Some((Victim::Stub, 12)));
        assert_eq!(parse_wanted("caller:0"), Some((Victim::Caller, 0)));
        for bad in ["", "stub", "nobody:1", "stub:x", "stub:-1"] {
            assert_eq!(parse_wanted(bad), None, "{bad}");
        }
    }
}
