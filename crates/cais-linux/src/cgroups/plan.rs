//! From limits to writes: which file of which controller gets what, in which order.

use super::resources::Resources;
use super::{CgroupError, v1, v2};

/// One write into a file of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller whose file it is.
    pub controller: &'static str,
    /// The names of the file, the usual one first: a kernel has one of them.
    pub files: Vec<String>,
    /// What is written.
    pub value: String,
    /// Whether a kernel without the file is no error.
    pub optional: bool,
}

impl Write {
    /// A write that must be possible.
    #[must_use]
    pub fn new(controller: &'static str, file: impl Into<String>, value: impl std::fmt::Display) -> Self {
        let value = format!("{value}");
        Self {
            controller,
            files: vec![file.into()],
            value,
            optional: false,
        }
    }
}

/// The writes for version 1.
///
/// # Errors
/// For limits whose controller is missing, or that version 1 does not have.
pub fn plan_v1(resources: &Resources, has: &dyn Fn(&str) -> bool) -> Result<Vec<Write>, CgroupError> {
    if !resources.unified.is_empty() {
        return Err(CgroupError::NotInVersion {
            limit: "files of cgroup v2",
            version: "v1",
            instead: "name the limits themselves",
        });
    }
    let mut writes = Vec::new();
    v1::cpuset::plan(&resources.cpu, &mut writes);
    v1::cpu::plan(&resources.cpu, &mut writes);
    v1::memory::plan(&resources.memory, &mut writes);
    v1::pids::plan(resources, &mut writes);
    v1::blkio::plan(&resources.block_io, &mut writes);
    v1::hugetlb::plan(&resources.huge_pages, &mut writes);
    v1::net::plan(resources, &mut writes);
    v1::rdma::plan(resources, &mut writes);
    v1::devices::plan(&resources.devices, &mut writes);
    require(writes, has)
}

/// The writes for version 2; devices are a program there ([`v2::devices`]).
///
/// # Errors
/// For limits whose controller is missing, or that version 2 does not have.
pub fn plan_v2(resources: &Resources, has: &dyn Fn(&str) -> bool) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Vec::new();
    v2::cpuset::plan(&resources.cpu, &mut writes);
    v2::cpu::plan(&resources.cpu, &mut writes);
    v2::memory::plan(&resources.memory, &mut writes)?;
    v2::pids::plan(resources, &mut writes);
    v2::io::plan(&resources.block_io, &mut writes);
    v2::hugetlb::plan(&resources.huge_pages, &mut writes);
    v1::rdma::plan(resources, &mut writes);
    if resources.class_id.is_some_and(|class| class != 0) || !resources.interface_priorities.is_empty() {
        return Err(CgroupError::NotInVersion {
            limit: "the class or priority of network traffic",
            version: "v2",
            instead: "leave it out: version 2 has no such controller",
        });
    }
    let mut writes = require(writes, has)?;
    if let Some(file) = resources.unified.keys().find(|file| file.contains('/')) {
        return Err(CgroupError::UnifiedName(file.clone()));
    }
    writes.extend(
        resources
            .unified
            .iter()
            .map(|(file, value)| Write::new("", file.clone(), value)),
    );
    Ok(writes)
}

/// A write whose controller is missing is an error, unless it is optional: then it is
/// left out.
fn require(writes: Vec<Write>, has: &dyn Fn(&str) -> bool) -> Result<Vec<Write>, CgroupError> {
    let mut kept = Vec::with_capacity(writes.len());
    for write in writes {
        if has(write.controller) {
            kept.push(write);
        } else if !write.optional {
            return Err(CgroupError::NoController {
                limit: limit_name(write.controller),
                controller: write.controller,
            });
        }
    }
    Ok(kept)
}

/// What a controller limits, in plain words.
fn limit_name(controller: &str) -> &'static str {
    match controller {
        "cpu" => "CPU time",
        "cpuset" => "the CPUs and memory nodes that may be used",
        "memory" => "memory",
        "pids" => "the number of processes",
        "blkio" | "io" => "block devices",
        "hugetlb" => "huge pages",
        "net_cls" | "net_prio" => "network traffic",
        "rdma" => "RDMA devices",
        "devices" => "devices",
        _ => "this resource",
    }
}

#[cfg(test)]
mod tests {
    use super::super::resources::{BlockIo, Cpu, Memory, Throttle};
    use super::*;

