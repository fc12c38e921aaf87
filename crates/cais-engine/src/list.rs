//! All containers, for `ps` and for whoever looks for leftovers.

use crate::error::Result;
use crate::names;
use crate::state::Container;
use crate::store::Store;

/// All complete containers, the newest first. No lock is taken: one that is stuck
/// stops nobody.
///
/// # Errors
/// Where the directory of containers cannot be read. A container whose files are
/// damaged is left out here; `inspect` names the damage.
pub fn containers(store: &Store) -> Result<Vec<Container>> {
    let ids = store.list()?;
    let mut all: Vec<Container> = ids
        .iter()
        .filter_map(|id| Container::read(store, id).ok().flatten())
        .collect();
    all.sort_by(|a, b| b.record.created.cmp(&a.record.created));
    Ok(all)
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
