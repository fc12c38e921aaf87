//! `spec`: a configuration to begin with.

use cais_json::{Value, json};

/// The configuration that `spec` writes: a shell with few capabilities in namespaces of its
/// own. For an ordinary user (`rootless`: uid and gid) with a user namespace of one id, the
/// host's network, and no limits.
#[must_use]
pub fn template(rootless: Option<(u32, u32)>) -> Value {
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut spec = json!({
        "ociVersion": crate::spec::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "cais",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "mount" }, { "type": "cgroup" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    });
    if let Some((uid, gid)) = rootless {
        change_for_rootless(&mut spec, uid, gid);
    }
    spec
}

fn change_for_rootless(spec: &mut Value, uid: u32, gid: u32) {
    let Some(linux) = spec.get_mut("linux").and_then(Value::as_object_mut) else {
        return;
    };
    linux.remove("resources");
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    linux.insert("uidMappings".to_owned(), map(uid));
    linux.insert("gidMappings".to_owned(), map(gid));
    if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
        // The network stays the host's: an ordinary user has no way to connect one.
        namespaces.retain(|entry| entry.get("type").is_none_or(|kind| kind != "network"));
        namespaces.push(json!({ "type": "user" }));
    }
    let Some(mounts) = spec.get_mut("mounts").and_then(Value::as_array_mut) else {
        return;
    };
    mounts.retain(|mount| {
        mount
            .get("destination")
            .is_none_or(|place| place != "/sys/fs/cgroup")
    });
    for mount in mounts {
        match mount.get("destination").and_then(Value::as_str) {
            // A sysfs shows the network namespace, which is the host's.
            Some("/sys") => {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
            // The group `tty` is not mapped.
            Some("/dev/pts") => {
                if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
                    options.retain(|option| option != "gid=5");
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{parse_spec, validate};

    #[test]
    fn what_is_written_can_be_read_and_is_right() {
        for rootless in [None, Some((1000, 1000))] {
            let spec = parse_spec(template(rootless).to_string().as_bytes()).unwrap();
            validate::check(&spec).unwrap();
        }
    }
}
