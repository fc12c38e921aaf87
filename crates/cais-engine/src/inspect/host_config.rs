//! `HostConfig`: what depends on the host.

use super::{object, or_null};
use crate::options::{
    HostAddress, IpcMode, LimitOptions, MountKind, MountOption, NamespaceMode, NetworkMode, NetworkOptions,
    RunOptions, SeccompOption, SecurityOptions, UsernsMode,
};
use crate::state::Container;
use cais_json::{Map, Value, json};
use cais_runtime::spec::Spec;
use std::path::PathBuf;

pub(super) fn describe(container: &Container, spec: Option<&Spec>) -> Value {
    let options = &container.record.options;
    let mut all = Map::new();
    for part in [
        general(options),
        isolation(options),
        limits(&options.limits),
        paths(options, spec),
    ] {
        if let Value::Object(map) = part {
            all.extend(map);
        }
    }
    let links: Vec<String> = options
        .network
        .links
        .iter()
        .map(|(other, alias)| format!("/{other}:/{}/{alias}", container.record.name))
        .collect();
    all.insert("Links".to_owned(), or_null(&links));
    // Docker leaves these out where there is nothing in them.
    all.retain(|key, value| {
        !matches!(key.as_str(), "Sysctls" | "Tmpfs") || value.as_object().is_none_or(|map| !map.is_empty())
    });
    Value::Object(all)
}

fn general(options: &RunOptions) -> Value {
    let binds: Vec<String> = options.mounts.iter().filter_map(bind).collect();
    let network = &options.network;
    let addresses = |list: &[std::net::IpAddr]| -> Vec<String> {
        list.iter().map(std::string::ToString::to_string).collect()
    };
    let hosts: Vec<String> = network
        .add_hosts
        .iter()
        .map(|(name, address)| match address {
            HostAddress::Address(address) => format!("{name}:{address}"),
            HostAddress::Gateway => format!("{name}:host-gateway"),
        })
        .collect();
    let log = options.log.options.iter();
    json!({
        "Binds": or_null(&binds),
        "ContainerIDFile": options.cidfile.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        "LogConfig": {
            "Type": options.log.driver.name(),
            "Config": object(log.map(|(key, value)| (key.as_str(), value.as_str()))),
        },
        "NetworkMode": network_mode(&options.namespaces.network),
        "PortBindings": port_bindings(network),
        "RestartPolicy": {
            "Name": options.restart.name(),
            "MaximumRetryCount": options.restart.max_retries(),
        },
        "AutoRemove": options.remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": or_null(&options.security.cap_add),
        "CapDrop": or_null(&options.security.cap_drop),
        "CgroupnsMode": mode_word(&options.namespaces.cgroup, "private"),
        "Dns": addresses(&network.dns),
        "DnsOptions": network.dns_options,
        "DnsSearch": network.dns_search,
        "ExtraHosts": or_null(&hosts),
        "GroupAdd": or_null(&options.group_add),
    })
}

