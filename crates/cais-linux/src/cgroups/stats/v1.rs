//! Version 1: each controller in its own hierarchy.

use super::parse::{device, keyed_value, parse_id_list, parse_keyed, parse_pids_max};
use super::{
    BlockIoEntry, BlockIoStats, CpuStats, CpuUsage, CpusetStats, Files, HugePageStats, MemoryEntry,
    MemoryEvents, MemoryStats, PidsStats, Stats, Throttling,
};
use rustix::fd::{AsFd, OwnedFd};

/// A tick of `cpuacct.stat` in nanoseconds: user space always sees 100 in a second
/// (`USER_HZ`).
const TICK: u64 = 10_000_000;

/// Reads what a group uses. `controller_directory` opens the group in the hierarchy of a
/// controller (`cpu`, `cpuacct`, `cpuset`, `memory`, `pids`, `blkio`, `hugetlb`); what it
/// does not open counts as zero.
#[must_use]
pub fn read_v1(controller_directory: &dyn Fn(&str) -> Option<OwnedFd>) -> Stats {
    let cpu = controller_directory("cpu");
    let cpuacct = controller_directory("cpuacct");
    let cpuset = controller_directory("cpuset");
    let memory = controller_directory("memory");
    let pids = controller_directory("pids");
    let block_io = controller_directory("blkio");
    let huge_pages = controller_directory("hugetlb");
    Stats {
        cpu: CpuStats {
            usage: read_cpuacct(files(cpuacct.as_ref())),
            throttling: parse_cpu_stat(&files(cpu.as_ref()).text("cpu.stat").unwrap_or_default()),
            pressure: None,
        },
        cpuset: read_cpuset(files(cpuset.as_ref())),
        memory: read_memory(files(memory.as_ref())),
        pids: read_pids(files(pids.as_ref())),
        block_io: read_block_io(files(block_io.as_ref())),
        huge_pages: read_huge_pages(files(huge_pages.as_ref())),
    }
}

fn files(directory: Option<&OwnedFd>) -> Files<'_> {
    Files(directory.map(AsFd::as_fd))
}

fn read_cpuacct(files: Files<'_>) -> CpuUsage {
    let (user, kernel) = parse_cpuacct_stat(&files.text("cpuacct.stat").unwrap_or_default());
    let (percpu_user, percpu_kernel) =
        parse_cpuacct_usage_all(&files.text("cpuacct.usage_all").unwrap_or_default());
    CpuUsage {
        total: files.value("cpuacct.usage"),
        percpu: parse_cpuacct_usage_percpu(&files.text("cpuacct.usage_percpu").unwrap_or_default()),
        percpu_kernel,
        percpu_user,
        kernel,
        user,
    }
}

fn read_cpuset(files: Files<'_>) -> CpusetStats {
    let list = |name| parse_id_list(&files.text(name).unwrap_or_default());
    CpusetStats {
        cpus: list("cpuset.cpus"),
        cpu_exclusive: files.value("cpuset.cpu_exclusive"),
        mems: list("cpuset.mems"),
        mem_hardwall: files.value("cpuset.mem_hardwall"),
        mem_exclusive: files.value("cpuset.mem_exclusive"),
        memory_migrate: files.value("cpuset.memory_migrate"),
        memory_spread_page: files.value("cpuset.memory_spread_page"),
        memory_spread_slab: files.value("cpuset.memory_spread_slab"),
        memory_pressure: files.value("cpuset.memory_pressure"),
        sched_load_balance: files.value("cpuset.sched_load_balance"),
        sched_relax_domain_level: files
            .text("cpuset.sched_relax_domain_level")
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
    }
}

fn read_memory(files: Files<'_>) -> MemoryStats {
    let raw = parse_keyed(&files.text("memory.stat").unwrap_or_default());
    MemoryStats {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: read_memory_entry(files, "memory"),
        swap: read_memory_entry(files, "memory.memsw"),
        kernel: read_memory_entry(files, "memory.kmem"),
        kernel_tcp: read_memory_entry(files, "memory.kmem.tcp"),
        raw,
        pressure: None,
        events: MemoryEvents::default(),
    }
}

fn read_memory_entry(files: Files<'_>, prefix: &str) -> MemoryEntry {
    MemoryEntry {
        limit: files.value(&format!("{prefix}.limit_in_bytes")),
        usage: files.value(&format!("{prefix}.usage_in_bytes")),
        max: files.value(&format!("{prefix}.max_usage_in_bytes")),
        failcnt: files.value(&format!("{prefix}.failcnt")),
    }
}

fn read_pids(files: Files<'_>) -> PidsStats {
    PidsStats {
        current: files.value("pids.current"),
        limit: files.text("pids.max").as_deref().and_then(parse_pids_max),
    }
}

/// Who schedules a device counts for it: BFQ, CFQ before Linux 5.0, or none of them.
/// The first of these with any device is taken, as runc does. Older kernels have the
/// values of throttling without those of the groups below only.
fn read_block_io(files: Files<'_>) -> BlockIoStats {
    let first = |names: &[&str]| {
        names
            .iter()
            .map(|name| parse_blkio(&files.text(name).unwrap_or_default()))
            .find(|entries| !entries.is_empty())
            .unwrap_or_default()
    };
    let scheduler = |name: &str| {
        first(&[
            &format!("blkio.bfq.{name}_recursive"),
            &format!("blkio.{name}_recursive"),
        ])
    };
    let any = |name: &str| {
        first(&[
            &format!("blkio.bfq.{name}_recursive"),
            &format!("blkio.{name}_recursive"),
            &format!("blkio.throttle.{name}_recursive"),
            &format!("blkio.throttle.{name}"),
        ])
    };
    BlockIoStats {
        service_bytes: any("io_service_bytes"),
        serviced: any("io_serviced"),
        queued: scheduler("io_queued"),
        service_time: scheduler("io_service_time"),
        wait_time: scheduler("io_wait_time"),
        merged: scheduler("io_merged"),
        time: scheduler("time"),
        sectors: scheduler("sectors"),
        pressure: None,
    }
}

