//! What a configuration must be beyond its types, checked before anything is done.

use super::{IdMapping, NamespaceKind, Process, Spec};
use crate::error::PlanError;
use std::collections::BTreeSet;

/// Checks a configuration.
///
/// # Errors
/// The first thing that is wrong, with its JSON path.
pub fn check(spec: &Spec) -> Result<(), PlanError> {
    check_namespaces(spec)?;
    check_mounts(spec)?;
    check_sysctls(spec)?;
    check_hooks(spec)?;
    match &spec.process {
        Some(process) => check_process(process, "process"),
        None => Err(PlanError::Missing {
            path: "process",
            what: "the program to run",
        }),
    }
}

fn conflict(path: impl Into<String>, problem: impl Into<String>) -> PlanError {
    PlanError::Conflict {
        path: path.into(),
        problem: problem.into(),
    }
}

/// Checks a process of its own, as `exec` takes it.
///
/// # Errors
/// As [`check`]; `path` is where the process stands.
pub fn check_process(process: &Process, path: &str) -> Result<(), PlanError> {
    if process.args.is_empty() {
        return Err(conflict(
            format!("{path}.args"),
            "must name a program: it is empty",
        ));
    }
    if !process.cwd.starts_with('/') {
        return Err(conflict(
            format!("{path}.cwd"),
            format!("must be an absolute path, not {:?}", process.cwd),
        ));
    }
    let texts = process.args.iter().chain(&process.env);
    if let Some(text) = texts.chain([&process.cwd]).find(|text| text.contains('\0')) {
        return Err(conflict(path, format!("{text:?} holds a nul byte")));
    }
    let mut seen = BTreeSet::new();
    for limit in &process.rlimits {
        if !seen.insert(&limit.kind) {
            return Err(conflict(
                format!("{path}.rlimits"),
                format!("{} is there twice", limit.kind),
            ));
        }
    }
    // ids above are reserved: -1 means "unchanged" to the kernel.
    for (name, id) in [("uid", process.user.uid), ("gid", process.user.gid)] {
        if id == u32::MAX {
            return Err(conflict(
                format!("{path}.user.{name}"),
                "4294967295 is no id: it means \"unchanged\" to the kernel",
            ));
        }
    }
    Ok(())
}

fn check_namespaces(spec: &Spec) -> Result<(), PlanError> {
    let mut seen = Vec::new();
    for namespace in spec.namespaces() {
        if seen.contains(&namespace.kind) {
            return Err(conflict(
                "linux.namespaces",
                format!("{:?} is there twice", namespace.kind).to_lowercase(),
            ));
        }
        seen.push(namespace.kind);
        if let Some(path) = &namespace.path
            && !path.starts_with('/')
        {
            return Err(conflict(
                "linux.namespaces[].path",
                format!("must be absolute, not {path:?}"),
            ));
        }
    }
    let has = |kind| seen.contains(&kind);
    let names = [("hostname", &spec.hostname), ("domainname", &spec.domainname)];
    for (name, _) in names
        .iter()
        .filter(|(_, value)| value.as_deref().is_some_and(|value| !value.is_empty()))
    {
        if !has(NamespaceKind::Uts) {
            return Err(conflict(
                *name,
                "needs a uts namespace: without one the host's own would be changed",
            ));
        }
    }
    let Some(linux) = &spec.linux else { return Ok(()) };
    if !linux.time_offsets.is_empty() && !has(NamespaceKind::Time) {
        return Err(conflict("linux.timeOffsets", "needs a time namespace"));
    }
    for clock in linux.time_offsets.keys() {
        if clock != "monotonic" && clock != "boottime" {
            return Err(PlanError::Unknown {
                path: "linux.timeOffsets",
                value: clock.clone(),
            });
        }
    }
    check_net_devices(spec)?;
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    let new_user = |entry: &super::Namespace| entry.kind == NamespaceKind::User && entry.path.is_none();
    if spec.namespaces().iter().any(new_user) {
        check_maps("linux.uidMappings", &linux.uid_mappings)?;
        check_maps("linux.gidMappings", &linux.gid_mappings)?;
    } else if mapped && !has(NamespaceKind::User) {
        return Err(conflict("linux.uidMappings", "needs a user namespace"));
    }
    Ok(())
}

