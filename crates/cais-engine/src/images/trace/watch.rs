//! Hears of each call that names a file before it is made, and lets it go on.

use super::calls::{Call, Does, by_number};
use crate::error::{EngineError, Result};
use cais_image::pack::{Use, UseKind};
use cais_linux::SysError;
use cais_linux::path::open_inside;
use cais_linux::seccomp::Arch;
use cais_sys::notify::{self, Notification};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, fstat, open, statx};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What a call does to the file that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It must be there.
    Read,
    /// It must be there, and is not followed.
    Link,
    /// It is made, changed or removed: its directory must be there.
    Make,
}

/// The most bytes of a path (`PATH_MAX`).
const PATH_MAX: usize = 4096;
const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const O_ACCMODE: u64 = 0o3;
const O_WRONLY: u64 = 0o1;
const O_CREAT: u64 = 0o100;
const O_NOFOLLOW: u64 = 0o400_000;

/// What was heard of a program.
#[derive(Debug)]
pub(super) struct Watch {
    calls: HashMap<u32, Call>,
    /// The programs that count; what they start counts too.
    programs: BTreeSet<PathBuf>,
    /// Processes that count.
    counted: HashSet<u32>,
    uses: BTreeSet<Use>,
}

/// A process that waits in a call.
struct Caller {
    pid: u32,
    executable: PathBuf,
    root: OwnedFd,
    root_mount: u64,
}

impl Watch {
    pub(super) fn new(programs: BTreeSet<PathBuf>) -> Self {
        Self {
            calls: by_number(),
            programs,
            counted: HashSet::new(),
            uses: BTreeSet::new(),
        }
    }

    /// Answers until all processes of the container are gone.
    pub(super) fn run(mut self, listener: &OwnedFd) -> Result<BTreeSet<Use>> {
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(failed("poll", errno)),
            }
            let [fd] = &fds;
            if fd.revents().contains(PollFlags::IN) {
                match notify::receive(listener.as_fd()) {
                    Ok(notification) => {
                        self.note(listener, &notification);
                        // It may be gone.
                        notify::go_on(listener.as_fd(), notification.id).unwrap_or_default();
                    }
                    Err(Errno::NOENT | Errno::INTR | Errno::AGAIN) => {}
                    Err(errno) => return Err(failed("ioctl SECCOMP_IOCTL_NOTIF_RECV", errno)),
                }
            } else if !fd.revents().is_empty() {
                return Ok(self.uses);
            }
        }
    }

    /// Notes what a call is about; what cannot be found out is left out.
    fn note(&mut self, listener: &OwnedFd, notification: &Notification) {
        let number = u32::try_from(notification.number).unwrap_or(u32::MAX);
        let Some(call) = self.calls.get(&number).copied() else {
            return;
        };
        if Some(notification.arch) != Arch::NATIVE.audit() {
            return;
        }
        let pid = notification.pid;
        let Ok(executable) = std::fs::read_link(format!("/proc/{pid}/exe")) else {
            return;
        };
        if !self.counts(pid, &executable) {
            return;
        }
        let Some(caller) = Caller::find(pid, executable) else {
            return;
        };
        let found = caller.look(&call, &notification.args);
        if !notify::is_valid(listener.as_fd(), notification.id) {
            return;
        }
        for (path, kind) in found {
            self.uses.insert(Use {
                path,
                kind,
                by: caller.executable.clone(),
            });
        }
    }

    /// Whether a process is a program that counts, or was started by one.
    fn counts(&mut self, pid: u32, executable: &Path) -> bool {
        let Some((process, parent)) = read_family(pid) else {
            return false;
        };
        let counts = self.counted.contains(&process)
            || self.programs.contains(executable)
            || self.counted.contains(&parent);
        if counts {
            self.counted.insert(process);
        }
        counts
    }
}

