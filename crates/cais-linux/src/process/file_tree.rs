//! The file tree of a container at its end.
//!
//! The kernel takes the mounts of a process apart before anybody hears of its end: the last
//! one of an overlay waits until its file system has written everything out, others for a grace
//! period of RCU. Who holds the tree hears at once, and has it taken apart beside the rest of
//! what is to be done.

use cais_sys::clone::StubProcess;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use std::thread::{Builder, JoinHandle};

/// The mount namespace of a process (mount_namespaces(7)), and what it was made of.
#[derive(Debug, Default)]
pub struct HeldTree {
    tree: Option<OwnedFd>,
    /// To close a mount takes a grace period of RCU, in which a thread does nothing else.
    remains: Vec<OwnedFd>,
}

impl HeldTree {
    /// Holds the tree of a process that this one made and has not waited for. Where it may not
    /// be, the kernel takes it apart as it always does.
    #[must_use]
    pub fn of(process: &StubProcess) -> Self {
        let path = format!("/proc/{}/ns/mnt", process.pid.as_raw_nonzero());
        Self {
            tree: open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok(),
            remains: Vec::new(),
        }
    }

    /// Holds what it was made of as well.
    pub fn hold(&mut self, remains: Vec<OwnedFd>) {
        self.remains.extend(remains);
    }

    /// Lets go of it, beside what this thread does meanwhile.
    #[must_use = "it is waited for where this goes out of scope"]
    pub fn take_apart(self) -> TakingApart {
        // Where there can be no thread, it is done here.
        let begin = |tree| {
            let rest = self.remains;
            Builder::new().spawn(move || drop((tree, rest))).ok()
        };
        TakingApart(self.tree.and_then(begin))
    }
}

/// A tree that is being taken apart; waited for where this goes out of scope.
#[derive(Debug, Default)]
pub struct TakingApart(Option<JoinHandle<()>>);

impl Drop for TakingApart {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // It closes a descriptor, which cannot fail.
            thread.join().unwrap_or_default();
        }
    }
}
