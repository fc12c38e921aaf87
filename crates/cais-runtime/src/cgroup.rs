//! From the configuration's limits to those of the kernel's rooms, and what of the
//! hierarchies a container sees.

use crate::plan::facts::{CgroupView, Hierarchy};
use crate::spec::Resources;
use crate::spec::linux::{BlockIo, DeviceRule, ThrottleDevice};
use cais_linux::cgroups::resources::{self, DeviceKind, Throttle};
use cais_linux::cgroups::{self, CgroupError, Layout};

/// The limits as the cgroup rooms take them. Zero is "not set": engines written in Go send
/// it for what they do not limit.
///
/// # Errors
/// For a device rule that cannot be understood.
pub fn resources_of(resources: &Resources) -> Result<cgroups::Resources, CgroupError> {
    let cpu = resources.cpu.clone().unwrap_or_default();
    let memory = resources.memory.clone().unwrap_or_default();
    Ok(cgroups::Resources {
        cpu: resources::Cpu {
            shares: cpu.shares.filter(|shares| *shares != 0),
            quota: cpu.quota.filter(|quota| *quota != 0),
            period: cpu.period.filter(|period| *period != 0),
            cpus: cpu.cpus.filter(|list| !list.is_empty()),
            mems: cpu.mems.filter(|list| !list.is_empty()),
            burst: cpu.burst,
            realtime_runtime: cpu.realtime_runtime,
            realtime_period: cpu.realtime_period,
            idle: cpu.idle,
        },
        memory: resources::Memory {
            limit: memory.limit.filter(|limit| *limit != 0),
            swap: memory.swap.filter(|swap| *swap != 0),
            swap_is_default: false,
            reservation: memory.reservation.filter(|limit| *limit != 0),
            // The largest number is Go's way of saying -1: not set.
            swappiness: memory.swappiness.filter(|value| *value != u64::MAX),
            disable_oom_killer: memory.disable_oom_killer.unwrap_or(false),
            kernel_tcp: memory.kernel_tcp.filter(|limit| *limit > 0),
            check_before_update: memory.check_before_update.unwrap_or(false),
        },
        pids: resources
            .pids
            .as_ref()
            .map(|pids| pids.limit)
            .filter(|limit| *limit != 0),
        pids_is_default: false,
        block_io: block_io_of(&resources.block_io.clone().unwrap_or_default()),
        huge_pages: resources
            .hugepage_limits
            .iter()
            .map(|limit| (limit.page_size.clone(), limit.limit))
            .collect(),
        class_id: resources.network.as_ref().and_then(|network| network.class_id),
        interface_priorities: resources
            .network
            .iter()
            .flat_map(|network| &network.priorities)
            .map(|entry| (entry.name.clone(), entry.priority))
            .collect(),
        rdma: resources
            .rdma
            .iter()
            .map(|(name, limit)| (name.clone(), limit.hca_handles, limit.hca_objects))
            .collect(),
        devices: resources
            .devices
            .iter()
            .map(device_rule_of)
            .collect::<Result<_, _>>()?,
        unified: resources.unified.clone(),
    })
}

fn block_io_of(block_io: &BlockIo) -> resources::BlockIo {
    let throttles = |devices: &[ThrottleDevice]| {
        let throttle = |device: &ThrottleDevice| Throttle {
            major: device.major,
            minor: device.minor,
            rate: device.rate,
        };
        devices.iter().map(throttle).collect()
    };
    resources::BlockIo {
        weight: block_io.weight.filter(|weight| *weight != 0),
        leaf_weight: block_io.leaf_weight.filter(|weight| *weight != 0),
        device_weights: block_io
            .weight_device
            .iter()
            .map(|device| (device.major, device.minor, device.weight, device.leaf_weight))
            .collect(),
        read_bps: throttles(&block_io.throttle_read_bps_device),
        write_bps: throttles(&block_io.throttle_write_bps_device),
        read_iops: throttles(&block_io.throttle_read_iops_device),
        write_iops: throttles(&block_io.throttle_write_iops_device),
    }
}

fn device_rule_of(rule: &DeviceRule) -> Result<resources::DeviceRule, CgroupError> {
    let bad = || CgroupError::DeviceRule(format!("{rule:?}"));
    let kind = match rule.kind.as_deref() {
        None | Some("a") => DeviceKind::All,
        Some("b") => DeviceKind::Block,
        Some("c" | "u") => DeviceKind::Character,
        Some(_) => return Err(bad()),
    };
    let number = |number: Option<i64>| match number {
        // -1 is an old way of saying "all".
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).or(Err(bad())),
    };
    let access = rule.access.as_deref().unwrap_or("rwm");
    Ok(resources::DeviceRule {
        allow: rule.allow,
        kind,
        major: number(rule.major)?,
        minor: number(rule.minor)?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// What a container sees at `/sys/fs/cgroup`.
#[must_use]
pub fn view_of(layout: &Layout) -> CgroupView {
    if layout.is_unified() {
        return CgroupView::V2;
    }
    if layout.is_empty() {
        return CgroupView::None;
    }
    let hierarchies = layout.v1.iter().chain(&layout.v2);
    let view = |hierarchy: &cgroups::Hierarchy| Hierarchy {
        directory: hierarchy.name(),
        path: hierarchy.path.clone(),
        options: hierarchy.controllers.clone(),
    };
    CgroupView::V1(hierarchies.map(view).collect())
}
