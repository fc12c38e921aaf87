//! Which hierarchies are mounted: from /proc/self/mountinfo (proc_pid_mountinfo(5)).

use crate::error::{Result, SysError};
use crate::path::read_proc;
use std::path::PathBuf;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its controllers, or `name=systemd` for one without; empty for cgroup v2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    /// Whether it is the one of cgroup v2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// The directory's own name: `memory`, `cpu,cpuacct`, `unified`.
    #[must_use]
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }
}

/// The hierarchies of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Those of version 1.
    pub v1: Vec<Hierarchy>,
    /// That of version 2.
    pub v2: Option<Hierarchy>,
}

impl Layout {
    /// Reads what is mounted.
    ///
    /// # Errors
    /// Where /proc cannot be read.
    pub fn read() -> Result<Self> {
        const PATH: &str = "/proc/self/mountinfo";
        let text = read_proc(PATH).map_err(|error| SysError::from_io("read", format!("{PATH:?}"), &error))?;
        Ok(parse_layout(&text))
    }

    /// Whether there is nothing but cgroup v2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    /// Whether there are no cgroups at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v1.is_empty() && self.v2.is_none()
    }

    /// The hierarchy of version 1 that has `controller`.
    #[must_use]
    pub fn v1_with(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|known| known == controller))
    }
}

/// Finds the hierarchies in the text of mountinfo. Where one is mounted twice the first
/// counts.
#[must_use]
pub fn parse_layout(mountinfo: &str) -> Layout {
    /// Mount options that are no controllers.
    const FLAGS: [&str; 8] = [
        "rw",
        "ro",
        "xattr",
        "clone_children",
        "noprefix",
        "cpuset_v2_mode",
        "favordynmods",
        "none",
    ];
    let mut layout = Layout::default();
    for line in mountinfo.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        let Some(path) = mount.split(' ').nth(4).map(|path| PathBuf::from(unescape(path))) else {
            continue;
        };
        let mut words = filesystem.split(' ');
        let kind = words.next();
        let options = words.nth(1).unwrap_or("");
        match kind {
            Some("cgroup2") if layout.v2.is_none() => {
                layout.v2 = Some(Hierarchy {
                    path,
                    controllers: Vec::new(),
                });
            }
            Some("cgroup") => {
                let is_controller =
                    |word: &&str| !FLAGS.contains(word) && !word.starts_with("release_agent=");
                let controllers: Vec<String> = options
                    .split(',')
                    .filter(is_controller)
                    .map(str::to_owned)
                    .collect();
                if !controllers.is_empty() && !layout.v1.iter().any(|known| known.controllers == controllers)
                {
                    layout.v1.push(Hierarchy { path, controllers });
                }
            }
            _ => {}
        }
    }
    layout
}

/// Octal escapes of blanks in paths: `\040`.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_has_both() {
        let layout = parse_layout(HYBRID);
        assert_eq!(layout.v1.len(), 3);
        assert_eq!(
            layout.v1_with("cpuacct").map(Hierarchy::name).as_deref(),
            Some("cpu,cpuacct")
        );
        assert_eq!(layout.v1[2].controllers, ["name=systemd"]);
        assert_eq!(
            layout.v2.as_ref().map(|v2| v2.path.clone()),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert!(!layout.is_unified() && !layout.is_empty());
    }

    #[test]
    fn pure_v2_and_none() {
        let layout = parse_layout(
            "30 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
        );
        assert!(layout.is_unified());
        assert!(parse_layout("27 1 254:0 / / rw - ext4 /dev/vda rw\n").is_empty());
        assert!(parse_layout("garbage\n\n- -\n").is_empty());
    }

    #[test]
    fn a_second_mount_of_the_same_does_not_count() {
        let twice = HYBRID.replace("/sys/fs/cgroup/memory", "/elsewhere\\040x") + HYBRID;
        let layout = parse_layout(&twice);
        assert_eq!(layout.v1.len(), 3);
        assert_eq!(
            layout.v1_with("memory").map(|memory| memory.path.clone()),
            Some(PathBuf::from("/elsewhere x"))
        );
    }
}