fn read_huge_pages(files: Files<'_>) -> Vec<(String, HugePageStats)> {
    let read = |size: String| {
        let reserved = format!("hugetlb.{size}.rsvd");
        let prefix = match files.text(&format!("{reserved}.usage_in_bytes")) {
            Some(_) => reserved,
            None => format!("hugetlb.{size}"),
        };
        let stats = HugePageStats {
            usage: files.value(&format!("{prefix}.usage_in_bytes")),
            max: files.value(&format!("{prefix}.max_usage_in_bytes")),
            failcnt: files.value(&format!("{prefix}.failcnt")),
        };
        (size, stats)
    };
    let sizes = files.page_sizes(".usage_in_bytes").into_iter();
    sizes.map(read).collect()
}

/// `cpuacct.stat` (cgroup-v1/cpuacct.rst): outside the kernel and in it, in nanoseconds.
#[must_use]
pub fn parse_cpuacct_stat(text: &str) -> (u64, u64) {
    let time = |name| keyed_value(text, name).saturating_mul(TICK);
    (time("user"), time("system"))
}

/// `cpuacct.usage_percpu` (cgroup-v1/cpuacct.rst): for each CPU, in nanoseconds.
#[must_use]
pub fn parse_cpuacct_usage_percpu(text: &str) -> Vec<u64> {
    text.split_whitespace()
        .map_while(|value| value.parse().ok())
        .collect()
}

/// `cpuacct.usage_all` (kernel/sched/cpuacct.c): for each CPU outside the kernel, and for
/// each CPU in it, in nanoseconds.
#[must_use]
pub fn parse_cpuacct_usage_all(text: &str) -> (Vec<u64>, Vec<u64>) {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            // The head, `cpu user system`, has no numbers.
            Some((
                words.next()?.parse::<u64>().ok()?,
                words.next()?.parse::<u64>().ok()?,
            ))
        })
        .unzip()
}

/// `cpu.stat` of version 1 (scheduler/sched-bwc.rst).
#[must_use]
pub fn parse_cpu_stat(text: &str) -> Throttling {
    Throttling {
        periods: keyed_value(text, "nr_periods"),
        throttled_periods: keyed_value(text, "nr_throttled"),
        throttled_time: keyed_value(text, "throttled_time"),
    }
}

/// A file of values for devices (cgroup-v1/blkio-controller.rst): `8:0 Read 4096`, or
/// `8:0 4096`. The sum in the last line, which is of no device, is left out.
#[must_use]
pub fn parse_blkio(text: &str) -> Vec<BlockIoEntry> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (major, minor) = device(words.next()?)?;
            let second = words.next()?;
            let (op, value) = match words.next() {
                Some(value) => (second, value),
                None => ("", second),
            };
            Some(BlockIoEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time() {
        for (text, expected) in [
            ("user 22\nsystem 2\n", (220_000_000, 20_000_000)),
            ("system 2\n", (0, 20_000_000)),
            ("", (0, 0)),
            ("user 18446744073709551615\nsystem x\n", (u64::MAX, 0)),
        ] {
            assert_eq!(parse_cpuacct_stat(text), expected, "{text:?}");
        }
        assert_eq!(
            parse_cpuacct_usage_percpu("4099193 243571769 \n"),
            [4_099_193, 243_571_769]
        );
        assert_eq!(parse_cpuacct_usage_percpu("\n"), [0u64; 0]);
        assert_eq!(
            parse_cpuacct_usage_all("cpu user system\n0 0 0\n1 232000000 24000000\n"),
            (vec![0, 232_000_000], vec![0, 24_000_000])
        );
        assert_eq!(parse_cpuacct_usage_all("1 2\n"), (vec![], vec![]));
    }

    #[test]
    fn throttling() {
        let full = Throttling {
            periods: 12,
            throttled_periods: 12,
            throttled_time: 937_950_496,
        };
        for (text, expected) in [
            (
                "nr_periods 12\nnr_throttled 12\nthrottled_time 937950496\nnr_bursts 0\nburst_time 0\n",
                full,
            ),
            (
                "nr_periods 12\n",
                Throttling {
                    periods: 12,
                    ..Throttling::default()
                },
            ),
            ("", Throttling::default()),
        ] {
            assert_eq!(parse_cpu_stat(text), expected, "{text:?}");
        }
    }

    #[test]
    fn devices() {
        let entry = |minor, op: &str, value| BlockIoEntry {
            major: 254,
            minor,
            op: op.to_owned(),
            value,
        };
        let text = "254:0 Read 520192\n254:0 Write 27267072\n254:0 Sync 132644864\n254:0 Async 0\n254:0 Discard 104857600\n254:0 Total 132644864\nTotal 132644864\n";
        for (text, expected) in [
            (
                text,
                vec![
                    entry(0, "Read", 520_192),
                    entry(0, "Write", 27_267_072),
                    entry(0, "Sync", 132_644_864),
                    entry(0, "Async", 0),
                    entry(0, "Discard", 104_857_600),
                    entry(0, "Total", 132_644_864),
                ],
            ),
            (
                "254:0 6792\n254:16 1\n",
                vec![entry(0, "", 6792), entry(16, "", 1)],
            ),
            ("Total 0\n", vec![]),
            ("254:0\n254 Read 1\n254:x Read 1\n254:0 Read x\n\n", vec![]),
        ] {
            assert_eq!(parse_blkio(text), expected, "{text:?}");
        }
    }
}
