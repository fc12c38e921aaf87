//! Everything before the first change: an id, the facts of the machine, the OCI
//! configuration, the plan.

use super::facts::{etc_files, plan_facts};
use super::new_record;
use super::users::{Shared, choose_range, host_ids, id_mappings};
use crate::bundle::{BundleFacts, plan_spec};
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::{MountKind, NamespaceMode, RootSource, RunOptions};
use crate::record::Record;
use crate::rootless;
use crate::state::Container;
use crate::store::{Store, read_json};
use crate::userns::Lease;
use cais_linux::cgroups::{CgroupError, Group, Layout, Making};
use cais_linux::creds::capabilities::read_own;
use cais_linux::creds::ids::{ResolvedUser, add_groups, resolve_user as resolve};
use cais_linux::mounts::overlay::Layers;
use cais_linux::path::read_inside;
use cais_net::endpoint::Endpoints;
use cais_runtime::plan::facts::{PlanFacts, RootTree};
use cais_runtime::plan::{Plan, plan_container};
use cais_runtime::spec::{Process, Spec, User};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::path::{Path, PathBuf};

/// The largest /etc/passwd or /etc/group that is read.
const ACCOUNT_FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// A container that is ready to be made and started.
#[derive(Debug)]
pub struct Prepared {
    /// Whether it is made now.
    pub(crate) is_new: bool,
    /// What will be its record.
    pub record: Record,
    /// The OCI configuration.
    pub spec: Spec,
    /// The plan.
    pub plan: Plan,
    /// What it was made of, beside the configuration.
    plan_facts: PlanFacts,
    /// Its range of ids.
    pub(crate) lease: Option<Lease>,
    /// Its cgroup, relative to each hierarchy; empty for none.
    pub(crate) cgroup_path: String,
    /// Its interfaces, with leased addresses.
    pub(crate) network: Option<Endpoints>,
    /// The hierarchies.
    layout: Option<Layout>,
    /// What becomes the root.
    pub(crate) root: RootTree,
    /// The cgroup below which an ordinary user's are, relative to the whole hierarchy.
    delegated: Option<String>,
    /// The host's uid and gid of the program's user, where they are mapped.
    pub(crate) owner: Option<(u32, u32)>,
    /// Its volumes, which nobody removes before it is recorded.
    pub(crate) volumes: crate::volumes::Held,
}

impl Prepared {
    /// Gives back what was leased, where nobody else has it or gave it back.
    pub(crate) fn release(&self, engine: &Engine) {
        let leased = Leased {
            range: self.lease,
            network: self.network.clone(),
        };
        leased.release(engine);
    }

    /// Removes the volumes that were made for a container that comes to nothing. Those of
    /// one that is recorded stay.
    pub(crate) fn forget_volumes(&self, engine: &Engine) {
        self.volumes.release(&engine.store, &self.record.options);
        // The error that counts is the one that stopped us; what stays is swept.
        crate::volumes::remove_anonymous(&engine.store, &self.record.options).unwrap_or_default();
    }

    /// The plan with this text of a file of the container's.
    pub(crate) fn plan_with(&self, path: &str, text: String) -> Result<Plan> {
        let mut facts = self.plan_facts.clone();
        facts.files.retain(|(known, _)| known != path);
        facts.files.push((path.to_owned(), text));
        plan_container(&self.spec, &facts).map_err(EngineError::Plan)
    }

    /// Begins to make the cgroup with its limits.
    pub(crate) fn begin_group(&self) -> Result<Option<Making<'_>>> {
        let Some(layout) = &self.layout else {
            return Ok(None);
        };
        let resources = self.spec.linux.as_ref().and_then(|linux| linux.resources.clone());
        // A hierarchy that begins at a delegated group has paths that begin there.
        let begins_at = self.delegated.as_deref().unwrap_or("");
        let path = self
            .cgroup_path
            .strip_prefix(begins_at)
            .unwrap_or(&self.cgroup_path);
        let path = path.trim_start_matches('/');
        let mut resources = cais_runtime::cgroup::resources_of(&resources.unwrap_or_default())
            .map_err(self.failed_group())?;
        // What the user did not ask for is no error where there is no controller for it.
        let limits = &self.record.options.limits;
        resources.pids_is_default = limits.pids.is_none();
        resources.memory.swap_is_default = limits.memory_swap.is_none();
        if self.delegated.is_some() {
            // Programs that decide about devices take privilege; no device can be made anyway.
            resources.devices.clear();
        }
        Group::begin(layout, path, &resources)
            .map(Some)
            .map_err(self.failed_group())
    }

    /// The error for a cgroup that cannot be made.
    pub(crate) fn failed_group(&self) -> impl FnOnce(CgroupError) -> EngineError + use<> {
        EngineError::cgroup(format!("make the cgroup {} with its limits", self.cgroup_path))
    }
}

