//! `rename` and `update`: what was asked when a container was made, changed later.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::door::nudge;
use crate::options::validate::{Written, validate};
use crate::options::{LimitOptions, RestartPolicy, RunOptions};
use crate::pause::open_group;
use crate::record::Record;
use crate::state::Container;
use crate::{bundle, events, names};
use cais_linux::cgroups::Resources;

/// Gives a container another name. A command that is killed half way leaves the new name as
/// a link that its container does not have: nobody finds it by that, and the next who wants
/// the name gets it ([`names::take`]).
///
/// # Errors
/// [`EngineError::NameTaken`], and what reading and writing meet.
pub fn rename(engine: &Engine, name: &str, new: &str) -> Result<()> {
    let store = &engine.store;
    let id = names::find(store, name)?;
    let missing = || EngineError::NoSuchContainer(name.to_owned());
    let lock = ContainerLock::acquire(store, &id)?.ok_or_else(missing)?;
    let mut record = Record::read(store, &id)?.ok_or_else(missing)?;
    let old = record.name.clone();
    if old == new {
        return Err(EngineError::Invalid(format!(
            "renaming a container with the same name as its current name: {new}"
        )));
    }
    engine.checkpoints.pass("take the new name");
    names::take(store, new, &id)?;
    record.name = new.to_owned();
    record.options.name = Some(new.to_owned());
    engine.checkpoints.pass("write the record with the new name");
    if let Err(error) = record.write(store) {
        // The error that counts is the one that stopped it.
        names::release(store, new, &id).unwrap_or_default();
        return Err(error);
    }
    engine.checkpoints.pass("free the old name");
    names::release(store, &old, &id)?;
    lock.release();
    events::container(store, &record, "rename", &[("oldName", format!("/{old}"))]);
    Ok(())
}

/// What `update` changes: what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Update {
    /// Limits.
    pub limits: LimitOptions,
    /// The restart policy.
    pub restart: Option<RestartPolicy>,
    /// Labels to set.
    pub add_labels: Vec<(String, String)>,
    /// Labels to remove.
    pub remove_labels: Vec<String>,
}

/// Takes over the limits that `new` names.
fn merge(limits: &mut LimitOptions, new: &LimitOptions) {
    fn take<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
        if new.is_some() {
            old.clone_from(new);
        }
    }
    if new.memory.is_some() && new.memory_swap.is_none() {
        // Docker: where only the memory rises above what was said for both, both follow.
        if let (Some(swap), Some(memory)) = (limits.memory_swap, new.memory)
            && swap > 0
            && swap.cast_unsigned() < memory
        {
            limits.memory_swap = None;
        }
    }
    take(&mut limits.memory, &new.memory);
    take(&mut limits.memory_swap, &new.memory_swap);
    take(&mut limits.memory_reservation, &new.memory_reservation);
    take(&mut limits.nano_cpus, &new.nano_cpus);
    take(&mut limits.cpu_shares, &new.cpu_shares);
    take(&mut limits.cpu_period, &new.cpu_period);
    take(&mut limits.cpu_quota, &new.cpu_quota);
    take(&mut limits.cpu_rt_period, &new.cpu_rt_period);
    take(&mut limits.cpu_rt_runtime, &new.cpu_rt_runtime);
    take(&mut limits.cpuset_cpus, &new.cpuset_cpus);
    take(&mut limits.cpuset_mems, &new.cpuset_mems);
    take(&mut limits.pids, &new.pids);
    take(&mut limits.blkio_weight, &new.blkio_weight);
    if new.nano_cpus.is_some() {
        (limits.cpu_period, limits.cpu_quota) = (None, None);
    } else if new.cpu_period.is_some() || new.cpu_quota.is_some() {
        limits.nano_cpus = None;
    }
}

/// The limits that `new` names, as the cgroup takes them: what it does not name is not
/// touched.
fn resources_of(new: &LimitOptions, merged: &RunOptions) -> Result<Resources> {
    let named = RunOptions {
        limits: LimitOptions {
            memory_swap: new.memory_swap.or(new.memory.and(merged.limits.memory_swap)),
            ..new.clone()
        },
        ..RunOptions::default()
    };
    let invalid = |error: &dyn std::error::Error| EngineError::Invalid(error.to_string());
    let mut spec = bundle::plan_limits(&named).map_err(|error| invalid(&error))?;
    spec.devices = Vec::new();
    if new.pids.is_none() {
        spec.pids = None;
    }
    cais_runtime::cgroup::resources_of(&spec).map_err(EngineError::cgroup("understand the limits"))
}

