//! The steps of namespaces: which are made, which are joined, and what a fresh one needs.

use super::IdMaps;
use super::planner::Planner;
use super::sources::Source;
use crate::error::PlanError;
use crate::spec::{IdMapping, NamespaceKind, Spec};
use cais_init::step::Step;
use cais_order::InOrder;
use cais_sys::clone::namespace;
use std::fmt::Write as _;

/// The `CLONE_NEW*` flag of a kind.
fn flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Pid => namespace::PID,
        NamespaceKind::Network => namespace::NETWORK,
        NamespaceKind::Mount => namespace::MOUNT,
        NamespaceKind::Ipc => namespace::IPC,
        NamespaceKind::Uts => namespace::UTS,
        NamespaceKind::User => namespace::USER,
        NamespaceKind::Cgroup => namespace::CGROUP,
        NamespaceKind::Time => namespace::TIME,
    }
}

/// All namespaces other than the host's, new or joined.
pub(super) fn kinds(spec: &Spec) -> Result<u64, PlanError> {
    let kinds = spec
        .namespaces()
        .iter()
        .map(|entry| flag(entry.kind))
        .fold(0, |all, kind| all | kind);
    if kinds & namespace::MOUNT == 0 {
        return Err(PlanError::Missing {
            path: "linux.namespaces",
            what: "a mount namespace: without one the root of the host would be changed",
        });
    }
    Ok(kinds)
}

/// Whether there is such a namespace other than the host's.
pub(super) fn has(spec: &Spec, kind: u64) -> bool {
    spec.namespaces().iter().any(|entry| flag(entry.kind) == kind)
}

/// Whether such a namespace is made.
pub(super) fn is_new(spec: &Spec, kind: u64) -> bool {
    spec.namespaces()
        .iter()
        .any(|entry| flag(entry.kind) == kind && entry.path.is_none())
}

/// The namespaces that the first process is cloned into. The cgroup namespace is left
/// for later, when the cgroup is joined, and so is the time namespace, whose clocks are set
/// before anybody is in it.
pub(super) fn cloned(spec: &Spec) -> Result<u64, PlanError> {
    kinds(spec)?;
    let new = spec.namespaces().iter().filter(|entry| entry.path.is_none());
    let flags = new.map(|entry| flag(entry.kind)).fold(0, |all, kind| all | kind);
    Ok(flags & !(namespace::CGROUP | namespace::TIME))
}

/// The maps of a new user namespace.
pub(super) fn plan_id_maps(spec: &Spec) -> Result<Option<IdMaps>, PlanError> {
    if !is_new(spec, namespace::USER) {
        return Ok(None);
    }
    let (uids, gids) = mappings(spec);
    Ok(Some(render_maps(uids, gids)))
}

fn mappings(spec: &Spec) -> (&[IdMapping], &[IdMapping]) {
    spec.linux
        .as_ref()
        .map_or((&[], &[]), |linux| (&linux.uid_mappings, &linux.gid_mappings))
}

/// The host's ids that are 0 inside, where there is a user namespace and its maps are known.
pub(super) fn root_ids(spec: &Spec) -> Option<(u32, u32)> {
    if !has(spec, namespace::USER) {
        return None;
    }
    let root = |maps: &[IdMapping]| {
        let zero = maps.iter().find(|map| map.container_id == 0);
        zero.map(|map| map.host_id)
    };
    let (uids, gids) = mappings(spec);
    Some((root(uids)?, root(gids)?))
}

/// Maps in the form of the kernel.
#[must_use]
pub fn render_maps(uids: &[IdMapping], gids: &[IdMapping]) -> IdMaps {
    IdMaps {
        uid: render(uids),
        gid: render(gids),
    }
}

fn render(maps: &[IdMapping]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        // Writing to a string cannot fail.
        writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size).unwrap_or_default();
        text
    })
}

/// Namespaces of others: the user namespace first, since it gives the right to the rest.
pub(super) fn plan_joined(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let mut joined: Vec<_> = planner
        .spec
        .namespaces()
        .iter()
        .filter_map(|entry| Some((entry.kind, entry.path.clone()?)))
        .collect();
    // The file tree last: the others may be named by paths of this one.
    joined.order_by_key(|(kind, _)| match kind {
        NamespaceKind::User => 0,
        NamespaceKind::Mount => 2,
        _ => 1,
    });
    for (kind, path) in joined {
        match kind {
            // Only children enter it: the caller does so before it clones.
            NamespaceKind::Pid => planner.plan.join_pid = Some(path.into()),
            // The caller enters it in the process that clones, so that the new
            // namespaces belong to it.
            NamespaceKind::User => planner.plan.join_user = Some(path.into()),
            _ => {
                let target = planner.source(Source::NamespaceFile { path: path.into() });
                let kinds = u32::try_from(flag(kind)).unwrap_or(0);
                planner.step(
                    "shared with another container, or the host",
                    &Step::EnterNamespaces { target, kinds },
                );
            }
        }
    }
    Ok(())
}

/// A time namespace of its own: its clocks are set now, and the process enters it when it
/// executes the program.
pub(super) fn plan_time(planner: &mut Planner<'_>) {
    if !is_new(planner.spec, namespace::TIME) {
        return;
    }
    let kinds = u32::try_from(namespace::TIME).unwrap_or(0);
    planner.step(
        "clocks of its own, entered with the program",
        &Step::LeaveNamespaces { kinds },
    );
    let offsets = planner.spec.linux.as_ref().map(|linux| &linux.time_offsets);
    let mut text = String::new();
    for (clock, offset) in offsets.into_iter().flatten() {
        // Writing to a string cannot fail.
        writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs).unwrap_or_default();
    }
    if !text.is_empty() {
        let step = Step::WriteTimeOffsets {
            text: text.as_bytes(),
        };
        planner.step("asked for by linux.timeOffsets", &step);
    }
}

pub(super) fn plan_names(planner: &mut Planner<'_>) {
    if let Some(name) = &planner.spec.hostname {
        planner.step(
            "the container's own host name",
            &Step::SetHostname {
                name: name.as_bytes(),
            },
        );
    }
    if let Some(name) = &planner.spec.domainname {
        planner.step(
            "the container's own domain name",
            &Step::SetDomainname {
                name: name.as_bytes(),
            },
        );
    }
}

pub(super) fn plan_loopback(planner: &mut Planner<'_>) {
    if is_new(planner.spec, namespace::NETWORK) {
        planner.step(
            "127.0.0.1 works in a fresh network namespace",
            &Step::LoopbackUp {},
        );
    }
}
