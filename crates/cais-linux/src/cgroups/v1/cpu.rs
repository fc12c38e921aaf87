//! CPU time: shares and the CFS bandwidth (scheduler/sched-bwc.rst).

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Cpu;

pub(crate) fn plan(cpu: &Cpu, writes: &mut Vec<Write>) {
    if let Some(shares) = cpu.shares {
        writes.push(Write::new("cpu", "cpu.shares", shares));
    }
    // The period first: a quota is checked against it.
    if let Some(period) = cpu.period {
        writes.push(Write::new("cpu", "cpu.cfs_period_us", period));
    }
    if let Some(quota) = cpu.quota {
        writes.push(Write::new("cpu", "cpu.cfs_quota_us", quota.max(-1)));
    }
    if let Some(burst) = cpu.burst {
        writes.push(Write::new("cpu", "cpu.cfs_burst_us", burst));
    }
    if let Some(period) = cpu.realtime_period.filter(|period| *period != 0) {
        writes.push(Write::new("cpu", "cpu.rt_period_us", period));
    }
    if let Some(runtime) = cpu.realtime_runtime.filter(|runtime| *runtime != 0) {
        writes.push(Write::new("cpu", "cpu.rt_runtime_us", runtime));
    }
    if let Some(idle) = cpu.idle {
        writes.push(Write::new("cpu", "cpu.idle", idle));
    }
}
