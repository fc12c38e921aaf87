//! The machine and what is on it, key for key as Docker's `info` gives it (API 1.41).

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::images;
use crate::list::containers;
use crate::state::Status;
use crate::{time, usage};
use cais_json::{Value, json};
use cais_linux::cgroups::Layout;
use std::fs;

/// How many containers are doing what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    all: usize,
    running: usize,
    paused: usize,
}

impl Counts {
    fn read(engine: &Engine) -> Result<Self> {
        let all = containers(&engine.store)?;
        let count = |is: fn(&Status) -> bool| all.iter().filter(|container| is(&container.status)).count();
        Ok(Self {
            all: all.len(),
            running: count(|status| matches!(status, Status::Running { .. } | Status::Restarting(_))),
            paused: count(|status| matches!(status, Status::Paused { .. })),
        })
    }
}

/// The values of a file of `KEY=VALUE` lines, without quotes (os-release(5)).
fn release_value(text: &str, key: &str) -> Option<String> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches(['"', '\'']).to_owned())
}

fn read_text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The machine's name for an architecture, and Go's.
#[must_use]
pub fn architectures() -> (String, &'static str) {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    let go = match machine.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "s390x" => "s390x",
        "ppc64le" => "ppc64le",
        "i686" | "i386" => "386",
        _ => "unknown",
    };
    (machine, go)
}

/// The release of the kernel that runs.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Describes the machine and what is on it. `version` is that of this program.
///
/// # Errors
/// Where containers, images or cgroups cannot be read.
pub fn read_info(engine: &Engine, version: &str) -> Result<Value> {
    let counts = Counts::read(engine)?;
    let images = images::open(engine)?
        .images()
        .map_err(EngineError::image("list the images"))?;
    let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
    let has = |controller: &str| layout.is_unified() || layout.v1_with(controller).is_some();
    let forwarding = read_text("/proc/sys/net/ipv4/ip_forward").trim() == "1";
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut info = json!({
        "ID": read_text("/etc/machine-id").trim(),
        "Containers": counts.all,
        "ContainersRunning": counts.running,
        "ContainersPaused": counts.paused,
        "ContainersStopped": counts.all - counts.running - counts.paused,
        "Images": images.len(),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", backing(engine)]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "macvlan", "none"],
            "Authorization": null,
            "Log": ["cri", "journald", "json-file", "none", "passthrough", "syslog"],
        },
        "MemoryLimit": has("memory"),
        "SwapLimit": has("memory"),
        "KernelMemory": false,
        "KernelMemoryTCP": false,
        "CpuCfsPeriod": has("cpu"),
        "CpuCfsQuota": has("cpu"),
        "CPUShares": has("cpu"),
        "CPUSet": has("cpuset"),
        "PidsLimit": has("pids"),
        "IPv4Forwarding": forwarding,
        "BridgeNfIptables": read_text("/proc/sys/net/bridge/bridge-nf-call-iptables").trim() == "1",
        "BridgeNfIp6tables": read_text("/proc/sys/net/bridge/bridge-nf-call-ip6tables").trim() == "1",
        "Debug": false,
        "NFd": descriptors,
        "OomKillDisable": layout.v1_with("memory").is_some(),
        "NGoroutines": 1,
        "SystemTime": time::now(),
        "LoggingDriver": engine.config.log_driver.value,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if layout.is_unified() { "2" } else { "1" },
        "NEventsListener": 0,
    });
    if let (Value::Object(info), Value::Object(more)) = (&mut info, of_machine(engine, version, &layout)) {
        info.extend(more);
    }
    Ok(info)
}

/// The second half of it: the machine, and this program.
fn of_machine(engine: &Engine, version: &str, layout: &Layout) -> Value {
    let release = read_text("/etc/os-release");
    let (machine, _) = architectures();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    json!({
        "KernelVersion": kernel_release(),
        "OperatingSystem": release_value(&release, "PRETTY_NAME").unwrap_or_default(),
        "OSVersion": release_value(&release, "VERSION_ID").unwrap_or_default(),
        "OSType": "linux",
        "Architecture": machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": {
            "AllowNondistributableArtifactsCIDRs": [],
            "AllowNondistributableArtifactsHostnames": [],
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": { "Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true },
            },
            "Mirrors": [],
        },
        "NCPU": cpus,
        "MemTotal": usage::parse_mem_total(&read_text("/proc/meminfo")).unwrap_or(0),
        "GenericResources": null,
        "DockerRootDir": engine.store.data(),
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Name": rustix::system::uname().nodename().to_string_lossy(),
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": version,
        "Runtimes": { "cais": { "path": "cais" } },
        "DefaultRuntime": "cais",
        "Swarm": {
            "NodeID": "",
            "NodeAddr": "",
            "LocalNodeState": "inactive",
            "ControlAvailable": false,
            "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "cais",
        "ContainerdCommit": { "ID": "", "Expected": "" },
        "RuncCommit": { "ID": "", "Expected": "" },
        "InitCommit": { "ID": "", "Expected": "" },
        "SecurityOptions": security_options(engine),
        "Warnings": warnings(layout),
        "ClientInfo": { "Debug": false, "Context": "default", "Plugins": [], "Warnings": null },
    })
}

/// The kind of file system below the store, by its mount (proc_pid_mountinfo(5)).
fn backing(engine: &Engine) -> String {
    let data = engine.store.data();
    let text = read_text("/proc/self/mountinfo");
    let mounts = text.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((before.split(' ').nth(4)?, after.split(' ').next()?))
    });
    let below = mounts.filter(|(point, _)| data.starts_with(point));
    below
        .max_by_key(|(point, _)| point.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

fn security_options(engine: &Engine) -> Vec<&'static str> {
    let mut options = vec!["name=seccomp,profile=default", "name=userns", "name=cgroupns"];
    if fs::metadata("/sys/kernel/security/apparmor").is_ok() {
        options.push("name=apparmor");
    }
    if fs::metadata("/sys/fs/selinux/enforce").is_ok() {
        options.push("name=selinux");
    }
    if engine.rootless {
        options.push("name=rootless");
    }
    options
}

/// What limits cannot be set on this machine.
fn warnings(layout: &Layout) -> Value {
    let lacking = |controller: &&str| !layout.is_unified() && layout.v1_with(controller).is_none();
    let all: Vec<String> = ["memory", "cpu", "cpuset", "pids", "blkio"]
        .iter()
        .filter(|controller| lacking(controller))
        .map(|controller| format!("WARNING: No {controller} limit support"))
        .collect();
    if all.is_empty() { Value::Null } else { all.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_os_release() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\n";
        assert_eq!(
            release_value(text, "PRETTY_NAME").as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(release_value(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_value(text, "VERSION"), None);
    }
}
