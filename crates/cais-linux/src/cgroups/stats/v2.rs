//! Version 2: one directory for all controllers.

use super::parse::{device, keyed, keyed_value, parse_keyed, parse_pids_max};
use super::{
    BlockIoEntry, BlockIoStats, CpuStats, CpuUsage, CpusetStats, Files, HugePageStats, MemoryEntry,
    MemoryEvents, MemoryStats, PidsStats, Stats, Throttling,
};
use rustix::fd::BorrowedFd;

/// Reads what the group of `directory` uses.
#[must_use]
pub fn read_v2(directory: BorrowedFd<'_>) -> Stats {
    let files = Files(Some(directory));
    let (usage, throttling) = parse_cpu_stat(&files.text("cpu.stat").unwrap_or_default());
    let mut block_io = parse_io_stat(&files.text("io.stat").unwrap_or_default());
    block_io.pressure = files.pressure("io.pressure");
    Stats {
        cpu: CpuStats {
            usage,
            throttling,
            pressure: files.pressure("cpu.pressure"),
        },
        cpuset: CpusetStats::default(),
        memory: read_memory(files),
        pids: read_pids(files),
        block_io,
        huge_pages: read_huge_pages(files),
    }
}

fn read_memory(files: Files<'_>) -> MemoryStats {
    let raw = parse_keyed(&files.text("memory.stat").unwrap_or_default());
    let usage = read_memory_entry(files, "memory");
    let swap = read_memory_entry(files, "memory.swap");
    MemoryStats {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap: combine_swap(usage, swap),
        kernel: MemoryEntry::default(),
        kernel_tcp: MemoryEntry::default(),
        raw,
        pressure: files.pressure("memory.pressure"),
        events: parse_memory_events(&files.text("memory.events").unwrap_or_default()),
    }
}

fn read_memory_entry(files: Files<'_>, prefix: &str) -> MemoryEntry {
    MemoryEntry {
        limit: files.value(&format!("{prefix}.max")),
        usage: files.value(&format!("{prefix}.current")),
        max: files.value(&format!("{prefix}.peak")),
        failcnt: 0,
    }
}

/// Memory and swap together, as version 1 counts them; without a limit on either there is
/// none on both.
fn combine_swap(memory: MemoryEntry, swap: MemoryEntry) -> MemoryEntry {
    MemoryEntry {
        limit: memory.limit.saturating_add(swap.limit),
        usage: memory.usage.saturating_add(swap.usage),
        max: 0,
        failcnt: 0,
    }
}

/// Without the controller the processes are counted, or the threads of a group that has
/// those only.
fn read_pids(files: Files<'_>) -> PidsStats {
    let current = match files.text("pids.current") {
        Some(text) => super::parse_value(&text),
        None => files
            .text("cgroup.procs")
            .or_else(|| files.text("cgroup.threads"))
            .map_or(0, |text| text.lines().map(|_| 1).sum()),
    };
    PidsStats {
        current,
        limit: files.text("pids.max").as_deref().and_then(parse_pids_max),
    }
}

fn read_huge_pages(files: Files<'_>) -> Vec<(String, HugePageStats)> {
    let read = |size: String| {
        let usage = files
            .text(&format!("hugetlb.{size}.rsvd.current"))
            .or_else(|| files.text(&format!("hugetlb.{size}.current")));
        // Reservations have no events of their own.
        let events = files.text(&format!("hugetlb.{size}.events")).unwrap_or_default();
        let stats = HugePageStats {
            usage: usage.map_or(0, |text| super::parse_value(&text)),
            max: 0,
            failcnt: parse_huge_page_events(&events),
        };
        (size, stats)
    };
    let sizes = files.page_sizes(".current").into_iter();
    sizes.map(read).collect()
}

/// `cpu.stat` of version 2 (cgroup-v2.rst, "CPU"), whose microseconds become nanoseconds.
#[must_use]
pub fn parse_cpu_stat(text: &str) -> (CpuUsage, Throttling) {
    let (mut usage, mut throttling) = (CpuUsage::default(), Throttling::default());
    for (name, value) in keyed(text) {
        let time = value.saturating_mul(1000);
        match name {
            "usage_usec" => usage.total = time,
            "user_usec" => usage.user = time,
            "system_usec" => usage.kernel = time,
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_usec" => throttling.throttled_time = time,
            _ => {}
        }
    }
    (usage, throttling)
}

/// `memory.events` (cgroup-v2.rst, "Memory").
#[must_use]
pub fn parse_memory_events(text: &str) -> MemoryEvents {
    MemoryEvents {
        low: keyed_value(text, "low"),
        high: keyed_value(text, "high"),
        max: keyed_value(text, "max"),
        oom: keyed_value(text, "oom"),
        oom_kill: keyed_value(text, "oom_kill"),
        oom_group_kill: keyed_value(text, "oom_group_kill"),
    }
}

/// `hugetlb.SIZE.events` (cgroup-v2.rst, "HugeTLB"): how often the limit stopped a page.
#[must_use]
pub fn parse_huge_page_events(text: &str) -> u64 {
    keyed_value(text, "max")
}

