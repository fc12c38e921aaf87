//! Everything before the first change: an id, the facts of the machine, the OCI
//! configuration, the plan.

use super::new_record;
use crate::bundle::{BundleFacts, plan_spec};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::list;
use crate::options::{
    IpcMode, MountKind, NamespaceMode, NetworkMode, RootSource, RunOptions, SeccompOption, UsernsMode,
};
use crate::record::Record;
use crate::state::Container;
use crate::store::read_json;
use crate::userns::{self, Lease, RANGE};
use cais_linux::cgroups::{Group, Layout};
use cais_linux::creds::capabilities::read_own;
use cais_linux::creds::ids::{ResolvedUser, add_groups, resolve_user as resolve};
use cais_linux::limits::rlimit::{parse_resource, read_own_hard};
use cais_linux::lsm::landlock;
use cais_linux::mounts::overlay::Layers;
use cais_linux::seccomp::load::program_bytes;
use cais_linux::{path::read_inside, seccomp};
use cais_runtime::plan::facts::{CgroupView, LandlockFacts, PlanFacts, RootTree, SeccompFilter};
use cais_runtime::plan::{Plan, plan_container};
use cais_runtime::spec::{IdMapping, Process, Spec, User};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest /etc/passwd or /etc/group that is read.
const ACCOUNT_FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// A container that is ready to be made and started.
#[derive(Debug)]
pub struct Prepared {
    /// What will be its record.
    pub record: Record,
    /// The OCI configuration.
    pub spec: Spec,
    /// The plan.
    pub plan: Plan,
    /// Files of its directory, by name.
    pub(crate) files: Vec<(String, String)>,
    /// Its range of ids.
    pub(crate) lease: Option<Lease>,
    /// Its cgroup, relative to each hierarchy; empty for none.
    pub(crate) cgroup_path: String,
    /// The hierarchies.
    layout: Option<Layout>,
    /// The host's uid and gid of the program's user, where they are mapped.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Prepared {
    /// Makes the cgroup with its limits.
    pub(crate) fn create_group(&self) -> Result<Option<Group>> {
        let Some(layout) = &self.layout else {
            return Ok(None);
        };
        let resources = self.spec.linux.as_ref().and_then(|linux| linux.resources.clone());
        let action = || format!("make the cgroup {} with its limits", self.cgroup_path);
        let mut resources = cais_runtime::cgroup::resources_of(&resources.unwrap_or_default())
            .map_err(EngineError::cgroup(action()))?;
        // What the user did not ask for is no error where there is no controller for it.
        let limits = &self.record.options.limits;
        resources.pids_is_default = limits.pids.is_none();
        resources.memory.swap_is_default = limits.memory_swap.is_none();
        Group::create(layout, &self.cgroup_path, &resources)
            .map(Some)
            .map_err(EngineError::cgroup(action()))
    }
}

/// Prepares a new container. With `dry` nothing at all is taken, not even an id range.
///
/// # Errors
/// Where the options name something that is not there or cannot be.
pub fn prepare(engine: &Engine, options: RunOptions, dry: bool) -> Result<Prepared> {
    let record = new_record(ContainerId::random()?, options);
    prepare_record(engine, record, dry)
}

/// Prepares a container that was made before, for another run.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_again(engine: &Engine, record: Record) -> Result<Prepared> {
    prepare_record(engine, record, false)
}

