//! Who restores the table when somebody has removed it: a few of the monitors, not all.
//!
//! The kernel tells everybody who listens of every change of the packet filter, one by one,
//! while it makes the change: five hundred monitors that listened would make each port that
//! is published dearer. So there are [`POSTS`], each a locked file; whoever holds one listens.
//! A monitor tries one when its container starts. One that leaves wakes others, who try all;
//! where it is killed, the next start or the monitor that takes its place does.

use crate::id::ContainerId;
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::monitor::door::nudge;
use crate::state::RunState;
use crate::store::Store;
use cais_net::firewall::Firewall;
use cais_net::watch::RemovalWatch;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

/// How many listen.
const POSTS: u32 = 4;
/// How many are woken by one that leaves, of those that it finds alive.
const WOKEN: usize = 2;
/// How many it looks at for that.
const LOOKED_AT: usize = 16;

/// One who may hold a post.
#[derive(Debug)]
pub(super) struct Guard {
    store: Store,
    id: ContainerId,
    post: Option<Post>,
}

/// A post that is held.
#[derive(Debug)]
struct Post {
    watch: RemovalWatch,
    /// Locked as long as it is open.
    _lock: OwnedFd,
}

impl Guard {
    /// Takes a post where one is free.
    pub(super) fn new(store: &Store, id: &ContainerId) -> Self {
        let number = std::process::id() % POSTS;
        Self {
            store: store.clone(),
            id: id.clone(),
            post: take(store, number),
        }
    }

    /// Wakes others, who may take this one's post.
    fn hand_over(&self) {
        let others = self.store.networks().list_containers().unwrap_or_default();
        let count = others.len().max(1);
        let offset = usize::try_from(std::process::id()).unwrap_or(0) % count;
        others
            .iter()
            .cycle()
            .skip(offset)
            .take(count.min(LOOKED_AT))
            .filter_map(|other| ContainerId::parse(other))
            .filter(|other| *other != self.id)
            .filter_map(|other| RunState::read(&self.store, &other).ok().flatten())
            .filter(|state| state.monitor.is_alive())
            .take(WOKEN)
            .for_each(|state| nudge(state.monitor));
    }
}

/// Takes this post; `None` where somebody has it, or where nobody can be told of changes:
/// then the next command restores what is missing.
fn take(store: &Store, number: u32) -> Option<Post> {
    let path = store.networks().leases.join(format!(".guard-{number}"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
    let lock = open(&path, flags, Mode::RUSR | Mode::WUSR).ok()?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    let watch = RemovalWatch::open().ok()?;
    Some(Post { watch, _lock: lock })
}

impl Attendant for Guard {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        if let Some(post) = &self.post {
            wanted.push((post.watch.as_fd(), PollFlags::IN));
        }
    }

    fn look_again(&mut self) {
        if self.post.is_none() {
            self.post = (0..POSTS).find_map(|number| take(&self.store, number));
            // Nobody may have listened for a while.
            if self.post.is_some() {
                restore(&self.store);
            }
        }
    }

    fn attend(&mut self, _ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        if self.post.as_ref().is_some_and(|post| post.watch.drain()) {
            restore(&self.store);
        }
        Attention::Stays
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(post) = self.post.take() {
            drop(post);
            self.hand_over();
        }
    }
}

/// What fails now the next command does; there is nobody to tell.
fn restore(store: &Store) {
    Firewall::open(&store.networks())
        .and_then(|mut firewall| firewall.ensure())
        .map(drop)
        .unwrap_or_default();
}
