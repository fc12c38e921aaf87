//! What the user asked of `cais run`: every flag, parsed and typed, before it
//! is turned into an OCI configuration. Kept as `container.json`.
//!
//! The types stand here; the parsers of Docker's flag values (`512m`,
//! `type=bind,source=…`, `nofile=1024:2048`) stand in the rooms below.

pub mod devices;
pub mod error;
pub mod health;
pub mod logging;
pub mod mount;
pub mod namespaces;
pub mod network;
pub mod process;
pub mod restart;
pub mod security;
pub mod signal;
pub mod size;
pub mod validate;

pub use error::OptionError;
pub use health::{HealthAction, HealthOptions, HealthProbe};
pub use logging::{LogDriver, LogOptions};
pub use restart::RestartPolicy;

use cais_net::egress::Allowance;
use cais_net::mac::Mac;
use cais_net::publish::{ExposedPorts, PortMapping};
use cais_net::shape::Shape;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// A container as the user described it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// What becomes the root file system.
    pub root: RootSource,
    /// The command and its arguments; empty where the image's own is meant.
    pub command: Vec<String>,
    /// `--entrypoint`; the image's own where absent.
    pub entrypoint: Option<Vec<String>>,
    /// `--name`.
    pub name: Option<String>,
    /// `--hostname`.
    pub hostname: Option<String>,
    /// `--domainname`.
    pub domainname: Option<String>,
    /// `--user`, as written: a name or id, optionally `:group`.
    pub user: Option<String>,
    /// `--group-add`, names or ids as written.
    pub group_add: Vec<String>,
    /// `--workdir`.
    pub workdir: Option<String>,
    /// `--env` and `--env-file` merged: `KEY=value`, later ones win.
    pub env: Vec<String>,
    /// `--label` and `--label-file`: key and value.
    pub labels: Vec<(String, String)>,
    /// `--interactive`.
    pub interactive: bool,
    /// `--tty`.
    pub tty: bool,
    /// `--detach`.
    pub detach: bool,
    /// `--rm`.
    pub remove: bool,
    /// `--init`.
    pub init: bool,
    /// `--stop-signal`, as written (checked by the parser).
    pub stop_signal: Option<String>,
    /// `--stop-timeout` in seconds.
    pub stop_timeout: Option<i64>,
    /// `--detach-keys`, as written.
    pub detach_keys: Option<String>,
    /// `--sdnotify`, where it was given: one of [`crate::service::WORDS`].
    pub sdnotify: Option<String>,
    /// `--cidfile`.
    pub cidfile: Option<PathBuf>,
    /// `--volume`, `--mount` and `--tmpfs` in the order given.
    pub mounts: Vec<MountOption>,
    /// `--read-only`.
    pub read_only: bool,
    /// What the process may do.
    pub security: SecurityOptions,
    /// What the container may use.
    pub limits: LimitOptions,
    /// Which namespaces are its own.
    pub namespaces: NamespaceOptions,
    /// Ports and names.
    pub network: NetworkOptions,
    /// `--device`.
    pub devices: Vec<DeviceOption>,
    /// `--sysctl`: key and value.
    pub sysctls: Vec<(String, String)>,
    /// `--annotation`: key and value.
    pub annotations: Vec<(String, String)>,
    /// `--restart`.
    pub restart: RestartPolicy,
    /// `--health-…`.
    pub health: HealthOptions,
    /// `--log-driver` and `--log-opt`.
    pub log: LogOptions,
    /// `--attach`: the streams that the caller sees, where they are not all.
    pub attach: Vec<AttachedStream>,
}

/// A stream that `--attach` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachedStream {
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl RunOptions {
    /// Whether the container has interfaces in networks of ours.
    #[must_use]
    pub fn is_in_networks(&self) -> bool {
        matches!(self.namespaces.network, NetworkMode::Networks(_))
    }
}

/// Where the root file system comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootSource {
    /// The image `host`: the machine's own userland, copy on write.
    #[default]
    Host,
    /// An image of the store.
    Image {
        /// What the user called it.
        name: String,
        /// The digest of its manifest; empty before it was looked up.
        manifest: String,
        /// Its layers, the uppermost first.
        layers: Vec<PathBuf>,
    },
    /// `--rootfs DIR` (copy on write) or `--rootfs DIR:rw` (written in place).
    Directory {
        /// The directory as an absolute path.
        path: PathBuf,
        /// Whether the container writes into the directory itself.
        writable: bool,
    },
}