fn prepare_record(engine: &Engine, record: Record, dry: bool) -> Result<Prepared> {
    if !dry {
        engine.store.ensure()?;
    }
    let options = &record.options;
    let id = &record.id;
    let directory = engine.store.container(id);
    let root = root_tree(options, &directory);
    let shared = Shared::find(engine, options)?;
    let layout = if engine.rootless {
        None
    } else {
        Some(Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?)
    };
    let resolved = resolve_in_layers(options, &root)?;
    let files = etc_files(options, id);
    let lease = choose_range(engine, options, &shared, id, dry)?;
    let mut facts = BundleFacts {
        short_id: id.short().to_owned(),
        shared: shared.processes.clone(),
        join_user: shared.join_user.clone(),
        etc_files: files
            .iter()
            .map(|(name, _)| (name.clone(), directory.join(name)))
            .collect(),
        hidden: hidden_paths(engine, options),
        user: User {
            uid: resolved.uid,
            gid: resolved.gid,
            umask: None,
            additional_gids: resolved.groups,
        },
        home: resolved.home.to_string_lossy().into_owned(),
        grantable: read_own()
            .map_err(EngineError::system("read our capabilities"))?
            .bounding
            .bits(),
        terminal_size: if options.tty {
            crate::monitor::front::terminal_size()
        } else {
            (0, 0)
        },
        cgroup_path: cgroup_path(options, id, layout.is_some()),
        ..BundleFacts::default()
    };
    (facts.uid_mappings, facts.gid_mappings) = id_mappings(options, &shared, lease);
    super::devices::find(options, &mut facts)?;
    check_sources(options)?;
    let spec = plan_spec(options, &facts).map_err(|error| EngineError::Invalid(error.to_string()))?;
    let plan_facts = plan_facts(engine, &record, &spec, root, layout.as_ref())?;
    let plan = plan_container(&spec, &plan_facts).map_err(EngineError::Plan)?;
    let owner = plan.root_ids.map(|_| host_ids(&spec, resolved.uid, resolved.gid));
    Ok(Prepared {
        files,
        lease,
        cgroup_path: facts.cgroup_path,
        layout,
        owner,
        record,
        spec,
        plan,
    })
}

/// The text of `--explain`: sources, then steps with their reasons.
#[must_use]
pub fn explain(prepared: &Prepared) -> String {
    cais_runtime::explain::explain(&prepared.plan)
}

/// Where the root comes from.
fn root_tree(options: &RunOptions, directory: &Path) -> RootTree {
    let overlay = |lower: PathBuf| {
        RootTree::Overlay(Layers {
            lower: vec![lower],
            changes: directory.to_owned(),
        })
    };
    match &options.root {
        RootSource::Host => overlay(PathBuf::from("/")),
        RootSource::Directory {
            path,
            writable: false,
        } => overlay(path.clone()),
        RootSource::Directory { path, writable: true } => RootTree::Directory(path.clone()),
    }
}

/// The containers whose namespaces are shared.
#[derive(Debug, Default)]
struct Shared {
    /// `/proc/PID` by the name that the user gave.
    processes: BTreeMap<String, String>,
    /// The user namespace that they have, where it is not the host's.
    join_user: Option<String>,
    /// Its id maps.
    mappings: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
}

