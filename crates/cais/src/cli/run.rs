//! `cais run`: the flags, with Docker's names.

use clap::{ArgAction, Args};

/// Run a command in a new container.
///
/// IMAGE is "host": the machine's own userland, copy on write. What the program writes,
/// deletes or installs stays in the container: `cais diff` lists it, `cais rm` forgets it.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct RunArgs {
    /// When to fetch the image: always, if it is missing, or never
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never"], default_value = "missing")]
    pub pull: String,
    /// Show nothing of the pull
    #[arg(short = 'q', long = "quiet", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "quiet")]
    pub quiet: bool,
    /// The machine that the image is for, as OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT
    #[arg(long = "platform", value_name = "PLATFORM", overrides_with = "platform")]
    pub platform: Option<String>,
    /// What there is one of only, or nothing
    #[command(flatten)]
    pub fixed: super::fixed::FixedArgs,
    /// Keep standard input open
    #[arg(short = 'i', long = "interactive", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "interactive")]
    pub interactive: bool,
    /// Give the program a terminal; Ctrl-P Ctrl-Q leaves it running
    #[arg(short = 't', long = "tty", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "tty")]
    pub tty: bool,
    /// Run in the background and print the id
    #[arg(short = 'd', long = "detach", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "detach")]
    pub detach: bool,
    /// Remove the container when it ends
    #[arg(long = "rm", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "rm")]
    pub rm: bool,
    /// Name of the container
    #[arg(
        long = "name",
        help_heading = "Process",
        value_name = "NAME",
        overrides_with = "name"
    )]
    pub name: Option<String>,
    /// User, optionally with group: NAME|UID[:GROUP|GID]
    #[arg(
        short = 'u',
        long = "user",
        help_heading = "Process",
        value_name = "USER",
        overrides_with = "user"
    )]
    pub user: Option<String>,
    /// Additional group, by name or number
    #[arg(long = "group-add", help_heading = "Process", value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Working directory
    #[arg(
        short = 'w',
        long = "workdir",
        help_heading = "Process",
        value_name = "DIR",
        overrides_with = "workdir"
    )]
    pub workdir: Option<String>,
    /// Set an environment variable; KEY alone takes this shell's value
    #[arg(short = 'e', long = "env", help_heading = "Process", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long = "env-file", help_heading = "Process", value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Program to run in place of the image's own; what follows the image are its arguments
    #[arg(
        long = "entrypoint",
        help_heading = "Process",
        value_name = "COMMAND",
        overrides_with = "entrypoint"
    )]
    pub entrypoint: Option<String>,
    /// Run a small init that reaps processes and forwards signals
    #[arg(long = "init", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "init")]
    pub init: bool,
    /// Signal that asks the program to end
    #[arg(
        long = "stop-signal",
        help_heading = "Process",
        value_name = "SIGNAL",
        overrides_with = "stop_signal"
    )]
    pub stop_signal: Option<String>,
    /// What happens after the end: no, on-failure(:N), always or unless-stopped
    #[arg(
        long = "restart",
        help_heading = "Process",
        value_name = "POLICY",
        overrides_with = "restart"
    )]
    pub restart: Option<String>,
    /// Show only these streams: stdin, stdout or stderr
    #[arg(short = 'a', long = "attach", help_heading = "Process", value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Hand signals to this command on to the program [default: true]
    #[arg(long = "sig-proxy", help_heading = "Process", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "sig_proxy")]
    pub sig_proxy: bool,
    /// Who says READY=1 at NOTIFY_SOCKET: container (the program), conmon (cais) or ignore (nobody)
    #[arg(
        long = "sdnotify",
        help_heading = "Process",
        value_name = "WHO",
        value_parser = ["container", "conmon", "ignore"],
        hide_possible_values = true,
        overrides_with = "sdnotify"
    )]
    pub sdnotify: Option<String>,
    /// How the health of the container is probed
    #[command(flatten)]
    pub health: super::health::HealthArgs,
    /// Where the output is kept: json-file, cri, journald, syslog, none or passthrough
    #[arg(
        long = "log-driver",
        help_heading = "Log",
        value_name = "DRIVER",
        overrides_with = "log_driver"
    )]
    pub log_driver: Option<String>,
    /// How: max-size, max-file, mode, max-buffer-size, tag, labels, env, syslog-address,
    /// syslog-facility
    #[arg(long = "log-opt", help_heading = "Log", value_name = "KEY=VALUE")]
    pub log_opt: Vec<String>,
    /// Seconds that stop waits before it kills
    #[arg(
        long = "stop-timeout",
        help_heading = "Process",
        value_name = "SECONDS",
        overrides_with = "stop_timeout",
        allow_hyphen_values = true
    )]
    pub stop_timeout: Option<i64>,
    /// Keys that leave a terminal, e.g. ctrl-p,ctrl-q
    #[arg(
        long = "detach-keys",
        help_heading = "Process",
        value_name = "KEYS",
        overrides_with = "detach_keys"
    )]
    pub detach_keys: Option<String>,
    /// Set a label
    #[arg(
        short = 'l',
        long = "label",
        help_heading = "Process",
        value_name = "KEY=VALUE"
    )]
    pub label: Vec<String>,
    /// Read labels from a file, one a line
    #[arg(long = "label-file", help_heading = "Process", value_name = "FILE")]
    pub label_file: Vec<String>,
    /// Set an annotation of the OCI configuration
    #[arg(long = "annotation", help_heading = "Process", value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Write the id of the container to a new file
    #[arg(
        long = "cidfile",
        help_heading = "Process",
        value_name = "FILE",
        overrides_with = "cidfile"
    )]
    pub cidfile: Option<String>,
    /// Use a directory as the root instead of an image; written in place only with :rw
    #[arg(
        long = "rootfs",
        help_heading = "File system",
        value_name = "DIR[:rw]",
        overrides_with = "rootfs"
    )]
    pub rootfs: Option<String>,
    /// Bind mount a directory or file of the host
    #[arg(
        short = 'v',
        long = "volume",
        help_heading = "File system",
        value_name = "[SRC:]DST[:OPTIONS]"
    )]
    pub volume: Vec<String>,
    /// Mount what another container mounts
    #[arg(
        long = "volumes-from",
        help_heading = "File system",
        value_name = "CONTAINER[:ro]"
    )]
    pub volumes_from: Vec<String>,
    /// Mount with type=bind, type=volume or type=tmpfs
    #[arg(long = "mount", help_heading = "File system", value_name = "KEY=VALUE,...")]
    pub mount: Vec<String>,
    /// Mount a tmpfs
    #[arg(long = "tmpfs", help_heading = "File system", value_name = "DST[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Make the root read-only
    #[arg(long = "read-only", help_heading = "File system", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "read_only")]
    pub read_only: bool,
    /// Size of /dev/shm [default: 64m]
    #[arg(
        long = "shm-size",
        help_heading = "File system",
        value_name = "SIZE",
        overrides_with = "shm_size"
    )]
    pub shm_size: Option<String>,
    /// Give access to a device of the host
    #[arg(
        long = "device",
        help_heading = "File system",
        value_name = "HOST[:DST][:rwm]"
    )]
    pub device: Vec<String>,
    /// Memory limit
    #[arg(
        short = 'm',
        long = "memory",
        help_heading = "Limits",
        value_name = "SIZE",
        overrides_with = "memory"
    )]
    pub memory: Option<String>,
    /// Limit of memory and swap together; -1 for no limit on swap
    #[arg(
        long = "memory-swap",
        help_heading = "Limits",
        value_name = "SIZE",
        overrides_with = "memory_swap",
        allow_hyphen_values = true
    )]
    pub memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(
        long = "memory-reservation",
        help_heading = "Limits",
        value_name = "SIZE",
        overrides_with = "memory_reservation"
    )]
    pub memory_reservation: Option<String>,
    /// How eagerly memory is swapped out
    #[arg(
        long = "memory-swappiness",
        help_heading = "Limits",
        value_name = "0-100",
        overrides_with = "memory_swappiness"
    )]
    pub memory_swappiness: Option<u64>,
    /// Pause instead of killing when memory is used up (cgroup v1)
    #[arg(long = "oom-kill-disable", help_heading = "Limits", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "oom_kill_disable")]
    pub oom_kill_disable: bool,
    /// Weight for the host's OOM killer
    #[arg(
        long = "oom-score-adj",
        help_heading = "Limits",
        value_name = "-1000..1000",
        overrides_with = "oom_score_adj",
        allow_hyphen_values = true
    )]
    pub oom_score_adj: Option<i32>,
    /// Number of CPUs, e.g. 1.5
    #[arg(
        long = "cpus",
        help_heading = "Limits",
        value_name = "NUMBER",
        overrides_with = "cpus"
    )]
    pub cpus: Option<String>,
    /// Relative weight of CPU time
    #[arg(
        short = 'c',
        long = "cpu-shares",
        help_heading = "Limits",
        value_name = "WEIGHT",
        overrides_with = "cpu_shares"
    )]
    pub cpu_shares: Option<u64>,
    /// Period of --cpu-quota
    #[arg(
        long = "cpu-period",
        help_heading = "Limits",
        value_name = "MICROSECONDS",
        overrides_with = "cpu_period"
    )]
    pub cpu_period: Option<u64>,
    /// CPU time a period; -1 for no limit
    #[arg(
        long = "cpu-quota",
        help_heading = "Limits",
        value_name = "MICROSECONDS",
        overrides_with = "cpu_quota",
        allow_hyphen_values = true
    )]
    pub cpu_quota: Option<i64>,
    /// Period of --cpu-rt-runtime (cgroup v1)
    #[arg(
        long = "cpu-rt-period",
        help_heading = "Limits",
        value_name = "MICROSECONDS",
        overrides_with = "cpu_rt_period"
    )]
    pub cpu_rt_period: Option<u64>,
    /// Time of real-time processes a period (cgroup v1)
    #[arg(
        long = "cpu-rt-runtime",
        help_heading = "Limits",
        value_name = "MICROSECONDS",
        overrides_with = "cpu_rt_runtime"
    )]
    pub cpu_rt_runtime: Option<i64>,
    /// Relative weight of block I/O of one device
    #[arg(
        long = "blkio-weight-device",
        help_heading = "Limits",
        value_name = "DEVICE:WEIGHT"
    )]
    pub blkio_weight_device: Vec<String>,
    /// CPUs that may be used, e.g. 0-3,5
    #[arg(
        long = "cpuset-cpus",
        help_heading = "Limits",
        value_name = "LIST",
        overrides_with = "cpuset_cpus"
    )]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(
        long = "cpuset-mems",
        help_heading = "Limits",
        value_name = "LIST",
        overrides_with = "cpuset_mems"
    )]
    pub cpuset_mems: Option<String>,
    /// Number of processes; -1 for no limit [default: 4096]
    #[arg(
        long = "pids-limit",
        help_heading = "Limits",
        value_name = "NUMBER",
        overrides_with = "pids_limit",
        allow_hyphen_values = true
    )]
    pub pids_limit: Option<i64>,
    /// Relative weight of block I/O
    #[arg(
        long = "blkio-weight",
        help_heading = "Limits",
        value_name = "10-1000",
        overrides_with = "blkio_weight"
    )]
    pub blkio_weight: Option<u16>,
    /// Limit bytes read a second
    #[arg(long = "device-read-bps", help_heading = "Limits", value_name = "DEVICE:RATE")]
    pub device_read_bps: Vec<String>,
    /// Limit bytes written a second
    #[arg(
        long = "device-write-bps",
        help_heading = "Limits",
        value_name = "DEVICE:RATE"
    )]
    pub device_write_bps: Vec<String>,
    /// Limit reads a second
    #[arg(
        long = "device-read-iops",
        help_heading = "Limits",
        value_name = "DEVICE:RATE"
    )]
    pub device_read_iops: Vec<String>,
    /// Limit writes a second
    #[arg(
        long = "device-write-iops",
        help_heading = "Limits",
        value_name = "DEVICE:RATE"
    )]
    pub device_write_iops: Vec<String>,
    /// Resource limit of the process; -1 is unlimited
    #[arg(
        long = "ulimit",
        help_heading = "Limits",
        value_name = "NAME=SOFT[:HARD]",
        allow_hyphen_values = true
    )]
    pub ulimit: Vec<String>,
    /// Cgroup below which the container's own is made [default: cais]
    #[arg(
        long = "cgroup-parent",
        help_heading = "Limits",
        value_name = "PATH",
        overrides_with = "cgroup_parent"
    )]
    pub cgroup_parent: Option<String>,
    /// Rule for devices, e.g. 'c 1:3 rwm'
    #[arg(long = "device-cgroup-rule", help_heading = "Limits", value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// Add a capability, or ALL
    #[arg(long = "cap-add", help_heading = "Security", value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long = "cap-drop", help_heading = "Security", value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// All capabilities, all devices, the host's users, no system call filter, nothing hidden
    #[arg(long = "privileged", help_heading = "Security", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "privileged")]
    pub privileged: bool,
    /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=..., systempaths=unconfined, landlock=RULE
    #[arg(long = "security-opt", help_heading = "Security", value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Kernel setting of the container's namespaces
    #[arg(long = "sysctl", help_heading = "Security", value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Users: auto (a range of ids of its own), keep-id (the same, with the caller's id kept), host [default: auto]
    #[arg(
        long = "userns",
        help_heading = "Namespaces",
        value_name = "MODE",
        overrides_with = "userns"
    )]
    pub userns: Option<String>,
    /// Processes: private, host or container:NAME
    #[arg(
        long = "pid",
        help_heading = "Namespaces",
        value_name = "MODE",
        overrides_with = "pid"
    )]
    pub pid: Option<String>,
    /// IPC: none, private, shareable, host or container:NAME
    #[arg(
        long = "ipc",
        help_heading = "Namespaces",
        value_name = "MODE",
        overrides_with = "ipc"
    )]
    pub ipc: Option<String>,
    /// Host name: private, host or container:NAME
    #[arg(
        long = "uts",
        help_heading = "Namespaces",
        value_name = "MODE",
        overrides_with = "uts"
    )]
    pub uts: Option<String>,
    /// Cgroup root: private or host
    #[arg(
        long = "cgroupns",
        help_heading = "Namespaces",
        value_name = "MODE",
        overrides_with = "cgroupns"
    )]
    pub cgroupns: Option<String>,
    /// Network: a name, with settings as NAME:ip=ADDRESS,alias=NAME,mac-address=MAC; or none, host, container:NAME, ns:/PATH, cni:NAME [default: bridge]
    #[arg(
        long = "network",
        help_heading = "Network",
        value_name = "NETWORK",
        visible_alias = "net"
    )]
    pub network: Vec<String>,
    /// IPv4 address in the first network
    #[arg(
        long = "ip",
        help_heading = "Network",
        value_name = "ADDRESS",
        overrides_with = "ip"
    )]
    pub ip: Option<String>,
    /// IPv6 address in the first network
    #[arg(
        long = "ip6",
        help_heading = "Network",
        value_name = "ADDRESS",
        overrides_with = "ip6"
    )]
    pub ip6: Option<String>,
    /// Hardware address in the first network
    #[arg(
        long = "mac-address",
        help_heading = "Network",
        value_name = "MAC",
        overrides_with = "mac_address"
    )]
    pub mac_address: Option<String>,
    /// Further name in the first network
    #[arg(
        long = "network-alias",
        help_heading = "Network",
        value_name = "NAME",
        visible_alias = "net-alias"
    )]
    pub network_alias: Vec<String>,
    /// Further address in the first network
    #[arg(long = "link-local-ip", help_heading = "Network", value_name = "ADDRESS")]
    pub link_local_ip: Vec<String>,
    /// Lead a port of the host to one of the container: ADDRESS:HOST_PORT:PORT[/tcp|udp|sctp]
    #[arg(
        short = 'p',
        long = "publish",
        help_heading = "Network",
        value_name = "PORTS",
        allow_hyphen_values = true
    )]
    pub publish: Vec<String>,
    /// Lead free ports of the host to all exposed ports
    #[arg(short = 'P', long = "publish-all", help_heading = "Network", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "publish_all")]
    pub publish_all: bool,
    /// Port that the program listens at
    #[arg(long = "expose", help_heading = "Network", value_name = "PORT[/PROTOCOL]")]
    pub expose: Vec<String>,
    /// How published ports come to the container: nat, or proxy, which the host's firewall sees as a program of the host [default: nat]
    #[arg(
        long = "publish-mode",
        help_heading = "Network",
        value_name = "MODE",
        overrides_with = "publish_mode"
    )]
    pub publish_mode: Option<String>,
    /// Name server to ask
    #[arg(long = "dns", help_heading = "Network", value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Domain to search for names
    #[arg(long = "dns-search", help_heading = "Network", value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Option of the resolver
    #[arg(
        long = "dns-option",
        help_heading = "Network",
        value_name = "OPTION",
        visible_alias = "dns-opt"
    )]
    pub dns_option: Vec<String>,
    /// What the container may reach outside its networks: allow (everything) or deny [default: allow]
    #[arg(
        long = "egress",
        help_heading = "Network",
        value_name = "POLICY",
        overrides_with = "egress"
    )]
    pub egress: Option<String>,
    /// Destinations that a container may reach though all others are denied: NAME, *.NAME, ADDRESS or SUBNET, with :PORT or :PORT/PROTOCOL, separated by commas
    #[arg(long = "egress-allow", help_heading = "Network", value_name = "DESTINATIONS")]
    pub egress_allow: Vec<String>,
    /// Most bits a second in each direction, e.g. 100mbit
    #[arg(
        long = "network-rate",
        help_heading = "Network",
        value_name = "RATE",
        overrides_with = "network_rate"
    )]
    pub network_rate: Option<String>,
    /// Time that each packet takes longer in each direction, e.g. 50ms
    #[arg(
        long = "network-latency",
        help_heading = "Network",
        value_name = "TIME",
        overrides_with = "network_latency"
    )]
    pub network_latency: Option<String>,
    /// Share of packets that are lost in each direction, e.g. 1%
    #[arg(
        long = "network-loss",
        help_heading = "Network",
        value_name = "SHARE",
        overrides_with = "network_loss"
    )]
    pub network_loss: Option<String>,
    /// Name for another container in the same network: CONTAINER or CONTAINER:ALIAS
    #[arg(long = "link", help_heading = "Network", value_name = "CONTAINER")]
    pub link: Vec<String>,
    /// Line of /etc/hosts: NAME:ADDRESS, where host-gateway is the host's address
    #[arg(long = "add-host", help_heading = "Network", value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// Host name
    #[arg(
        short = 'h',
        long = "hostname",
        help_heading = "Namespaces",
        value_name = "NAME",
        overrides_with = "hostname"
    )]
    pub hostname: Option<String>,
    /// Domain name
    #[arg(
        long = "domainname",
        help_heading = "Namespaces",
        value_name = "NAME",
        overrides_with = "domainname"
    )]
    pub domainname: Option<String>,
    /// Print the plan, step by step with the reason for each, and run nothing
    #[arg(long = "explain", help_heading = "cais", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "explain")]
    pub explain: bool,
    /// Print what each step of the start cost
    #[arg(long = "timings", help_heading = "cais", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", hide_default_value = true, hide_possible_values = true, value_name = "BOOL", overrides_with = "timings")]
    pub timings: bool,
    /// Print help
    #[arg(long = "help", help_heading = "cais", action = ArgAction::Help)]
    pub help: Option<bool>,
    /// The image ("host"), the command and its arguments; with --rootfs only the command
    #[arg(value_name = "IMAGE] [COMMAND", trailing_var_arg = true)]
    pub words: Vec<String>,
}
