//! `cais run`: the flags, with Docker's names.

use super::fixed::FixedArgs;
use super::flags::{flag_kind, flag_take, flag_type, flags};
use super::health::HealthArgs;
use clap::{Arg, ArgAction, Command};

flags! {
    /// Flags of `cais run` and `cais create`.
    pub struct RunArgs {
        /// When to fetch the image: always, if it is missing, or never [default: missing]
        pull: one "pull" as "WHEN", of ["always", "missing", "never", ""];
        /// Show nothing of the pull
        quiet: switch "quiet", short 'q';
        /// The machine that the image is for, as OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT
        platform: one "platform" as "PLATFORM";
        /// Keep standard input open
        interactive: switch "interactive" in "Process", short 'i';
        /// Give the program a terminal; Ctrl-P Ctrl-Q leaves it running
        tty: switch "tty" in "Process", short 't';
        /// Run in the background and print the id
        detach: switch "detach" in "Process", short 'd';
        /// Remove the container when it ends
        rm: switch "rm" in "Process";
        /// Name of the container
        name: one "name" in "Process" as "NAME";
        /// User, optionally with group: NAME|UID[:GROUP|GID]
        user: one "user" in "Process" as "USER", short 'u';
        /// Additional group, by name or number
        group_add: many "group-add" in "Process" as "GROUP";
        /// Working directory
        workdir: one "workdir" in "Process" as "DIR", short 'w';
        /// Set an environment variable; KEY alone takes this shell's value
        env: many "env" in "Process" as "KEY=VALUE", short 'e';
        /// Read environment variables from a file
        env_file: many "env-file" in "Process" as "FILE";
        /// Program to run in place of the image's own; what follows the image are its arguments
        entrypoint: exact "entrypoint" in "Process" as "COMMAND";
        /// Run a small init that reaps processes and forwards signals
        init: switch "init" in "Process";
        /// Signal that asks the program to end
        stop_signal: one "stop-signal" in "Process" as "SIGNAL";
        /// What happens after the end: no, on-failure(:N), always or unless-stopped
        restart: one "restart" in "Process" as "POLICY";
        /// Show only these streams: stdin, stdout or stderr
        attach: many "attach" in "Process" as "STREAM", short 'a';
        /// Hand signals to this command on to the program [default: true]
        sig_proxy: switch_on "sig-proxy" in "Process";
        /// Who says READY=1 at NOTIFY_SOCKET: container (the program), conmon (cais), healthy (cais, once the container is well) or ignore (nobody)
        sdnotify: one "sdnotify" in "Process" as "WHO", of ["container", "conmon", "healthy", "ignore"];
        /// Where the output is kept: json-file, cri, journald, syslog, none or passthrough
        log_driver: one "log-driver" in "Log" as "DRIVER";
        /// How: max-size, max-file, mode, max-buffer-size, tag, labels, env, syslog-address,
        /// syslog-facility
        log_opt: many "log-opt" in "Log" as "KEY=VALUE";
        /// Seconds that stop waits before it kills
        stop_timeout: number(i64) "stop-timeout" in "Process" as "SECONDS";
        /// Keys that leave a terminal, e.g. ctrl-p,ctrl-q
        detach_keys: one "detach-keys" in "Process" as "KEYS";
        /// Set a label
        label: many "label" in "Process" as "KEY=VALUE", short 'l';
        /// Read labels from a file, one a line
        label_file: many "label-file" in "Process" as "FILE";
        /// Set an annotation of the OCI configuration
        annotation: many "annotation" in "Process" as "KEY=VALUE";
        /// Write the id of the container to a new file
        cidfile: one "cidfile" in "Process" as "FILE";
        /// Use a directory as the root instead of an image; written in place only with :rw
        rootfs: one "rootfs" in "File system" as "DIR[:rw]";
        /// Bind mount a directory or file of the host
        volume: many "volume" in "File system" as "[SRC:]DST[:OPTIONS]", short 'v';
        /// Mount what another container mounts
        volumes_from: many "volumes-from" in "File system" as "CONTAINER[:ro]";
        /// Mount with type=bind, type=volume or type=tmpfs
        mount: many "mount" in "File system" as "KEY=VALUE,...";
        /// Mount a tmpfs
        tmpfs: many "tmpfs" in "File system" as "DST[:OPTIONS]";
        /// Make the root read-only
        read_only: switch "read-only" in "File system";
        /// Size of /dev/shm [default: 64m]
        shm_size: exact "shm-size" in "File system" as "SIZE";
        /// Give access to a device of the host
        device: many "device" in "File system" as "HOST[:DST][:rwm]";
        /// Memory limit
        memory: exact "memory" in "Limits" as "SIZE", short 'm';
        /// Limit of memory and swap together; -1 for no limit on swap
        memory_swap: exact "memory-swap" in "Limits" as "SIZE";
        /// Soft memory limit
        memory_reservation: exact "memory-reservation" in "Limits" as "SIZE";
        /// How eagerly memory is swapped out; -1 for the machine's own setting
        memory_swappiness: number(i64) "memory-swappiness" in "Limits" as "0-100";
        /// Pause instead of killing when memory is used up (cgroup v1)
        oom_kill_disable: switch "oom-kill-disable" in "Limits";
        /// Weight for the host's OOM killer
        oom_score_adj: number(i32) "oom-score-adj" in "Limits" as "-1000..1000";
        /// Number of CPUs, e.g. 1.5
        cpus: exact "cpus" in "Limits" as "NUMBER";
        /// Relative weight of CPU time
        cpu_shares: number(u64) "cpu-shares" in "Limits" as "WEIGHT", short 'c';
        /// Period of --cpu-quota
        cpu_period: number(u64) "cpu-period" in "Limits" as "MICROSECONDS";
        /// CPU time a period; -1 for no limit
        cpu_quota: number(i64) "cpu-quota" in "Limits" as "MICROSECONDS";
        /// Period of --cpu-rt-runtime (cgroup v1)
        cpu_rt_period: number(u64) "cpu-rt-period" in "Limits" as "MICROSECONDS";
        /// Time of real-time processes a period (cgroup v1)
        cpu_rt_runtime: number(i64) "cpu-rt-runtime" in "Limits" as "MICROSECONDS";
        /// Relative weight of block I/O of one device
        blkio_weight_device: many "blkio-weight-device" in "Limits" as "DEVICE:WEIGHT";
        /// CPUs that may be used, e.g. 0-3,5
        cpuset_cpus: one "cpuset-cpus" in "Limits" as "LIST";
        /// Memory nodes that may be used
        cpuset_mems: one "cpuset-mems" in "Limits" as "LIST";
        /// Number of processes; -1 for no limit [default: 4096]
        pids_limit: number(i64) "pids-limit" in "Limits" as "NUMBER";
        /// Relative weight of block I/O
        blkio_weight: number(u16) "blkio-weight" in "Limits" as "10-1000";
        /// Limit bytes read a second
        device_read_bps: many "device-read-bps" in "Limits" as "DEVICE:RATE";
        /// Limit bytes written a second
        device_write_bps: many "device-write-bps" in "Limits" as "DEVICE:RATE";
        /// Limit reads a second
        device_read_iops: many "device-read-iops" in "Limits" as "DEVICE:RATE";
        /// Limit writes a second
        device_write_iops: many "device-write-iops" in "Limits" as "DEVICE:RATE";
        /// Resource limit of the process; -1 is unlimited
        ulimit: many "ulimit" in "Limits" as "NAME=SOFT[:HARD]";
        /// Cgroup below which the container's own is made [default: cais]
        cgroup_parent: one "cgroup-parent" in "Limits" as "PATH";
        /// Rule for devices, e.g. 'c 1:3 rwm'
        device_cgroup_rule: many "device-cgroup-rule" in "Limits" as "RULE";
        /// Add a capability, or ALL
        cap_add: many "cap-add" in "Security" as "CAP";
        /// Drop a capability, or ALL
        cap_drop: many "cap-drop" in "Security" as "CAP";
        /// All capabilities, all devices, the host's users, no system call filter, nothing hidden
        privileged: switch "privileged" in "Security";
        /// no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, label=..., systempaths=unconfined, landlock=RULE
        security_opt: many "security-opt" in "Security" as "OPTION";
        /// Kernel setting of the container's namespaces
        sysctl: many "sysctl" in "Security" as "NAME=VALUE";
        /// Users: auto (a range of ids of its own), keep-id (the same, with the caller's id kept), host [default: auto]
        userns: one "userns" in "Namespaces" as "MODE";
        /// Processes: private, host or container:NAME
        pid: one "pid" in "Namespaces" as "MODE";
        /// IPC: none, private, shareable, host or container:NAME
        ipc: one "ipc" in "Namespaces" as "MODE";
        /// Host name: private, host or container:NAME
        uts: one "uts" in "Namespaces" as "MODE";
        /// Cgroup root: private or host
        cgroupns: one "cgroupns" in "Namespaces" as "MODE";
        /// Network: a name, with settings as NAME:ip=ADDRESS,alias=NAME,mac-address=MAC; or none, host, container:NAME, ns:/PATH, cni:NAME [default: bridge]
        network: many "network" in "Network" as "NETWORK", alias "net";
        /// IPv4 address in the first network
        ip: one "ip" in "Network" as "ADDRESS";
        /// IPv6 address in the first network
        ip6: one "ip6" in "Network" as "ADDRESS";
        /// Hardware address in the first network
        mac_address: one "mac-address" in "Network" as "MAC";
        /// Further name in the first network
        network_alias: many "network-alias" in "Network" as "NAME", alias "net-alias";
        /// Further address in the first network
        link_local_ip: many "link-local-ip" in "Network" as "ADDRESS";
        /// Lead a port of the host to one of the container: ADDRESS:HOST_PORT:PORT[/tcp|udp|sctp]
        publish: many "publish" in "Network" as "PORTS", short 'p';
        /// Lead free ports of the host to all exposed ports
        publish_all: switch "publish-all" in "Network", short 'P';
        /// Port that the program listens at
        expose: many "expose" in "Network" as "PORT[/PROTOCOL]";
        /// How published ports come to the container: nat, or proxy, which the host's firewall sees as a program of the host [default: nat]
        publish_mode: one "publish-mode" in "Network" as "MODE";
        /// Name server to ask
        dns: many "dns" in "Network" as "ADDRESS";
        /// Domain to search for names
        dns_search: many "dns-search" in "Network" as "DOMAIN";
        /// Option of the resolver
        dns_option: many "dns-option" in "Network" as "OPTION", alias "dns-opt";
        /// What the container may reach outside its networks: allow (everything) or deny [default: allow]
        egress: one "egress" in "Network" as "POLICY";
        /// Destinations that a container may reach though all others are denied: NAME, *.NAME, ADDRESS or SUBNET, with :PORT or :PORT/PROTOCOL, separated by commas
        egress_allow: many "egress-allow" in "Network" as "DESTINATIONS";
        /// Most bits a second in each direction, e.g. 100mbit
        network_rate: one "network-rate" in "Network" as "RATE";
        /// Time that each packet takes longer in each direction, e.g. 50ms
        network_latency: one "network-latency" in "Network" as "TIME";
        /// Share of packets that are lost in each direction, e.g. 1%
        network_loss: one "network-loss" in "Network" as "SHARE";
        /// Name for another container in the same network: CONTAINER or CONTAINER:ALIAS
        link: many "link" in "Network" as "CONTAINER";
        /// Line of /etc/hosts: NAME:ADDRESS, where host-gateway is the host's address
        add_host: many "add-host" in "Network" as "NAME:ADDRESS";
        /// Host name
        hostname: one "hostname" in "Namespaces" as "NAME", short 'h';
        /// Domain name
        domainname: one "domainname" in "Namespaces" as "NAME";
        /// Print the plan, step by step with the reason for each, and run nothing
        explain: switch "explain" in "cais";
        /// Print what each step of the start cost
        timings: switch "timings" in "cais";
        /// The image ("host"), the command and its arguments; with --rootfs only the command
        words: rest "" as "IMAGE] [COMMAND";
    }
    with help_without_a_letter {
        /// What there is one of only, or nothing.
        fixed: FixedArgs;
        /// How the health of the container is probed.
        health: HealthArgs;
    }
}

/// `-h` is the host name, as with Docker.
fn help_without_a_letter(command: Command) -> Command {
    let help = Arg::new("help").long("help").help("Print help");
    let help = help.help_heading("cais").action(ArgAction::Help);
    command.disable_help_flag(true).arg(help)
}