/// Network devices that move in: into a namespace of their own, under names that can be.
fn check_net_devices(spec: &Spec) -> Result<(), PlanError> {
    let Some(devices) = spec.linux.as_ref().map(|linux| &linux.net_devices) else {
        return Ok(());
    };
    if devices.is_empty() {
        return Ok(());
    }
    let has_network = spec
        .namespaces()
        .iter()
        .any(|entry| entry.kind == NamespaceKind::Network);
    let conflict = |path: String, problem: &str| PlanError::Conflict {
        path,
        problem: problem.to_owned(),
    };
    if !has_network {
        return Err(conflict(
            "linux.netDevices".to_owned(),
            "needs a network namespace to move devices into",
        ));
    }
    let mut taken = std::collections::BTreeSet::new();
    for (name, device) in devices {
        let inside = device.name_inside(name);
        if ![name.as_str(), inside].into_iter().all(is_device_name) {
            return Err(conflict(
                format!("linux.netDevices[{name:?}]"),
                "is no name for a network device: 1 to 15 bytes without blanks, /, : and %, and not . or ..",
            ));
        }
        if !taken.insert(inside) {
            return Err(conflict(
                format!("linux.netDevices[{name:?}]"),
                "another device is to have the same name inside",
            ));
        }
    }
    Ok(())
}

/// Whether the kernel takes it for a device's name (`dev_valid_name`); `%` would be a pattern.
fn is_device_name(name: &str) -> bool {
    let bad =
        |byte: u8| byte == b'/' || byte == b':' || byte == b'%' || byte.is_ascii_whitespace() || byte == 0;
    (1..16).contains(&name.len()) && !matches!(name, "." | "..") && !name.bytes().any(bad)
}

/// The kernel refuses maps that are empty or overlap, but does not say where.
fn check_maps(path: &str, maps: &[IdMapping]) -> Result<(), PlanError> {
    if maps.is_empty() {
        return Err(conflict(path, "a new user namespace needs at least one mapping"));
    }
    let overlap = |first: (u32, u32), second: (u32, u32)| {
        let end = |(start, size): (u32, u32)| u64::from(start) + u64::from(size);
        u64::from(first.0) < end(second) && u64::from(second.0) < end(first)
    };
    for (index, map) in maps.iter().enumerate() {
        if map.size == 0 {
            return Err(conflict(format!("{path}[{index}].size"), "must be at least 1"));
        }
        for other in maps.iter().skip(index + 1) {
            let inside = overlap((map.container_id, map.size), (other.container_id, other.size));
            let outside = overlap((map.host_id, map.size), (other.host_id, other.size));
            if inside || outside {
                return Err(conflict(format!("{path}[{index}]"), "overlaps a later mapping"));
            }
        }
    }
    Ok(())
}

fn check_mounts(spec: &Spec) -> Result<(), PlanError> {
    for (index, mount) in spec.mounts.iter().enumerate() {
        let path = |field: &str| format!("mounts[{index}].{field}");
        if !mount.destination.starts_with('/') {
            return Err(conflict(
                path("destination"),
                format!("must be absolute, not {:?}", mount.destination),
            ));
        }
        if mount.destination.contains('\0')
            || mount
                .source
                .as_deref()
                .is_some_and(|source| source.contains('\0'))
        {
            return Err(conflict(path("destination"), "holds a nul byte"));
        }
        let place = clean_path(&mount.destination);
        // A procfs must be one: what is written to it decides about labels and settings
        // (CVE-2019-19921). Files inside may be covered, as LXCFS does.
        if place == "/proc" && !is_procfs(mount) {
            return Err(conflict(
                path("type"),
                "only a procfs may be mounted at /proc (CVE-2019-19921)",
            ));
        }
        if let Some(below) = place.strip_prefix("/proc/")
            && !PROC_FILES.contains(&below)
        {
            return Err(conflict(
                path("destination"),
                format!("{place:?} cannot be mounted over: it is inside /proc"),
            ));
        }
    }
    Ok(())
}

/// An absolute path without empty components, `.` and `..`: `//proc/.` is `/proc`.
pub(crate) fn clean_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Files of procfs that engines give a container of its own (LXCFS, and Docker's
/// `/proc/sys/net`-like read-only paths are no mounts).
const PROC_FILES: [&str; 12] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
    "sys",
];

fn is_procfs(mount: &super::Mount) -> bool {
    let binds = |option: &String| option == "bind" || option == "rbind";
    // With the option, a bind mount is what is made, whatever the type says.
    if mount.kind.as_deref() == Some("bind") || mount.options.iter().any(binds) {
        // The host's own, for a container with the host's processes.
        return mount.source.as_deref().map(clean_path).as_deref() == Some("/proc");
    }
    mount.kind.as_deref() == Some("proc")
}

