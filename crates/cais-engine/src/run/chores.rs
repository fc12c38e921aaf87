//! What a start leaves to be done when nobody waits for it: while the program is executed, and
//! then piece by piece between what the program asks for. Where the two share a processor, the
//! program often runs first, and waits for an answer when this process gets its turn.

use crate::error::EngineError;
use crate::events::{self, Event};
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::store::Store;
use crate::sweep::Sweep;
use rustix::event::PollFlags;
use std::time::Instant;

/// The rest of a start.
#[derive(Debug)]
pub(super) struct Chores {
    store: Store,
    /// What the journal is to say once the program runs.
    news: Vec<Event>,
    sweep: Option<Sweep>,
    /// Who is told what the sweep meets.
    tell: Option<fn(&EngineError)>,
    since: Instant,
}

impl Chores {
    /// Those of a start that sweeps where somebody is named who is told what it meets.
    pub(super) fn new(store: &Store, tell: Option<fn(&EngineError)>) -> Self {
        Self {
            store: store.clone(),
            news: Vec::new(),
            sweep: tell.map(|_| Sweep::of(store, true)),
            tell,
            since: Instant::now(),
        }
    }

    /// Does as much as there is time for: until the program runs. `news` is what the journal is
    /// to say then.
    pub(super) fn begin(&mut self, news: Vec<Event>, starts: &dyn Fn() -> bool) {
        self.news = news;
        while starts() && self.step() {}
    }

    /// Does the next piece. Tells whether there was one.
    fn step(&mut self) -> bool {
        if self.sweep.as_mut().is_some_and(Sweep::step) {
            return true;
        }
        let met = self.sweep.take().map(Sweep::finish);
        if let (Some(Err(error)), Some(tell)) = (met, self.tell) {
            tell(&error);
        }
        false
    }
}

impl Attendant for Chores {
    fn want<'a>(&'a self, _wanted: &mut Wanted<'a>) {}

    fn deadline(&self) -> Option<Instant> {
        Some(self.since)
    }

    /// A program that ends at once is seen off before.
    fn outlives_the_program(&self) -> bool {
        true
    }

    fn attend(&mut self, _ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        if !self.news.is_empty() {
            events::write(&self.store, &std::mem::take(&mut self.news));
            return Attention::Stays;
        }
        match self.step() {
            true => Attention::Stays,
            false => Attention::Leaves,
        }
    }
}
