//! What a plan needs to know beside the configuration, gathered from this machine.

use super::error::{Result, RuntimeError};
use super::state::{Container, Status};
use super::{Runtime, cgroups};
use crate::cgroup::view_of;
use crate::plan::facts::{CgroupView, PlanFacts, RootTree, SeccompFilter};
use crate::seccomp_filter::{self, Filter};
use crate::spec::{Process, Spec};
use cais_linux::cgroups::Layout;
use cais_linux::creds::capabilities::{CapSet, Capability, read_own};
use cais_linux::limits::rlimit::{parse_resource, read_own_hard};
use cais_order::Gather;
use std::path::Path;

/// The facts, and who wants seccomp notifications.
pub(super) struct Gathered {
    pub(super) facts: PlanFacts,
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    pub(super) notify: Option<(String, Option<String>)>,
}

/// Gathers the facts for a process of a container.
pub(super) fn gather(
    runtime: &Runtime,
    state: &Container,
    process: &Process,
    layout: &Layout,
) -> Result<Gathered> {
    let spec = &state.config;
    let own = read_own().map_err(RuntimeError::system("read our capabilities"))?;
    let filter = read_filter(runtime, spec, process)?;
    let limits = process.rlimits.iter();
    let hard_limits = limits
        .filter_map(|limit| parse_resource(&limit.kind))
        .map(|resource| (resource, read_own_hard(resource)));
    let own_oom_score_adj = if process.oom_score_adj.is_some() {
        cais_linux::limits::oom::read_own()
            .map_err(RuntimeError::system("read our weight for the OOM killer"))?
    } else {
        0
    };
    let notify = filter
        .as_ref()
        .and_then(|filter| Some((filter.listener_path.clone()?, filter.listener_metadata.clone())));
    let facts = PlanFacts {
        root: RootTree::Directory {
            path: state.rootfs.clone(),
            map_ids: false,
        },
        cgroup_view: if runtime.no_cgroups {
            CgroupView::None
        } else {
            view_of(layout)
        },
        cgroup_path: state.cgroup.clone(),
        seccomp: filter.map(|filter| SeccompFilter {
            flags: filter.flags,
            program: filter.program,
        }),
        held_capabilities: own.bounding.bits(),
        hard_limits: hard_limits.collect(),
        has_cap_sys_resource: !runtime.confined && own.effective.contains(Capability::SYS_RESOURCE),
        own_oom_score_adj,
        rootless: runtime.rootless,
        confined: runtime.confined,
        label: exec_label(process)?,
        labels_files: cais_linux::lsm::selinux::probe().unwrap_or(false),
        creating_state: hook_state(state, Status::Creating)?,
        created_state: hook_state(state, Status::Created)?,
        symlinks: read_symlinks(spec),
        ..PlanFacts::default()
    };
    Ok(Gathered { facts, notify })
}

fn read_filter(runtime: &Runtime, spec: &Spec, process: &Process) -> Result<Option<Filter>> {
    let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) else {
        return Ok(None);
    };
    let wrong = |source: Box<dyn std::error::Error + Send + Sync>| RuntimeError::Json {
        file: "config.json: linux.seccomp".into(),
        source,
    };
    let names = process.capabilities.iter().flat_map(|sets| &sets.bounding);
    let names: Vec<&String> = names.filter(|name| CapSet::parse(&[name]).is_ok()).collect();
    let capabilities = CapSet::parse(&names).map_or(0, CapSet::bits);
    let filter = seccomp_filter::read(
        profile.to_string().as_bytes(),
        capabilities,
        &runtime.seccomp_cache,
    )
    .map_err(|error| wrong(Box::new(error)))?;
    Ok(Some(filter))
}

/// The label of the program. One that this machine cannot give is an error, but for AppArmor's
/// word for none.
fn exec_label(process: &Process) -> Result<Option<(String, String)>> {
    let asked = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let apparmor = asked(&process.apparmor_profile).filter(|profile| profile != "unconfined");
    let label = match (apparmor, asked(&process.selinux_label)) {
        (Some(profile), _) => cais_linux::lsm::apparmor::read_exec_label(&profile),
        (None, Some(context)) => cais_linux::lsm::selinux::read_exec_label(&context),
        (None, None) => return Ok(None),
    };
    let label = label.map_err(|error| RuntimeError::Usage(format!("process label: {error}")))?;
    Ok(Some((label.file.to_string(), label.text)))
}

/// The state for hooks that the stub runs, cut where the process id goes: only the stub
/// knows its id in its own pid namespace.
fn hook_state(state: &Container, status: Status) -> Result<[String; 2]> {
    let hooks = state.config.hooks.as_ref();
    if !hooks.is_some_and(|hooks| !hooks.create_container.is_empty() || !hooks.start_container.is_empty()) {
        return Ok([String::new(), String::new()]);
    }
    const MARK: &str = "\"pid\":0,";
    let text = cais_json::to_string(&state.for_hook(status)).map_err(|error| RuntimeError::Json {
        file: "the state for hooks".into(),
        source: error.into(),
    })?;
    let (head, tail) = text.split_once(MARK).unwrap_or((&text, ""));
    Ok([format!("{head}\"pid\":"), format!(",{tail}")])
}

/// The links that mounts with `copy-symlink` name.
fn read_symlinks(spec: &Spec) -> std::collections::BTreeMap<String, String> {
    let wanted = spec
        .mounts
        .iter()
        .filter(|mount| mount.options.iter().any(|option| option == "copy-symlink"));
    wanted
        .filter_map(|mount| {
            let content = std::fs::read_link(Path::new(mount.source.as_deref()?)).ok()?;
            Some((mount.destination.clone(), content.to_string_lossy().into_owned()))
        })
        .into_map()
}

/// Who wants the seccomp notifications of a container, and with which words.
pub(super) fn listener_of(spec: &Spec) -> Option<(String, Option<String>)> {
    let seccomp = spec.linux.as_ref()?.seccomp.as_ref()?;
    let text = |key| seccomp.get(key)?.as_str().map(str::to_owned);
    let path = text("listenerPath").filter(|path| !path.is_empty())?;
    Some((path, text("listenerMetadata")))
}

/// The hierarchies of this machine, or none where cgroups are not wanted.
pub(super) fn read_layout(runtime: &Runtime) -> Result<Layout> {
    if runtime.no_cgroups {
        return Ok(Layout::default());
    }
    Layout::read().map_err(RuntimeError::system("find the cgroup hierarchies"))
}

/// The cgroup of a new container: its path, empty for none.
pub(super) fn cgroup_path(runtime: &Runtime, layout: &Layout, spec: &Spec, id: &str) -> String {
    if runtime.no_cgroups || layout.is_empty() {
        String::new()
    } else {
        cgroups::plan_path(spec, id)
    }
}
