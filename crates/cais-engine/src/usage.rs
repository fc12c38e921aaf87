//! What a running container uses, from its cgroup and its network namespace: `stats`.

use crate::error::{EngineError, Result};
use crate::options::NetworkMode;
use crate::state::Container;
use cais_linux::cgroups::stats::{Stats, read_v1, read_v2};
use cais_linux::cgroups::{Group, Layout};
use rustix::fd::AsFd;
use std::time::Instant;

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When it was read.
    pub read: Instant,
    /// Time on the CPUs since its start, in nanoseconds.
    pub cpu: u64,
    /// Memory in bytes without files that may be dropped at once, as Docker counts.
    pub memory: u64,
    /// How much it may use: its limit, or what the machine has.
    pub memory_limit: u64,
    /// Bytes received and sent.
    pub network: (u64, u64),
    /// Bytes read from and written to block devices.
    pub block: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// The share of one CPU that was used between an earlier reading and this one, in
    /// percent.
    #[must_use]
    pub fn cpu_percent(&self, earlier: &Self) -> f64 {
        let elapsed = self.read.saturating_duration_since(earlier.read).as_secs_f64();
        if elapsed <= 0.0 {
            return 0.0;
        }
        let used = std::time::Duration::from_nanos(self.cpu.saturating_sub(earlier.cpu));
        used.as_secs_f64() / elapsed * 100.0
    }

    /// The share of the memory it may use, in percent.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "two decimals are shown")]
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 {
            return 0.0;
        }
        self.memory as f64 / self.memory_limit as f64 * 100.0
    }
}

/// Reads what a container uses; `None` where it does not run.
///
/// # Errors
/// Where the cgroup hierarchies cannot be found. A file that is missing counts zero.
pub fn read_usage(container: &Container) -> Result<Option<Usage>> {
    let (Some(init), Some(state)) = (container.init(), &container.state) else {
        return Ok(None);
    };
    let stats = if state.cgroup.is_empty() {
        Stats::default()
    } else {
        let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
        let group = Group::open_existing(&layout, &state.cgroup)
            .map_err(EngineError::cgroup(format!("open the cgroup {}", state.cgroup)))?;
        match group {
            Some(group) => read_stats(&group),
            None => return Ok(None),
        }
    };
    let network = match container.record.options.namespaces.network {
        // The host's interfaces say nothing of this container.
        NetworkMode::Host => (0, 0),
        _ => {
            let text = std::fs::read_to_string(format!("/proc/{}/net/dev", init.pid));
            parse_net_dev(&text.unwrap_or_default())
        }
    };
    let machine = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = parse_mem_total(&machine).unwrap_or(u64::MAX);
    let block = |op: &str| {
        let entries = stats.block_io.service_bytes.iter();
        let fitting = entries.filter(|entry| entry.op.eq_ignore_ascii_case(op));
        fitting.fold(0u64, |sum, entry| sum.saturating_add(entry.value))
    };
    Ok(Some(Usage {
        read: Instant::now(),
        cpu: stats.cpu.usage.total,
        memory: used_memory(&stats),
        memory_limit: match stats.memory.usage.limit {
            0 => machine,
            limit => limit.min(machine),
        },
        network,
        block: (block("read"), block("write")),
        pids: stats.pids.current,
    }))
}

fn read_stats(group: &Group) -> Stats {
    if group.is_unified() {
        return group
            .open_directory("")
            .map(|directory| read_v2(directory.as_fd()))
            .unwrap_or_default();
    }
    let mut stats = read_v1(&|controller| group.open_directory(controller));
    // On a hybrid machine a controller may be with version 2.
    if let Some(directory) = group.open_directory("") {
        let unified = read_v2(directory.as_fd());
        if group.open_directory("pids").is_none() {
            stats.pids = unified.pids;
        }
        if group.open_directory("memory").is_none() {
            stats.memory = unified.memory;
        }
        if group.open_directory("blkio").is_none() {
            stats.block_io = unified.block_io;
        }
        if group.open_directory("cpuacct").is_none() {
            stats.cpu = unified.cpu;
        }
    }
    stats
}

/// The memory in use without the files that were not used lately.
fn used_memory(stats: &Stats) -> u64 {
    let raw = &stats.memory.raw;
    let inactive = raw
        .get("total_inactive_file")
        .or_else(|| raw.get("inactive_file"));
    let usage = stats.memory.usage.usage;
    match inactive {
        Some(inactive) if *inactive < usage => usage - inactive,
        _ => usage,
    }
}

/// Bytes received and sent by all interfaces but the loopback (proc_pid_net(5)).
fn parse_net_dev(text: &str) -> (u64, u64) {
    let mut sums = (0u64, 0u64);
    for line in text.lines().skip(2) {
        let Some((name, counters)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let counter = |index: usize| {
            let word = counters.split_whitespace().nth(index);
            word.and_then(|word| word.parse::<u64>().ok()).unwrap_or(0)
        };
        sums = (
            sums.0.saturating_add(counter(0)),
            sums.1.saturating_add(counter(8)),
        );
    }
    sums
}

/// The machine's memory in bytes (proc_meminfo(5)).
#[must_use]
pub fn parse_mem_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_added_up() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes\n    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  eth0:  500 5 0 0 0 0 0 0 70 1 0 0 0 0 0 0\n  eth1: 1 5 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(parse_net_dev(text), (501, 72));
        assert_eq!(parse_net_dev(""), (0, 0));
        assert_eq!(
            parse_mem_total("MemTotal:       2 kB\nMemFree: 1 kB\n"),
            Some(2048)
        );
    }

    #[test]
    fn shares_of_a_cpu() {
        let now = Instant::now();
        let usage = |read, cpu, memory| Usage {
            read,
            cpu,
            memory,
            memory_limit: 200,
            network: (0, 0),
            block: (0, 0),
            pids: 1,
        };
        let one = usage(now, 0, 0);
        let other = usage(now + std::time::Duration::from_secs(2), 1_000_000_000, 50);
        assert!((other.cpu_percent(&one) - 50.0).abs() < 1e-9);
        assert!((other.memory_percent() - 25.0).abs() < 1e-9);
        assert!(one.cpu_percent(&other).abs() < 1e-9);
    }
}
