//! Cgroups that systemd makes (`--systemd-cgroup`): the container is a transient unit, whose
//! processes systemd puts into a group of its own, delegated to the container.

use super::error::{Result, RuntimeError};
use super::state::Container;
use super::{Runtime, cgroups};
use cais_linux::cgroups::systemd::{Bus, SystemdError, keep_supported, parse_cgroups_path, plan_properties};
use cais_linux::cgroups::{Group, Layout, Resources};

fn failed(action: impl Into<String>) -> impl FnOnce(SystemdError) -> RuntimeError {
    move |source| RuntimeError::Systemd {
        action: action.into(),
        source,
    }
}

fn connect(runtime: &Runtime) -> Result<Bus> {
    let connect = if runtime.confined {
        Bus::connect_user
    } else {
        Bus::connect_system
    };
    connect().map_err(failed("reach systemd, which is to make the cgroup"))
}

/// Reads the unit that `linux.cgroupsPath` names, and where its group will be.
pub(super) fn plan(runtime: &Runtime, state: &mut Container) -> Result<()> {
    let asked = state
        .config
        .linux
        .as_ref()
        .and_then(|linux| linux.cgroups_path.clone())
        .unwrap_or_default();
    let unit =
        parse_cgroups_path(&asked, &state.id, runtime.confined).map_err(failed("read linux.cgroupsPath"))?;
    state.cgroup = unit
        .cgroup()
        .map_err(failed("read linux.cgroupsPath"))?
        .trim_matches('/')
        .to_owned();
    state.systemd_unit = Some(unit.unit);
    Ok(())
}

/// Makes the unit with the process in it, and sets what systemd has no word for.
pub(super) fn place(runtime: &Runtime, state: &mut Container, pid: i32) -> Result<()> {
    // Until it is made there is nothing to stop, and one that is there already is another's.
    state.systemd_unit = None;
    state.cgroup.clear();
    let asked = state
        .config
        .linux
        .as_ref()
        .and_then(|linux| linux.cgroups_path.clone())
        .unwrap_or_default();
    let unit =
        parse_cgroups_path(&asked, &state.id, runtime.confined).map_err(failed("read linux.cgroupsPath"))?;
    let layout = Layout::read().map_err(RuntimeError::system("find the cgroup hierarchies"))?;
    let mut resources = cgroups::plan_resources(&state.config)?;
    if runtime.confined {
        resources.devices.clear();
    }
    let mut bus = connect(runtime)?;
    let version = bus.version().map_err(failed("ask systemd for its version"))?;
    let properties = keep_supported(plan_properties(&resources, layout.is_unified()), version);
    let description = format!("cais container {}", state.id);
    bus.start_transient_unit(&unit, &description, pid.unsigned_abs(), true, &properties)
        .map_err(failed(format!("start the unit {}", unit.unit)))?;
    state.systemd_unit = Some(unit.unit.clone());
    let path = bus
        .unit_cgroup(&unit.unit)
        .map_err(failed(format!("find the cgroup of {}", unit.unit)))?;
    path.trim_matches('/').clone_into(&mut state.cgroup);
    let group = Group::adopt(&layout, &state.cgroup)
        .map_err(RuntimeError::cgroup(format!("use the cgroup {}", state.cgroup)))?;
    group
        .add_process(pid)
        .and_then(|()| group.update(&resources))
        .map_err(RuntimeError::cgroup(format!(
            "set the limits of {}",
            state.cgroup
        )))
}

/// Tells systemd of new limits.
pub(super) fn update(runtime: &Runtime, unit: &str, limits: &Resources) -> Result<()> {
    let layout = Layout::read().map_err(RuntimeError::system("find the cgroup hierarchies"))?;
    let mut bus = connect(runtime)?;
    let version = bus.version().map_err(failed("ask systemd for its version"))?;
    let properties = keep_supported(plan_properties(limits, layout.is_unified()), version);
    bus.set_unit_properties(unit, &properties)
        .map_err(failed(format!("change the limits of {unit}")))
}

/// Stops the unit. One that is gone is no error.
pub(super) fn stop(runtime: &Runtime, unit: &str) -> Result<()> {
    let mut bus = connect(runtime)?;
    match bus.stop_unit(unit) {
        Err(error) if error.is_no_such_unit() => return Ok(()),
        other => other.map_err(failed(format!("stop the unit {unit}")))?,
    }
    // It is kept as failed where its processes were killed; nobody would look at it.
    bus.reset_failed_unit(unit).unwrap_or_default();
    Ok(())
}
