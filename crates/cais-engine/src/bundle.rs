//! The OCI configuration of a container: what the user asked, with Docker's defaults
//! for the rest. Pure: everything that needs a look at the machine comes in
//! [`BundleFacts`].

mod mounts;
mod resources;

pub(crate) use mounts::SHM_SIZE as DEFAULT_SHM_SIZE;
pub(crate) use resources::DEFAULT_PIDS;

use crate::options::{IpcMode, NamespaceMode, NetworkMode, RunOptions};
use cais_linux::creds::capabilities::{CapSet, UnknownCapability, adjust};
use cais_order::Gather;
use cais_runtime::spec::{
    Capabilities, ConsoleSize, DeviceNode, IdMapping, Linux, Namespace, NamespaceKind, Process, Rlimit, Root,
    Spec, User,
};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The capabilities that a container has unless told otherwise, as Docker's.
pub const DEFAULT_CAPABILITIES: u64 = cais_linux::seccomp::default::DOCKER_CAPABILITIES;

/// What is known of the machine and of this container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BundleFacts {
    /// Where volumes are.
    pub volumes: std::path::PathBuf,
    /// The first twelve digits of the id: the host name of a container without one.
    pub short_id: String,
    /// The maps of the user namespace; empty without one.
    pub uid_mappings: Vec<IdMapping>,
    /// The maps of groups.
    pub gid_mappings: Vec<IdMapping>,
    /// The path of a user namespace to join, of the container whose namespaces are shared.
    pub join_user: Option<String>,
    /// `/proc/PID` of containers by the name under which the user gave them.
    pub shared: BTreeMap<String, String>,
    /// Directories of the engine that the container must not see, as paths inside it.
    pub hidden: Vec<String>,
    /// The user, resolved.
    pub user: User,
    /// Whether this process has no privilege on the host.
    pub rootless: bool,
    /// The home directory of the user.
    pub home: String,
    /// The devices of `--device`, or all of the host with `--privileged`.
    pub devices: Vec<DeviceNode>,
    /// What may be done with those of `--device`, one by one: `rwm`.
    pub device_access: Vec<String>,
    /// The numbers of block devices that limits name.
    pub block_devices: BTreeMap<PathBuf, (u32, u32)>,
    /// The capabilities that can be granted at all.
    pub grantable: u64,
    /// Lines and characters of the terminal.
    pub terminal_size: (u16, u16),
    /// The cgroup, relative to each hierarchy.
    pub cgroup_path: String,
}

/// Why the configuration cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A capability that is none.
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// A limit on a block device that was not looked up.
    #[error("{0} is not a block device")]
    NotABlockDevice(String),
}

/// The limits alone, for a container that is there already.
///
/// # Errors
/// See [`BundleError`].
pub(crate) fn plan_limits(options: &RunOptions) -> Result<cais_runtime::spec::Resources, BundleError> {
    resources::plan_resources(options, &BundleFacts::default())
}

/// Makes the configuration.
///
/// # Errors
/// See [`BundleError`].
pub fn plan_spec(options: &RunOptions, facts: &BundleFacts) -> Result<Spec, BundleError> {
    let privileged = options.security.privileged;
    let open_paths = privileged || options.security.system_paths_unconfined;
    let linux = Linux {
        uid_mappings: facts.uid_mappings.clone(),
        gid_mappings: facts.gid_mappings.clone(),
        sysctl: options.sysctls.iter().cloned().into_map(),
        resources: Some(resources::plan_resources(options, facts)?),
        cgroups_path: Some(facts.cgroup_path.clone()).filter(|path| !path.is_empty()),
        namespaces: plan_namespaces(options, facts),
        devices: facts.devices.clone(),
        seccomp: None,
        rootfs_propagation: mounts::root_propagation(options),
        masked_paths: mounts::masked_paths(open_paths, facts),
        readonly_paths: if open_paths {
            Vec::new()
        } else {
            mounts::readonly_paths()
        },
        ..Linux::default()
    };
    let hostname = match &options.namespaces.uts {
        NamespaceMode::Private => Some(options.hostname.clone().unwrap_or_else(|| facts.short_id.clone())),
        _ => None,
    };
    Ok(Spec {
        oci_version: cais_runtime::spec::VERSION.to_owned(),
        process: Some(plan_process(options, facts, hostname.as_deref())?),
        root: Some(Root {
            path: "rootfs".to_owned(),
            readonly: options.read_only,
        }),
        domainname: hostname.as_ref().and(options.domainname.clone()),
        hostname,
        mounts: mounts::plan_mounts(options, facts),
        annotations: options.annotations.iter().cloned().into_map(),
        linux: Some(linux),
        hooks: None,
    })
}