impl Caller {
    fn find(pid: u32, executable: PathBuf) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(format!("/proc/{pid}/root"), flags, Mode::empty()).ok()?;
        let root_mount = mount_of(&root)?;
        Some(Self {
            pid,
            executable,
            root,
            root_mount,
        })
    }

    /// What the call is about to use.
    fn look(&self, call: &Call, args: &[u64; 6]) -> Vec<(PathBuf, UseKind)> {
        let argument = |index: usize| args.get(index).copied().unwrap_or(0);
        let Some(path) = self.read_path(argument(call.path)) else {
            return Vec::new();
        };
        // A descriptor is an int: the upper half of the register means nothing.
        let directory = call.directory.map(|index| argument(index) & 0xffff_ffff);
        let Some(path) = self.absolute(path, directory) else {
            return Vec::new();
        };
        let (effect, writes) = match call.does {
            Does::Always(effect) => (effect, false),
            Does::Flags(index) if argument(index) & AT_SYMLINK_NOFOLLOW != 0 => (Effect::Link, false),
            Does::Flags(_) => (Effect::Read, false),
            Does::Open(index) => opened(argument(index)),
            Does::OpenHow(index) => opened(self.read_number(argument(index)).unwrap_or(0)),
        };
        self.find_use(&path, effect, writes).into_iter().collect()
    }

    /// Looks whether the call will find something in the container's own tree.
    fn find_use(&self, path: &Path, effect: Effect, writes: bool) -> Option<(PathBuf, UseKind)> {
        let there = match effect {
            Effect::Make => path.parent().unwrap_or(Path::new("/")),
            _ => path,
        };
        let follow = match effect {
            Effect::Link => OFlags::NOFOLLOW,
            _ => OFlags::empty(),
        };
        let file = open_inside(self.root.as_fd(), there, OFlags::PATH | follow).ok()?;
        if mount_of(&file)? != self.root_mount {
            return None;
        }
        let stat = fstat(&file).ok()?;
        match (effect, FileType::from_raw_mode(stat.st_mode)) {
            (Effect::Make, _) => Some((path.to_owned(), UseKind::Write)),
            // Who lists a directory looks at everything in it; a file is needed by who opens it.
            (Effect::Link, FileType::RegularFile) => None,
            (Effect::Link, _) => Some((path.to_owned(), UseKind::Link)),
            (Effect::Read, FileType::RegularFile) if !self.may_read(&stat, writes) => None,
            (Effect::Read, _) if writes => Some((path.to_owned(), UseKind::Write)),
            (Effect::Read, _) => Some((path.to_owned(), UseKind::Read)),
        }
    }

    /// Whether the permissions let the process read, or write, the file (path_resolution(7)).
    /// Both sides are in the ids of this process's user namespace.
    fn may_read(&self, stat: &rustix::fs::Stat, writes: bool) -> bool {
        let Some(ids) = Ids::read(self.pid) else {
            return false;
        };
        let wanted = if writes { 0o2 } else { 0o5 };
        let class = if ids.is_root {
            return true;
        } else if ids.uid == stat.st_uid {
            6
        } else if ids.groups.contains(&stat.st_gid) {
            3
        } else {
            0
        };
        (stat.st_mode >> class) & wanted != 0
    }

    /// A path as the process has it, made absolute; `None` where it begins outside the tree.
    fn absolute(&self, path: PathBuf, directory: Option<u64>) -> Option<PathBuf> {
        if path.is_absolute() {
            return Some(path);
        }
        if path.as_os_str().is_empty() {
            return None;
        }
        let at = match directory.map(|fd| u32::try_from(fd).unwrap_or(u32::MAX).cast_signed()) {
            None | Some(AT_FDCWD) => format!("/proc/{}/cwd", self.pid),
            Some(fd) => format!("/proc/{}/fd/{fd}", self.pid),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = open(&at, flags, Mode::empty()).ok()?;
        if mount_of(&opened)? != self.root_mount {
            return None;
        }
        let directory = std::fs::read_link(&at).ok()?;
        directory.is_absolute().then(|| directory.join(path))
    }

    fn memory(&self, address: u64, bytes: &mut [u8]) -> Option<usize> {
        let file = File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        file.read_at(bytes, address).ok()
    }

    fn read_path(&self, address: u64) -> Option<PathBuf> {
        let mut bytes = [0u8; PATH_MAX];
        let mut filled = 0;
        // A read that meets the end of a mapping fails as a whole: up to a page at a time.
        while filled < PATH_MAX {
            let at = address.checked_add(filled as u64)?;
            let page = usize::try_from(4096 - at % 4096).ok()?;
            let end = PATH_MAX.min(filled + page);
            let count = self.memory(at, bytes.get_mut(filled..end)?)?;
            let part = bytes.get(filled..filled + count)?;
            if let Some(end) = part.iter().position(|byte| *byte == 0) {
                let path = bytes.get(..filled + end)?;
                return Some(PathBuf::from(OsStr::from_bytes(path)));
            }
            if count == 0 {
                return None;
            }
            filled += count;
        }
        None
    }

    fn read_number(&self, address: u64) -> Option<u64> {
        let mut bytes = [0u8; 8];
        let count = self.memory(address, &mut bytes)?;
        (count == 8).then(|| u64::from_ne_bytes(bytes))
    }
}

