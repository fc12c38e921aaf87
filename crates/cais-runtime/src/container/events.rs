//! `events`: what a container uses, in runc's form (`types/events.go`), which containerd and
//! others read.

use super::error::{Result, RuntimeError};
use super::state::{self, Status, probe_status};
use super::{Runtime, cgroups};
use cais_json::{Map, Value, json};
use cais_linux::cgroups::stats::{
    self, BlockIoEntry, CpuStats, CpusetStats, HugePageStats, MemoryEntry, MemoryStats, Pressure,
    PressureLine, Stats,
};
use rustix::fd::AsFd;

/// The figures of a container that runs.
///
/// # Errors
/// Where it does not run, or has no cgroup.
pub fn read_stats(runtime: &Runtime, id: &str) -> Result<Stats> {
    let state = state::read(runtime, id)?;
    if probe_status(runtime, &state) == Status::Stopped {
        return Err(RuntimeError::Wrong(format!(
            "container with id {id} is not running"
        )));
    }
    let group = cgroups::open(&state)?
        .ok_or_else(|| RuntimeError::Wrong(format!("container {id} has no cgroup of its own")))?;
    if group.is_unified()
        && let Some(directory) = group.open_directory("")
    {
        return Ok(stats::read_v2(directory.as_fd()));
    }
    Ok(stats::read_v1(&|controller| group.open_directory(controller)))
}

/// The line of `events` with figures.
#[must_use]
pub fn stats_event(id: &str, stats: &Stats) -> Value {
    let block = &stats.block_io;
    json!({
        "type": "stats",
        "id": id,
        "data": {
            "cpu": cpu(&stats.cpu),
            "cpuset": cpuset(&stats.cpuset),
            "memory": memory(&stats.memory),
            "pids": { "current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0) },
            "blkio": {
                "ioServiceBytesRecursive": entries(&block.service_bytes),
                "ioServicedRecursive": entries(&block.serviced),
                "ioQueueRecursive": entries(&block.queued),
                "ioServiceTimeRecursive": entries(&block.service_time),
                "ioWaitTimeRecursive": entries(&block.wait_time),
                "ioMergedRecursive": entries(&block.merged),
                "ioTimeRecursive": entries(&block.time),
                "sectorsRecursive": entries(&block.sectors),
                "psi": pressure(block.pressure.as_ref()),
            },
            "hugetlb": stats.huge_pages.iter().map(huge_pages).collect::<Map<_, _>>(),
            "intel_rdt": {},
            "network_interfaces": null,
        },
    })
}

/// The line of `events` for memory that ran out.
#[must_use]
pub fn oom_event(id: &str) -> Value {
    json!({ "type": "oom", "id": id })
}

fn cpu(cpu: &CpuStats) -> Value {
    json!({
        "usage": {
            "total": cpu.usage.total,
            "percpu": cpu.usage.percpu,
            "percpu_kernel": cpu.usage.percpu_kernel,
            "percpu_user": cpu.usage.percpu_user,
            "kernel": cpu.usage.kernel,
            "user": cpu.usage.user,
        },
        "throttling": {
            "periods": cpu.throttling.periods,
            "throttledPeriods": cpu.throttling.throttled_periods,
            "throttledTime": cpu.throttling.throttled_time,
        },
        "psi": pressure(cpu.pressure.as_ref()),
    })
}

fn cpuset(cpuset: &CpusetStats) -> Value {
    json!({
        "cpus": cpuset.cpus,
        "cpu_exclusive": cpuset.cpu_exclusive,
        "mems": cpuset.mems,
        "mem_hardwall": cpuset.mem_hardwall,
        "mem_exclusive": cpuset.mem_exclusive,
        "memory_migrate": cpuset.memory_migrate,
        "memory_spread_page": cpuset.memory_spread_page,
        "memory_spread_slab": cpuset.memory_spread_slab,
        "memory_pressure": cpuset.memory_pressure,
        "sched_load_balance": cpuset.sched_load_balance,
        "sched_relax_domain_level": cpuset.sched_relax_domain_level,
    })
}

fn memory(memory: &MemoryStats) -> Value {
    let entry = |entry: &MemoryEntry| json!({ "limit": entry.limit, "usage": entry.usage, "max": entry.max, "failcnt": entry.failcnt });
    json!({
        "cache": memory.cache,
        "usage": entry(&memory.usage),
        "swap": entry(&memory.swap),
        "kernel": entry(&memory.kernel),
        "kernelTCP": entry(&memory.kernel_tcp),
        "raw": memory.raw,
        "psi": pressure(memory.pressure.as_ref()),
    })
}

fn entries(entries: &[BlockIoEntry]) -> Vec<Value> {
    let entry = |entry: &BlockIoEntry| json!({ "major": entry.major, "minor": entry.minor, "op": entry.op, "value": entry.value });
    entries.iter().map(entry).collect()
}

fn huge_pages((size, stats): &(String, HugePageStats)) -> (String, Value) {
    let value = json!({ "usage": stats.usage, "max": stats.max, "failcnt": stats.failcnt });
    (size.clone(), value)
}

fn pressure(pressure: Option<&Pressure>) -> Value {
    let line = |line: &PressureLine| json!({ "avg10": line.avg10, "avg60": line.avg60, "avg300": line.avg300, "total": line.total });
    pressure.map_or(
        Value::Null,
        |pressure| json!({ "some": line(&pressure.some), "full": line(&pressure.full) }),
    )
}