/// `io.stat` (cgroup-v2.rst, "IO"): bytes and requests, under the names of version 1.
#[must_use]
pub fn parse_io_stat(text: &str) -> BlockIoStats {
    let mut stats = BlockIoStats::default();
    for line in text.lines() {
        let mut at = None;
        for word in line.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                // Some kernels leave devices without values in the line of the next.
                at = device(word);
                continue;
            };
            let (Some((major, minor)), Ok(value)) = (at, value.parse()) else {
                continue;
            };
            let (list, op) = match name {
                "rbytes" => (&mut stats.service_bytes, "Read"),
                "wbytes" => (&mut stats.service_bytes, "Write"),
                "dbytes" => (&mut stats.service_bytes, "Discard"),
                "rios" => (&mut stats.serviced, "Read"),
                "wios" => (&mut stats.serviced, "Write"),
                "dios" => (&mut stats.serviced, "Discard"),
                _ => continue,
            };
            list.push(BlockIoEntry {
                major,
                minor,
                op: op.to_owned(),
                value,
            });
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_stat() {
        let text = "usage_usec 1763124\nuser_usec 438692\nsystem_usec 1324432\nnr_periods 91\nnr_throttled 88\nthrottled_usec 7245241\nnr_bursts 0\nburst_usec 0\n";
        let usage = CpuUsage {
            total: 1_763_124_000,
            user: 438_692_000,
            kernel: 1_324_432_000,
            ..CpuUsage::default()
        };
        let throttling = Throttling {
            periods: 91,
            throttled_periods: 88,
            throttled_time: 7_245_241_000,
        };
        assert_eq!(parse_cpu_stat(text), (usage.clone(), throttling));
        // Without the controller.
        let text = "usage_usec 1763124\nuser_usec 438692\nsystem_usec 1324432\nnice_usec 0\n";
        assert_eq!(parse_cpu_stat(text), (usage, Throttling::default()));
        assert_eq!(parse_cpu_stat(""), Default::default());
        assert_eq!(
            parse_cpu_stat("usage_usec 18446744073709551615\n").0.total,
            u64::MAX
        );
    }

    #[test]
    fn events() {
        let some = MemoryEvents {
            max: 567,
            oom: 1,
            oom_kill: 2,
            ..MemoryEvents::default()
        };
        for (text, expected) in [
            (
                "low 0\nhigh 0\nmax 567\noom 1\noom_kill 2\noom_group_kill 0\n",
                some,
            ),
            ("max 567\noom 1\noom_kill 2\nsock_throttled 9\n", some),
            ("", MemoryEvents::default()),
        ] {
            assert_eq!(parse_memory_events(text), expected, "{text:?}");
        }
        assert_eq!(parse_huge_page_events("max 7\n"), 7);
        assert_eq!(parse_huge_page_events(""), 0);
    }

    #[test]
    fn swap_with_memory() {
        let entry = |limit, usage| MemoryEntry {
            limit,
            usage,
            max: 9,
            failcnt: 0,
        };
        for (memory, swap, limit, usage) in [
            (entry(100, 10), entry(50, 5), 150, 15),
            (entry(100, 10), entry(u64::MAX, 5), u64::MAX, 15),
            (entry(u64::MAX, 10), entry(50, 0), u64::MAX, 10),
            (entry(100, 10), MemoryEntry::default(), 100, 10),
        ] {
            let combined = combine_swap(memory, swap);
            assert_eq!((combined.limit, combined.usage, combined.max), (limit, usage, 0));
        }
    }

    #[test]
    fn io_stat() {
        let list = |values: &[(u64, u64, &str, u64)]| -> Vec<BlockIoEntry> {
            let entry = |&(major, minor, op, value): &(u64, u64, &str, u64)| BlockIoEntry {
                major,
                minor,
                op: op.to_owned(),
                value,
            };
            values.iter().map(entry).collect()
        };
        let bytes = list(&[
            (254, 0, "Read", 2_285_568),
            (254, 0, "Write", 104_857_600),
            (254, 0, "Discard", 0),
        ]);
        let requests = list(&[
            (254, 0, "Read", 104),
            (254, 0, "Write", 92),
            (254, 0, "Discard", 0),
        ]);
        let line = "254:0 rbytes=2285568 wbytes=104857600 rios=104 wios=92 dbytes=0 dios=0";
        for text in [
            format!("{line}\n"),
            format!("7:7 \n253:1 8:0 {line} cost.usage=5\n"),
            format!("rbytes=1\n8:x rbytes=1\n8:0 rbytes=x\n{line}"),
        ] {
            let stats = parse_io_stat(&text);
            assert_eq!(stats.service_bytes, bytes, "{text:?}");
            assert_eq!(stats.serviced, requests, "{text:?}");
        }
        let two = parse_io_stat("8:0 rbytes=1\n8:16 rbytes=2 wios=3\n");
        assert_eq!(two.service_bytes, list(&[(8, 0, "Read", 1), (8, 16, "Read", 2)]));
        assert_eq!(two.serviced, list(&[(8, 16, "Write", 3)]));
        assert_eq!(parse_io_stat(""), BlockIoStats::default());
    }
}
