//! Commands about the life of containers that are there: `attach`, `pause`, `rename`,
//! `restart`, `update`, `wait`, `events`.

use clap::Args;

/// `cais attach`.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Keys that leave a terminal, e.g. ctrl-p,ctrl-q
    #[arg(long, value_name = "KEYS")]
    pub detach_keys: Option<String>,
    /// Do not pass standard input on
    #[arg(long)]
    pub no_stdin: bool,
    /// Hand signals on to the program [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    pub sig_proxy: bool,
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// `cais restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// Seconds to wait before the container is killed; -1 waits for ever
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS", value_parser = super::parse::parse_number::<i64>)]
    pub time: Option<i64>,
    /// Signal to send instead of the container's own stop signal
    #[arg(short, long)]
    pub signal: Option<String>,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais rename`.
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// Name or id of the container
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// The new name
    #[arg(value_name = "NEW_NAME")]
    pub name: String,
}

/// `cais wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// What to wait for: not-running, next-exit, removed or healthy
    #[arg(long, value_name = "CONDITION", default_value = "not-running")]
    pub condition: String,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Relative weight of block I/O
    #[arg(long, value_name = "10-1000", value_parser = super::parse::parse_number::<u16>)]
    pub blkio_weight: Option<u16>,
    /// Period of --cpu-quota
    #[arg(long, value_name = "MICROSECONDS", value_parser = super::parse::parse_number::<u64>)]
    pub cpu_period: Option<u64>,
    /// CPU time a period; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", value_parser = super::parse::parse_number::<i64>)]
    pub cpu_quota: Option<i64>,
    /// Relative weight of CPU time
    #[arg(short, long, value_name = "WEIGHT", value_parser = super::parse::parse_number::<u64>)]
    pub cpu_shares: Option<u64>,
    /// Number of CPUs, e.g. 1.5
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Period of --cpu-rt-runtime (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS", value_parser = super::parse::parse_number::<u64>)]
    pub cpu_rt_period: Option<u64>,
    /// Time of real-time processes a period (cgroup v1)
    #[arg(long, value_name = "MICROSECONDS", value_parser = super::parse::parse_number::<i64>)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs that may be used, e.g. 0-3,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "SIZE")]
    pub memory_reservation: Option<String>,
    /// Limit of memory and swap together; -1 for no limit on swap
    #[arg(long, value_name = "SIZE")]
    pub memory_swap: Option<String>,
    /// Number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = super::parse::parse_number::<i64>)]
    pub pids_limit: Option<i64>,
    /// Restart policy: no, on-failure(:N), always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Set a label
    #[arg(long, value_name = "KEY=VALUE")]
    pub label_add: Vec<String>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    pub label_rm: Vec<String>,
    /// Names or ids of containers
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// `cais events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only events of this moment and later: seconds since 1970, RFC 3339, or 10m for ten
    /// minutes ago
    #[arg(long, value_name = "MOMENT")]
    pub since: Option<String>,
    /// Only events before this moment; then it ends
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// Only what is so: type, event, container, image, label, network, volume
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = super::parse::parse_filter)]
    pub filter: Vec<String>,
    /// Form of the output: "json" (one object a line), or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}