/// Which namespaces are new, joined, or the host's.
fn plan_namespaces(options: &RunOptions, facts: &BundleFacts) -> Vec<Namespace> {
    let asked = &options.namespaces;
    let mut namespaces = vec![Namespace {
        kind: NamespaceKind::Mount,
        path: None,
    }];
    let mut add = |kind, path| namespaces.push(Namespace { kind, path });
    let of = |container: &str, file: &str| {
        facts
            .shared
            .get(container)
            .map(|process| format!("{process}/ns/{file}"))
    };
    for (kind, mode, file) in [
        (NamespaceKind::Pid, &asked.pid, "pid"),
        (NamespaceKind::Uts, &asked.uts, "uts"),
        (NamespaceKind::Cgroup, &asked.cgroup, "cgroup"),
    ] {
        match mode {
            NamespaceMode::Private => add(kind, None),
            NamespaceMode::Host => {}
            NamespaceMode::Container(name) => add(kind, of(name, file)),
        }
    }
    match &asked.ipc {
        IpcMode::Private | IpcMode::None | IpcMode::Shareable => add(NamespaceKind::Ipc, None),
        IpcMode::Host => {}
        IpcMode::Container(name) => add(NamespaceKind::Ipc, of(name, "ipc")),
    }
    match &asked.network {
        NetworkMode::None | NetworkMode::Networks(_) | NetworkMode::Cni(_) => {
            add(NamespaceKind::Network, None);
        }
        NetworkMode::Host => {}
        NetworkMode::Path(path) => add(NamespaceKind::Network, path.to_str().map(str::to_owned)),
        NetworkMode::Container(name) => add(NamespaceKind::Network, of(name, "net")),
    }
    if facts.join_user.is_some() {
        add(NamespaceKind::User, facts.join_user.clone());
    } else if !facts.uid_mappings.is_empty() {
        add(NamespaceKind::User, None);
    }
    namespaces
}

fn plan_process(
    options: &RunOptions,
    facts: &BundleFacts,
    hostname: Option<&str>,
) -> Result<Process, BundleError> {
    let args = options
        .entrypoint
        .iter()
        .flatten()
        .chain(&options.command)
        .cloned()
        .collect();
    let rlimits = options.limits.ulimits.iter().map(|limit| Rlimit {
        kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
        hard: limit.hard,
        soft: limit.soft,
    });
    let (height, width) = (u64::from(facts.terminal_size.0), u64::from(facts.terminal_size.1));
    Ok(Process {
        terminal: options.tty,
        console_size: options.tty.then_some(ConsoleSize { height, width }),
        cwd: options.workdir.clone().unwrap_or_else(|| "/".to_owned()),
        env: plan_environment(options, facts, hostname),
        args,
        rlimits: rlimits.collect(),
        capabilities: Some(plan_capabilities(options, facts)?),
        no_new_privileges: options.security.no_new_privileges,
        apparmor_profile: options.security.apparmor.clone(),
        selinux_label: None,
        oom_score_adj: options.limits.oom_score_adj,
        user: facts.user.clone(),
        ..Process::default()
    })
}

/// The environment: our defaults, then what the user gave.
fn plan_environment(options: &RunOptions, facts: &BundleFacts, hostname: Option<&str>) -> Vec<String> {
    let mut env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    if let Some(name) = hostname {
        env.push(format!("HOSTNAME={name}"));
    }
    if options.tty {
        env.push("TERM=xterm".to_owned());
    }
    env.push(format!("HOME={}", facts.home));
    for entry in &options.env {
        crate::exec::put_variable(&mut env, entry);
    }
    env
}

/// The five sets. A user other than root holds none in effect, as with Docker.
fn plan_capabilities(options: &RunOptions, facts: &BundleFacts) -> Result<Capabilities, BundleError> {
    let security = &options.security;
    let all = CapSet::from_bits(facts.grantable);
    let base = if security.privileged {
        all
    } else {
        CapSet::from_bits(DEFAULT_CAPABILITIES)
    };
    let bounding = adjust(base, &security.cap_add, &security.cap_drop)?;
    let names: Vec<String> = bounding.names().into_iter().map(str::to_owned).collect();
    let held = if facts.user.uid == 0 {
        names.clone()
    } else {
        Vec::new()
    };
    Ok(Capabilities {
        bounding: names,
        effective: held.clone(),
        permitted: held,
        ..Capabilities::default()
    })
}
