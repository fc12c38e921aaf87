//! Whose ids a container has: a range of its own, or those of the containers whose
//! namespaces it shares.

use super::prepare::read_bundle;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::list;
use crate::options::{IpcMode, NamespaceMode, NetworkMode, RunOptions, UsernsMode};
use crate::userns::{self, Lease, RANGE};
use cais_runtime::spec::{IdMapping, Spec};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags, open};
use std::collections::BTreeMap;
use std::path::Path;

/// The containers whose namespaces are shared.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// `/proc/PID` by the name that the user gave.
    pub(super) processes: BTreeMap<String, String>,
    /// The user namespace that they have, where it is not the host's.
    pub(super) join_user: Option<String>,
    /// Its id maps.
    mappings: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
}

/// What `--network ns:FILE` names has to be a network namespace: setns(2) would only say that
/// something is invalid.
fn check_namespace(path: &Path) -> Result<()> {
    const CLONE_NEWNET: u32 = 0x4000_0000;
    // One that is a pipe is not waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let why = match open(path, flags, Mode::empty()) {
        Err(errno) => errno.to_string(),
        Ok(file) if cais_sys::namespace::kind(file.as_fd()) == Ok(CLONE_NEWNET) => return Ok(()),
        Ok(_) => "it is no network namespace".to_owned(),
    };
    Err(EngineError::Invalid(format!(
        "--network ns:{}: {why}; name a file such as /run/netns/NAME or /proc/PID/ns/net",
        path.display()
    )))
}

impl Shared {
    /// Whether they have a user namespace with known maps.
    pub(super) fn has_maps(&self) -> bool {
        self.mappings.is_some()
    }

    pub(super) fn find(engine: &Engine, options: &RunOptions) -> Result<Self> {
        let asked = &options.namespaces;
        let mut names: Vec<&String> = Vec::new();
        for mode in [&asked.pid, &asked.uts, &asked.cgroup] {
            if let NamespaceMode::Container(name) = mode {
                names.push(name);
            }
        }
        if let IpcMode::Container(name) = &asked.ipc {
            names.push(name);
        }
        if let NetworkMode::Container(name) = &asked.network {
            names.push(name);
        }
        if let NetworkMode::Path(path) = &asked.network {
            check_namespace(path)?;
        }
        let mut shared = Self::default();
        for name in names {
            shared.add(engine, name)?;
        }
        Ok(shared)
    }

    fn add(&mut self, engine: &Engine, name: &str) -> Result<()> {
        let container = list::container(&engine.store, name)?;
        let init = container
            .init()
            .ok_or_else(|| EngineError::NotRunning(name.to_owned()))?;
        let process = format!("/proc/{}", init.pid);
        let spec = read_bundle(engine, &container.record.id)?;
        let linux = spec.linux.unwrap_or_default();
        // Whoever shares namespaces shares the user namespace that owns them too.
        if !linux.uid_mappings.is_empty() {
            let mappings = (linux.uid_mappings, linux.gid_mappings);
            if self.mappings.as_ref().is_some_and(|known| *known != mappings) {
                return Err(EngineError::Invalid(
                    "the containers whose namespaces are to be shared have different ranges of ids: share with one, or run them with --userns=host".to_owned(),
                ));
            }
            self.mappings = Some(mappings);
            self.join_user = Some(format!("{process}/ns/user"));
        }
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }
}

/// Whether the container has a user namespace of its own.
fn wants_userns(options: &RunOptions) -> bool {
    options.namespaces.user != UsernsMode::Host && !options.security.privileged
}

pub(super) fn choose_range(
    engine: &Engine,
    options: &RunOptions,
    shared: &Shared,
    id: &ContainerId,
    dry: bool,
) -> Result<Option<Lease>> {
    if !wants_userns(options) || shared.join_user.is_some() || engine.rootless {
        return Ok(None);
    }
    if dry {
        return Ok(Some(Lease { index: 0 }));
    }
    userns::lease(&engine.store, id).map(Some)
}

/// The maps of ids: those shared, or the whole range, or with the caller's own ids kept.
pub(super) fn id_mappings(
    options: &RunOptions,
    shared: &Shared,
    lease: Option<Lease>,
) -> (Vec<IdMapping>, Vec<IdMapping>) {
    if let Some(mappings) = &shared.mappings {
        return mappings.clone();
    }
    let Some(lease) = lease else {
        return (Vec::new(), Vec::new());
    };
    let whole = |kept: u32| {
        let base = lease.base();
        if options.namespaces.user != UsernsMode::KeepId || kept >= RANGE {
            return vec![IdMapping {
                container_id: 0,
                host_id: base,
                size: RANGE,
            }];
        }
        let extents = [
            IdMapping {
                container_id: 0,
                host_id: base,
                size: kept,
            },
            IdMapping {
                container_id: kept,
                host_id: kept,
                size: 1,
            },
            IdMapping {
                container_id: kept + 1,
                host_id: base + kept + 1,
                size: RANGE - kept - 1,
            },
        ];
        extents.into_iter().filter(|extent| extent.size > 0).collect()
    };
    (
        whole(rustix::process::getuid().as_raw()),
        whole(rustix::process::getgid().as_raw()),
    )
}

/// The host's ids of a user of the container.
#[must_use]
pub(crate) fn host_ids(spec: &Spec, uid: u32, gid: u32) -> (u32, u32) {
    let linux = spec.linux.as_ref();
    let map = |maps: Option<&Vec<IdMapping>>, id: u32| {
        let extent = maps
            .into_iter()
            .flatten()
            .find(|map| id >= map.container_id && id - map.container_id < map.size);
        extent.map_or(id, |map| map.host_id + (id - map.container_id))
    };
    (
        map(linux.map(|linux| &linux.uid_mappings), uid),
        map(linux.map(|linux| &linux.gid_mappings), gid),
    )
}