/// What open(2)'s flags mean, and whether the file is written.
fn opened(flags: u64) -> (Effect, bool) {
    let writes = flags & O_ACCMODE == O_WRONLY;
    if flags & O_CREAT != 0 && flags & O_ACCMODE != 0 {
        // It is made where it is not there: it need not be.
        return (Effect::Make, true);
    }
    if flags & O_NOFOLLOW != 0 && !writes {
        // The end is no link where it succeeds.
        return (Effect::Read, false);
    }
    (Effect::Read, writes)
}

/// The owner of a process as far as files are concerned.
struct Ids {
    uid: u32,
    groups: Vec<u32>,
    is_root: bool,
}

impl Ids {
    fn read(pid: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
            numbers.collect::<std::result::Result<Vec<_>, _>>().ok()
        };
        // Real, effective, saved, and that of the file system.
        let uid = *field("Uid:")?.get(3)?;
        let mut groups = field("Groups:").unwrap_or_default();
        groups.push(*field("Gid:")?.get(3)?);
        let map = std::fs::read_to_string(format!("/proc/{pid}/uid_map")).ok()?;
        let first: Vec<&str> = map.lines().next()?.split_ascii_whitespace().collect();
        let root = match first[..] {
            ["0", outside, _] => outside.parse().ok(),
            _ => None,
        };
        Some(Self {
            uid,
            groups,
            is_root: root == Some(uid),
        })
    }
}

/// The process of a thread, and its parent.
fn read_family(thread: u32) -> Option<(u32, u32)> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u32>().ok()
    };
    Some((field("Tgid:")?, field("PPid:")?))
}

/// The mount that a descriptor is of.
fn mount_of(file: &OwnedFd) -> Option<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let found = statx(file, "", flags, StatxFlags::MNT_ID).ok()?;
    Some(found.stx_mnt_id)
}

fn failed(call: &'static str, errno: Errno) -> EngineError {
    EngineError::System {
        action: "watch the program".to_owned(),
        source: SysError::new(call, "", errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opening_needs() {
        for (flags, want) in [
            (0, (Effect::Read, false)),
            (0o2, (Effect::Read, false)),
            (O_WRONLY, (Effect::Read, true)),
            (O_WRONLY | O_CREAT, (Effect::Make, true)),
            (0o2 | O_CREAT, (Effect::Make, true)),
            (O_NOFOLLOW, (Effect::Read, false)),
        ] {
            assert_eq!(opened(flags), want, "{flags:o}");
        }
    }

    #[test]
    fn a_process_is_looked_at() {
        let own = std::process::id();
        let caller = Caller::find(own, PathBuf::from("/x")).unwrap();
        let path = c"/etc/passwd";
        let found = caller.read_path(path.as_ptr() as u64).unwrap();
        assert_eq!(found, Path::new("/etc/passwd"));
        assert_eq!(caller.read_path(1), None);
        let number = 77u64;
        let address = std::ptr::from_ref(&number) as u64;
        assert_eq!(caller.read_number(address), Some(77));
        let here = std::env::current_dir().unwrap();
        let cwd = u64::from(AT_FDCWD.cast_unsigned());
        if let Some(path) = caller.absolute(PathBuf::from("x"), Some(cwd)) {
            assert_eq!(path, here.join("x"));
        }
        assert_eq!(read_family(own).map(|(process, _)| process), Some(own));
    }
}
