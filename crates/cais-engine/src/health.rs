//! The health of a container: what its probes found, in a file below the run directory
//! while it runs. The monitor probes (`keeper`); everybody else reads.

mod keeper;
mod probe;

pub(crate) use keeper::Keeper;

use crate::error::Result;
use crate::id::ContainerId;
use crate::store::{Store, read_json, write_json};
use serde::{Deserialize, Serialize};

/// How many results are kept, as Docker does.
const MOST_RESULTS: usize = 5;

/// What the probes say of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing yet.
    #[default]
    Starting,
    /// The last probe went well.
    Healthy,
    /// So many in a row did not.
    Unhealthy,
}

impl Verdict {
    /// Docker's word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One probe. The keys are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProbeResult {
    /// When it began (RFC 3339).
    pub start: String,
    /// When it ended.
    pub end: String,
    /// 0 for success; -1 where it took too long or could not be made.
    pub exit_code: i32,
    /// The beginning of what it said.
    pub output: String,
}

/// The health of a container. The keys are Docker's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// The verdict.
    pub status: Verdict,
    /// How many probes in a row failed.
    pub failing_streak: u32,
    /// The last results, the oldest first.
    pub log: Vec<ProbeResult>,
}

impl Health {
    /// Whether it is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.status == Verdict::Healthy
    }

    /// Takes a result in. Within the start period failures of one that was never well do not
    /// count. Tells whether the verdict changed.
    fn take(&mut self, result: ProbeResult, retries: u32, in_start_period: bool) -> bool {
        let before = self.status;
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = Verdict::Healthy;
        } else if !(in_start_period && before == Verdict::Starting) {
            self.failing_streak += 1;
            if self.failing_streak >= retries {
                self.status = Verdict::Unhealthy;
            }
        }
        self.log.push(result);
        let surplus = self.log.len().saturating_sub(MOST_RESULTS);
        self.log.drain(..surplus);
        self.status != before
    }
}

/// Reads what is known; `None` where there is no probe or the container does not run.
#[must_use]
pub fn read(store: &Store, id: &ContainerId) -> Option<Health> {
    read_json(&store.healths().join(id.as_str())).ok().flatten()
}

/// Docker's word for the health of a container; `None` where it has no probe or does not
/// run.
#[must_use]
pub fn word(store: &Store, container: &crate::state::Container) -> Option<&'static str> {
    let has_probe = container.record.options.health.active().is_some();
    let health = (has_probe && container.is_running()).then(|| read(store, &container.record.id));
    health.flatten().map(|health| health.status.name())
}

/// Writes it.
///
/// # Errors
/// Where it cannot be written.
fn write(store: &Store, id: &ContainerId, health: &Health) -> Result<()> {
    write_json(&store.healths().join(id.as_str()), health)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(exit_code: i32) -> ProbeResult {
        ProbeResult {
            start: String::new(),
            end: String::new(),
            exit_code,
            output: String::new(),
        }
    }

    #[test]
    fn verdicts_as_docker_gives_them() {
        let mut health = Health::default();
        assert!(!health.take(result(1), 2, true));
        assert_eq!((health.status, health.failing_streak), (Verdict::Starting, 0));
        assert!(health.take(result(0), 2, true));
        assert_eq!(health.status, Verdict::Healthy);
        assert!(!health.take(result(1), 2, true));
        assert!(health.take(result(1), 2, true));
        assert_eq!((health.status, health.failing_streak), (Verdict::Unhealthy, 2));
        assert!(!health.take(result(1), 2, false));
        assert!(health.take(result(0), 2, false));
        for _ in 0..10 {
            health.take(result(0), 2, false);
        }
        assert_eq!(health.log.len(), MOST_RESULTS);
    }
}
