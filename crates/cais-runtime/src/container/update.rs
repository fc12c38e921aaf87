//! `update`: other limits for a container that runs.

use super::error::{Result, RuntimeError};
use super::state::{self, Status, probe_status};
use super::{Runtime, cgroups};
use crate::cgroup::resources_of;
use crate::spec::Resources;

/// Changes the limits that `resources` names.
///
/// # Errors
/// Where the container has ended or has no cgroup, or a limit is refused.
pub fn update(runtime: &Runtime, id: &str, resources: &Resources) -> Result<()> {
    let state = state::read(runtime, id)?;
    let status = probe_status(runtime, &state);
    if status == Status::Stopped {
        return Err(RuntimeError::wrong("container not running", status));
    }
    let limits = resources_of(resources).map_err(RuntimeError::cgroup("understand the limits"))?;
    let group = cgroups::open(&state)?
        .ok_or_else(|| RuntimeError::Wrong(format!("container {id} has no cgroup of its own")))?;
    if let Some(unit) = &state.systemd_unit {
        // Or systemd would set its own again.
        super::systemd::update(runtime, unit, &limits)?;
    }
    runtime.checkpoints.pass("change the limits");
    group.update(&limits).map_err(RuntimeError::cgroup(format!(
        "change the limits of container {id}"
    )))
}
