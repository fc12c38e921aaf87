//! Ranges of ids for `--userns=auto`: each running container has 65536 of its own.
//!
//! A range is leased for a run, not for the container's life: nothing on disk depends
//! on it, because layers are id-mapped by the kernel. A lease can be taken once; it is
//! freed when the container ends, or by a sweep that finds its holder gone.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::state::ProcessName;
use crate::store::Store;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// How many ids a range has.
pub const RANGE: u32 = 65_536;
/// Where the ranges begin and end: the upper half of what systemd sets aside for
/// containers (524288 to 1879048191, systemd.io/UIDS-GIDS), far from the ids that
/// `/etc/subuid` gives to users.
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x6fff_ffff;
/// How many ranges there are.
const COUNT: u32 = (LAST - FIRST + 1) / RANGE;

/// A range that a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which range.
    pub index: u32,
}

impl Lease {
    /// The host's id that is 0 inside.
    #[must_use]
    pub fn base(self) -> u32 {
        FIRST + self.index * RANGE
    }
}

/// Leases a range for `id`. The search begins at a place that depends on the id, so
/// that starts side by side seldom meet.
///
/// # Errors
/// Where all are taken, or a lease cannot be written.
pub fn lease(store: &Store, id: &ContainerId) -> Result<Lease> {
    let start = u32::from_str_radix(id.as_str().get(..6).unwrap_or("0"), 16).unwrap_or(0) % COUNT;
    for offset in 0..COUNT {
        let index = (start + offset) % COUNT;
        if try_lease(store, index)? {
            return Ok(Lease { index });
        }
    }
    Err(EngineError::Invalid(format!(
        "all {COUNT} ranges of ids are in use: stop some containers, or use --userns=host"
    )))
}

/// A lease is a link whose content names the process that took it: made in one step, so that
/// nobody ever sees a part of it, and short enough (59 bytes) that ext4 keeps it in the inode.
/// Whose it is while the container runs, the container's state says.
fn try_lease(store: &Store, index: u32) -> Result<bool> {
    let path = store.userns().join(index.to_string());
    let maker = ProcessName::of_this().map_or(0, |maker| maker.start);
    match symlink(format!("{} {maker}", std::process::id()), &path) {
        Ok(()) => Ok(true),
        // One that was left behind is removed by the sweep; there are enough others.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(EngineError::Store {
            action: format!("lease id range {index} ({})", path.display()),
            source,
        }),
    }
}

/// A lease whose maker is gone.
#[derive(Debug)]
pub(crate) struct Abandoned {
    path: PathBuf,
    content: PathBuf,
    /// None for one that a sweep moved aside, and was killed over.
    index: Option<u32>,
}

/// The leases whose makers are gone. The states that are read after this say which of them are
/// in use: a monitor holds one when its maker has gone, and the state was written before.
pub(crate) fn list_abandoned(store: &Store) -> Vec<Abandoned> {
    let mut abandoned = Vec::new();
    let Ok(entries) = fs::read_dir(store.userns()) else {
        return abandoned;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let Ok(content) = fs::read_link(&path) else {
            continue;
        };
        let text = content.to_string_lossy();
        let maker = text.split_once(' ').and_then(|(pid, start)| {
            let (pid, start) = (pid.parse().ok()?, start.parse().ok()?);
            Some(ProcessName { pid, start })
        });
        if maker.is_some_and(|maker| maker.is_alive()) {
            continue;
        }
        let index = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        abandoned.push(Abandoned { path, content, index });
    }
    abandoned
}

/// Removes those of them whose ranges no container has.
pub(crate) fn sweep(abandoned: &[Abandoned], in_use: &[u32]) {
    for lease in abandoned {
        if lease.index.is_none_or(|index| !in_use.contains(&index)) {
            remove_abandoned(lease);
        }
    }
}

fn remove_abandoned(lease: &Abandoned) {
    // Somebody may have removed it and somebody else taken the range meanwhile: what is
    // moved aside is looked at again.
    let aside = lease.path.with_extension(format!("sweep-{}", std::process::id()));
    if fs::rename(&lease.path, &aside).is_err() {
        return;
    }
    if fs::read_link(&aside).is_ok_and(|content| content != lease.content) {
        fs::rename(&aside, &lease.path).unwrap_or_default();
        return;
    }
    fs::remove_file(&aside).unwrap_or_default();
}

/// Frees a range.
///
/// # Errors
/// Where the lease cannot be removed; one that is not there is free.
pub fn release(store: &Store, index: u32) -> Result<()> {
    match fs::remove_file(store.userns().join(index.to_string())) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(EngineError::Store {
            action: format!("free id range {index}"),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_differ_and_are_freed() {
        let base = std::env::temp_dir().join(format!("cais-userns-{}", std::process::id()));
        let store = Store::new(base.join("data"), base.join("run"));
        store.ensure().unwrap();
        let id = ContainerId::random().unwrap();
        let (one, two) = (lease(&store, &id).unwrap(), lease(&store, &id).unwrap());
        assert_eq!(two.index, (one.index + 1) % COUNT);
        assert!(one.base() >= FIRST && one.base() <= LAST - (RANGE - 1));
        release(&store, one.index).unwrap();
        assert_eq!(lease(&store, &id).unwrap(), one);
        // A lease of a process that is gone, for a container without a state; and one that
        // is held.
        let (gone, held) = (
            store.userns().join("1"),
            store.userns().join(one.index.to_string()),
        );
        symlink("1 0", &gone).unwrap();
        sweep(&list_abandoned(&store), &[1]);
        assert!(fs::read_link(&gone).is_ok());
        // One that was moved aside by somebody who was killed over it.
        let aside = store.userns().join("1.sweep-1");
        symlink("1 0", &aside).unwrap();
        sweep(&list_abandoned(&store), &[2]);
        assert!(fs::read_link(&gone).is_err() && fs::read_link(&aside).is_err());
        assert!(fs::read_link(&held).is_ok());
        // Somebody else took it after it was judged.
        symlink("1 0", &gone).unwrap();
        let judged = list_abandoned(&store);
        fs::remove_file(&gone).unwrap();
        symlink("1 1", &gone).unwrap();
        sweep(&judged, &[]);
        assert!(fs::read_link(&gone).is_ok());
        fs::remove_dir_all(&base).unwrap();
    }
}
