//! What a container changed in its file tree: the overlay's upper directory read
//! against the layers below. Whiteouts are character devices 0:0, opaque directories
//! carry an attribute (overlayfs.rst, "whiteouts and opaque directories").

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::RootSource;
use crate::rootless::in_user_namespace;
use crate::run::parts;
use crate::state::Container;
use cais_order::InOrder;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How a path changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was changed.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl Change {
    /// Docker's letter.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Changed => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

/// What a container changed, sorted by path.
///
/// # Errors
/// For one that writes into its directory itself; where something cannot be read.
pub fn changes_of(engine: &Engine, container: &Container) -> Result<Vec<(PathBuf, Change)>> {
    let directory = engine.store.container(&container.record.id);
    let skeleton = parts::skeleton_of(&directory);
    let lower = match &container.record.options.root {
        RootSource::Host => vec![skeleton.unwrap_or_else(|| PathBuf::from("/"))],
        RootSource::Image { layers, .. } => layers.clone(),
        RootSource::Directory {
            path,
            writable: false,
        } => vec![path.clone()],
        RootSource::Directory { path, .. } => {
            return Err(EngineError::Invalid(format!(
                "the container writes into {} itself, so nothing tells what it changed",
                path.display()
            )));
        }
    };
    let all = || {
        let mut found = changes(&directory.join("upper"), &lower)?;
        for (place, upper) in parts::read_changes(&directory) {
            walk(&upper, &place, &[PathBuf::from("/")], &mut found)?;
        }
        found.order();
        leave_out_places(&mut found, &directory.join("upper"), &lower);
        Ok(found)
    };
    if !engine.rootless {
        return all();
    }
    // What the container wrote may belong to ids that this user is not.
    let bytes = in_user_namespace("read what the container changed", &mut || Ok(encode(&all()?)))?;
    Ok(decode(&bytes))
}

/// Where something of ours is mounted in every container: what lies below is made at the start
/// if it is missing, and no change of the program's. Docker has a layer of its own for it.
const PLACES: [&str; 10] = [
    "/dev",
    "/dev/console",
    "/dev/pts",
    "/dev/shm",
    "/etc",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// Takes those places out, as long as nothing is in them.
fn leave_out_places(found: &mut Vec<(PathBuf, Change)>, upper: &Path, lower: &[PathBuf]) {
    // From below, so that a directory is looked at after what is in it.
    for place in PLACES.iter().rev().map(Path::new) {
        let Ok(index) = found.binary_search_by(|(path, _)| path.as_path().cmp(place)) else {
            continue;
        };
        let has_more = found
            .get(index + 1)
            .is_some_and(|(path, _)| path.starts_with(place));
        let is_ours = found.get(index).is_some_and(|(_, change)| match change {
            Change::Added => is_empty(&inside(upper, place)),
            // Copied up for what was made in it.
            Change::Changed => place == Path::new("/etc") && is_same(upper, lower, place),
            Change::Deleted => false,
        });
        if is_ours && !has_more {
            found.remove(index);
        }
    }
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Whether it is a file without content, or a directory: whoever asks knows what is in that.
fn is_empty(path: &Path) -> bool {
    let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        FileType::RegularFile => stat.st_size == 0,
        _ => false,
    })
}

/// Whether a directory has the owner and the mode that it has below.
fn is_same(upper: &Path, lower: &[PathBuf], place: &Path) -> bool {
    let look = |root: &Path| {
        let stat = statat(CWD, inside(root, place), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_mode, stat.st_uid, stat.st_gid))
    };
    let above = look(upper);
    above.is_some() && lower.iter().find_map(|layer| look(layer)) == above
}

