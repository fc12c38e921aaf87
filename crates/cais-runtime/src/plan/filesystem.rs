//! The steps of the file tree: mounts, devices, links, hidden and read-only paths.

use super::namespaces;
use super::planner::{Planner, tree_propagation};
use super::sources::{MapIds, Source};
use super::steps::{c_string, str_block};
use crate::error::PlanError;
use crate::mount_options::{MountFlags, parse_mount_options};
use crate::spec::Mount;
use crate::spec::validate::clean_path;
use cais_init::step::{Step, target};
use cais_init::wire::StrBlock;
use cais_sys::clone::namespace;
use cais_sys::mount::{MOUNT_ATTR_RDONLY, MountAttr};

/// Where a link in the image must not lead set-up astray.
const REAL_TARGETS: [&str; 3] = ["/proc", "/sys", "/dev"];

pub(super) fn plan_propagation(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let word = planner
        .spec
        .linux
        .as_ref()
        .and_then(|linux| linux.rootfs_propagation.as_deref());
    let propagation = tree_propagation(word)?;
    planner.step(
        "nothing mounted from here on reaches the host",
        &Step::SetTreePropagation { propagation },
    );
    Ok(())
}

pub(super) fn plan_mounts(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    for mount in &planner.spec.mounts {
        let flags = parse_mount_options(&mount.options).map_err(|source| PlanError::MountOption {
            destination: mount.destination.clone(),
            source,
        })?;
        // By any name, /proc, /sys and /dev are what they are.
        let mount = Mount {
            destination: clean_path(&mount.destination),
            ..mount.clone()
        };
        let binds = flags.bind || flags.rbind || flags.remount;
        if matches!(mount.kind.as_deref(), Some("cgroup" | "cgroup2")) && !binds {
            planner.cgroup_mounts.push((mount, flags));
            continue;
        }
        // What is copied counts for the container.
        let waits = planner.cgroup_mounts.iter();
        if flags.copy_up || waits.clone().any(|(waiting, _)| is_related(waiting, &mount)) {
            planner.join_cgroups()?;
        }
        plan_mount(planner, &mount, &flags)?;
    }
    Ok(())
}

