//! The disk budget: `disk-budget = 20G` in the configuration. When an image came in, the
//! least recently used others go until everything fits; never one that a container is made
//! of, nor the one that came in.

use crate::disk_usage::disk_usage;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::images;
use cais_image::Digest;
use cais_image::store::{GcOptions, StoreError};
use cais_order::InOrder;

/// What was done to keep the budget.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// The budget in bytes.
    pub budget: u64,
    /// The names, or ids where there are none, of images that were removed.
    pub removed: Vec<String>,
    /// By how many bytes it is still exceeded: all that is left is in use.
    pub over: u64,
}

impl Kept {
    /// What a user should know of it: a line for each image that went, and one where it was
    /// not enough.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let budget = crate::units::human_size(self.budget);
        let mut lines: Vec<String> = self
            .removed
            .iter()
            .map(|name| {
                format!("removed {name}, not used for the longest time, to keep the disk budget of {budget}")
            })
            .collect();
        if self.over > 0 {
            lines.push(format!(
                "the disk budget of {budget} is exceeded by {}: what is left is in use",
                crate::units::human_size(self.over)
            ));
        }
        lines
    }
}

/// Keeps the budget, if there is one. `spared` are images that stay, by manifest or by id.
///
/// # Errors
/// Where something cannot be measured or removed.
pub fn keep_budget(engine: &Engine, spared: &[Digest]) -> Result<Kept> {
    let Some(budget) = engine.config.disk_budget.value else {
        return Ok(Kept::default());
    };
    let usage = disk_usage(engine)?;
    let mut total = usage.total().allocated;
    let mut kept = Kept {
        budget,
        ..Kept::default()
    };
    if total <= budget {
        return Ok(kept);
    }
    let store = images::open(engine)?;
    let collect = || {
        store
            .collect(GcOptions::default(), &|| images::in_use_after_starts(engine))
            .map(|report| report.freed.allocated)
            .map_err(EngineError::image("remove what no image needs"))
    };
    total = total.saturating_sub(collect()?);
    let mut all = usage.images;
    all.order_by_key(|image| store.last_used(image));
    for image in all {
        if total <= budget {
            break;
        }
        let manifest = &image.manifest.digest;
        if spared.contains(manifest) || spared.contains(&image.id) {
            continue;
        }
        match store.remove_image(manifest, &images::in_use(engine)?) {
            Ok(_) => {}
            // Somebody removed it, or made a container of it, meanwhile.
            Err(StoreError::InUse(_) | StoreError::NoImage(_)) => continue,
            Err(error) => return Err(EngineError::image("keep the disk budget")(error)),
        }
        if image.names.is_empty() {
            kept.removed.push(image.id.to_string());
        }
        kept.removed.extend(image.names);
        total = total.saturating_sub(collect()?);
    }
    kept.over = total.saturating_sub(budget);
    Ok(kept)
}

/// Notes that an image is used now, where there is a budget for which it matters.
pub(crate) fn note_use(engine: &Engine, store: &cais_image::ContentStore, image: &cais_image::store::Image) {
    if engine.config.disk_budget.value.is_some()
        && let Some(name) = image.names.first()
    {
        // The order in which images go is no reason not to start one.
        store.mark_used(name).unwrap_or_default();
    }
}