/// One mount that the user asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOption {
    /// Bind mount or tmpfs.
    pub kind: MountKind,
    /// Absolute path inside the container.
    pub target: String,
    /// `ro` or `readonly`.
    pub read_only: bool,
    /// The options behind the last colon of `-v` or `--tmpfs`, as written.
    #[serde(default)]
    pub mode: String,
    /// Whether it is of `--mount`.
    #[serde(default)]
    pub by_mount: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A directory or file of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// `-v` makes a missing source directory as Docker does; `--mount` does not.
        create_source: bool,
        /// Propagation: private, rprivate, shared, rshared, slave, rslave.
        propagation: Option<String>,
        /// Whether submounts are left out (`bind-nonrecursive`, `bind-recursive=disabled`).
        non_recursive: bool,
        /// Further mount options: `nosuid`, `nodev`, `noexec`, `noatime` …
        options: Vec<String>,
    },
    /// A volume of this engine's.
    Volume {
        /// Its name; empty until the container is made for one without a name of the user's.
        name: String,
        /// Whether it was made for this container.
        anonymous: bool,
        /// Whether it is left empty though the image has files there (`nocopy`).
        no_copy: bool,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// Size limit in bytes; the kernel's default where absent.
        size: Option<u64>,
        /// Mode of its root, e.g. `0o1777`.
        mode: Option<u32>,
        /// Further mount options as written: `noexec`, `uid=5` …
        options: Vec<String>,
    },
}

/// What the process may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityOptions {
    /// `--privileged`.
    pub privileged: bool,
    /// `--cap-add`, upper case with `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`, upper case with `CAP_`, or `ALL`.
    pub cap_drop: Vec<String>,
    /// `--security-opt seccomp=…`.
    pub seccomp: SeccompOption,
    /// `--security-opt no-new-privileges`.
    pub no_new_privileges: bool,
    /// `--security-opt apparmor=PROFILE`.
    pub apparmor: Option<String>,
    /// `--security-opt label=…`, each as written.
    pub label: Vec<String>,
    /// `--security-opt systempaths=unconfined`.
    pub system_paths_unconfined: bool,
    /// `--security-opt landlock=…`: one rule each, as written after the `=`.
    pub landlock: Vec<String>,
}

/// Which seccomp profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompOption {
    /// The profile that is part of the executable.
    #[default]
    Default,
    /// No filter.
    Unconfined,
    /// A file in Docker's or the OCI's JSON form.
    File(PathBuf),
    /// The profile that is part of the executable, and whoever listens at this socket is told
    /// of calls that name files (`cais pack --trace`).
    Watched(PathBuf),
}

/// What the container may use. Absent means no limit of ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitOptions {
    /// `--memory` in bytes.
    pub memory: Option<u64>,
    /// `--memory-swap` in bytes, memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation` in bytes.
    pub memory_reservation: Option<u64>,
    /// `--memory-swappiness`, 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// `--oom-kill-disable`.
    pub oom_kill_disable: bool,
    /// `--oom-score-adj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// `--cpus` in billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// `--cpu-shares`.
    pub cpu_shares: Option<u64>,
    /// `--cpu-period` in microseconds.
    pub cpu_period: Option<u64>,
    /// `--cpu-quota` in microseconds a period.
    pub cpu_quota: Option<i64>,
    /// `--cpu-rt-period` in microseconds.
    pub cpu_rt_period: Option<u64>,
    /// `--cpu-rt-runtime` in microseconds a period.
    pub cpu_rt_runtime: Option<i64>,
    /// `--cpuset-cpus`, e.g. `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`.
    pub cpuset_mems: Option<String>,
    /// `--pids-limit`; -1 is unlimited. The engine's default where absent.
    pub pids: Option<i64>,
    /// `--blkio-weight`, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// `--blkio-weight-device`: device path and weight, 10 to 1000.
    pub blkio_weight_device: Vec<(PathBuf, u64)>,
    /// `--device-read-bps`: device path and bytes a second.
    pub device_read_bps: Vec<(PathBuf, u64)>,
    /// `--device-write-bps`: device path and bytes a second.
    pub device_write_bps: Vec<(PathBuf, u64)>,
    /// `--device-read-iops`: device path and operations a second.
    pub device_read_iops: Vec<(PathBuf, u64)>,
    /// `--device-write-iops`: device path and operations a second.
    pub device_write_iops: Vec<(PathBuf, u64)>,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// `--device-cgroup-rule`, checked, as written: `c 1:3 rwm`.
    pub device_cgroup_rules: Vec<String>,
    /// `--cgroup-parent`.
    pub cgroup_parent: Option<String>,
}

