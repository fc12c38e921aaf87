//! Cache and memory bandwidth allocation (Documentation/filesystems/resctrl.rst): groups of
//! the resctrl file system, where one is mounted.

use crate::error::{Result, SysError};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// Where resctrl is mounted; `None` on a machine without it.
#[must_use]
pub fn find_mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let path = words.nth(1)?;
        (words.next()? == "resctrl").then(|| PathBuf::from(path))
    })
}

/// Makes the group `name` below `root`, or finds it, and writes its schemata. Returns the
/// directory and whether it was made.
///
/// # Errors
/// `ENOSPC` where the processor has no more groups, `EINVAL` for a schema that it refuses,
/// `EINVAL` for a name that is a path.
pub fn ensure_group(root: &Path, name: &str, schemata: &[String]) -> Result<(PathBuf, bool)> {
    if name.is_empty() || name.contains('/') || name == "." || name == ".." {
        return Err(SysError::new("mkdir", format!("resctrl {name:?}"), Errno::INVAL));
    }
    let directory = root.join(name);
    let made = match std::fs::create_dir(&directory) {
        Ok(()) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(SysError::from_io("mkdir", format!("{directory:?}"), &error)),
    };
    if !schemata.is_empty() {
        let text = schemata.join("\n") + "\n";
        let file = directory.join("schemata");
        if let Err(error) = std::fs::write(&file, &text) {
            if made {
                std::fs::remove_dir(&directory).unwrap_or_default();
            }
            return Err(SysError::from_io("write", format!("{file:?}, {text:?}"), &error));
        }
    }
    Ok((directory, made))
}

/// Makes a group in which processes of `group` are counted by themselves, or finds it. The
/// kernel removes it with `group`.
///
/// # Errors
/// `ENOSPC` where the processor can count no more groups, `ENOENT` where it cannot count.
pub fn ensure_monitor(group: &Path, name: &str) -> Result<PathBuf> {
    ensure_group(&group.join("mon_groups"), name, &[]).map(|(directory, _made)| directory)
}

/// Moves a process into a group.
///
/// # Errors
/// As write(2) on its `tasks` file.
pub fn add_process(group: &Path, pid: i32) -> Result<()> {
    let file = group.join("tasks");
    std::fs::write(&file, pid.to_string())
        .map_err(|error| SysError::from_io("write", format!("{file:?}, {pid}"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_once_and_names_are_no_paths() {
        let root = std::env::temp_dir().join(format!("cais-resctrl-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let schemata = ["L3:0=ff".to_owned(), "MB:0=50".to_owned()];
        let (group, made) = ensure_group(&root, "quay", &schemata).unwrap();
        assert!(made && !ensure_group(&root, "quay", &[]).unwrap().1);
        assert_eq!(
            std::fs::read_to_string(group.join("schemata")).unwrap(),
            "L3:0=ff\nMB:0=50\n"
        );
        add_process(&group, 7).unwrap();
        assert_eq!(std::fs::read_to_string(group.join("tasks")).unwrap(), "7");
        // A processor that counts has this directory in each group.
        assert_eq!(ensure_monitor(&group, "one").unwrap_err().errno(), Errno::NOENT);
        std::fs::create_dir(group.join("mon_groups")).unwrap();
        let monitor = ensure_monitor(&group, "one").unwrap();
        assert_eq!(monitor, group.join("mon_groups/one"));
        assert_eq!(ensure_monitor(&group, "one").unwrap(), monitor);
        for bad in ["", ".", "..", "a/b"] {
            assert!(ensure_group(&root, bad, &[]).is_err(), "{bad:?}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
