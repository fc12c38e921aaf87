//! The attendant that probes.

use super::probe::{Finding, Running, Target, begin};
use super::{Health, ProbeResult, Verdict, write};
use crate::engine::Engine;
use crate::error::Result;
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::options::HealthAction;
use crate::record::{Record, mark_stopped};
use crate::service::Ready;
use crate::state::RunState;
use crate::stop::{STOP_TIMEOUT, hears, seconds, stop_signal};
use crate::store::{Store, ensure_directory};
use crate::{events, time};
use rustix::event::PollFlags;
use rustix::process::Signal;
use std::time::Instant;

/// What is going on.
#[derive(Debug)]
enum Phase {
    /// The next probe begins then.
    Idle(Instant),
    /// A probe runs, since then and until then at the latest.
    Probing {
        running: Running,
        began: String,
        until: Instant,
    },
    /// The program was asked to end; then it is killed.
    Ending(Instant),
    /// There is nothing more to do.
    Over,
}

/// Probes a container's health while it runs.
#[derive(Debug)]
pub(crate) struct Keeper {
    engine: Engine,
    record: Record,
    target: Target,
    health: Health,
    /// Said when it is well for the first time.
    ready: Option<Ready>,
    started: Instant,
    phase: Phase,
}

impl Keeper {
    /// The keeper of a container that has a probe; `None` for others.
    ///
    /// # Errors
    /// Where its namespaces cannot be opened or its health cannot be written.
    pub(crate) fn of(
        store: &Store,
        record: &Record,
        state: &RunState,
        ready: Option<Ready>,
    ) -> Result<Option<Self>> {
        let (Some(init), Some(_)) = (state.init, record.options.health.active()) else {
            return Ok(None);
        };
        ensure_directory(&store.healths())?;
        let health = Health::default();
        write(store, &record.id, &health)?;
        let engine = Engine::over(store);
        let now = Instant::now();
        let mut keeper = Self {
            engine,
            record: record.clone(),
            target: Target::open(init.pid)?,
            health,
            ready,
            started: now,
            phase: Phase::Over,
        };
        keeper.phase = keeper.idle(now);
        Ok(Some(keeper))
    }

    fn in_start_period(&self, now: Instant) -> bool {
        now.duration_since(self.started) < self.record.options.health.start_period()
    }

    /// Waiting for the next probe.
    fn idle(&self, now: Instant) -> Phase {
        let options = &self.record.options.health;
        let starting = self.health.status == Verdict::Starting && self.in_start_period(now);
        let pause = if starting {
            options.start_interval()
        } else {
            options.interval()
        };
        Phase::Idle(now + pause)
    }

    fn begin(&mut self, now: Instant, program: &Program<'_>) {
        let store = &self.engine.store;
        let state = RunState::read(store, &self.record.id).ok().flatten();
        if state.is_none_or(|state| state.paused) {
            // Nothing in it answers now.
            self.phase = self.idle(now);
            return;
        }
        let Some(probe) = self.record.options.health.active() else {
            self.phase = Phase::Over;
            return;
        };
        let began = time::now();
        match begin(probe, &self.engine, self.record.id.as_str(), &self.target) {
            Ok(running) => {
                let until = now + self.record.options.health.timeout();
                self.phase = Phase::Probing {
                    running,
                    began,
                    until,
                };
            }
            Err(finding) => self.conclude(began, &finding, program),
        }
    }

    /// Takes a finding in, and does what is to follow.
    fn conclude(&mut self, began: String, finding: &Finding, program: &Program<'_>) {
        let now = Instant::now();
        let result = ProbeResult {
            start: began,
            end: time::now(),
            exit_code: finding.code,
            output: String::from_utf8_lossy(&finding.output).into_owned(),
        };
        let retries = self.record.options.health.retries();
        let in_start_period = self.in_start_period(now);
        let changed = self.health.take(result, retries, in_start_period);
        self.phase = self.idle(now);
        // Where it cannot be written, the next one may be.
        write(&self.engine.store, &self.record.id, &self.health).unwrap_or_default();
        if changed {
            let action = format!("health_status: {}", self.health.status.name());
            events::container(&self.engine.store, &self.record, &action, &[]);
            match self.health.status {
                Verdict::Unhealthy => self.act(now, program),
                _ => self.ready.take().iter().for_each(Ready::say),
            }
        }
    }

    /// What the user wants to follow when the container is not well.
    fn act(&mut self, now: Instant, program: &Program<'_>) {
        match self.record.options.health.on_failure {
            HealthAction::None => return,
            HealthAction::Kill => {
                program.signal(Signal::KILL);
                self.phase = Phase::Over;
                return;
            }
            HealthAction::Restart => program.want_restart(),
            // Without the note its policy might start it again: no worse than before.
            HealthAction::Stop => {
                mark_stopped(&self.engine.store, &self.record.id).unwrap_or_default();
            }
        }
        let signal = stop_signal(&self.record);
        if !hears(&self.record, self.target.pid, signal) {
            program.signal(Signal::KILL);
            self.phase = Phase::Over;
            return;
        }
        program.signal(signal);
        let timeout = self.record.options.stop_timeout.map_or(STOP_TIMEOUT, seconds);
        self.phase = Phase::Ending(now + timeout);
    }

    fn go_on(&mut self, now: Instant, program: &Program<'_>) {
        let Phase::Probing {
            running,
            began,
            until,
        } = &mut self.phase
        else {
            return;
        };
        let finding = running.go_on();
        let late = *until <= now;
        if finding.is_none() && !late {
            return;
        }
        let began = std::mem::take(began);
        let Phase::Probing { running, .. } = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        let finding = finding.unwrap_or_else(|| {
            running.cancel();
            let timeout = self.record.options.health.timeout();
            Finding {
                code: -1,
                output: format!("Health check exceeded timeout ({timeout:?})").into_bytes(),
            }
        });
        self.conclude(began, &finding, program);
    }
}

impl Attendant for Keeper {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        if let Phase::Probing { running, .. } = &self.phase {
            running.want(wanted);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle(then) | Phase::Ending(then) => Some(*then),
            Phase::Probing { until, .. } => Some(*until),
            Phase::Over => None,
        }
    }

    fn attend(&mut self, _ready: &[PollFlags], program: &Program<'_>) -> Attention {
        let now = Instant::now();
        match &self.phase {
            Phase::Idle(then) if *then <= now => self.begin(now, program),
            Phase::Ending(then) if *then <= now => {
                program.signal(Signal::KILL);
                self.phase = Phase::Over;
            }
            Phase::Probing { .. } => self.go_on(now, program),
            Phase::Over => return Attention::Leaves,
            Phase::Idle(_) | Phase::Ending(_) => {}
        }
        Attention::Stays
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Phase::Probing { running, .. } = std::mem::replace(&mut self.phase, Phase::Over) {
            running.cancel();
        }
    }
}
