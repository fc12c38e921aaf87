//! From a program that runs to its end, and to its next run where its restart policy says
//! so.

use super::launch::{Launched, Start, events_of, launch};
use super::prepare::prepare_again;
use crate::checkpoint::Checkpoints;
use crate::cleanup::{self, Known};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::log::LogWriter;
use crate::monitor::attendant::Attendant;
use crate::monitor::watcher::{Front, Own};
use crate::monitor::{House, Over, Relay, Seen, see_off};
use crate::network::keeping::await_closed;
use crate::record::{Exit, Record, is_marked_stopped};
use crate::state::RunState;
use crate::{events, time};
use cais_linux::process::pidfd::Ended;
use rustix::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The first pause before a restart; each one doubles it, as Docker does.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// After a run of this length the pauses begin anew.
const LONG_RUN: Duration = Duration::from_secs(10);

/// Who sees the output and gives the input.
#[derive(Debug, Default)]
pub(crate) struct Audience {
    /// This process's own standard streams.
    pub(crate) own: Option<Own>,
    /// Commands at the other end of a socket.
    pub(crate) fronts: Vec<Front>,
}

/// How a run ended.
struct RunEnd {
    ended: Result<Ended>,
    exit: Exit,
    /// Whether it is to be started again whatever its policy.
    restart: bool,
    fronts: Vec<Front>,
    attendants: Vec<Box<dyn Attendant>>,
    /// How long it was.
    length: Duration,
}

/// What does not change from run to run.
pub(crate) struct Keeper<'a> {
    pub(crate) engine: &'a Engine,
    /// A signalfd with the signals that are handed on, and the one that asks to look.
    pub(crate) signals: BorrowedFd<'a>,
    pub(crate) checkpoints: &'a Checkpoints,
}

/// The pause before the next restart.
fn next_pause(last: Option<Duration>, run: Duration) -> Duration {
    match last {
        Some(last) if run < LONG_RUN => (last * 2).min(LAST_PAUSE),
        _ => FIRST_PAUSE,
    }
}

impl Keeper<'_> {
    /// Looks after a program until it has ended for good, and gives back what it held.
    /// Returns how its last run ended.
    pub(crate) fn look_after(&self, launched: Launched, audience: Audience) -> Result<Ended> {
        let store = &self.engine.store;
        let id = launched.id.clone();
        let mut launched = launched;
        let mut audience = audience;
        let mut left: Vec<Box<dyn Attendant>> = Vec::new();
        let mut pause = None;
        let mut nudged = false;
        loop {
            launched.attendants.append(&mut left);
            let mut end = self.run_once(&mut launched, &mut audience, nudged);
            self.checkpoints.pass("the program has ended");
            let tree = std::mem::take(&mut launched.tree).take_apart();
            left.append(&mut end.attendants);
            let Some(lock) = ContainerLock::acquire(store, &id)? else {
                // Somebody removed it by force while it ran.
                drop(tree);
                see_out(&end.exit, end.fronts, left)?;
                return end.ended;
            };
            let record = Record::read(store, &id)?;
            let again = record
                .as_ref()
                .filter(|record| self.wants_again(record, &launched, &end));
            let Some(record) = again else {
                note_end(self.engine, record.as_ref(), &end.exit);
                let known = Known {
                    group: launched.group.as_ref(),
                    record: record.as_ref(),
                    tree,
                };
                cleanup::finish_run(store, &id, &launched.state, &end.exit, known)?;
                self.checkpoints.pass("the run is recorded");
                lock.release();
                see_out(&end.exit, end.fronts, left)?;
                return end.ended;
            };
            note_end(self.engine, Some(record), &end.exit);
            let group = launched.group.as_ref();
            let between = cleanup::pause_between_runs(store, &id, &launched.state, &end.exit, group)?;
            self.checkpoints.pass("the run is recorded, another one follows");
            drop(launched);
            drop(tree);
            lock.release();
            left.extend(part(&end.exit, end.fronts));
            await_closed();
            let length = next_pause(pause, end.length);
            pause = Some(length);
            let Some(asked) = self.await_restart(&id, length, &mut left)? else {
                self.give_up(&id, &between, &end.exit)?;
                see_out(&end.exit, Vec::new(), left)?;
                return end.ended;
            };
            nudged = asked;
            match self.start_again(&id, &between)? {
                Some(next) => launched = next,
                None => return end.ended,
            }
        }
    }

    /// One run: the loop, and what is known of its end.
    fn run_once(&self, launched: &mut Launched, audience: &mut Audience, nudged: bool) -> RunEnd {
        let store = &self.engine.store;
        let begun = Instant::now();
        let streams = std::mem::replace(&mut launched.streams, crate::monitor::Streams::None);
        let mut relay = Relay::new(launched.running.process.pidfd.as_fd(), streams);
        relay.is_child = launched.is_child;
        relay.own = audience.own;
        relay.fronts = std::mem::take(&mut audience.fronts);
        relay.input_once = launched.input_once;
        relay.house = Some(House {
            store,
            id: &launched.id,
            door: None,
        });
        relay.log = LogWriter::of(store, &launched.record);
        relay.signals = Some(self.signals);
        relay.attendants = std::mem::take(&mut launched.attendants);
        if nudged {
            relay.expect_visitors();
        }
        let over: Over = relay.run();
        let oom_killed = |group: &cais_linux::cgroups::Group| group.read_oom_kills().unwrap_or(0) > 0;
        let exit = Exit {
            code: over.ended.as_ref().ok().map(|ended| ended.code()),
            started: launched.state.started.clone(),
            finished: time::now(),
            oom_killed: launched.group.as_ref().is_some_and(oom_killed),
            error: over
                .ended
                .as_ref()
                .err()
                .or(over.log_error.as_ref())
                .map(super::error_text)
                .unwrap_or_default(),
            restart_count: launched.state.restart_count,
        };
        RunEnd {
            ended: over.ended,
            exit,
            restart: over.restart,
            fronts: over.fronts,
            attendants: over.attendants,
            length: begun.elapsed(),
        }
    }

    fn wants_again(&self, record: &Record, launched: &Launched, end: &RunEnd) -> bool {
        let stopped = is_marked_stopped(&self.engine.store, &record.id);
        if end.restart && !stopped {
            return true;
        }
        let policy = record.options.restart;
        policy.wants_restart(end.exit.code, launched.state.restart_count, stopped)
    }

    /// Waits until the next run is due. `None` where the user wants none any more; else
    /// whether somebody asked for the door meanwhile.
    fn await_restart(
        &self,
        id: &ContainerId,
        pause: Duration,
        left: &mut Vec<Box<dyn Attendant>>,
    ) -> Result<Option<bool>> {
        let until = Instant::now() + pause;
        let mut nudged = false;
        loop {
            let store = &self.engine.store;
            if is_marked_stopped(store, id) || !store.container(id).exists() {
                return Ok(None);
            }
            match see_off(left, Some(until), Some(self.signals))? {
                Seen::Nudged => nudged = true,
                Seen::TimeUp | Seen::AllGone => return Ok(Some(nudged)),
            }
        }
    }

    /// The user wants no further run.
    fn give_up(&self, id: &ContainerId, between: &RunState, exit: &Exit) -> Result<()> {
        let store = &self.engine.store;
        if let Some(lock) = ContainerLock::acquire(store, id)? {
            cleanup::finish_run(store, id, between, exit, Known::default())?;
            lock.release();
        }
        Ok(())
    }

    /// Starts the next run. `None` where the container was stopped or removed meanwhile, or
    /// where it cannot be started: then that is recorded.
    fn start_again(&self, id: &ContainerId, between: &RunState) -> Result<Option<Launched>> {
        let store = &self.engine.store;
        let Some(lock) = ContainerLock::acquire(store, id)? else {
            return Ok(None);
        };
        let fail = |error: &crate::EngineError| {
            let exit = Exit {
                error: super::error_text(error),
                finished: time::now(),
                restart_count: between.restart_count,
                ..Exit::unseen(&between.started)
            };
            cleanup::finish_run(store, id, between, &exit, Known::default())
        };
        let Some(record) = Record::read(store, id)?.filter(|_| !is_marked_stopped(store, id)) else {
            cleanup::finish_run(
                store,
                id,
                between,
                &Exit::read(store, id)?.unwrap_or_default(),
                Known::default(),
            )?;
            return Ok(None);
        };
        let prepared = match prepare_again(self.engine, record) {
            Ok(prepared) => prepared,
            Err(error) => return fail(&error).map(|()| None),
        };
        let start = Start {
            restart_count: between.restart_count + 1,
            ..Start::default()
        };
        let launched = launch(self.engine, &prepared, &start, self.checkpoints);
        if launched.is_ok() {
            events::write(store, &events_of(&prepared));
        }
        lock.release();
        // What went wrong is recorded.
        Ok(launched.ok())
    }
}

