//! Ranges of ids for `--userns=auto`: each running container has 65536 of its own.
//!
//! A range is leased for a run, not for the container's life: nothing on disk depends
//! on it, because layers are id-mapped by the kernel. The lease is a file made with
//! `O_EXCL`; it is freed when the container ends, or by whoever meets it later and
//! finds its holder gone.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::state::ProcessName;
use crate::store::Store;
use std::fs;
use std::io::{ErrorKind, Write};

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
        if try_lease(store, id, index)? {
            return Ok(Lease { index });
        }
    }
    Err(EngineError::Invalid(format!(
        "all {COUNT} ranges of ids are in use: stop some containers, or use --userns=host"
    )))
}

fn try_lease(store: &Store, id: &ContainerId, index: u32) -> Result<bool> {
    let path = store.userns().join(index.to_string());
    let action = || format!("lease id range {index} ({})", path.display());
    for _ in 0..2 {
        match fs::File::create_new(&path) {
            Ok(mut file) => {
                let maker = std::process::id();
                file.write_all(format!("{id} {maker}").as_bytes())
                    .map_err(EngineError::store(action()))?;
                return Ok(true);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(EngineError::Store {
                    action: action(),
                    source,
                });
            }
        }
        if !is_left_behind(store, &path) {
            return Ok(false);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(EngineError::Store {
                    action: action(),
                    source: error,
                });
            }
            _ => {}
        }
    }
    Ok(false)
}

/// Whether the lease's container has no state and its maker is gone. A lease that is
/// being written is empty for a moment: it counts as held.
pub(crate) fn is_left_behind(store: &Store, path: &std::path::Path) -> bool {
    let Ok(text) = fs::read_to_string(path) else {
        return false;
    };
    let Some((id, maker)) = text.split_once(' ') else {
        return false;
    };
    let Some(id) = ContainerId::parse(id) else {
        return true;
    };
    let maker = maker.trim().parse().ok().and_then(ProcessName::read);
    maker.is_none() && !store.container_run(&id).join("state.json").exists()
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
        // A lease of a process that is gone, for a container without a state.
        fs::write(store.userns().join(one.index.to_string()), format!("{id} 0")).unwrap();
        assert_eq!(lease(&store, &id).unwrap(), one);
        fs::remove_dir_all(&base).unwrap();
    }
}
