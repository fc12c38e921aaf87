//! Memory (cgroup-v2.rst, "Memory").

use crate::cgroups::CgroupError;
use crate::cgroups::plan::Write;
use crate::cgroups::resources::Memory;

pub(crate) fn plan(memory: &Memory, writes: &mut Vec<Write>) -> Result<(), CgroupError> {
    if memory.swappiness.is_some() {
        return Err(CgroupError::NotInVersion {
            limit: "swappiness",
            version: "v2",
            instead: "leave it out: version 2 has it for the whole machine only (vm.swappiness)",
        });
    }
    if memory.disable_oom_killer {
        return Err(CgroupError::NotInVersion {
            limit: "disabling the OOM killer",
            version: "v2",
            instead: "leave it out, or give a higher limit",
        });
    }
    let text = |bytes: i64| {
        if bytes < 0 {
            "max".to_owned()
        } else {
            bytes.to_string()
        }
    };
    if let Some(limit) = memory.limit {
        writes.push(Write::new("memory", "memory.max", text(limit)));
    }
    if let Some(swap) = memory.swap {
        // Version 1 counts memory and swap together, version 2 swap alone.
        let alone = match memory.limit {
            Some(limit) if swap >= 0 && limit >= 0 => (swap - limit).max(0),
            _ => swap,
        };
        let write = Write::new("memory", "memory.swap.max", text(alone));
        writes.push(Write {
            optional: memory.swap_is_default,
            ..write
        });
    }
    if let Some(reservation) = memory.reservation {
        writes.push(Write::new("memory", "memory.low", text(reservation)));
    }
    Ok(())
}

/// How many processes were killed for want of memory, from `memory.events`.
#[must_use]
pub fn parse_oom_kills(events: &str) -> u64 {
    events
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap_or(0)
}
