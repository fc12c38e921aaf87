//! The mounts of a container, and the paths that it must not see or change.

use super::BundleFacts;
use crate::options::{IpcMode, MountKind, MountOption, RootSource, RunOptions};
use cais_order::InOrder;
use cais_runtime::spec::Mount;

/// `/dev/shm` without `--shm-size`, as Docker's.
pub(crate) const SHM_SIZE: u64 = 64 * 1024 * 1024;

fn mount(destination: &str, kind: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: Some(kind.to_owned()),
        source: Some(kind.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

fn bind(destination: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        source: Some(source.to_owned()),
        ..mount(destination, "bind", options)
    }
}

/// All mounts, in the order in which they are made: ours first, then the user's, each
/// after those that lie above it.
pub(super) fn plan_mounts(options: &RunOptions, facts: &BundleFacts) -> Vec<Mount> {
    let mut mounts = default_mounts(options);
    if !maps_terminals(facts) {
        for mount in &mut mounts {
            mount.options.retain(|option| option != "gid=5");
        }
    }
    mounts.extend(ipc_mounts(options, facts));
    if options.root == RootSource::Host {
        // What runs on the host has its sockets and pids there; a container has its own.
        mounts.push(mount("/run", "tmpfs", &["nosuid", "nodev", "mode=755"]));
        mounts.push(mount("/tmp", "tmpfs", &["nosuid", "nodev", "mode=1777"]));
    }
    // The user's mount takes the place of ours.
    mounts.retain(|ours| {
        !options
            .mounts
            .iter()
            .any(|theirs| theirs.target.trim_end_matches('/') == ours.destination)
    });
    let mut theirs: Vec<Mount> = options
        .mounts
        .iter()
        .map(|option| user_mount(option, facts))
        .collect();
    theirs.order_by_key(|mount| {
        mount
            .destination
            .split('/')
            .filter(|part| !part.is_empty())
            .count()
    });
    mounts.extend(theirs);
    // Only privilege can map the owners of a mount; without it they are what they are.
    if !facts.uid_mappings.is_empty() && !facts.rootless {
        map_owners(&mut mounts);
    }
    mounts
}

/// Whether the group of terminals (5 on Debian and most others) exists in the container.
fn maps_terminals(facts: &BundleFacts) -> bool {
    let mut maps = facts.gid_mappings.iter();
    facts.gid_mappings.is_empty()
        || maps.any(|map| (map.container_id..map.container_id.saturating_add(map.size)).contains(&5))
}

/// What is shared with a container in a user namespace keeps sensible owners on both sides.
fn map_owners(mounts: &mut [Mount]) {
    for mount in mounts {
        // What another container has belongs to its ids already; the host's shared memory is
        // everybody's, and a tmpfs cannot be id-mapped before Linux 6.3.
        let as_it_is =
            |source: &str| source == "/dev/shm" || source.starts_with("/proc/") && source.contains("/root/");
        if mount.kind.as_deref() == Some("bind") && !mount.source.as_deref().is_some_and(as_it_is) {
            let recursive = mount.options.iter().any(|option| option == "rbind");
            let word = if recursive { "ridmap" } else { "idmap" };
            mount.options.push(word.to_owned());
        }
    }
}

fn default_mounts(options: &RunOptions) -> Vec<Mount> {
    let system = if options.security.privileged { "rw" } else { "ro" };
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", system]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", system],
        ),
    ]
}

/// `/dev/mqueue` and `/dev/shm`, which show the IPC namespace.
fn ipc_mounts(options: &RunOptions, facts: &BundleFacts) -> Vec<Mount> {
    let queue = mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
    let shared = |path: &str| {
        bind(
            "/dev/shm",
            path,
            &["rbind", "rprivate", "nosuid", "noexec", "nodev"],
        )
    };
    match &options.namespaces.ipc {
        IpcMode::None => vec![queue],
        // The host's queues cannot be mounted from another user namespace.
        IpcMode::Host if !facts.uid_mappings.is_empty() => vec![shared("/dev/shm")],
        IpcMode::Host => vec![queue, shared("/dev/shm")],
        IpcMode::Container(name) => {
            let process = facts.shared.get(name).map_or("", String::as_str);
            vec![queue, shared(&format!("{process}/root/dev/shm"))]
        }
        IpcMode::Private | IpcMode::Shareable => {
            let size = format!("size={}", options.limits.shm_size.unwrap_or(SHM_SIZE));
            vec![
                queue,
                mount(
                    "/dev/shm",
                    "tmpfs",
                    &["nosuid", "noexec", "nodev", "mode=1777", &size],
                ),
            ]
        }
    }
}

fn user_mount(option: &MountOption, facts: &BundleFacts) -> Mount {
    let mut words: Vec<String> = Vec::new();
    let access = if option.read_only { "ro" } else { "rw" };
    match &option.kind {
        MountKind::Bind {
            source,
            propagation,
            non_recursive,
            options,
            ..
        } => {
            words.push(if *non_recursive { "bind" } else { "rbind" }.to_owned());
            words.push(access.to_owned());
            words.push(propagation.clone().unwrap_or_else(|| "rprivate".to_owned()));
            words.extend(options.iter().cloned());
            Mount {
                destination: option.target.clone(),
                kind: Some("bind".to_owned()),
                source: Some(source.to_string_lossy().into_owned()),
                options: words,
                ..Mount::default()
            }
        }
        MountKind::Volume { name, .. } => {
            let source = facts.volumes.join(name).join("_data");
            bind(
                &option.target,
                &source.to_string_lossy(),
                &["rbind", access, "rprivate"],
            )
        }
        MountKind::Tmpfs { size, mode, options } => {
            // Docker's defaults; what the user writes comes later and wins.
            words.extend(["nosuid", "nodev", "noexec", access].map(str::to_owned));
            words.extend(size.map(|size| format!("size={size}")));
            words.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
            words.extend(options.iter().cloned());
            Mount {
                destination: option.target.clone(),
                kind: Some("tmpfs".to_owned()),
                source: Some("tmpfs".to_owned()),
                options: words,
                ..Mount::default()
            }
        }
    }
}

/// Mounts of the host reach into the container only where a bind mount asks for it.
pub(super) fn root_propagation(options: &RunOptions) -> Option<String> {
    let follows = |option: &MountOption| matches!(&option.kind, MountKind::Bind { propagation: Some(word), .. } if word.ends_with("slave") || word.ends_with("shared"));
    options.mounts.iter().any(follows).then(|| "rslave".to_owned())
}

/// Paths that tell about the host or reach it, as Docker hides them, and the engine's
/// own directories.
pub(super) fn masked_paths(open: bool, facts: &BundleFacts) -> Vec<String> {
    const MASKED: [&str; 12] = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let ours = if open { &[][..] } else { &MASKED[..] };
    ours.iter()
        .map(|path| (*path).to_owned())
        .chain(facts.hidden.iter().cloned())
        .collect()
}

/// Settings of the host's kernel, read-only as Docker's.
pub(super) fn readonly_paths() -> Vec<String> {
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    .map(str::to_owned)
    .to_vec()
}
