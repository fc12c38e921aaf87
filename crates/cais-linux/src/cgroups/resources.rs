//! What can be limited, in the terms of the OCI runtime specification and without its
//! types.

use std::collections::BTreeMap;

/// Limits of a group. What is absent is left as the kernel has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU time and placement.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// The number of processes; zero or less is unlimited.
    pub pids: Option<i64>,
    /// Whether [`Resources::pids`] is our own default, to be left out where there is no
    /// such controller.
    pub pids_is_default: bool,
    /// Block devices.
    pub block_io: BlockIo,
    /// Huge pages: size as in `hugetlb.<size>.…`, and bytes.
    pub huge_pages: Vec<(String, u64)>,
    /// The mark on packets for traffic control (version 1, `net_cls`).
    pub class_id: Option<u32>,
    /// Priorities of packets by interface (version 1, `net_prio`).
    pub interface_priorities: Vec<(String, u32)>,
    /// RDMA devices: name, handles, objects.
    pub rdma: Vec<(String, Option<u32>, Option<u32>)>,
    /// Devices, in order; none means that all may be used.
    pub devices: Vec<DeviceRule>,
    /// Files of cgroup v2 and what to write, verbatim.
    pub unified: BTreeMap<String, String>,
}

/// CPU limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The relative weight as v1 counts it: 2 to 262144, usually 1024.
    pub shares: Option<u64>,
    /// Microseconds of CPU time a period; negative is unlimited.
    pub quota: Option<i64>,
    /// The period in microseconds.
    pub period: Option<u64>,
    /// The CPUs, as a list.
    pub cpus: Option<String>,
    /// The memory nodes, as a list.
    pub mems: Option<String>,
    /// Microseconds that may be saved up beyond the quota.
    pub burst: Option<u64>,
    /// Microseconds of real-time scheduling a period (version 1).
    pub realtime_runtime: Option<i64>,
    /// The period of real-time scheduling in microseconds (version 1).
    pub realtime_period: Option<u64>,
    /// 1 for a group that runs only where the CPU idles.
    pub idle: Option<i64>,
}

/// Memory limits in bytes; -1 is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The hard limit.
    pub limit: Option<i64>,
    /// Memory and swap together.
    pub swap: Option<i64>,
    /// Whether [`Memory::swap`] is a default, to be left out where swap is not counted.
    pub swap_is_default: bool,
    /// The soft limit.
    pub reservation: Option<i64>,
    /// How eagerly to swap, 0 to 100.
    pub swappiness: Option<u64>,
    /// Whether to pause instead of killing.
    pub disable_oom_killer: bool,
    /// TCP buffers in the kernel (version 1).
    pub kernel_tcp: Option<i64>,
    /// Whether a limit below what is in use is refused instead of enforced.
    pub check_before_update: bool,
}

/// Limits of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// The relative weight, 10 to 1000.
    pub weight: Option<u16>,
    /// The relative weight against the groups below (version 1).
    pub leaf_weight: Option<u16>,
    /// Weights by device: major, minor, weight, leaf weight.
    pub device_weights: Vec<(i64, i64, Option<u16>, Option<u16>)>,
    /// Bytes read a second.
    pub read_bps: Vec<Throttle>,
    /// Bytes written a second.
    pub write_bps: Vec<Throttle>,
    /// Reads a second.
    pub read_iops: Vec<Throttle>,
    /// Writes a second.
    pub write_iops: Vec<Throttle>,
}

/// A limit of one block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The major number.
    pub major: i64,
    /// The minor number.
    pub minor: i64,
    /// The limit a second.
    pub rate: u64,
}

/// The kinds of devices that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Block and character devices.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}

/// One rule for devices; a later one wins over an earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether access is allowed.
    pub allow: bool,
    /// The kind of device.
    pub kind: DeviceKind,
    /// The major number; absent means all.
    pub major: Option<u32>,
    /// The minor number; absent means all.
    pub minor: Option<u32>,
    /// Whether reading is meant.
    pub read: bool,
    /// Whether writing is meant.
    pub write: bool,
    /// Whether making a node is meant.
    pub mknod: bool,
}

impl DeviceRule {
    /// Whether the rule is about everything: all devices, all access.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let all_devices = self.kind == DeviceKind::All && self.major.is_none() && self.minor.is_none();
        all_devices && self.read && self.write && self.mknod
    }
}
