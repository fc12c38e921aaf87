//! What a plan needs to know beside the configuration: gathered by the caller, so
//! that planning stays pure.

use cais_linux::mounts::overlay::Layers;
use rustix::process::Resource;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Facts of the machine and of this start.
#[derive(Debug, Clone, Default)]
pub struct PlanFacts {
    /// What becomes the root file system.
    pub root: RootTree,
    /// How many cgroup v1 hierarchies are joined by their `tasks` files.
    pub tasks: usize,
    /// Whether somebody else puts the first process into its cgroup.
    pub foreign_cgroup: bool,
    /// What the container sees at `/sys/fs/cgroup`.
    pub cgroup_view: CgroupView,
    /// The container's cgroup, relative to each hierarchy: what it sees of cgroup v1. Empty shows
    /// all of the host's where it has no cgroup namespace.
    pub cgroup_path: String,
    /// Where on the host a device stands whose path inside is another: by path inside.
    pub device_sources: BTreeMap<String, PathBuf>,
    /// Files that the container gets by content: path and text.
    pub files: Vec<(String, String)>,
    /// The compiled system call filter.
    pub seccomp: Option<SeccompFilter>,
    /// The capabilities that this process may hand on (its bounding set).
    pub held_capabilities: u64,
    /// This process's hard limits of the resources that the configuration names; `None` is
    /// unlimited.
    pub hard_limits: Vec<(Resource, Option<u64>)>,
    /// Whether this process may raise hard limits.
    pub has_cap_sys_resource: bool,
    /// This process's own weight for the OOM killer.
    pub own_oom_score_adj: i32,
    /// Whether this process has no privilege on the host.
    pub rootless: bool,
    /// The user namespace below which a new one is made, where that is not this process's own.
    pub user_parent: Option<PathBuf>,
    /// Whether this process is in a user namespace already, where no device node can be made.
    pub confined: bool,
    /// Whether a small init stays as the first process.
    pub init: bool,
    /// The Landlock rules.
    pub landlock: Option<LandlockFacts>,
    /// The security label of the program: the file below `/proc/self/attr` and its text.
    pub label: Option<(String, String)>,
    /// Whether this machine labels files (SELinux).
    pub labels_files: bool,
    /// Whether the container waits for `start` after it was created.
    pub hold: bool,
    /// Whether standard streams that are the host's null device become the container's own.
    pub own_null: bool,
    /// Whether the root is entered without pivot_root(2).
    pub no_pivot: bool,
    /// Whether the session keyring of the caller stays.
    pub keep_keyring: bool,
    /// How many descriptors from 3 on the program keeps.
    pub preserve_fds: u32,
    /// The state of the container in JSON, for `createContainer` hooks: before and behind the
    /// id of its first process.
    pub creating_state: [String; 2],
    /// The same for `startContainer` hooks.
    pub created_state: [String; 2],
    /// The links that mounts with `copy-symlink` are to become: by destination.
    pub symlinks: BTreeMap<String, String>,
}

/// What becomes the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootTree {
    /// Layers with a place for changes.
    Overlay(Layers),
    /// The same, with further overlays mounted in it: the host's tree for a user without
    /// privilege, whose user namespace does not let directories with mounts in them be layers.
    Parts {
        /// The root.
        root: Layers,
        /// What is mounted in it, in this order.
        parts: Vec<Part>,
    },
    /// A directory that is written in place.
    Directory {
        /// Its path on the host.
        path: PathBuf,
        /// Whether its owners are mapped through the user namespace.
        map_ids: bool,
    },
}

/// A part of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A directory, copied on write.
    Directory {
        /// Its path inside.
        place: String,
        /// Its layers and the place for changes.
        layers: Layers,
    },
    /// A file of the host, read-only.
    File(String),
}

impl Default for RootTree {
    fn default() -> Self {
        Self::Directory {
            path: PathBuf::new(),
            map_ids: false,
        }
    }
}

/// What there is of cgroups on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CgroupView {
    /// None: the container has no cgroup of its own.
    #[default]
    None,
    /// The one hierarchy of cgroup v2.
    V2,
    /// The hierarchies of cgroup v1, and `unified` where v2 is mounted beside them.
    V1(Vec<Hierarchy>),
}

/// A cgroup hierarchy as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The directory below `/sys/fs/cgroup`: `memory`, `cpu,cpuacct`, `unified`.
    pub directory: String,
    /// Where it is mounted on the host.
    pub path: PathBuf,
    /// The mount options: controllers, or `name=systemd`. Empty means cgroup v2.
    pub options: Vec<String>,
}

/// A compiled system call filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeccompFilter {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Whole `struct sock_filter` instructions.
    pub program: Vec<u8>,
}

/// Landlock restrictions, ready for the stub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandlockFacts {
    /// `handled_access_fs`.
    pub filesystem: u64,
    /// `handled_access_net`.
    pub network: u64,
    /// `scoped`.
    pub scoped: u64,
    /// The rules, encoded.
    pub rules: Vec<u8>,
}
