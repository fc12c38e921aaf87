//! Which cgroup hierarchies are mounted, as far as `cais doctor` shows it. The `cgroups` rooms
//! do the work on them.

use super::{Finding, State, read_setting};

/// A cgroup v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted, as mountinfo writes it (a blank is `\040`).
    pub mount_point: String,
    /// Its controllers, or `name=systemd`.
    pub controllers: Vec<String>,
}

/// The cgroup mounts of a mount namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupMounts {
    /// The hierarchies of version 1.
    pub v1: Vec<Hierarchy>,
    /// Where version 2 is mounted.
    pub v2: Option<String>,
}

/// Options of a v1 mount that are no controllers (cgroups(7)).
const V1_OPTIONS: [&str; 8] = [
    "rw",
    "ro",
    "xattr",
    "noprefix",
    "clone_children",
    "favordynmods",
    "nofavordynmods",
    "cpuset_v2_mode",
];

/// Reads `/proc/self/mountinfo` (proc_pid_mountinfo(5)). The first mount of a hierarchy
/// counts; later ones are copies.
#[must_use]
pub fn parse_cgroup_mounts(mountinfo: &str) -> CgroupMounts {
    let mut mounts = CgroupMounts::default();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut after = after.split(' ');
        let (kind, _source, options) = (after.next(), after.next(), after.next());
        let Some(mount_point) = before.split(' ').nth(4) else {
            continue;
        };
        match kind {
            Some("cgroup2") if mounts.v2.is_none() => mounts.v2 = Some(mount_point.to_owned()),
            Some("cgroup") => {
                let controllers: Vec<String> = options
                    .unwrap_or_default()
                    .split(',')
                    .filter(|option| !V1_OPTIONS.contains(option) && !option.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect();
                if !mounts.v1.iter().any(|known| known.controllers == controllers) {
                    let mount_point = mount_point.to_owned();
                    mounts.v1.push(Hierarchy {
                        mount_point,
                        controllers,
                    });
                }
            }
            _ => {}
        }
    }
    mounts
}

impl CgroupMounts {
    /// The layout in a word or two.
    #[must_use]
    pub fn layout(&self) -> &'static str {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (true, true) => "v2",
            (false, true) => "hybrid: v1 beside v2",
            (false, false) => "v1",
            (true, false) => "none",
        }
    }

    /// Whether v1 has this controller.
    fn v1_has(&self, controller: &str) -> bool {
        self.v1
            .iter()
            .any(|hierarchy| hierarchy.controllers.iter().any(|one| one == controller))
    }
}

/// What Docker's flags need: the name in v1, the name in v2 (empty: part of v2 itself).
const NEEDED: [(&str, &str); 7] = [
    ("cpu", "cpu"),
    ("cpuset", "cpuset"),
    ("memory", "memory"),
    ("pids", "pids"),
    ("blkio", "io"),
    ("devices", ""),
    ("freezer", ""),
];

/// The controllers of v1 names that neither version offers. `v2_controllers` is the text
/// of v2's `cgroup.controllers`.
fn missing(mounts: &CgroupMounts, v2_controllers: &str) -> Vec<&'static str> {
    let has_v2 = |name: &str| mounts.v2.is_some() && v2_controllers.split_whitespace().any(|one| one == name);
    let pure_v2 = mounts.v2.is_some() && mounts.v1.is_empty();
    NEEDED
        .iter()
        .filter(|(v1, v2)| !(mounts.v1_has(v1) || has_v2(v2) || (v2.is_empty() && pure_v2)))
        .map(|(v1, _)| *v1)
        .collect()
}

pub(super) fn findings() -> Vec<Finding> {
    const LAYOUT: &str = "containers run without limits, and only where none is asked for";
    const CONTROLLERS: &str = "a flag that needs a missing controller is an error";
    let Ok(mountinfo) = std::fs::read_to_string("/proc/self/mountinfo") else {
        let detail = "/proc/self/mountinfo cannot be read";
        return vec![Finding::new("cgroups", State::Unknown, detail, LAYOUT)];
    };
    let mounts = parse_cgroup_mounts(&mountinfo);
    let layout = mounts.layout();
    let v2_controllers = mounts
        .v2
        .as_deref()
        .and_then(|root| read_setting(&format!("{root}/cgroup.controllers")))
        .unwrap_or_default();
    let missing = missing(&mounts, &v2_controllers);
    let (state, detail) = match missing.len() {
        0 => (State::Present, String::new()),
        count if count == NEEDED.len() => (State::Absent, format!("missing: {}", missing.join(", "))),
        _ => (State::Partly, format!("missing: {}", missing.join(", "))),
    };
    vec![
        Finding::new("cgroups", layout != "none", layout, LAYOUT),
        Finding::new("cgroup controllers", state, detail, CONTROLLERS),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 24 0:25 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 24 0:29 / /mnt/copy rw - cgroup cgroup rw,memory
36 24 0:30 broken
";

    #[test]
    fn hybrid() {
        let mounts = parse_cgroup_mounts(HYBRID);
        assert_eq!(mounts.layout(), "hybrid: v1 beside v2");
        assert_eq!(mounts.v2.as_deref(), Some("/sys/fs/cgroup/unified"));
        let names: Vec<_> = mounts.v1.iter().map(|one| one.controllers.join(",")).collect();
        assert_eq!(names, ["name=systemd", "cpu,cpuacct", "memory"]);
        assert_eq!(mounts.v1[2].mount_point, "/sys/fs/cgroup/memory");
        assert_eq!(
            missing(&mounts, "hugetlb pids"),
            ["cpuset", "blkio", "devices", "freezer"]
        );
    }

    #[test]
    fn pure() {
        let v2 = parse_cgroup_mounts("30 24 0:25 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n");
        assert_eq!(v2.layout(), "v2");
        assert_eq!(missing(&v2, "cpuset cpu io memory hugetlb pids"), [""; 0]);
        assert_eq!(missing(&v2, "memory pids"), ["cpu", "cpuset", "blkio"]);
        let none = parse_cgroup_mounts("");
        assert_eq!(none.layout(), "none");
        assert_eq!(missing(&none, "").len(), NEEDED.len());
    }
}