    fn all(_: &str) -> bool {
        true
    }

    fn lines(writes: &[Write]) -> Vec<String> {
        writes
            .iter()
            .map(|write| format!("{}={}", write.files[0], write.value))
            .collect()
    }

    fn everything() -> Resources {
        let throttle = vec![Throttle {
            major: 8,
            minor: 0,
            rate: 1000,
        }];
        Resources {
            cpu: Cpu {
                shares: Some(512),
                quota: Some(50_000),
                period: Some(100_000),
                cpus: Some("0-1".into()),
                mems: Some("0".into()),
                ..Cpu::default()
            },
            memory: Memory {
                limit: Some(1 << 20),
                swap: Some(2 << 20),
                reservation: Some(1 << 19),
                ..Memory::default()
            },
            pids: Some(10),
            block_io: BlockIo {
                weight: Some(500),
                read_bps: throttle.clone(),
                write_iops: throttle,
                ..BlockIo::default()
            },
            huge_pages: vec![("2MB".into(), 4 << 20)],
            ..Resources::default()
        }
    }

    #[test]
    fn version_1() {
        let want = [
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "memory.limit_in_bytes=1048576",
            "memory.memsw.limit_in_bytes=2097152",
            "memory.soft_limit_in_bytes=524288",
            "pids.max=10",
            "blkio.weight=500",
            "blkio.throttle.read_bps_device=8:0 1000",
            "blkio.throttle.write_iops_device=8:0 1000",
            "hugetlb.2MB.limit_in_bytes=4194304",
        ];
        assert_eq!(lines(&plan_v1(&everything(), &all).unwrap()), want);
    }

    #[test]
    fn version_2() {
        let want = [
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "cpu.weight=59",
            "cpu.max=50000 100000",
            "memory.max=1048576",
            "memory.swap.max=1048576",
            "memory.low=524288",
            "pids.max=10",
            "io.bfq.weight=500",
            "io.max=8:0 rbps=1000",
            "io.max=8:0 wiops=1000",
            "hugetlb.2MB.max=4194304",
        ];
        assert_eq!(lines(&plan_v2(&everything(), &all).unwrap()), want);
    }

    #[test]
    fn a_missing_controller_is_an_error_unless_it_was_our_default() {
        let without = |missing: &'static str| move |controller: &str| controller != missing;
        for controller in ["cpu", "cpuset", "memory", "pids"] {
            let error = plan_v2(&everything(), &without(controller)).unwrap_err();
            assert!(
                matches!(error, CgroupError::NoController { controller: found, .. } if found == controller)
            );
        }
        let ours = Resources {
            pids: Some(10),
            pids_is_default: true,
            ..Resources::default()
        };
        assert_eq!(plan_v1(&ours, &without("pids")).unwrap(), []);
    }

    #[test]
    fn what_a_version_does_not_have() {
        let swappiness = Resources {
            memory: Memory {
                swappiness: Some(1),
                ..Memory::default()
            },
            ..Resources::default()
        };
        assert!(plan_v1(&swappiness, &all).is_ok());
        assert!(matches!(
            plan_v2(&swappiness, &all),
            Err(CgroupError::NotInVersion { .. })
        ));
        let unified = Resources {
            unified: [("memory.high".to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        assert!(plan_v1(&unified, &all).is_err());
        assert_eq!(lines(&plan_v2(&unified, &all).unwrap()), ["memory.high=1"]);
    }

    #[test]
    fn unlimited_is_minus_one_or_max() {
        let resources = Resources {
            cpu: Cpu {
                quota: Some(-1),
                ..Cpu::default()
            },
            memory: Memory {
                limit: Some(1 << 20),
                swap: Some(-1),
                ..Memory::default()
            },
            pids: Some(-1),
            ..Resources::default()
        };
        assert_eq!(
            lines(&plan_v1(&resources, &all).unwrap()),
            [
                "cpu.cfs_quota_us=-1",
                "memory.limit_in_bytes=1048576",
                "memory.memsw.limit_in_bytes=-1",
                "pids.max=max"
            ]
        );
        assert_eq!(
            lines(&plan_v2(&resources, &all).unwrap()),
            [
                "cpu.max=max 100000",
                "memory.max=1048576",
                "memory.swap.max=max",
                "pids.max=max"
            ]
        );
    }
}
