//! What a group uses, for `runc events --stats` and `docker stats`. The fields are those
//! of runc's types/events.go as far as they come from cgroups; times are nanoseconds,
//! sizes bytes, whatever the kernel counts in. Kernel documentation:
//! admin-guide/cgroup-v1, admin-guide/cgroup-v2.rst, accounting/psi.rst.
//!
//! [`read_v1`] and [`read_v2`] read; a file that is missing, or that the kernel does not
//! let be read, counts as zero. The parsers below are pure and skip what they do not know.

mod parse;
pub mod v1;
pub mod v2;

use cais_order::InOrder;
pub use parse::{parse_id_list, parse_keyed, parse_pids_max, parse_pressure, parse_value};
pub use v1::read_v1;
pub use v2::read_v2;

use super::group::{open_below, read_text};
use rustix::fd::BorrowedFd;
use rustix::fs::{Dir, OFlags};
use std::collections::BTreeMap;

/// What a group and those below it use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Time on the CPUs.
    pub cpu: CpuStats,
    /// CPUs and memory nodes; version 1 only, as runc has it.
    pub cpuset: CpusetStats,
    /// Memory.
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: PidsStats,
    /// Block devices.
    pub block_io: BlockIoStats,
    /// Huge pages by their size as the kernel writes it (`2MB`), sorted by that.
    pub huge_pages: Vec<(String, HugePageStats)>,
}

/// Time on the CPUs (cgroup-v1/cpuacct.rst, scheduler/sched-bwc.rst; cgroup-v2.rst, "CPU").
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuStats {
    /// Time used.
    pub usage: CpuUsage,
    /// Time withheld.
    pub throttling: Throttling,
    /// Time waited; version 2 only, and only where the kernel counts it.
    pub pressure: Option<Pressure>,
}

/// Time used, since the group was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuUsage {
    /// All of it, in nanoseconds: `cpuacct.usage`, or `usage_usec`.
    pub total: u64,
    /// The same for each CPU that may exist, in nanoseconds; version 1 only.
    pub percpu: Vec<u64>,
    /// The part in the kernel for each CPU, in nanoseconds; version 1 only.
    pub percpu_kernel: Vec<u64>,
    /// The part outside the kernel for each CPU, in nanoseconds; version 1 only.
    pub percpu_user: Vec<u64>,
    /// The part in the kernel, in nanoseconds; version 1 counts it in steps of 10 ms.
    pub kernel: u64,
    /// The part outside the kernel, in nanoseconds; version 1 counts it in steps of 10 ms.
    pub user: u64,
}

/// Time withheld for `cpu.cfs_quota_us` or `cpu.max` (scheduler/sched-bwc.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods in which the group wanted to run: `nr_periods`.
    pub periods: u64,
    /// Periods in which its quota ran out: `nr_throttled`.
    pub throttled_periods: u64,
    /// How long it was held, in nanoseconds, added up over the CPUs.
    pub throttled_time: u64,
}

/// CPUs and memory nodes (cgroup-v1/cpusets.rst). The flags are 0 or 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpusetStats {
    /// CPUs that may be used: `cpuset.cpus`.
    pub cpus: Vec<u16>,
    /// `cpuset.cpu_exclusive`.
    pub cpu_exclusive: u64,
    /// Memory nodes that may be used: `cpuset.mems`.
    pub mems: Vec<u16>,
    /// `cpuset.mem_hardwall`.
    pub mem_hardwall: u64,
    /// `cpuset.mem_exclusive`.
    pub mem_exclusive: u64,
    /// `cpuset.memory_migrate`.
    pub memory_migrate: u64,
    /// `cpuset.memory_spread_page`.
    pub memory_spread_page: u64,
    /// `cpuset.memory_spread_slab`.
    pub memory_spread_slab: u64,
    /// Direct reclaims each second, times 1000: `cpuset.memory_pressure`.
    pub memory_pressure: u64,
    /// `cpuset.sched_load_balance`.
    pub sched_load_balance: u64,
    /// How far the scheduler looks for an idle CPU, -1 for the machine's default:
    /// `cpuset.sched_relax_domain_level`.
    pub sched_relax_domain_level: i64,
}

/// Memory (cgroup-v1/memory.rst; cgroup-v2.rst, "Memory").
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryStats {
    /// The page cache, in bytes: `cache` of version 1's `memory.stat`, `file` of version 2's.
    pub cache: u64,
    /// All memory but the kernel's TCP buffers of version 1.
    pub usage: MemoryEntry,
    /// Memory and swap together. Version 2 counts swap alone: memory is added to the
    /// usage and the limit, and the maximum is 0, for it cannot be told.
    pub swap: MemoryEntry,
    /// The kernel's own; version 1 only (version 2: `kernel` of [`Self::raw`]).
    pub kernel: MemoryEntry,
    /// The kernel's TCP buffers; version 1 only (version 2: `sock` of [`Self::raw`]).
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as it is; bytes and counts.
    pub raw: BTreeMap<String, u64>,
    /// Time waited; version 2 only, and only where the kernel counts it.
    pub pressure: Option<Pressure>,
    /// How often limits were met; version 2 only.
    pub events: MemoryEvents,
}

