//! The cgroup of a container: which, made, opened, removed.

use super::error::{Result, RuntimeError};
use super::{Runtime, State};
use crate::cgroup::resources_of;
use crate::spec::{Resources, Spec};
use cais_linux::cgroups::resources::{DeviceKind, DeviceRule};
use cais_linux::cgroups::{self, Group, Layout, Making};
use rustix::io::Errno;

/// Devices that every container may use (runc's list): the default nodes, terminals, and
/// making nodes, which without use is no power.
const ALLOWED: [(DeviceKind, Option<u32>, Option<u32>, &str); 11] = [
    (DeviceKind::Character, None, None, "m"),
    (DeviceKind::Block, None, None, "m"),
    (DeviceKind::Character, Some(1), Some(3), "rwm"),
    (DeviceKind::Character, Some(1), Some(8), "rwm"),
    (DeviceKind::Character, Some(1), Some(7), "rwm"),
    (DeviceKind::Character, Some(5), Some(0), "rwm"),
    (DeviceKind::Character, Some(1), Some(5), "rwm"),
    (DeviceKind::Character, Some(1), Some(9), "rwm"),
    (DeviceKind::Character, Some(136), None, "rwm"),
    (DeviceKind::Character, Some(5), Some(2), "rwm"),
    (DeviceKind::Character, Some(10), Some(200), "rwm"),
];

/// The cgroup that a configuration asks for, relative to each hierarchy.
#[must_use]
pub fn plan_path(spec: &Spec, id: &str) -> String {
    let asked = spec
        .linux
        .as_ref()
        .and_then(|linux| linux.cgroups_path.as_deref());
    let path = asked.unwrap_or("").trim_matches('/');
    // No component may lead up.
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "." | ".."))
        .collect();
    if parts.is_empty() {
        id.to_owned()
    } else {
        parts.join("/")
    }
}

/// The limits with the devices that every container may use.
///
/// # Errors
/// For a device rule that cannot be understood.
pub fn plan_resources(spec: &Spec) -> Result<cgroups::Resources> {
    let empty = Resources::default();
    let asked = spec
        .linux
        .as_ref()
        .and_then(|linux| linux.resources.as_ref())
        .unwrap_or(&empty);
    let mut resources = resources_of(asked).map_err(RuntimeError::cgroup("understand linux.resources"))?;
    let mut rules = Vec::new();
    if resources.devices.is_empty() {
        rules.push(rule(false, DeviceKind::All, None, None, "rwm"));
    }
    rules.append(&mut resources.devices);
    // An `a` at the end would make the list below grow again what it forbids.
    for (kind, major, minor, access) in ALLOWED {
        rules.push(rule(true, kind, major, minor, access));
    }
    resources.devices = rules;
    Ok(resources)
}

fn rule(allow: bool, kind: DeviceKind, major: Option<u32>, minor: Option<u32>, access: &str) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major,
        minor,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    }
}

/// Whether the configuration limits anything.
fn limits_something(spec: &Spec) -> bool {
    let Some(resources) = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
        return false;
    };
    let mut rest = resources.clone();
    rest.devices.clear();
    rest != Resources::default()
}

/// Makes the cgroup with its limits, or begins to. `None` where there is none to make: without
/// cgroups on this machine, or for a user who may not and asks for no limit.
///
/// # Errors
/// Where a limit cannot be set.
pub fn make<'a>(
    runtime: &Runtime,
    layout: &'a Layout,
    spec: &Spec,
    path: &str,
) -> Result<Option<Making<'a>>> {
    if runtime.no_cgroups || layout.is_empty() {
        return Ok(None);
    }
    let mut resources = plan_resources(spec)?;
    if runtime.confined {
        // Programs that decide about devices take privilege; no device can be made anyway.
        resources.devices.clear();
    }
    let begun = Group::begin_or_adopt(layout, path, &resources);
    let made = begun.and_then(|mut making| {
        if runtime.confined {
            // Whether there is one must be known before the plan is made.
            making.complete()?;
        }
        Ok(making)
    });
    match made {
        Ok(making) => Ok(Some(making)),
        Err(error) if runtime.confined && !limits_something(spec) && is_denied(&error) => Ok(None),
        Err(source) => Err(failed_to_make(path, source)),
    }
}

/// The error for a cgroup that cannot be made.
pub(super) fn failed_to_make(path: &str, source: cgroups::CgroupError) -> RuntimeError {
    RuntimeError::cgroup(format!("make the cgroup {path}"))(source)
}

/// Checks that no process lives in the cgroup that a new container is to have.
///
/// # Errors
/// [`cgroups::CgroupError::InUse`].
pub fn check_free(layout: &Layout, path: &str) -> Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    let busy = (|| match Group::open_existing(layout, path)? {
        Some(group) => Ok(!group.all_processes()?.is_empty()),
        None => Ok(false),
    })();
    let problem = match busy {
        Ok(false) => return Ok(()),
        Ok(true) => cgroups::CgroupError::InUse(path.to_owned()),
        Err(error) => error,
    };
    Err(failed_to_make(path, problem))
}

fn is_denied(error: &cgroups::CgroupError) -> bool {
    let denied = |errno: Errno| matches!(errno, Errno::ACCESS | Errno::PERM | Errno::ROFS);
    match error {
        cgroups::CgroupError::System(error) => denied(error.errno()),
        cgroups::CgroupError::Refused { errno, .. } => denied(*errno),
        _ => false,
    }
}

/// Opens the cgroup of a container; `None` where it has none, or it is gone.
///
/// # Errors
/// Where a hierarchy cannot be opened.
pub fn open(state: &State) -> Result<Option<Group>> {
    if state.cgroup.is_empty() {
        return Ok(None);
    }
    let layout = Layout::read().map_err(RuntimeError::system("find the cgroup hierarchies"))?;
    Group::open_existing(&layout, &state.cgroup)
        .map_err(RuntimeError::cgroup(format!("open the cgroup {}", state.cgroup)))
}
