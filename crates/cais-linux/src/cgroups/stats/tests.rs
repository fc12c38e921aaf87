//! The readers on directories that look like groups: what the files say is from Linux
//! 6.18 (version 1) and 6.1 (version 2).

use super::*;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use std::fs;
use std::path::PathBuf;

struct Fixture(PathBuf);

impl Fixture {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let base = std::env::temp_dir().join(format!("cais-stats-{name}-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        for (file, text) in files {
            fs::write(base.join(file), text).unwrap();
        }
        Self(base)
    }

    fn open(&self) -> OwnedFd {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&self.0, flags, Mode::empty()).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn entry(op: &str, value: u64) -> BlockIoEntry {
    BlockIoEntry {
        major: 254,
        minor: 0,
        op: op.to_owned(),
        value,
    }
}

const UNLIMITED: &str = "9223372036854771712\n";

const V1_CPU: [(&str, &str); 5] = [
    (
        "cpu.stat",
        "nr_periods 12\nnr_throttled 11\nthrottled_time 937950496\n",
    ),
    ("cpuacct.stat", "user 22\nsystem 2\n"),
    ("cpuacct.usage", "247670962\n"),
    (
        "cpuacct.usage_all",
        "cpu user system\n0 0 0\n1 232000000 24000000\n",
    ),
    ("cpuacct.usage_percpu", "4099193 243571769 \n"),
];

const V1_MEMORY: [(&str, &str); 12] = [
    ("memory.failcnt", "20\n"),
    ("memory.limit_in_bytes", "67108864\n"),
    ("memory.max_usage_in_bytes", "67059712\n"),
    ("memory.usage_in_bytes", "774144\n"),
    ("memory.memsw.limit_in_bytes", UNLIMITED),
    ("memory.memsw.max_usage_in_bytes", "68026368\n"),
    ("memory.memsw.usage_in_bytes", "774144\n"),
    ("memory.memsw.failcnt", "0\n"),
    ("memory.kmem.limit_in_bytes", UNLIMITED),
    ("memory.kmem.usage_in_bytes", "8192\n"),
    ("memory.kmem.tcp.limit_in_bytes", UNLIMITED),
    ("memory.stat", "cache 385024\nrss 0\ntotal_cache 385024\n"),
];

const V1_OTHERS: [(&str, &str); 15] = [
    ("cpuset.cpus", "0-1\n"),
    ("cpuset.mems", "0\n"),
    ("cpuset.sched_load_balance", "1\n"),
    ("cpuset.sched_relax_domain_level", "-1\n"),
    ("pids.current", "3\n"),
    ("pids.max", "100\n"),
    ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
    (
        "blkio.throttle.io_serviced_recursive",
        "254:0 Read 48\n254:0 Total 95\nTotal 95\n",
    ),
    ("blkio.throttle.io_serviced", "254:0 Read 1\nTotal 1\n"),
    ("blkio.throttle.io_service_bytes", "254:0 Read 520192\n"),
    ("blkio.bfq.sectors_recursive", "254:0 6792\n"),
    ("hugetlb.2MB.usage_in_bytes", "2097152\n"),
    ("hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
    ("hugetlb.2MB.failcnt", "5\n"),
    ("hugetlb.1GB.usage_in_bytes", "0\n"),
];

#[test]
fn version_1() {
    let files = [&V1_CPU[..], &V1_MEMORY, &V1_OTHERS].concat();
    let fixture = Fixture::new("v1", &files);
    let stats = read_v1(&|_| Some(fixture.open()));
    assert_eq!(
        stats.cpu.usage,
        CpuUsage {
            total: 247_670_962,
            percpu: vec![4_099_193, 243_571_769],
            percpu_kernel: vec![0, 24_000_000],
            percpu_user: vec![0, 232_000_000],
            kernel: 20_000_000,
            user: 220_000_000,
        }
    );
    assert_eq!(stats.cpu.throttling.throttled_periods, 11);
    assert_eq!((stats.cpuset.cpus, stats.cpuset.mems), (vec![0, 1], vec![0]));
    assert_eq!(stats.cpuset.sched_relax_domain_level, -1);
    assert_eq!(stats.cpuset.sched_load_balance, 1);
    assert_eq!(stats.memory.cache, 385_024);
    assert_eq!(
        stats.memory.usage,
        MemoryEntry {
            limit: 67_108_864,
            usage: 774_144,
            max: 67_059_712,
            failcnt: 20,
        }
    );
    assert_eq!(stats.memory.swap.max, 68_026_368);
    assert_eq!(stats.memory.kernel.usage, 8192);
    assert_eq!(stats.memory.kernel_tcp.limit, 9_223_372_036_854_771_712);
    assert_eq!(stats.memory.raw["rss"], 0);
    assert_eq!(
        stats.pids,
        PidsStats {
            current: 3,
            limit: Some(100)
        }
    );
    // BFQ has no device here; throttling with the groups below goes first.
    assert_eq!(stats.block_io.serviced, [entry("Read", 48), entry("Total", 95)]);
    assert_eq!(stats.block_io.service_bytes, [entry("Read", 520_192)]);
    assert_eq!(stats.block_io.sectors, [entry("", 6792)]);
    let pages = HugePageStats {
        usage: 2_097_152,
        max: 4_194_304,
        failcnt: 5,
    };
    assert_eq!(
        stats.huge_pages,
        [
            ("1GB".to_owned(), HugePageStats::default()),
            ("2MB".to_owned(), pages)
        ]
    );
}

#[test]
fn version_1_reserved_pages_go_first() {
    let fixture = Fixture::new(
        "v1-rsvd",
        &[
            ("hugetlb.2MB.usage_in_bytes", "1\n"),
            ("hugetlb.2MB.rsvd.usage_in_bytes", "2\n"),
            ("hugetlb.2MB.rsvd.failcnt", "3\n"),
        ],
    );
    let stats = read_v1(&|controller| (controller == "hugetlb").then(|| fixture.open()));
    let pages = HugePageStats {
        usage: 2,
        max: 0,
        failcnt: 3,
    };
    assert_eq!(stats.huge_pages, [("2MB".to_owned(), pages)]);
}

const V2: [(&str, &str); 18] = [
    (
        "cpu.stat",
        "usage_usec 1763124\nuser_usec 438692\nsystem_usec 1324432\nnr_periods 91\nnr_throttled 88\nthrottled_usec 7245241\n",
    ),
    (
        "cpu.pressure",
        "some avg10=34.48 avg60=9.05 avg300=2.01 total=6073775\nfull avg10=34.48 avg60=9.05 avg300=2.01 total=6073445\n",
    ),
    (
        "io.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=8320\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=8320\n",
    ),
    (
        "io.stat",
        "254:0 rbytes=2285568 wbytes=104857600 rios=104 wios=92 dbytes=0 dios=0\n",
    ),
    ("memory.current", "229376\n"),
    ("memory.events", "low 0\nhigh 0\nmax 567\noom 1\noom_kill 1\n"),
    ("memory.max", "67108864\n"),
    ("memory.peak", "67108864\n"),
    ("memory.stat", "anon 0\nfile 16384\nkernel 24576\nsock 0\n"),
    ("memory.swap.current", "4096\n"),
    ("memory.swap.max", "max\n"),
    ("pids.current", "4\n"),
    ("pids.max", "max\n"),
    ("cgroup.procs", "1\n"),
    ("hugetlb.2MB.current", "0\n"),
    ("hugetlb.2MB.rsvd.current", "2097152\n"),
    ("hugetlb.2MB.max", "max\n"),
    ("hugetlb.2MB.events", "max 2\n"),
];

#[test]
fn version_2() {
    let fixture = Fixture::new("v2", &V2);
    let directory = fixture.open();
    let stats = read_v2(directory.as_fd());
    assert_eq!(stats.cpu.usage.total, 1_763_124_000);
    assert_eq!(stats.cpu.throttling.throttled_time, 7_245_241_000);
    assert_eq!(
        stats.cpu.pressure.map(|pressure| pressure.full.total),
        Some(6_073_445)
    );
    assert_eq!(stats.cpuset, CpusetStats::default());
    assert_eq!(stats.memory.cache, 16_384);
    let usage = MemoryEntry {
        limit: 67_108_864,
        usage: 229_376,
        max: 67_108_864,
        failcnt: 0,
    };
    assert_eq!(stats.memory.usage, usage);
    let swap = MemoryEntry {
        limit: u64::MAX,
        usage: 233_472,
        max: 0,
        failcnt: 0,
    };
    assert_eq!(stats.memory.swap, swap);
    assert_eq!(stats.memory.raw["kernel"], 24_576);
    assert_eq!((stats.memory.events.max, stats.memory.events.oom_kill), (567, 1));
    assert_eq!(stats.memory.pressure, None);
    assert_eq!(
        stats.pids,
        PidsStats {
            current: 4,
            limit: None
        }
    );
    assert_eq!(stats.block_io.serviced[1], entry("Write", 92));
    assert_eq!(
        stats.block_io.pressure.map(|pressure| pressure.some.total),
        Some(8320)
    );
    let pages = HugePageStats {
        usage: 2_097_152,
        max: 0,
        failcnt: 2,
    };
    assert_eq!(stats.huge_pages, [("2MB".to_owned(), pages)]);
}

#[test]
fn version_2_counts_processes_without_the_controller() {
    for (name, file) in [("procs", "cgroup.procs"), ("threads", "cgroup.threads")] {
        let fixture = Fixture::new(name, &[(file, "12\n0\n14\n")]);
        let directory = fixture.open();
        let expected = PidsStats {
            current: 3,
            limit: None,
        };
        assert_eq!(read_v2(directory.as_fd()).pids, expected, "{file}");
    }
}

#[test]
fn what_is_missing_is_zero() {
    assert_eq!(read_v1(&|_| None), Stats::default());
    let fixture = Fixture::new("empty", &[]);
    assert_eq!(read_v1(&|_| Some(fixture.open())), Stats::default());
    let directory = fixture.open();
    assert_eq!(read_v2(directory.as_fd()), Stats::default());
}