/// One `--ulimit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// The name in lower case: `nofile`.
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

impl std::fmt::Display for Ulimit {
    /// As `--ulimit` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |limit: u64| match limit {
            u64::MAX => "-1".to_owned(),
            limit => limit.to_string(),
        };
        write!(f, "{}={}:{}", self.name, shown(self.soft), shown(self.hard))
    }
}

/// One `--device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOption {
    /// Path on the host.
    pub host: PathBuf,
    /// Path inside the container.
    pub container: String,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

/// Which namespaces are the container's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamespaceOptions {
    /// `--userns`.
    pub user: UsernsMode,
    /// `--pid`.
    pub pid: NamespaceMode,
    /// `--ipc`.
    pub ipc: IpcMode,
    /// `--uts`.
    pub uts: NamespaceMode,
    /// `--cgroupns`.
    pub cgroup: NamespaceMode,
    /// `--network`.
    pub network: NetworkMode,
}

/// Private, the host's, or another container's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of the named container (`container:X`).
    Container(String),
}

/// `--ipc`: Docker has more modes here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    /// Its own, not for sharing.
    #[default]
    Private,
    /// Its own without `/dev/shm`.
    None,
    /// Its own, for others to join.
    Shareable,
    /// The host's.
    Host,
    /// That of the named container.
    Container(String),
}

/// `--userns`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UsernsMode {
    /// A range of ids of its own.
    #[default]
    Auto,
    /// None: the host's ids.
    Host,
    /// Its own range, but the caller's uid and gid are the same inside.
    KeepId,
}

/// `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// A loopback interface only.
    #[default]
    None,
    /// The host's.
    Host,
    /// That of the named container.
    Container(String),
    /// That of this file (`ns:/path`).
    Path(PathBuf),
    /// An interface that programs of CNI make by the configuration of this name
    /// (`cni:NAME`).
    Cni(String),
    /// Interfaces in these networks, the first one's gateway by default for the rest of the
    /// world.
    Networks(Vec<Attachment>),
}

/// A network that the container is in: one `--network`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The name of the network, or its id.
    pub network: String,
    /// The address of IPv4 that is asked for.
    pub ip: Option<Ipv4Addr>,
    /// The address of IPv6 that is asked for.
    pub ip6: Option<Ipv6Addr>,
    /// The hardware address that is asked for.
    pub mac: Option<Mac>,
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// Further addresses of the interface.
    pub link_local: Vec<IpAddr>,
    /// Of several networks that with the highest one gives the default route.
    pub gateway_priority: i32,
    /// The interface's name inside, where not `ethN`.
    pub interface: Option<String>,
}

impl Attachment {
    /// An attachment with nothing asked for.
    #[must_use]
    pub fn to(network: &str) -> Self {
        Self {
            network: network.to_owned(),
            ..Self::default()
        }
    }
}

/// Names and ports: what networks need beside the attachments.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// `--publish`.
    pub publish: Vec<PortMapping>,
    /// `--publish-all`.
    pub publish_all: bool,
    /// `--expose`, and what the image exposes.
    pub expose: Vec<ExposedPorts>,
    /// `--publish-mode`.
    pub publish_mode: PublishMode,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`; `.` alone means none.
    pub dns_search: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--link`: containers, and what they are called here.
    pub links: Vec<(String, String)>,
    /// `--add-host`: names and addresses.
    pub add_hosts: Vec<(String, HostAddress)>,
    /// `--egress deny` and `--egress-allow`: all that may be reached; everything where
    /// absent.
    pub egress: Option<Vec<Allowance>>,
    /// `--network-rate`, `--network-latency`, `--network-loss`.
    pub shape: Shape,
}

/// How published ports come to the container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishMode {
    /// The kernel translates addresses: the container sees who is there.
    #[default]
    Nat,
    /// The monitor accepts connections as any program of the host, and passes them on.
    Proxy,
}

/// What a name of `--add-host` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAddress {
    /// This address.
    Address(IpAddr),
    /// The host, as the container reaches it (`host-gateway`).
    Gateway,
}
