//! The host's tree for a user without privilege.
//!
//! The kernel lets a user namespace take a directory as an overlay's layer only where nothing
//! is mounted in it: what a mount covers could be read otherwise (CVE-2021-3732). So each
//! directory without mounts becomes an overlay of its own, and those above them are made anew.
//! What is mounted on the host is left out, as for root.

use crate::error::{EngineError, Result};
use cais_linux::mounts::overlay::Layers;
use cais_order::InOrder;
use cais_runtime::plan::facts::{Part, RootTree};
use rustix::fs::{Access, access};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The directory, beside the container's `upper/`, of what is made anew: the lower layer of the
/// root.
const SKELETON: &str = "skeleton";
/// The directory of the places for changes of the other overlays.
const PARTS: &str = "parts";

/// Where things are mounted, from the text of mountinfo (proc_pid_mountinfo(5)).
fn mount_points(mountinfo: &str) -> Vec<PathBuf> {
    let place = |line: &str| Some(PathBuf::from(line.split(' ').nth(4)?.replace("\\040", " ")));
    mountinfo.lines().filter_map(place).collect()
}

/// What the tree is made of: directories that are copied on write, links, and files beside
/// them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Without mounts in them.
    whole: Vec<PathBuf>,
    /// Made anew: they hold mounts, or this user may not read them.
    empty: Vec<PathBuf>,
    files: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
}

fn search(directory: &Path, mounted: &[PathBuf], found: &mut Found) -> Result<()> {
    let entries =
        fs::read_dir(directory).map_err(EngineError::store(format!("read {}", directory.display())))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            if let Ok(target) = fs::read_link(&path) {
                found.links.push((path, target));
            }
        } else if kind.is_file() {
            found.files.push(path);
        } else if kind.is_dir() {
            let can_read = access(&path, Access::READ_OK | Access::EXEC_OK).is_ok();
            if !can_read || mounted.contains(&path) {
                found.empty.push(path);
            } else if mounted.iter().any(|place| place.starts_with(&path)) {
                found.empty.push(path.clone());
                search(&path, mounted, found)?;
            } else {
                found.whole.push(path);
            }
        }
    }
    Ok(())
}

/// The host's tree in parts, for the container whose files lie in `directory`; `volatile` where
/// they are not to outlive a crash.
pub(super) fn host_tree(directory: &Path, volatile: bool) -> Result<RootTree> {
    let found = find()?;
    let part = |path: &PathBuf| Part::Directory {
        place: path.to_string_lossy().into_owned(),
        layers: Layers {
            lower: vec![path.clone()],
            changes: changes_of(directory, path),
            volatile,
        },
    };
    let files = found
        .files
        .iter()
        .map(|path| Part::File(path.to_string_lossy().into_owned()));
    Ok(RootTree::Parts {
        root: Layers {
            lower: vec![directory.join(SKELETON)],
            changes: directory.to_owned(),
            volatile,
        },
        parts: found.whole.iter().map(part).chain(files).collect(),
    })
}

fn find() -> Result<Found> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")
        .map_err(EngineError::store("read /proc/self/mountinfo"))?;
    let mut found = Found::default();
    search(Path::new("/"), &mount_points(&mountinfo), &mut found)?;
    found.whole.order();
    Ok(found)
}

/// The place for what changes in a directory: its path with other slashes.
fn changes_of(directory: &Path, path: &Path) -> PathBuf {
    let name = path
        .to_string_lossy()
        .trim_matches('/')
        .replace('%', "%25")
        .replace('/', "%2f");
    directory.join(PARTS).join(name)
}

/// Makes what the tree of [`host_tree`] needs on disk.
pub(super) fn make_places(directory: &Path, root: &RootTree) -> Result<()> {
    let RootTree::Parts { parts, .. } = root else {
        return Ok(());
    };
    let skeleton = directory.join(SKELETON);
    make(&skeleton)?;
    make(&directory.join(PARTS))?;
    let found = find()?;
    let below = |path: &Path| skeleton.join(path.strip_prefix("/").unwrap_or(path));
    for path in found.empty.iter().chain(&found.whole) {
        make(&below(path))?;
    }
    for path in &found.files {
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(below(path))
            .map_err(EngineError::store(format!("make a place for {}", path.display())))?;
    }
    for (path, target) in &found.links {
        match std::os::unix::fs::symlink(target, below(path)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(EngineError::store(format!("make the link {}", path.display()))(
                    error,
                ));
            }
            _ => {}
        }
    }
    for part in parts {
        if let Part::Directory { layers, .. } = part {
            make(&layers.changes)?;
            make(&layers.changes.join("upper"))?;
            make(&layers.changes.join("work"))?;
        }
    }
    Ok(())
}

/// Everybody may enter: the mode shows inside. The container's own directory is closed.
fn make(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder
        .create(path)
        .map_err(EngineError::store(format!("make {}", path.display())))
}

/// The places for changes below a container's directory, each with the path that it shows at;
/// none for a tree that is not in parts.
pub(crate) fn read_changes(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(directory.join(PARTS))
        .into_iter()
        .flatten()
        .flatten();
    let place = |name: &OsStr| {
        let name = name.to_string_lossy().replace("%2f", "/").replace("%25", "%");
        PathBuf::from("/").join(name)
    };
    entries
        .map(|entry| (place(&entry.file_name()), entry.path().join("upper")))
        .collect()
}

/// The lower layer of the root itself, where the tree is in parts.
pub(crate) fn skeleton_of(directory: &Path) -> Option<PathBuf> {
    Some(directory.join(SKELETON)).filter(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_mounts_is_split() {
        let base = std::env::temp_dir().join(format!("cais-parts-{}", std::process::id()));
        for name in ["a/x", "b/c/d", "b/e"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        fs::write(base.join("b/file"), "").unwrap();
        std::os::unix::fs::symlink("a", base.join("link")).unwrap();
        let mut found = Found::default();
        search(&base, &[base.join("b/c/d")], &mut found).unwrap();
        found.whole.sort();
        found.empty.sort();
        assert_eq!(found.whole, [base.join("a"), base.join("b/e")]);
        assert_eq!(
            found.empty,
            [base.join("b"), base.join("b/c"), base.join("b/c/d")]
        );
        assert_eq!(found.files, [base.join("b/file")]);
        assert_eq!(found.links, [(base.join("link"), PathBuf::from("a"))]);
        let place = changes_of(&base, Path::new("/x%/y"));
        assert_eq!(place, base.join("parts/x%25%2fy"));
        fs::create_dir_all(place.join("upper")).unwrap();
        assert_eq!(
            read_changes(&base),
            [(PathBuf::from("/x%/y"), place.join("upper"))]
        );
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn where_things_are_mounted() {
        let text = "22 1 254:0 / / rw - ext4 /dev/vda rw\n24 22 0:5 / /a\\040b rw - tmpfs t rw\n";
        assert_eq!(mount_points(text), [PathBuf::from("/"), PathBuf::from("/a b")]);
    }
}