/// Prepares a new container. With `dry` nothing at all is taken, not even an id range.
///
/// # Errors
/// Where the options name something that is not there or cannot be.
pub fn prepare(engine: &Engine, options: RunOptions, dry: bool) -> Result<Prepared> {
    let mut options = options;
    crate::volumes::name_all(&mut options)?;
    let record = new_record(ContainerId::random()?, options);
    let mut prepared = prepare_record(engine, record, dry)?;
    prepared.is_new = true;
    Ok(prepared)
}

/// Prepares a container that was made before, for another run.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn prepare_again(engine: &Engine, record: Record) -> Result<Prepared> {
    prepare_record(engine, record, false)
}

fn prepare_record(engine: &Engine, record: Record, dry: bool) -> Result<Prepared> {
    if !dry {
        engine.store.ensure()?;
    }
    let shared = Shared::find(engine, &record.options)?;
    let lease = choose_range(engine, &record.options, &shared, &record.id, dry)?;
    let mut warning = None;
    let network = if dry {
        Ok(None)
    } else {
        enter_home(engine, &record.options, &mut warning)
            .and_then(|()| crate::network::plan::plan(engine, &record))
    };
    let leased = Leased {
        range: lease.filter(|_| !dry),
        network: network.as_ref().ok().cloned().flatten(),
    };
    let options = record.options.clone();
    let prepared = network.and_then(|network| {
        let volumes = match dry {
            true => crate::volumes::Held::default(),
            false => crate::volumes::hold(engine, &record)?,
        };
        let mut prepared = prepare_with(engine, record, &shared, (lease, network))?;
        prepared.volumes = volumes;
        prepared.plan.warnings.extend(warning);
        Ok(prepared)
    });
    if prepared.is_err() {
        if !dry {
            // Nobody will ever have those that no record names; the error that counts is the
            // one that stopped us.
            crate::volumes::remove_anonymous(&engine.store, &options).unwrap_or_default();
        }
        leased.release(engine);
    }
    prepared
}

/// For an ordinary user: finds or makes the namespace with the bridges.
fn enter_home(engine: &Engine, options: &RunOptions, warning: &mut Option<String>) -> Result<()> {
    if engine.rootless && options.is_in_networks() {
        *warning = crate::network::home::enter(&engine.store)?;
    }
    Ok(())
}

/// What a preparation has leased.
struct Leased {
    range: Option<Lease>,
    network: Option<Endpoints>,
}

impl Leased {
    /// Gives it back. The error that counts is the one that stopped the start.
    fn release(&self, engine: &Engine) {
        if let Some(lease) = self.range {
            crate::userns::release(&engine.store, lease.index).unwrap_or_default();
        }
        if let Some(network) = &self.network {
            crate::network::plan::release(&engine.store.networks(), network);
        }
    }
}

fn prepare_with(
    engine: &Engine,
    record: Record,
    shared: &Shared,
    (lease, network): (Option<Lease>, Option<Endpoints>),
) -> Result<Prepared> {
    let options = &record.options;
    let id = &record.id;
    check_sources(options)?;
    crate::log::check_reachable(&options.log)?;
    let root = root_tree(engine, options, &engine.store.container(id))?;
    let (layout, delegated) = read_hierarchies(engine, options)?;
    let resolved = resolve_in_layers(options, &root)?;
    let own = read_own().map_err(EngineError::system("read our capabilities"))?;
    let size = || crate::monitor::front::terminal_size();
    let mut facts = BundleFacts {
        short_id: id.short().to_owned(),
        volumes: crate::volumes::directory(&engine.store),
        shared: shared.processes.clone(),
        join_user: shared.join_user.clone(),
        hidden: hidden_paths(engine, options),
        user: User {
            uid: resolved.uid,
            gid: resolved.gid,
            umask: None,
            additional_gids: resolved.groups,
        },
        home: resolved.home.to_string_lossy().into_owned(),
        grantable: own.bounding.bits(),
        terminal_size: if options.tty { size() } else { (0, 0) },
        cgroup_path: cgroup_path(options, id, (layout.is_some(), delegated.as_deref())),
        rootless: engine.rootless,
        ..BundleFacts::default()
    };
    (facts.uid_mappings, facts.gid_mappings) = if engine.rootless && !shared.has_maps() {
        rootless::choose_maps(options)?
    } else {
        id_mappings(options, shared, lease)
    };
    if engine.rootless {
        check_rootless_user(&facts)?;
    }
    super::devices::find(options, &mut facts)?;
    let above = network
        .as_ref()
        .and_then(|_| crate::network::home::user_namespace());
    if above.is_some() {
        let (uids, gids) = rootless::read_maps(false);
        facts.uid_mappings = rootless::map_below(&uids, &facts.uid_mappings);
        facts.gid_mappings = rootless::map_below(&gids, &facts.gid_mappings);
    }
    let mut spec = plan_spec(options, &facts).map_err(|error| EngineError::Invalid(error.to_string()))?;
    engine.service.plan(&mut spec, &engine.store, id, options)?;
    let mut plan_facts = plan_facts(engine, &record, &spec, layout.as_ref(), &own)?;
    plan_facts.root.clone_from(&root);
    plan_facts.user_parent = above;
    if options.namespaces.cgroup == NamespaceMode::Private {
        plan_facts.cgroup_path.clone_from(&facts.cgroup_path);
    }
    plan_facts.files = etc_files(engine, options, id, network.as_ref())?;
    let plan = plan_container(&spec, &plan_facts).map_err(EngineError::Plan)?;
    let owner = plan.root_ids.map(|_| host_ids(&spec, resolved.uid, resolved.gid));
    Ok(Prepared {
        is_new: false,
        lease,
        network,
        cgroup_path: facts.cgroup_path,
        layout,
        root,
        delegated,
        owner,
        volumes: crate::volumes::Held::default(),
        record,
        spec,
        plan,
        plan_facts,
    })
}