/// One counter of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    /// The limit in bytes. Without one it is `9223372036854771712` (version 1, pages of
    /// 4 KiB) or [`u64::MAX`] (version 2, `max`).
    pub limit: u64,
    /// In use, in bytes.
    pub usage: u64,
    /// The most that was in use, in bytes; 0 on version 2 before Linux 5.19.
    pub max: u64,
    /// How often the limit was hit; version 1 only (version 2: [`MemoryStats::events`]).
    pub failcnt: u64,
}

/// How often limits of memory were met: `memory.events` (cgroup-v2.rst, "Memory").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Reclaimed although below `memory.low`.
    pub low: u64,
    /// Held up for `memory.high`.
    pub high: u64,
    /// About to pass `memory.max`.
    pub max: u64,
    /// At the limit with nothing left to reclaim.
    pub oom: u64,
    /// Processes killed for want of memory.
    pub oom_kill: u64,
    /// Groups killed as a whole; since Linux 5.17.
    pub oom_group_kill: u64,
}

/// Processes and threads (cgroup-v1/pids.rst; cgroup-v2.rst, "PID").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// How many there are. On version 2 without the controller only processes count.
    pub current: u64,
    /// How many there may be; `None` for no limit (runc writes 0 then).
    pub limit: Option<u64>,
}

/// Block devices (cgroup-v1/blkio-controller.rst; block/bfq-iosched.rst; cgroup-v2.rst,
/// "IO"). Version 2 has the first two only. The lists are those of the group with the
/// groups below it, where the kernel has such.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BlockIoStats {
    /// Bytes moved: runc's `ioServiceBytesRecursive`.
    pub service_bytes: Vec<BlockIoEntry>,
    /// Requests done: `ioServicedRecursive`.
    pub serviced: Vec<BlockIoEntry>,
    /// Requests waiting now: `ioQueueRecursive`.
    pub queued: Vec<BlockIoEntry>,
    /// Time at the device, in nanoseconds: `ioServiceTimeRecursive`.
    pub service_time: Vec<BlockIoEntry>,
    /// Time in queues, in nanoseconds: `ioWaitTimeRecursive`.
    pub wait_time: Vec<BlockIoEntry>,
    /// Requests merged into others: `ioMergedRecursive`.
    pub merged: Vec<BlockIoEntry>,
    /// Time that the device was the group's, in milliseconds: `ioTimeRecursive`.
    pub time: Vec<BlockIoEntry>,
    /// Sectors of 512 bytes moved: `sectorsRecursive`.
    pub sectors: Vec<BlockIoEntry>,
    /// Time waited; version 2 only, and only where the kernel counts it.
    pub pressure: Option<Pressure>,
}

/// A value of one device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIoEntry {
    /// The device's major number.
    pub major: u64,
    /// The device's minor number.
    pub minor: u64,
    /// `Read`, `Write`, `Discard`; on version 1 also `Sync`, `Async` and `Total`; empty
    /// where the file does not tell them apart.
    pub op: String,
    /// The value, in the unit of its list.
    pub value: u64,
}

/// Huge pages of one size (cgroup-v1/hugetlb.rst; cgroup-v2.rst, "HugeTLB"): those
/// reserved where the kernel counts them (Linux 5.7), otherwise those in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HugePageStats {
    /// In bytes.
    pub usage: u64,
    /// The most there were, in bytes; version 1 only.
    pub max: u64,
    /// How often the limit stopped one.
    pub failcnt: u64,
}

/// Time lost waiting for a resource (accounting/psi.rst).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pressure {
    /// While at least one task waited.
    pub some: PressureLine,
    /// While all that were not idle waited; zero before Linux 5.13 for the CPU.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PressureLine {
    /// The share of the last 10 seconds, in percent.
    pub avg10: f64,
    /// The share of the last 60 seconds, in percent.
    pub avg60: f64,
    /// The share of the last 300 seconds, in percent.
    pub avg300: f64,
    /// Since the group was made, in microseconds: runc passes it on as it is.
    pub total: u64,
}

/// The directory of a group; without one all its files are missing.
#[derive(Clone, Copy)]
struct Files<'a>(Option<BorrowedFd<'a>>);

impl Files<'_> {
    /// The text of a file that is there and can be read.
    fn text(self, name: &str) -> Option<String> {
        read_text(self.0?, name).ok()
    }

    /// The single number of a file.
    fn value(self, name: &str) -> u64 {
        self.text(name).map_or(0, |text| parse_value(&text))
    }

    /// The pressure file, where the kernel counts it.
    fn pressure(self, name: &str) -> Option<Pressure> {
        self.text(name).as_deref().and_then(parse_pressure)
    }

    /// The sizes of huge pages that have a file `hugetlb.SIZE<suffix>`, sorted.
    fn page_sizes(self, suffix: &str) -> Vec<String> {
        // The directory may be open as a place only (O_PATH), which cannot be listed.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let listable = self
            .0
            .and_then(|directory| open_below(directory, ".", flags).ok());
        let Some(entries) = listable.and_then(|directory| Dir::new(directory).ok()) else {
            return Vec::new();
        };
        let mut sizes: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_str().ok()?;
                parse::page_size(name, suffix).map(str::to_owned)
            })
            .collect();
        sizes.order();
        sizes
    }
}

#[cfg(test)]
mod tests;
