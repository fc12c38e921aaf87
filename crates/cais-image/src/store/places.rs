//! Layers by their place. A layer is kept by its diff_id, once for all images that have it,
//! unless it takes something from the layers below it (`layer::place_layer`): then it is kept
//! by its place, the digest of all diff_ids from the lowest to its own.

use super::ContentStore;
use super::error::Result;
use crate::digest::Digest;
use std::collections::HashSet;

/// The places of layers on each other, the lowest first.
#[must_use]
pub fn places(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below = String::new();
    let mut places = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        // Unlike a ChainID that of the lowest is another digest than its diff_id.
        let place = Digest::of(format!("{below} {diff_id}").as_bytes());
        below = place.to_string();
        places.push(place);
    }
    places
}

/// All digests by which layers may be kept: their diff_ids and their places.
pub(super) fn hold_layers(held: &mut HashSet<Digest>, diff_ids: &[Digest]) {
    held.extend(places(diff_ids));
    held.extend(diff_ids.iter().cloned());
}

impl ContentStore {
    /// One of the places of a layer that is kept so; `None` where there is none. Looks at all
    /// layers.
    ///
    /// # Errors
    /// As readdir(3) and open(2).
    pub fn any_place(&self, diff_id: &Digest) -> Result<Option<Digest>> {
        for layer in self.layers()? {
            // One whose meta is damaged is found by the check.
            let meta = self.own_meta(&layer).ok().flatten();
            if meta.is_some_and(|meta| meta.diff_id.as_ref() == Some(diff_id))
                && self.layer_path(&layer)?.is_some()
            {
                return Ok(Some(layer));
            }
        }
        Ok(None)
    }

    /// By which digest each of these layers on each other is kept, the lowest first; `None`
    /// where one is not there or not whole.
    ///
    /// # Errors
    /// As open(2).
    pub fn find_layers(&self, diff_ids: &[Digest]) -> Result<Vec<Option<Digest>>> {
        let mut all_places: Option<Vec<Digest>> = None;
        let mut found = Vec::with_capacity(diff_ids.len());
        for (index, diff_id) in diff_ids.iter().enumerate() {
            if self.layer_path(diff_id)?.is_some() {
                found.push(Some(diff_id.clone()));
                continue;
            }
            let place = all_places.get_or_insert_with(|| places(diff_ids)).get(index);
            found.push(match place {
                Some(place) if self.layer_path(place)?.is_some() => Some(place.clone()),
                _ => None,
            });
        }
        Ok(found)
    }
}