impl Shared {
    fn find(engine: &Engine, options: &RunOptions) -> Result<Self> {
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

fn choose_range(
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
fn id_mappings(
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

fn cgroup_path(options: &RunOptions, id: &ContainerId, has_cgroups: bool) -> String {
    if !has_cgroups {
        return String::new();
    }
    match options.limits.cgroup_parent.as_deref() {
        // Without a group of ours above it: none is left behind when the last one goes.
        None => format!("cais-{id}"),
        Some(parent) => format!("{}/cais-{id}", parent.trim_matches('/')),
    }
}

/// The files below `/etc` that are the container's own.
fn etc_files(options: &RunOptions, id: &ContainerId) -> Vec<(String, String)> {
    let name = options.hostname.clone().unwrap_or_else(|| id.short().to_owned());
    let hosts = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.1.1\t{name}\n"
    );
    let resolv = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    vec![
        ("hostname".to_owned(), format!("{name}\n")),
        ("hosts".to_owned(), hosts),
        ("resolv.conf".to_owned(), resolv),
    ]
}

/// What the container must not see of the engine where its root is the host's.
fn hidden_paths(engine: &Engine, options: &RunOptions) -> Vec<String> {
    if options.root != RootSource::Host {
        return Vec::new();
    }
    engine
        .store
        .data()
        .to_str()
        .map(str::to_owned)
        .into_iter()
        .collect()
}

/// Bind sources must be there; `-v` makes a directory, as Docker does.
fn check_sources(options: &RunOptions) -> Result<()> {
    for mount in &options.mounts {
        let MountKind::Bind {
            source,
            create_source,
            ..
        } = &mount.kind
        else {
            continue;
        };
        if source.exists() {
            continue;
        }
        if !create_source {
            return Err(EngineError::Invalid(format!(
                "bind source path does not exist: {}",
                source.display()
            )));
        }
        std::fs::create_dir_all(source).map_err(EngineError::store(format!(
            "make the bind source {}",
            source.display()
        )))?;
    }
    if let RootSource::Directory { path, .. } = &options.root
        && !path.is_dir()
    {
        return Err(EngineError::Invalid(format!(
            "--rootfs: {} is not a directory",
            path.display()
        )));
    }
    Ok(())
}

/// Finds the user in the account files of the root: of the changes first, then of the
/// layers below.
fn resolve_in_layers(options: &RunOptions, root: &RootTree) -> Result<ResolvedUser> {
    let user = options.user.as_deref().unwrap_or("0");
    let directories: Vec<PathBuf> = match root {
        RootTree::Overlay(layers) => std::iter::once(layers.changes.join("upper"))
            .chain(layers.lower.iter().cloned())
            .collect(),
        RootTree::Directory(path) => vec![path.clone()],
    };
    let mut opened = Vec::new();
    for directory in directories.iter().filter(|path| path.is_dir()) {
        opened.push(
            cais_linux::mounts::tree::open_directory(directory)
                .map_err(EngineError::system("open the root"))?,
        );
    }
    let read = |name: &str| -> Result<Vec<u8>> {
        for directory in &opened {
            let found = read_inside(directory.as_fd(), Path::new(name), ACCOUNT_FILE_LIMIT);
            if let Some(bytes) =
                found.map_err(EngineError::system(format!("read {name} of the container")))?
            {
                return Ok(bytes);
            }
        }
        Ok(Vec::new())
    };
    resolve_with(
        user,
        &options.group_add,
        &read("etc/passwd")?,
        &read("etc/group")?,
    )
}

/// Finds a user in the account files below `root`.
pub(crate) fn resolve_user(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let read = |name: &str| -> Result<Vec<u8>> {
        let found = read_inside(root, Path::new(name), ACCOUNT_FILE_LIMIT);
        Ok(found
            .map_err(EngineError::system(format!("read {name} of the container")))?
            .unwrap_or_default())
    };
    resolve_with(user, groups, &read("etc/passwd")?, &read("etc/group")?)
}

fn resolve_with(user: &str, groups: &[String], passwd: &[u8], group: &[u8]) -> Result<ResolvedUser> {
    let invalid = |error: cais_linux::creds::ids::UserError| EngineError::Invalid(error.to_string());
    let mut resolved = resolve(user, passwd, group).map_err(invalid)?;
    add_groups(&mut resolved.groups, groups, group).map_err(invalid)?;
    Ok(resolved)
}

/// The facts that a plan needs.
fn plan_facts(
    engine: &Engine,
    record: &Record,
    spec: &Spec,
    root: RootTree,
    layout: Option<&Layout>,
) -> Result<PlanFacts> {
    let options = &record.options;
    let own = read_own().map_err(EngineError::system("read our capabilities"))?;
    let limits = spec.process.iter().flat_map(|process| &process.rlimits);
    let hard_limits = limits
        .filter_map(|limit| parse_resource(&limit.kind))
        .map(|resource| (resource, read_own_hard(resource)));
    Ok(PlanFacts {
        root,
        tasks: layout.map_or(0, |layout| layout.v1.len()),
        cgroup_view: layout.map_or(CgroupView::None, cais_runtime::cgroup::view_of),
        device_sources: options
            .devices
            .iter()
            .map(|device| (device.container.clone(), device.host.clone()))
            .collect(),
        seccomp: seccomp_filter(engine, options, spec)?,
        held_capabilities: own.bounding.bits(),
        hard_limits: hard_limits.collect(),
        has_cap_sys_resource: own
            .effective
            .contains(cais_linux::creds::capabilities::Capability::SYS_RESOURCE),
        own_oom_score_adj: if options.limits.oom_score_adj.is_some() {
            cais_linux::limits::oom::read_own()
                .map_err(EngineError::system("read our weight for the OOM killer"))?
        } else {
            0
        },
        rootless: engine.rootless,
        init: options.init,
        landlock: landlock_facts(options)?,
        label: exec_label(options)?,
    })
}

/// The system call filter: ours, none, or that of a file.
fn seccomp_filter(engine: &Engine, options: &RunOptions, spec: &Spec) -> Result<Option<SeccompFilter>> {
    let invalid = |error: &dyn std::error::Error| EngineError::Invalid(super::chain(error));
    let names = spec
        .process
        .iter()
        .filter_map(|process| process.capabilities.as_ref())
        .flat_map(|sets| &sets.bounding);
    let names: Vec<&String> = names.collect();
    let capabilities = cais_linux::creds::capabilities::CapSet::parse(&names)
        .map_err(|error| invalid(&error))?
        .bits();
    match &options.security.seccomp {
        _ if options.security.privileged => Ok(None),
        SeccompOption::Unconfined => Ok(None),
        SeccompOption::Default => {
            let program = seccomp::default::default_program(capabilities).map_err(|error| invalid(&error))?;
            Ok(Some(SeccompFilter {
                flags: seccomp::default::DEFAULT_FLAGS,
                program: program_bytes(&program),
            }))
        }
        SeccompOption::File(path) => super::seccomp::read_filter(engine, path, capabilities).map(Some),
    }
}

/// The Landlock rules, where there are some.
fn landlock_facts(options: &RunOptions) -> Result<Option<LandlockFacts>> {
    if options.security.landlock.is_empty() {
        return Ok(None);
    }
    let invalid =
        |error: landlock::LandlockError| EngineError::Invalid(format!("--security-opt landlock: {error}"));
    let rules = options
        .security
        .landlock
        .iter()
        .map(|text| landlock::parse_rule(text));
    let rules = rules
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(invalid)?;
    let abi = landlock::read_abi().map_err(EngineError::system("ask for the version of Landlock"))?;
    let plan = landlock::plan_landlock(&rules, abi).map_err(invalid)?;
    Ok(Some(LandlockFacts {
        filesystem: plan.handled_fs,
        network: plan.handled_net,
        scoped: plan.scoped,
        rules: plan.encode_rules(),
    }))
}

/// The label of the program for AppArmor or SELinux, where one is asked for.
fn exec_label(options: &RunOptions) -> Result<Option<(String, String)>> {
    let invalid = |error: cais_linux::lsm::LabelError| EngineError::Invalid(error.to_string());
    let apparmor = options
        .security
        .apparmor
        .as_deref()
        .filter(|profile| *profile != "unconfined");
    let selinux = options
        .security
        .label
        .iter()
        .find_map(|label| label.strip_prefix("type:"));
    let label = match (apparmor, selinux) {
        (Some(profile), None) => cais_linux::lsm::apparmor::read_exec_label(profile),
        (None, Some(kind)) => {
            cais_linux::lsm::selinux::read_exec_label(&format!("system_u:system_r:{kind}:s0"))
        }
        (Some(_), Some(_)) => {
            return Err(EngineError::Invalid(
                "--security-opt apparmor and label: only one label can be set".to_owned(),
            ));
        }
        (None, None) => return Ok(None),
    };
    let label = label.map_err(invalid)?;
    Ok(Some((label.file.to_string(), label.text)))
}

/// Reads the configuration of a container that was made.
pub(crate) fn read_bundle(engine: &Engine, id: &ContainerId) -> Result<Spec> {
    let path = engine.store.container(id).join("config.json");
    read_json(&path)?.ok_or_else(|| EngineError::Damaged {
        path: path.display().to_string(),
        detail: "it is missing".to_owned(),
    })
}

/// The facts for a further process in a running container.
pub(crate) fn facts_of_running(
    engine: &Engine,
    container: &Container,
    spec: &Spec,
    privileged: bool,
) -> Result<PlanFacts> {
    let directory = engine.store.container(&container.record.id);
    let root = root_tree(&container.record.options, &directory);
    let mut record = container.record.clone();
    record.options.security.privileged |= privileged;
    plan_facts(engine, &record, spec, root, None)
}

/// `exec --privileged`: every capability.
pub(crate) fn grant_all(process: &mut Process) {
    let all: Vec<String> = cais_linux::creds::capabilities::CapSet::ALL
        .names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let sets = process.capabilities.get_or_insert_default();
    sets.bounding.clone_from(&all);
    sets.effective.clone_from(&all);
    sets.permitted = all;
}

/// A user other than root holds no capability in effect, root those of the bounding set.
pub(crate) fn adjust_for_user(process: &mut Process) {
    let uid = process.user.uid;
    let Some(sets) = &mut process.capabilities else {
        return;
    };
    let held = if uid == 0 {
        sets.bounding.clone()
    } else {
        Vec::new()
    };
    sets.effective.clone_from(&held);
    sets.permitted = held;
}

/// Opens a directory of /proc without following links.
pub(crate) fn open_process_root(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    open(
        &path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| cais_linux::SysError::new("open", format!("{path:?}"), errno))
    .map_err(EngineError::system("open the container's root"))
}
