//! Numbered moments of the store's work at which tests kill the process: before and after
//! everything that changes what is on the disk, so that a test can go through all of them.

use std::sync::atomic::{AtomicU32, Ordering};

const NEVER: u32 = u32::MAX;
static LEFT: AtomicU32 = AtomicU32::new(NEVER);

/// Kills this process at its `step`-th moment, counted from 0 over all threads.
pub fn kill_at_step(step: u32) {
    LEFT.store(step, Ordering::Relaxed);
}

/// Passes such a moment.
pub(super) fn pass() {
    if LEFT.load(Ordering::Relaxed) != NEVER && LEFT.fetch_sub(1, Ordering::Relaxed) == 0 {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL).unwrap_or_default();
    }
}
