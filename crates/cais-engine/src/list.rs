//! Which containers there are, for `ps` and for whoever looks for leftovers. No lock is
//! taken: one that is stuck stops nobody.

use crate::error::Result;
use crate::id::ContainerId;
use crate::names;
use crate::state::Container;
use crate::store::Store;
use cais_order::InOrder;

/// All complete containers, the newest first.
///
/// # Errors
/// Where the directory of containers cannot be read. A container whose files are
/// damaged is left out here; `inspect` names the damage.
pub fn containers(store: &Store) -> Result<Vec<Container>> {
    Ok(read_all(store, &store.list()?))
}

/// The containers that have a state, running ones above all, the newest first. Only their
/// files are read: a thousand that do not run cost nothing.
///
/// # Errors
/// Where the directory of states cannot be read.
pub fn with_state(store: &Store) -> Result<Vec<Container>> {
    Ok(read_all(store, &store.list_states()?))
}

/// From so many on, two threads read.
const MANY: usize = 256;

fn read_all(store: &Store, ids: &[ContainerId]) -> Vec<Container> {
    let read = |ids: &[ContainerId]| -> Vec<Container> {
        let found = ids
            .iter()
            .filter_map(|id| Container::read(store, id).ok().flatten());
        found.collect()
    };
    let mut all = if ids.len() < MANY {
        read(ids)
    } else {
        let (one, other) = ids.split_at(ids.len() / 2);
        std::thread::scope(|scope| {
            let beside = scope.spawn(|| read(other));
            let mut all = read(one);
            // It does not panic; if it did, its half would be missing.
            all.extend(beside.join().unwrap_or_default());
            all
        })
    };
    all.order_by(|a, b| b.record.created.cmp(&a.record.created));
    all
}

/// The container that `text` means.
///
/// # Errors
/// [`crate::EngineError::NoSuchContainer`] and what reading it meets.
pub fn container(store: &Store, text: &str) -> Result<Container> {
    let id = names::find(store, text)?;
    let missing = || crate::EngineError::NoSuchContainer(text.to_owned());
    Container::read(store, &id)?.ok_or_else(missing)
}