/// Whether one of two mounts stands on the other, or could: by their names.
fn is_related(one: &Mount, other: &Mount) -> bool {
    let contains = |outer: &str, inner: &str| {
        let rest = inner.strip_prefix(outer.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    contains(&one.destination, &other.destination) || contains(&other.destination, &one.destination)
}

/// How the place of a mount is found.
fn target_flags(destination: &str, make: u32) -> u32 {
    if REAL_TARGETS.contains(&destination) {
        target::REAL | make
    } else {
        make
    }
}

fn plan_mount(planner: &mut Planner<'_>, mount: &Mount, flags: &MountFlags) -> Result<(), PlanError> {
    let kind = mount.kind.as_deref().unwrap_or("none");
    if flags.remount {
        plan_remount(planner, mount, flags);
        return Ok(());
    }
    if flags.bind || flags.rbind || kind == "bind" {
        return plan_bind(planner, mount, flags);
    }
    match kind {
        // A sysfs shows the network namespace of its maker, who must own it.
        "sysfs" if planner.has_user_namespace() && !namespaces::has(planner.spec, namespace::NETWORK) => {
            return plan_host_view(planner, mount, flags, "/sys");
        }
        "proc" if planner.has_user_namespace() && !namespaces::has(planner.spec, namespace::PID) => {
            return plan_host_view(planner, mount, flags, "/proc");
        }
        "mqueue" if planner.has_user_namespace() && !namespaces::has(planner.spec, namespace::IPC) => {
            return plan_host_view(planner, mount, flags, "/dev/mqueue");
        }
        "none" | "" => {
            return Err(PlanError::Missing {
                path: "mounts[].type",
                what: "the type of a mount that is no bind mount",
            });
        }
        // Whatever else the kernel knows; it says so where it does not.
        _ => {}
    }
    let mut parameters: Vec<String> = Vec::new();
    if let Some(source) = mount.source.as_deref().filter(|source| !source.is_empty()) {
        parameters.extend(["source".to_owned(), source.to_owned()]);
    }
    for (key, value) in &flags.data {
        parameters.push(key.clone());
        parameters.push(value.clone().unwrap_or_default());
    }
    for word in &flags.superblock {
        parameters.extend([word.clone(), String::new()]);
    }
    if let Some(label) = mount_label(planner, kind) {
        parameters.extend(["context".to_owned(), label]);
    }
    let copy_up = if flags.copy_up && kind == "tmpfs" {
        target::COPY_UP
    } else {
        0
    };
    let block = str_block(&parameters);
    let path = c_string(&mount.destination);
    planner.step(
        "a file system of the container's own",
        &Step::MountNew {
            path: &path,
            fstype: &c_string(kind),
            parameters: StrBlock(&block),
            attributes: flags.attr_set,
            target: target_flags(&mount.destination, target::MAKE_DIRECTORY) | copy_up,
        },
    );
    Ok(())
}

/// The SELinux label of a new file system.
fn mount_label(planner: &Planner<'_>, kind: &str) -> Option<String> {
    let label = planner.spec.linux.as_ref()?.mount_label.clone()?;
    let takes_one = planner.facts.labels_files && !matches!(kind, "proc" | "sysfs");
    (takes_one && !label.is_empty()).then_some(label)
}

/// Other flags for what is mounted there already.
fn plan_remount(planner: &mut Planner<'_>, mount: &Mount, flags: &MountFlags) {
    let step = Step::SetMountAttributes {
        path: &c_string(&mount.destination),
        set: flags.attr_set | flags.recursive_set,
        clear: flags.attr_clear | flags.recursive_clear,
        recursive: flags.recursive_set | flags.recursive_clear != 0,
    };
    planner.step("a mount that is there gets other flags", &step);
}

/// The host's own mount instead of a new one, read-only: where the namespace that it
/// shows is the host's too.
pub(super) fn plan_host_view(
    planner: &mut Planner<'_>,
    mount: &Mount,
    flags: &MountFlags,
    path: &str,
) -> Result<(), PlanError> {
    let attributes = MountAttr {
        attr_set: flags.attr_set | MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    let source = Source::Tree {
        path: path.into(),
        recursive: true,
        peer: false,
        attributes,
        map_ids: MapIds::No,
        no_follow: false,
    };
    let slot = planner.tree(source);
    let destination = c_string(&mount.destination);
    let step = Step::MountTree {
        mount: slot,
        path: &destination,
        propagation: 0,
        target: target_flags(&mount.destination, target::MAKE_DIRECTORY) | target::RECURSIVE,
    };
    planner.step("the namespace it shows is the host's, so its mount is too", &step);
    Ok(())
}

fn plan_bind(planner: &mut Planner<'_>, mount: &Mount, flags: &MountFlags) -> Result<(), PlanError> {
    let Some(source) = &mount.source else {
        return Err(PlanError::Missing {
            path: "mounts[].source",
            what: "the source of a bind mount",
        });
    };
    if flags.copy_symlink
        && let Some(content) = planner.facts.symlinks.get(&mount.destination)
    {
        let step = Step::MakeSymlink {
            path: &c_string(&mount.destination),
            content: &c_string(content),
        };
        planner.step("a source that is a link becomes a link (copy-symlink)", &step);
        return Ok(());
    }
    // A plain `ro` covers the submounts too, as Docker's has since version 25.
    let attributes = MountAttr {
        attr_set: flags.attr_set | flags.recursive_set,
        attr_clr: flags.attr_clear | flags.recursive_clear,
        ..MountAttr::default()
    };
    let propagation = flags.propagation_bits();
    let recursive = flags.rbind;
    let map_ids = plan_id_map(planner, mount, flags)?;
    let slot = match split_process_root(source) {
        // It belongs to another container, whose ids are ours or the host's.
        Some((process, path)) => planner.source(Source::TreeOf {
            process: process.into(),
            path: path.into(),
        }),
        None => planner.tree(Source::Tree {
            path: source.into(),
            recursive,
            peer: flags.follows_peers(),
            attributes,
            map_ids,
            no_follow: flags.no_follow || flags.copy_symlink,
        }),
    };
    let make = target::MAKE_FILE | target::MAKE_DIRECTORY;
    let recursion = if recursive { target::RECURSIVE } else { 0 };
    let destination = c_string(&mount.destination);
    let step = Step::MountTree {
        mount: slot,
        path: &destination,
        propagation,
        target: target_flags(&mount.destination, make) | recursion,
    };
    planner.step("what the user shares with the container", &step);
    Ok(())
}

/// How the owners of a bind mount are mapped (runtime-spec, "idmap" and "ridmap").
fn plan_id_map(planner: &Planner<'_>, mount: &Mount, flags: &MountFlags) -> Result<MapIds, PlanError> {
    let own = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if !flags.idmap && !own {
        return Ok(MapIds::No);
    }
    let conflict = |problem: &str| PlanError::Conflict {
        path: format!("the mount at {}", mount.destination),
        problem: problem.to_owned(),
    };
    if own {
        if mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty() {
            return Err(conflict("uidMappings and gidMappings must be given together"));
        }
        return Ok(MapIds::Own {
            maps: namespaces::render_maps(&mount.uid_mappings, &mount.gid_mappings),
            recursive: flags.ridmap,
        });
    }
    if !planner.has_user_namespace() {
        return Err(conflict(
            "idmap needs uidMappings and gidMappings, of the mount or of a user namespace",
        ));
    }
    Ok(MapIds::Container)
}

/// Splits `/proc/PID/root/PATH`, the way to a path in another mount namespace.
fn split_process_root(source: &str) -> Option<(&str, &str)> {
    let (process, path) = source.split_once("/root/")?;
    let pid = process.strip_prefix("/proc/")?;
    let path = source.get(source.len() - path.len() - 1..)?;
    pid.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some((process, path))
}

/// Whether the container has a tmpfs of its own at `/dev`.
fn has_own_dev(planner: &Planner<'_>) -> bool {
    let is_dev =
        |mount: &Mount| clean_path(&mount.destination) == "/dev" && mount.kind.as_deref() == Some("tmpfs");
    planner.spec.mounts.iter().any(is_dev)
}

/// Files that the container gets by content, where nothing of the user's stands there.
pub(super) fn plan_files(planner: &mut Planner<'_>) {
    if !has_own_dev(planner) {
        return;
    }
    for (path, content) in &planner.facts.files {
        if planner.spec.mounts.iter().any(|mount| mount.destination == *path) {
            continue;
        }
        let path = c_string(path);
        let step = Step::MountFile {
            scratch: c"/dev",
            path: &path,
            content: content.as_bytes(),
        };
        planner.step("the container's own, whatever its image has there", &step);
    }
}

pub(super) fn plan_sysctls(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let Some(linux) = &planner.spec.linux else {
        return Ok(());
    };
    for (name, value) in &linux.sysctl {
        // `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same; an interface name
        // with a dot needs the second form (sysctl.d(5)).
        let path = if name.contains('/') {
            name.clone()
        } else {
            name.replace('.', "/")
        };
        let path = c_string(&format!("sys/{path}"));
        planner.step(
            "a setting of the container's own namespaces",
            &Step::WriteSysctl {
                name: &path,
                value: value.as_bytes(),
            },
        );
    }
    Ok(())
}

pub(super) fn plan_working_directory(planner: &mut Planner<'_>) {
    let Some(process) = planner.process else { return };
    if process.cwd != "/" {
        let path = c_string(&process.cwd);
        planner.step(
            "the working directory may be missing",
            &Step::MakeDirectory {
                path: &path,
                mode: 0o755,
            },
        );
    }
}

pub(super) fn plan_hidden_paths(planner: &mut Planner<'_>) {
    let Some(linux) = &planner.spec.linux else { return };
    for path in &linux.readonly_paths {
        planner.step(
            "settings of the host's kernel",
            &Step::ReadonlyPath {
                path: &c_string(path),
            },
        );
    }
    for path in &linux.masked_paths {
        let null = planner.null_device();
        planner.step(
            "it would tell about, or reach, the host",
            &Step::MaskPath {
                path: &c_string(path),
                null,
            },
        );
    }
}

pub(super) fn plan_root_flags(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    let spec = planner.spec;
    let word = spec
        .linux
        .as_ref()
        .and_then(|linux| linux.rootfs_propagation.as_deref());
    match word {
        Some("shared" | "rshared") => {
            let step = Step::SetRootPropagation {
                propagation: cais_sys::mount::MS_SHARED,
                recursive: word == Some("rshared"),
            };
            planner.step("asked for by linux.rootfsPropagation", &step);
        }
        Some("unbindable" | "runbindable") => {
            let step = Step::SetRootPropagation {
                propagation: cais_sys::mount::MS_UNBINDABLE,
                recursive: false,
            };
            planner.step("asked for by linux.rootfsPropagation", &step);
        }
        _ => {}
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        let step = Step::SetMountAttributes {
            path: c"/",
            set: MOUNT_ATTR_RDONLY,
            clear: 0,
            recursive: false,
        };
        planner.step("asked for by root.readonly", &step);
    }
    Ok(())
}
