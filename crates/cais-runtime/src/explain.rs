//! A plan in words: what `--explain` prints.

use crate::plan::Plan;
use crate::plan::steps::{describe, kind_names};
use std::fmt::Write as _;

/// The plan as text: what this process does, then what the stub does and why.
#[must_use]
pub fn explain(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    write_plan(&mut text, plan).unwrap_or_default();
    text
}

fn write_plan(text: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(text, "This process:")?;
    writeln!(text, "  copy the init stub into a sealed memfd")?;
    let kinds = kind_names(u32::try_from(plan.namespaces).unwrap_or(0));
    writeln!(text, "  clone it into new namespaces:{kinds}")?;
    if let Some(path) = &plan.join_user {
        writeln!(text, "  by way of the user namespace {}", path.display())?;
    }
    if let Some(path) = &plan.join_pid {
        writeln!(text, "  born into the pid namespace {}", path.display())?;
    }
    if let Some(maps) = &plan.id_maps {
        for (name, map) in [("uids", &maps.uid), ("gids", &maps.gid)] {
            writeln!(
                text,
                "  map {name} (inside outside count): {}",
                map.trim_end().replace('\n', ", ")
            )?;
        }
    }
    for limit in &plan.limits.rlimits {
        writeln!(text, "  limit {:?} to {:?}", limit.resource, limit.limit)?;
    }
    for (slot, source) in plan.sources.iter().enumerate() {
        writeln!(text, "  slot {slot}: {}", source.describe())?;
    }
    writeln!(text, "The init stub:")?;
    for (number, (step, reason)) in plan.steps.iter().enumerate() {
        writeln!(text, "  {:>3} {}", number + 1, describe(&step))?;
        writeln!(text, "        {reason}")?;
    }
    for warning in &plan.warnings {
        writeln!(text, "Warning: {warning}")?;
    }
    Ok(())
}