/// Changes limits, restart policy and labels, of a container that runs too.
///
/// # Errors
/// Where something does not fit together, or the kernel refuses a limit: then nothing is
/// changed.
pub fn update(engine: &Engine, name: &str, update: &Update) -> Result<()> {
    let store = &engine.store;
    let id = names::find(store, name)?;
    let missing = || EngineError::NoSuchContainer(name.to_owned());
    let lock = ContainerLock::acquire(store, &id)?.ok_or_else(missing)?;
    let container = list::container(store, id.as_str())?;
    let before = container.record.clone();
    let mut record = before.clone();
    merge(&mut record.options.limits, &update.limits);
    if let Some(policy) = update.restart {
        if policy != RestartPolicy::No && record.options.remove {
            return Err(EngineError::Invalid(
                "a restart policy does not fit a container that is removed at its end".to_owned(),
            ));
        }
        record.options.restart = policy;
    }
    change_labels(&mut record, update);
    validate(&record.options, Written::default()).map_err(|error| EngineError::Invalid(error.to_string()))?;
    let limits_change = record.options.limits != before.options.limits;
    if limits_change {
        engine.checkpoints.pass("change the limits");
        apply_limits(&container, &update.limits, &record.options)?;
    }
    engine.checkpoints.pass("write the changed record");
    if let Err(error) = record.write(store) {
        if limits_change {
            // The error that counts is the one that stopped it.
            apply_limits(&container, &before.options.limits, &before.options).unwrap_or_default();
        }
        return Err(error);
    }
    lock.release();
    if let Some(state) = container.state.as_ref().filter(|state| state.restarting) {
        // It may be waiting for a restart that is not wanted any more.
        nudge(state.monitor);
    }
    events::container(store, &record, "update", &[]);
    Ok(())
}

fn change_labels(record: &mut Record, update: &Update) {
    let labels = &mut record.options.labels;
    labels.retain(|(key, _)| {
        let replaced = update.add_labels.iter().any(|(added, _)| added == key);
        !replaced && !update.remove_labels.contains(key)
    });
    labels.extend(update.add_labels.iter().cloned());
}

fn apply_limits(container: &Container, new: &LimitOptions, merged: &RunOptions) -> Result<()> {
    let Some(state) = container.state.as_ref().filter(|_| container.is_running()) else {
        return Ok(());
    };
    let name = &container.record.name;
    let group = open_group(&state.cgroup)?.ok_or_else(|| {
        EngineError::Invalid(format!(
            "container {name} has no cgroup of its own: its limits cannot be changed while it runs"
        ))
    })?;
    let mut resources = resources_of(new, merged)?;
    resources.memory.swap_is_default = new.memory_swap.is_none();
    group.update(&resources).map_err(EngineError::cgroup(format!(
        "change the limits of container {name}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_changes_and_the_rest_stays() {
        let mut limits = LimitOptions {
            memory: Some(1 << 20),
            memory_swap: Some(2 << 20),
            cpu_quota: Some(5000),
            pids: Some(10),
            ..LimitOptions::default()
        };
        let new = LimitOptions {
            memory: Some(4 << 20),
            nano_cpus: Some(500_000_000),
            ..LimitOptions::default()
        };
        merge(&mut limits, &new);
        assert_eq!((limits.memory, limits.memory_swap), (Some(4 << 20), None));
        assert_eq!((limits.nano_cpus, limits.cpu_quota), (Some(500_000_000), None));
        assert_eq!(limits.pids, Some(10));
        let merged = RunOptions {
            limits,
            ..RunOptions::default()
        };
        let resources = resources_of(&new, &merged).unwrap();
        assert_eq!(resources.memory.limit, Some(4 << 20));
        assert_eq!(resources.memory.swap, Some(8 << 20));
    }
}
