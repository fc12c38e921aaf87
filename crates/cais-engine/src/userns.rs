//! Ranges of ids for `--userns=auto`: each running container has 65536 of its own.
//!
//! A range is leased for a run, not for the container's life: nothing on disk depends
//! on it, because layers are id-mapped by the kernel. A lease can be taken once; it is
//! freed when the container ends, or by a sweep that finds its holder gone.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::state::{ProcessName, RunState};
use crate::store::Store;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

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

/// Removes a lease whose maker is gone and that no container's state names.
pub(crate) fn sweep_lease(store: &Store, path: &Path) {
    let Some(judged) = fs::read_link(path)
        .ok()
        .filter(|content| is_left_behind(store, path, content))
    else {
        return;
    };
    // Somebody may have removed it and somebody else taken the range meanwhile: what is
    // moved aside is looked at again.
    let aside = path.with_extension(format!("sweep-{}", std::process::id()));
    if fs::rename(path, &aside).is_err() {
        return;
    }
    if fs::read_link(&aside).is_ok_and(|content| content != judged) {
        fs::rename(&aside, path).unwrap_or_default();
        return;
    }
    fs::remove_file(&aside).unwrap_or_default();
}

fn is_left_behind(store: &Store, path: &Path, content: &Path) -> bool {
    let text = content.to_string_lossy();
    let maker = text.split_once(' ').and_then(|(pid, start)| {
        let name = ProcessName {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        };
        Some(name.is_alive())
    });
    maker != Some(true) && !is_in_use(store, path)
}

/// Whether the state of some container names this lease: after its maker has gone, a monitor
/// holds it. What cannot be read counts as a use.
fn is_in_use(store: &Store, path: &Path) -> bool {
    let index = path.file_name().and_then(|name| name.to_str()?.parse().ok());
    let Some(index) = index else { return false };
    let Ok(ids) = store.list_states() else { return true };
    let names_it = |state: Option<RunState>| state.is_some_and(|state| state.id_range == Some(index));
    ids.iter()
        .any(|id| RunState::read(store, id).map_or(true, names_it))
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
        sweep_lease(&store, &gone);
        sweep_lease(&store, &held);
        assert!(fs::read_link(&gone).is_err() && fs::read_link(&held).is_ok());
        // After its maker has gone, a state names it, or is damaged: then nobody knows.
        symlink("1 0", &gone).unwrap();
        let fixture = include_str!("../fixtures/v1/state.json");
        let mut state: RunState = cais_json::from_str(fixture).unwrap();
        for (range, in_use) in [(Some(1), true), (Some(2), false)] {
            state.id_range = range;
            state.write(&store, &id).unwrap();
            assert_eq!(is_in_use(&store, &gone), in_use);
        }
        fs::write(store.state(&id), "{").unwrap();
        assert!(is_in_use(&store, &gone));
        fs::remove_dir_all(&base).unwrap();
    }
}