/// A setting outside the container's own namespaces would change the host.
fn check_sysctls(spec: &Spec) -> Result<(), PlanError> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let own = |kind| spec.namespaces().iter().any(|entry| entry.kind == kind);
    for name in spec.linux.iter().flat_map(|linux| linux.sysctl.keys()) {
        let separator = if name.contains('/') { '/' } else { '.' };
        // `net/../vm/…` begins like a setting of the network, and is none.
        if name.split(separator).any(|part| matches!(part, "" | "." | "..")) {
            return Err(conflict(
                format!("linux.sysctl[{name:?}]"),
                "is no name of a setting: an empty part, . or ..",
            ));
        }
        let dotted = name.replace('/', ".");
        let needed = if dotted.starts_with("net.") {
            Some(NamespaceKind::Network)
        } else if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            Some(NamespaceKind::Ipc)
        } else if dotted == "kernel.domainname" || dotted == "kernel.hostname" {
            Some(NamespaceKind::Uts)
        } else if dotted.starts_with("user.") {
            Some(NamespaceKind::User)
        } else {
            None
        };
        match needed {
            Some(kind) if own(kind) => {}
            Some(kind) => {
                let kind = format!("{kind:?}").to_lowercase();
                return Err(conflict(
                    format!("linux.sysctl[{name:?}]"),
                    format!("needs a {kind} namespace: without one the host would be changed"),
                ));
            }
            None => {
                return Err(conflict(
                    format!("linux.sysctl[{name:?}]"),
                    "is not in a separate kernel namespace: it would change the host",
                ));
            }
        }
    }
    Ok(())
}

fn check_hooks(spec: &Spec) -> Result<(), PlanError> {
    let Some(hooks) = &spec.hooks else { return Ok(()) };
    let all = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (name, hooks) in all {
        for (index, hook) in hooks.iter().enumerate() {
            if !hook.path.starts_with('/') {
                return Err(conflict(
                    format!("hooks.{name}[{index}].path"),
                    format!("must be absolute, not {:?}", hook.path),
                ));
            }
            if hook.timeout.is_some_and(|timeout| timeout <= 0) {
                return Err(conflict(
                    format!("hooks.{name}[{index}].timeout"),
                    "must be above zero",
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse_spec;
    use super::*;

    fn checked(change: &str) -> Result<(), PlanError> {
        let mut base: cais_json::Value = cais_json::from_str(
            r#"{"process":{"args":["a"],"cwd":"/"},"linux":{"namespaces":[{"type":"mount"}]}}"#,
        )
        .unwrap();
        let change: cais_json::Value = cais_json::from_str(change).unwrap();
        for (key, value) in change.as_object().unwrap() {
            base[key] = value.clone();
        }
        check(&parse_spec(base.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (change, path) in [
            ("{}", ""),
            (r#"{"process":{"args":[],"cwd":"/"}}"#, "process.args"),
            (r#"{"process":{"args":["a"],"cwd":"x"}}"#, "process.cwd"),
            (
                r#"{"process":{"args":["a"],"cwd":"/","user":{"uid":4294967295}}}"#,
                "process.user.uid",
            ),
            (r#"{"hostname":"x"}"#, "hostname"),
            (r#"{"mounts":[{"destination":"x"}]}"#, "mounts[0].destination"),
            (
                r#"{"mounts":[{"destination":"/proc","type":"tmpfs"}]}"#,
                "mounts[0].type",
            ),
            (
                r#"{"mounts":[{"destination":"/a/..//./proc/","type":"tmpfs"}]}"#,
                "mounts[0].type",
            ),
            (
                r#"{"mounts":[{"destination":"/proc","type":"proc","source":"/x","options":["bind"]}]}"#,
                "mounts[0].type",
            ),
            (
                r#"{"mounts":[{"destination":"/proc/self/attr","type":"tmpfs"}]}"#,
                "mounts[0].destination",
            ),
            (
                r#"{"mounts":[{"destination":"/proc/meminfo","type":"bind","source":"/x"}]}"#,
                "",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"mount"}]}}"#,
                "linux.namespaces",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"user"}]}}"#,
                "linux.uidMappings",
            ),
            (
                r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}"#,
                "linux.sysctl",
            ),
            (
                r#"{"linux":{"sysctl":{"vm.overcommit_memory":"1"}}}"#,
                "linux.sysctl",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"network"}],"sysctl":{"net/../vm/swappiness":"1"}}}"#,
                "linux.sysctl",
            ),
            (
                r#"{"linux":{"timeOffsets":{"monotonic":{"secs":1}}}}"#,
                "linux.timeOffsets",
            ),
            (
                r#"{"hooks":{"prestart":[{"path":"x"}]}}"#,
                "hooks.prestart[0].path",
            ),
        ] {
            match checked(change) {
                Ok(()) => assert_eq!(path, "", "{change}"),
                Err(error) => {
                    assert!(
                        !path.is_empty() && error.to_string().starts_with(path),
                        "{change}: {error}"
                    );
                }
            }
        }
    }
}