/// Tells the commands that watched how it ended; those that are slow are left.
fn part(exit: &Exit, fronts: Vec<Front>) -> Vec<Box<dyn Attendant>> {
    fronts
        .into_iter()
        .filter_map(|front| front.part(exit.code))
        .map(|parting| -> Box<dyn Attendant> { Box::new(parting) })
        .collect()
}

/// The same, and waits for those that are slow. Everything else is done by then.
fn see_out(exit: &Exit, fronts: Vec<Front>, left: Vec<Box<dyn Attendant>>) -> Result<()> {
    let mut left = left;
    left.extend(part(exit, fronts));
    await_closed();
    see_off(&mut left, None, None).map(drop)
}

/// Notes the end in the journal of events.
fn note_end(engine: &Engine, record: Option<&Record>, exit: &Exit) {
    let Some(record) = record else { return };
    let mut all = Vec::new();
    if exit.oom_killed {
        all.push(events::of_container(record, "oom", &[]));
    }
    let code = exit.code.map_or("unknown".to_owned(), |code| code.to_string());
    all.push(events::of_container(record, "die", &[("exitCode", code)]));
    // What cannot be read any more is not told.
    let networks = record
        .options
        .is_in_networks()
        .then(|| engine.store.networks().read_endpoints(record.id.as_str()))
        .and_then(|read| read.ok().flatten());
    all.extend(events::of_surroundings(record, networks.as_ref(), false));
    if record.options.remove {
        all.push(events::of_container(record, "destroy", &[]));
    }
    events::write(&engine.store, &all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew() {
        let short = Duration::from_secs(1);
        let mut pause = next_pause(None, short);
        assert_eq!(pause, FIRST_PAUSE);
        let mut all = vec![pause];
        for _ in 0..12 {
            pause = next_pause(Some(pause), short);
            all.push(pause);
        }
        assert_eq!(all[1], Duration::from_millis(200));
        assert_eq!(all.last(), Some(&LAST_PAUSE));
        assert_eq!(next_pause(Some(pause), LONG_RUN), FIRST_PAUSE);
    }
}