fn isolation(options: &RunOptions) -> Value {
    let modes = &options.namespaces;
    json!({
        "IpcMode": match &modes.ipc {
            IpcMode::Private => "private".to_owned(),
            IpcMode::None => "none".to_owned(),
            IpcMode::Shareable => "shareable".to_owned(),
            IpcMode::Host => "host".to_owned(),
            IpcMode::Container(name) => format!("container:{name}"),
        },
        "Cgroup": "",
        "OomScoreAdj": options.limits.oom_score_adj.unwrap_or(0),
        "PidMode": mode_word(&modes.pid, ""),
        "Privileged": options.security.privileged,
        "PublishAllPorts": options.network.publish_all,
        "ReadonlyRootfs": options.read_only,
        "SecurityOpt": or_null(&security_options(&options.security)),
        "Tmpfs": tmpfs(&options.mounts),
        "UTSMode": mode_word(&modes.uts, ""),
        "UsernsMode": match modes.user {
            UsernsMode::Auto => "auto",
            UsernsMode::Host => "host",
            UsernsMode::KeepId => "keep-id",
        },
        "ShmSize": options.limits.shm_size.unwrap_or(crate::bundle::DEFAULT_SHM_SIZE),
        "Sysctls": object(options.sysctls.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
        "Runtime": "cais",
        "ConsoleSize": [0, 0],
        "Isolation": "",
    })
}

fn limits(limits: &LimitOptions) -> Value {
    let memory = limits.memory.unwrap_or(0);
    // Without one of its own, the swap may be as much as the memory.
    let twice = i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    let rates = |list: &[(PathBuf, u64)]| {
        let list: Vec<Value> = list
            .iter()
            .map(|(path, rate)| json!({ "Path": path, "Rate": rate }))
            .collect();
        or_null(&list)
    };
    let weights: Vec<Value> = limits
        .blkio_weight_device
        .iter()
        .map(|(path, weight)| json!({ "Path": path, "Weight": weight }))
        .collect();
    let ulimits: Vec<Value> = limits
        .ulimits
        .iter()
        .map(|limit| {
            json!({
                "Name": limit.name,
                "Hard": limit.hard.cast_signed(),
                "Soft": limit.soft.cast_signed(),
            })
        })
        .collect();
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": memory,
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": limits.cgroup_parent.as_deref().unwrap_or(""),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": weights,
        "BlkioDeviceReadBps": rates(&limits.device_read_bps),
        "BlkioDeviceWriteBps": rates(&limits.device_write_bps),
        "BlkioDeviceReadIOps": rates(&limits.device_read_iops),
        "BlkioDeviceWriteIOps": rates(&limits.device_write_iops),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_rt_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_rt_runtime.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or(""),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or(""),
        "DeviceCgroupRules": or_null(&limits.device_cgroup_rules),
        "DeviceRequests": null,
        "KernelMemory": 0,
        "KernelMemoryTCP": 0,
        "MemoryReservation": limits.memory_reservation.unwrap_or(0),
        "MemorySwap": limits.memory_swap.unwrap_or(twice),
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids.unwrap_or(crate::bundle::DEFAULT_PIDS),
        "Ulimits": or_null(&ulimits),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

/// Devices, mounts of `--mount`, and what is hidden.
fn paths(options: &RunOptions, spec: Option<&Spec>) -> Value {
    let devices: Vec<Value> = options
        .devices
        .iter()
        .map(|device| {
            json!({
                "PathOnHost": device.host,
                "PathInContainer": device.container,
                "CgroupPermissions": device.access,
            })
        })
        .collect();
    let linux = spec.and_then(|spec| spec.linux.as_ref());
    let hidden = |list: Option<&Vec<String>>| or_null(list.map_or(&[], Vec::as_slice));
    let mut all = json!({ "Devices": devices });
    let written: Vec<Value> = options.mounts.iter().filter_map(written_mount).collect();
    if let Value::Object(map) = &mut all {
        if !written.is_empty() {
            map.insert("Mounts".to_owned(), written.into());
        }
        map.insert(
            "MaskedPaths".to_owned(),
            hidden(linux.map(|linux| &linux.masked_paths)),
        );
        map.insert(
            "ReadonlyPaths".to_owned(),
            hidden(linux.map(|linux| &linux.readonly_paths)),
        );
        if options.init {
            map.insert("Init".to_owned(), true.into());
        }
    }
    all
}

/// A mount of `-v` as it was written.
fn bind(mount: &MountOption) -> Option<String> {
    let source = match &mount.kind {
        MountKind::Bind {
            source,
            create_source: true,
            ..
        } => source.display().to_string(),
        MountKind::Volume {
            name,
            anonymous: false,
            ..
        } if !mount.by_mount => name.clone(),
        _ => return None,
    };
    let mode = mode(mount);
    let mode = if mode.is_empty() { mode } else { format!(":{mode}") };
    Some(format!("{source}:{}{mode}", mount.target))
}

/// The options of a mount as `-v` takes them.
pub(super) fn mode(mount: &MountOption) -> String {
    if !mount.mode.is_empty() || mount.by_mount {
        return mount.mode.clone();
    }
    // Of one that was written by an older cais, or that comes from another container.
    let mut words = Vec::new();
    if mount.read_only {
        words.push("ro");
    }
    if let MountKind::Bind {
        propagation, options, ..
    } = &mount.kind
    {
        words.extend(propagation.as_deref());
        words.extend(options.iter().map(String::as_str));
    }
    words.join(",")
}

/// A mount of `--mount`.
fn written_mount(mount: &MountOption) -> Option<Value> {
    let mut described = Map::new();
    let mut options = Map::new();
    let (kind, source, key) = match &mount.kind {
        MountKind::Bind {
            source,
            create_source: false,
            propagation,
            non_recursive,
            ..
        } => {
            if let Some(propagation) = propagation {
                options.insert("Propagation".to_owned(), propagation.as_str().into());
            }
            if *non_recursive {
                options.insert("NonRecursive".to_owned(), true.into());
            }
            ("bind", source.display().to_string(), "BindOptions")
        }
        MountKind::Volume {
            name,
            anonymous,
            no_copy,
        } if mount.by_mount => {
            if *no_copy {
                options.insert("NoCopy".to_owned(), true.into());
            }
            let name = if *anonymous { String::new() } else { name.clone() };
            ("volume", name, "VolumeOptions")
        }
        MountKind::Tmpfs { size, mode, .. } if mount.by_mount => {
            for (key, value) in [("SizeBytes", *size), ("Mode", mode.map(u64::from))] {
                if let Some(value) = value {
                    options.insert(key.to_owned(), value.into());
                }
            }
            ("tmpfs", String::new(), "TmpfsOptions")
        }
        _ => return None,
    };
    described.insert("Type".to_owned(), kind.into());
    if !source.is_empty() {
        described.insert("Source".to_owned(), source.into());
    }
    described.insert("Target".to_owned(), mount.target.as_str().into());
    if mount.read_only {
        described.insert("ReadOnly".to_owned(), true.into());
    }
    if !options.is_empty() {
        described.insert(key.to_owned(), Value::Object(options));
    }
    Some(Value::Object(described))
}

/// What `--tmpfs` asks for, as written.
fn tmpfs(mounts: &[MountOption]) -> Value {
    let described = mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Tmpfs { .. }) && !mount.by_mount)
        .map(|mount| (mount.target.clone(), mount.mode.as_str().into()));
    Value::Object(described.collect())
}