/// The text of `--explain`: sources, then steps with their reasons.
#[must_use]
pub fn explain(prepared: &Prepared) -> String {
    cais_runtime::explain::explain(&prepared.plan)
}

/// Where the root comes from.
fn root_tree(engine: &Engine, options: &RunOptions, directory: &Path) -> Result<RootTree> {
    if engine.rootless && options.root == RootSource::Host {
        return super::parts::host_tree(directory, options.remove);
    }
    Ok(whole_tree(&engine.store, options, directory, engine.rootless))
}

fn whole_tree(store: &Store, options: &RunOptions, directory: &Path, rootless: bool) -> RootTree {
    let overlay_of = |lower: Vec<PathBuf>| {
        RootTree::Overlay(Layers {
            lower,
            changes: directory.to_owned(),
            volatile: options.remove,
        })
    };
    let overlay = |lower: PathBuf| overlay_of(vec![lower]);
    match &options.root {
        RootSource::Host => overlay(PathBuf::from("/")),
        RootSource::Image { layers, .. } => {
            // The kernel takes so many and no more (OVL_MAX_STACK).
            const MOST: usize = 500;
            let places = std::iter::once(store.mount_points());
            overlay_of(layers.iter().cloned().chain(places).take(MOST).collect())
        }
        RootSource::Directory {
            path,
            writable: false,
        } => overlay(path.clone()),
        RootSource::Directory { path, writable: true } => RootTree::Directory {
            path: path.clone(),
            map_ids: !rootless,
        },
    }
}

/// The hierarchies in which the container gets its cgroup, and where they begin for an
/// ordinary user.
fn read_hierarchies(engine: &Engine, options: &RunOptions) -> Result<(Option<Layout>, Option<String>)> {
    if !engine.rootless {
        let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
        return Ok((Some(layout), None));
    }
    let delegation = rootless::find_delegation()?;
    rootless::check_limits(options, delegation.as_ref())?;
    Ok(delegation.map(|found| (found.layout, found.path)).unzip())
}

/// Whether the ids of the program exist in a user namespace without many.
fn check_rootless_user(facts: &BundleFacts) -> Result<()> {
    let maps = (facts.uid_mappings.clone(), facts.gid_mappings.clone());
    let mut gids = facts.user.additional_gids.clone();
    gids.push(facts.user.gid);
    rootless::check_ids(&maps, facts.user.uid, &gids)
}

fn cgroup_path(
    options: &RunOptions,
    id: &ContainerId,
    (has_cgroups, delegated): (bool, Option<&str>),
) -> String {
    if !has_cgroups {
        return String::new();
    }
    if let Some(above) = delegated {
        return format!("{above}/cais-{id}");
    }
    match options.limits.cgroup_parent.as_deref() {
        // Without a group of ours above it: none is left behind when the last one goes.
        None => format!("cais-{id}"),
        Some(parent) => format!("{}/cais-{id}", parent.trim_matches('/')),
    }
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
        RootTree::Parts { root, .. } => vec![root.changes.join("upper"), PathBuf::from("/")],
        RootTree::Overlay(layers) => std::iter::once(layers.changes.join("upper"))
            .chain(layers.lower.iter().cloned())
            .collect(),
        RootTree::Directory { path, .. } => vec![path.clone()],
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
    // Its own is among the further ones: a set-group-id program that takes on another group
    // would be rid of it, and of what files deny to it (CVE-2022-36109 and kin).
    if !resolved.groups.contains(&resolved.gid) {
        resolved.groups.push(resolved.gid);
    }
    Ok(resolved)
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
    let root = whole_tree(
        &engine.store,
        &container.record.options,
        &directory,
        engine.rootless,
    );
    let mut record = container.record.clone();
    record.options.security.privileged |= privileged;
    let own = read_own().map_err(EngineError::system("read our capabilities"))?;
    let facts = plan_facts(engine, &record, spec, None, &own)?;
    Ok(PlanFacts { root, ..facts })
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
