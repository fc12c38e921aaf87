//! `process`: the program and who it is.

use serde::{Deserialize, Serialize};

/// A program to run in the container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Process {
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The size of the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// The working directory, absolute.
    pub cwd: String,
    /// The environment: `KEY=value`.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub env: Vec<String>,
    /// The program and its arguments.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub args: Vec<String>,
    /// Limits on resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub rlimits: Vec<Rlimit>,
    /// The capability sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Whether set-user-id programs gain nothing.
    pub no_new_privileges: bool,
    /// The AppArmor profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// The SELinux label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// The weight for the OOM killer, -1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// The user.
    pub user: User,
    /// How it is scheduled on the CPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// Its priority for block I/O.
    #[serde(rename = "ioPriority", skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// The CPUs of a further process, before and after it joins the cgroup.
    #[serde(rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<CpuAffinity>,
}

/// How a process is scheduled (sched_setattr(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// `SCHED_…`.
    pub policy: String,
    /// The nice value.
    pub nice: i32,
    /// The real-time priority.
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub flags: Vec<String>,
    /// Nanoseconds for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds for `SCHED_DEADLINE`.
    pub period: u64,
}

/// A priority for block I/O (ioprio_set(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_…`.
    pub class: String,
    /// 0 (first) to 7 (last).
    pub priority: i64,
}

/// CPUs as lists: `0-2,5`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuAffinity {
    /// Before the cgroup is joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<String>,
    /// Afterwards.
    #[serde(rename = "final", skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsoleSize {
    /// Lines.
    pub height: u64,
    /// Characters a line.
    pub width: u64,
}

/// A user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// The user id inside the container.
    pub uid: u32,
    /// The group id inside the container.
    pub gid: u32,
    /// The file mode mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub additional_gids: Vec<u32>,
}

/// One limit on a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The hard limit; the largest number is "unlimited".
    pub hard: u64,
    /// The soft limit.
    pub soft: u64,
}

/// The five capability sets by names (`CAP_…`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// What can ever be gained.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub bounding: Vec<String>,
    /// What is in effect.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub effective: Vec<String>,
    /// What is kept by executing a program that asks for it.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub inheritable: Vec<String>,
    /// What can be put in effect.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub permitted: Vec<String>,
    /// What is kept by executing any program.
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub ambient: Vec<String>,
}
