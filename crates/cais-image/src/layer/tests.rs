mod exact;
mod hostile;
mod overlay;
mod pack;
mod round_trip;

use super::*;
pub(crate) use crate::tar::tests::Raw;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, open, statat};
use std::collections::HashMap;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A place with a staging directory, and a canary beside it that must stay as it is.
pub(crate) struct Scratch {
    pub(crate) base: PathBuf,
    canary: Vec<String>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = std::env::temp_dir().join(format!("cais-layer-{}-{number}", std::process::id()));
        std::fs::create_dir_all(base.join("deep/staging")).unwrap();
        std::fs::create_dir_all(base.join("canary/dir")).unwrap();
        std::fs::write(base.join("canary/file"), "canary").unwrap();
        std::os::unix::fs::symlink("file", base.join("canary/link")).unwrap();
        let canary = listing(&base.join("canary"), true);
        Self { base, canary }
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.base.join("deep/staging")
    }

    pub(crate) fn fresh(&self) -> OwnedFd {
        let staging = open_dir(&self.staging());
        remove_children(staging.as_fd()).unwrap();
        staging
    }

    pub(crate) fn unpack(&self, archive: &[u8], options: &UnpackOptions) -> Result<Unpacked, UnpackError> {
        unpack_layer(archive, self.fresh().as_fd(), None, options)
    }

    /// Unpacks, makes the archive again and compares it.
    pub(crate) fn check_exact(&self, archive: &[u8], options: &UnpackOptions) -> Unpacked {
        let mut record = Vec::new();
        let staging = self.fresh();
        let unpacked = unpack_layer(archive, staging.as_fd(), Some(&mut record), options).unwrap();
        let mut again = Vec::new();
        let assembled = assemble_layer(staging.as_fd(), Cursor::new(&record), &mut again).unwrap();
        assert!(again == archive, "not the same archive");
        assert_eq!(assembled.diff_id, unpacked.diff_id);
        assert_eq!(assembled.diff_id, crate::Digest::of(archive));
        assert_eq!(assembled.size, archive.len() as u64);
        unpacked
    }

    pub(crate) fn check_canary(&self) {
        assert_eq!(self.canary, listing(&self.base.join("canary"), true));
        let mut there: Vec<_> = std::fs::read_dir(self.base.join("deep"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        there.sort();
        assert_eq!(there, ["staging"]);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let base = open_dir(&std::env::temp_dir());
        let result = remove_tree(base.as_fd(), self.base.file_name().unwrap().as_bytes());
        if !std::thread::panicking() {
            result.unwrap();
        }
    }
}

pub(crate) fn open_dir(path: &Path) -> OwnedFd {
    open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap()
}

/// A line for each file below `root` and for itself: everything that an archive can say.
pub(crate) fn listing(root: &Path, xattrs: bool) -> Vec<String> {
    let (mut lines, mut links) = (Vec::new(), HashMap::new());
    list(root, "", xattrs, &mut links, &mut lines);
    lines
}

fn list(root: &Path, inside: &str, xattrs: bool, links: &mut HashMap<u64, String>, lines: &mut Vec<String>) {
    let path = root.join(inside);
    let stat = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut line = format!(
        "{inside:?} {kind:?} {:o} {}:{} {}.{}",
        stat.st_mode & 0o7777,
        stat.st_uid,
        stat.st_gid,
        stat.st_mtime,
        stat.st_mtime_nsec
    );
    match kind {
        FileType::RegularFile => {
            let contents = std::fs::read(&path).unwrap();
            line += &format!(" {} {}", contents.len(), crate::Digest::of(&contents));
        }
        FileType::Symlink => line += &format!(" -> {:?}", std::fs::read_link(&path).unwrap()),
        FileType::CharacterDevice | FileType::BlockDevice => line += &format!(" {}", stat.st_rdev),
        _ => {}
    }
    if kind != FileType::Directory && stat.st_nlink > 1 {
        line += &format!(
            " = {}",
            links.entry(stat.st_ino).or_insert_with(|| inside.to_owned())
        );
    }
    if xattrs {
        let mut names = attributes::list_xattrs(|buffer| rustix::fs::llistxattr(&path, buffer)).unwrap();
        names.sort();
        for name in names {
            let mut value = [0; 4096];
            let length = rustix::fs::lgetxattr(&path, &name[..], &mut value[..]).unwrap();
            line += &format!(" {:?}={:?}", String::from_utf8_lossy(&name), &value[..length]);
        }
    }
    lines.push(line);
    if kind == FileType::Directory {
        let mut names: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            let name = name.to_str().unwrap();
            let inside = if inside.is_empty() {
                name.to_owned()
            } else {
                format!("{inside}/{name}")
            };
            list(root, &inside, xattrs, links, lines);
        }
    }
}

pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub(crate) fn paths(paths: &[PathBuf]) -> Vec<&str> {
    paths.iter().map(|path| path.to_str().unwrap()).collect()
}

/// An archive from steps like `l evil /etc; f evil/file`: `f` makes a file (with contents),
/// `e` an empty one, `d` a directory (with a mode), `l` and `h` links, `p` a pipe, `c` a
/// device 0:0. `a*3` is `aaa`, `''` is nothing, `CANARY` the canary's path.
pub(crate) fn steps(steps: &str, canary: &str) -> Raw {
    let word = |word: Option<&str>, default: &str| {
        let word = word.unwrap_or(default).replace("CANARY", canary);
        match word.split_once('*') {
            _ if word == "''" => String::new(),
            Some((part, count)) => part.repeat(count.parse().unwrap()),
            None => word,
        }
    };
    steps.split("; ").fold(Raw::default(), |raw, step| {
        let mut words = step.split(' ');
        let kind = words.next().unwrap();
        let name = word(words.next(), "");
        let more = words.next();
        match kind {
            "f" => raw.file(&name, word(more, "hacked").as_bytes()),
            "e" => raw.file(&name, b""),
            "d" => raw.dir(&name, &word(more, "755")),
            "l" => raw.link(&name, b'2', &word(more, "")),
            "h" => raw.link(&name, b'1', &word(more, "")),
            "p" => raw.link(&name, b'6', ""),
            "c" => raw.link(&name, b'3', ""),
            _ => panic!("{step}"),
        }
    })
}