fn security_options(security: &SecurityOptions) -> Vec<String> {
    let mut all = Vec::new();
    if security.no_new_privileges {
        all.push("no-new-privileges".to_owned());
    }
    match &security.seccomp {
        SeccompOption::Default | SeccompOption::Watched(_) => {}
        SeccompOption::Unconfined => all.push("seccomp=unconfined".to_owned()),
        SeccompOption::File(path) => all.push(format!("seccomp={}", path.display())),
    }
    all.extend(
        security
            .apparmor
            .iter()
            .map(|profile| format!("apparmor={profile}")),
    );
    all.extend(security.label.iter().map(|label| format!("label={label}")));
    if security.system_paths_unconfined {
        all.push("systempaths=unconfined".to_owned());
    }
    all.extend(security.landlock.iter().map(|rule| format!("landlock={rule}")));
    all
}

fn mode_word(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(name) => format!("container:{name}"),
    }
}

pub(super) fn network_mode(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::Path(path) => format!("ns:{}", path.display()),
        NetworkMode::Cni(name) => format!("cni:{name}"),
        NetworkMode::Networks(all) => all
            .first()
            .map_or_else(|| "bridge".to_owned(), |one| one.network.clone()),
    }
}

fn port_bindings(network: &NetworkOptions) -> Value {
    let mut all = Map::new();
    for mapping in &network.publish {
        let ports = mapping.container_ports;
        for (index, port) in (ports.first..=ports.last).enumerate() {
            let host_port = match mapping.host_ports {
                None => String::new(),
                // One port, and several of the host to choose from.
                Some(range) if ports.count() == 1 => range.to_string(),
                Some(range) => (usize::from(range.first) + index).to_string(),
            };
            let binding = json!({
                "HostIp": mapping.host.map_or_else(String::new, |host| host.to_string()),
                "HostPort": host_port,
            });
            let key = format!("{port}/{}", mapping.protocol);
            if let Value::Array(list) = all.entry(key).or_insert_with(|| json!([])) {
                list.push(binding);
            }
        }
    }
    Value::Object(all)
}
