//! What this process sets on the stub from outside, because the stub may not: limits
//! on resources and the weight for the OOM killer.

use crate::error::{CreateError, PlanError};
use crate::plan::facts::PlanFacts;
use crate::spec::Process;
use crate::spec::process::Scheduler;
use cais_linux::limits::ioprio::{Class, IoPriority, apply_io_priority};
use cais_linux::limits::oom::{apply_oom_score_adj, open_proc_pid};
use cais_linux::limits::rlimit::{
    RlimitBounds, RlimitRequest, apply_rlimit, former_descriptors, parse_resource, plan_rlimits,
};
use cais_linux::limits::sched::{Policy, SchedAttr, apply_scheduler, parse_flag};
use rustix::fd::AsFd;
use rustix::process::{Pid, Resource};

/// Limits of the process, ready to be set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Resource limits (prlimit(2)); what the caller may not raise was cut off before.
    pub rlimits: Vec<RlimitRequest>,
    /// A limit on descriptors that is too low for the stub, soft and hard: it sets it itself,
    /// last.
    pub descriptors: Option<(u64, u64)>,
    /// The weight for the OOM killer (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i32>,
    /// Scheduling on the CPUs (sched_setattr(2)).
    pub scheduler: Option<SchedAttr>,
    /// The priority for block I/O (ioprio_set(2)).
    pub io_priority: Option<IoPriority>,
}

impl ProcessLimits {
    /// Limits that a process asks for, as far as this machine gives them.
    ///
    /// # Errors
    /// For a limit that is none, or a soft limit above its hard one.
    pub(super) fn plan(
        process: &Process,
        facts: &PlanFacts,
        warnings: &mut Vec<String>,
    ) -> Result<Self, PlanError> {
        let mut wanted = Vec::new();
        for limit in &process.rlimits {
            let resource =
                parse_resource(&limit.kind).ok_or_else(|| PlanError::Rlimit(limit.kind.clone()))?;
            wanted.push(RlimitRequest::new(resource, limit.soft, limit.hard));
        }
        let hard = |resource| {
            facts
                .hard_limits
                .iter()
                .find(|(known, _)| *known == resource)
                .and_then(|(_, hard)| *hard)
        };
        let bounds = RlimitBounds {
            current_hard: &hard,
            has_cap_sys_resource: facts.has_cap_sys_resource,
            nr_open: None,
        };
        let plan = plan_rlimits(&wanted, &bounds).map_err(PlanError::RlimitRange)?;
        warnings.extend(plan.warnings.iter().map(ToString::to_string));
        let mut oom_score_adj = process.oom_score_adj;
        if let Some(requested) = oom_score_adj {
            let plan = cais_linux::limits::oom::plan_oom_score_adj(
                requested,
                facts.own_oom_score_adj,
                facts.has_cap_sys_resource,
            )
            .map_err(PlanError::OomScore)?;
            warnings.extend(plan.warning());
            oom_score_adj = Some(plan.value);
        }
        let mut rlimits = plan.apply;
        let own = hard(Resource::Nofile).filter(|_| !facts.has_cap_sys_resource);
        let enough = own.map_or(ENOUGH, |own| own.min(ENOUGH));
        let descriptors = keep_enough(&mut rlimits, enough);
        Ok(Self {
            rlimits,
            descriptors,
            oom_score_adj,
            scheduler: process.scheduler.as_ref().map(plan_scheduler).transpose()?,
            io_priority: process.io_priority.as_ref().map(plan_io_priority).transpose()?,
        })
    }

    /// Sets them on process `pid`.
    ///
    /// # Errors
    /// [`CreateError::Prepare`] with the call that failed.
    pub fn apply(&self, pid: Pid) -> Result<(), CreateError> {
        let has_own = self
            .rlimits
            .iter()
            .any(|limit| limit.resource == Resource::Nofile);
        let former = former_descriptors().filter(|_| !has_own);
        for limit in self.rlimits.iter().chain(&former) {
            apply_rlimit(Some(pid), limit).map_err(CreateError::prepare("set the limits of the process"))?;
        }
        if let Some(value) = self.oom_score_adj {
            let process = open_proc_pid(pid).map_err(CreateError::prepare("find the process in /proc"))?;
            apply_oom_score_adj(process.as_fd(), value)
                .map_err(CreateError::prepare("set the weight for the OOM killer"))?;
        }
        if let Some(attr) = &self.scheduler {
            apply_scheduler(Some(pid), attr).map_err(CreateError::prepare("set process.scheduler"))?;
        }
        if let Some(priority) = self.io_priority {
            apply_io_priority(Some(pid), priority).map_err(CreateError::prepare("set process.ioPriority"))?;
        }
        Ok(())
    }
}

/// What the stub may need: a descriptor for each mount, hierarchy and device.
const ENOUGH: u64 = 1024;

/// Raises a limit on descriptors below that; returns the one that is wanted.
fn keep_enough(rlimits: &mut [RlimitRequest], enough: u64) -> Option<(u64, u64)> {
    let limit = rlimits
        .iter_mut()
        .find(|limit| limit.resource == Resource::Nofile)
        .map(|request| &mut request.limit)?;
    let soft = limit.current.filter(|soft| *soft < enough)?;
    let hard = limit.maximum?;
    limit.current = Some(hard.max(enough));
    limit.maximum = limit.current;
    Some((soft, hard))
}

fn plan_scheduler(scheduler: &Scheduler) -> Result<SchedAttr, PlanError> {
    let unknown = |path, value: &dyn std::fmt::Display| PlanError::Unknown {
        path,
        value: value.to_string(),
    };
    let policy = Policy::parse(&scheduler.policy)
        .ok_or_else(|| unknown("process.scheduler.policy", &scheduler.policy))?;
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= parse_flag(flag).ok_or_else(|| unknown("process.scheduler.flags", flag))?;
    }
    Ok(SchedAttr {
        policy: policy.number(),
        flags,
        nice: scheduler.nice,
        priority: u32::try_from(scheduler.priority)
            .map_err(|_negative| unknown("process.scheduler.priority", &scheduler.priority))?,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

fn plan_io_priority(priority: &crate::spec::process::IoPriority) -> Result<IoPriority, PlanError> {
    let class = Class::parse(&priority.class).ok_or_else(|| PlanError::Unknown {
        path: "process.ioPriority.class",
        value: priority.class.clone(),
    })?;
    IoPriority::new(class, priority.priority).map_err(PlanError::IoPriority)
}