/// Letter and path of each change, with a nul byte behind it: no path holds one.
fn encode(changes: &[(PathBuf, Change)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (path, change) in changes {
        bytes.extend(change.letter().to_string().as_bytes());
        bytes.extend(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

fn decode(bytes: &[u8]) -> Vec<(PathBuf, Change)> {
    let read = |entry: &[u8]| {
        let (letter, path) = entry.split_first()?;
        let all = [Change::Changed, Change::Added, Change::Deleted];
        let change = all
            .into_iter()
            .find(|change| change.letter() == char::from(*letter))?;
        Some((PathBuf::from(std::ffi::OsStr::from_bytes(path)), change))
    };
    bytes.split(|byte| *byte == 0).filter_map(read).collect()
}

/// The changes below `upper` against `lower` (the uppermost first), sorted by path.
///
/// # Errors
/// Where a directory cannot be read.
pub fn changes(upper: &Path, lower: &[PathBuf]) -> Result<Vec<(PathBuf, Change)>> {
    let mut found = Vec::new();
    walk(upper, Path::new("/"), lower, &mut found)?;
    found.order();
    Ok(found)
}

fn failed(path: &Path) -> impl FnOnce(Errno) -> EngineError {
    let path = path.to_owned();
    move |errno| EngineError::Store {
        action: format!("read {}", path.display()),
        source: errno.into(),
    }
}

/// Walks one directory of the upper layer. `lower` are the layers that still show
/// through here: none below an opaque directory.
fn walk(upper: &Path, inside: &Path, lower: &[PathBuf], found: &mut Vec<(PathBuf, Change)>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, upper, flags, Mode::empty()).map_err(failed(upper))?;
    for entry in Dir::read_from(&directory).map_err(failed(upper))? {
        let entry = entry.map_err(failed(upper))?;
        let name: CString = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let name_path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let (path, shown) = (upper.join(name_path), inside.join(name_path));
        let stat = statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed(&path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            found.push((shown, Change::Deleted));
            continue;
        }
        let below = lower_kind(lower, &shown)?;
        found.push((
            shown.clone(),
            if below.is_some() {
                Change::Changed
            } else {
                Change::Added
            },
        ));
        if kind == FileType::Directory {
            let opaque = is_opaque(&path);
            if opaque && below == Some(FileType::Directory) {
                list_hidden(&path, &shown, lower, found)?;
            }
            let through = if opaque || below != Some(FileType::Directory) {
                &[][..]
            } else {
                lower
            };
            walk(&path, &shown, through, found)?;
        }
    }
    Ok(())
}

/// The kind of what the layers show at `shown`, the uppermost that has it.
fn lower_kind(lower: &[PathBuf], shown: &Path) -> Result<Option<FileType>> {
    let relative = shown.strip_prefix("/").unwrap_or(shown);
    for layer in lower {
        let path = layer.join(relative);
        match statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                let whiteout = kind == FileType::CharacterDevice && stat.st_rdev == 0;
                return Ok((!whiteout).then_some(kind));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(failed(&path)(errno)),
        }
    }
    Ok(None)
}

/// A directory that was removed and made again hides everything that was in it.
fn list_hidden(
    upper: &Path,
    shown: &Path,
    lower: &[PathBuf],
    found: &mut Vec<(PathBuf, Change)>,
) -> Result<()> {
    let relative = shown.strip_prefix("/").unwrap_or(shown);
    for layer in lower {
        let Ok(entries) = std::fs::read_dir(layer.join(relative)) else {
            continue;
        };
        for entry in entries.flatten() {
            let there = statat(CWD, upper.join(entry.file_name()), AtFlags::SYMLINK_NOFOLLOW);
            let path = shown.join(entry.file_name());
            if matches!(there, Err(Errno::NOENT)) && !found.iter().any(|(known, _)| *known == path) {
                found.push((path, Change::Deleted));
            }
        }
    }
    Ok(())
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0u8; 8];
    ["trusted.overlay.opaque", "user.overlay.opaque"]
        .iter()
        .any(|name| {
            rustix::fs::lgetxattr(path, *name, &mut value[..])
                .is_ok_and(|length| value.get(..length) == Some(b"y"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn changes_over_a_pipe() {
        let changes = [
            (PathBuf::from("/a b\n"), Change::Added),
            (PathBuf::from("/c"), Change::Deleted),
        ];
        assert_eq!(decode(&encode(&changes)), changes);
        assert_eq!(decode(b""), []);
    }

    #[test]
    fn places_of_ours_are_no_changes() {
        let base = std::env::temp_dir().join(format!("cais-diff-places-{}", std::process::id()));
        let (upper, lower) = (base.join("upper"), base.join("lower"));
        for directory in ["upper/etc", "upper/dev", "upper/proc", "lower/etc"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        for file in ["etc/hosts", "etc/hostname"] {
            fs::write(upper.join(file), "").unwrap();
        }
        let layers = [lower];
        let look = || {
            let mut found = changes(&upper, &layers).unwrap();
            leave_out_places(&mut found, &upper, &layers);
            let shown = found
                .iter()
                .map(|(path, change)| format!("{} {}", change.letter(), path.display()));
            shown.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(look(), "");
        fs::write(upper.join("etc/hosts"), "x").unwrap();
        assert_eq!(look(), "C /etc, A /etc/hosts");
        fs::write(upper.join("etc/hosts"), "").unwrap();
        fs::write(upper.join("etc/own"), "").unwrap();
        fs::write(upper.join("dev/own"), "").unwrap();
        assert_eq!(look(), "A /dev, A /dev/own, C /etc, A /etc/own");
        fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn added_changed_and_untouched() {
        let base = std::env::temp_dir().join(format!("cais-diff-{}", std::process::id()));
        let (upper, lower) = (base.join("upper"), base.join("lower"));
        for directory in ["upper/etc", "upper/new", "lower/etc", "lower/usr"] {
            fs::create_dir_all(base.join(directory)).unwrap();
        }
        fs::write(lower.join("etc/passwd"), "a").unwrap();
        fs::write(upper.join("etc/passwd"), "b").unwrap();
        fs::write(upper.join("new/file"), "c").unwrap();
        let found = changes(&upper, &[lower]).unwrap();
        let want = [
            ("/etc", Change::Changed),
            ("/etc/passwd", Change::Changed),
            ("/new", Change::Added),
            ("/new/file", Change::Added),
        ];
        assert_eq!(found, want.map(|(path, change)| (PathBuf::from(path), change)));
        fs::remove_dir_all(base).unwrap();
    }
}
