//! Memory (admin-guide/cgroup-v1/memory.rst).

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Memory;

pub(crate) fn plan(memory: &Memory, writes: &mut Vec<Write>) {
    // The limit first: that of memory and swap together may not be below it.
    if let Some(limit) = memory.limit {
        writes.push(Write::new("memory", "memory.limit_in_bytes", limit.max(-1)));
    }
    if let Some(swap) = memory.swap {
        // Without swap accounting (swapaccount=0) there is no such file.
        let write = Write::new("memory", "memory.memsw.limit_in_bytes", swap.max(-1));
        writes.push(Write {
            optional: memory.swap_is_default,
            ..write
        });
    }
    if let Some(reservation) = memory.reservation {
        writes.push(Write::new(
            "memory",
            "memory.soft_limit_in_bytes",
            reservation.max(-1),
        ));
    }
    if let Some(swappiness) = memory.swappiness {
        writes.push(Write::new("memory", "memory.swappiness", swappiness));
    }
    if let Some(limit) = memory.kernel_tcp {
        writes.push(Write::new(
            "memory",
            "memory.kmem.tcp.limit_in_bytes",
            limit.max(-1),
        ));
    }
    if memory.disable_oom_killer {
        writes.push(Write::new("memory", "memory.oom_control", 1));
    }
}

/// How many processes were killed for want of memory, from `memory.oom_control`.
#[must_use]
pub fn parse_oom_kills(oom_control: &str) -> u64 {
    oom_control
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted() {
        assert_eq!(
            parse_oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
            3
        );
        assert_eq!(parse_oom_kills(""), 0);
    }
}
