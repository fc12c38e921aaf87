//! Mounts as descriptors, id-mapped mounts, overlay.

use super::kernel::{KernelVersion, from_result, read_kernel_version, reason};
use super::{Finding, State};
use crate::error::{Result, SysError};
use crate::mounts::tree::map_ids;
use cais_sys::clone::namespace;
use cais_sys::mount::{AT_EMPTY_PATH, MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};
use cais_sys::process::{Forked, exit_now, fork};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsmount,
    fsopen, open_tree,
};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::path::Path;

/// A tmpfs that is mounted nowhere.
pub(super) fn try_detached_tmpfs() -> std::result::Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

fn try_mount_setattr() -> std::result::Result<(), Errno> {
    let tree = try_detached_tmpfs()?;
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(tree.as_fd(), c"", AT_EMPTY_PATH, &attr)
}

/// A layer handed to an overlay that is never made.
pub(super) fn try_overlay_descriptor() -> std::result::Result<(), Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let layer = open(
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    fsconfig_set_fd(context.as_fd(), "lowerdir+", layer.as_fd())
}

/// Whether a file system can be id-mapped, from what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdmapSupport {
    /// Its name; `unknown` for one that is not in the table.
    pub file_system: &'static str,
    /// The first kernel that can; `None` where none can, or it is not in the table.
    pub since: Option<KernelVersion>,
}

/// Magic numbers of statfs(2), names, and since when mounts of it can be id-mapped
/// (`FS_ALLOW_IDMAP` in the kernel's sources; mount_setattr(2)).
const FILE_SYSTEMS: [(i64, &str, Option<KernelVersion>); 18] = [
    (0xef53, "ext4", Some(KernelVersion::new(5, 12))),
    (0x5846_5342, "xfs", Some(KernelVersion::new(5, 12))),
    (0x9123_683e, "btrfs", Some(KernelVersion::new(5, 15))),
    (0x0102_1994, "tmpfs", Some(KernelVersion::new(6, 3))),
    (0x794c_7630, "overlay", Some(KernelVersion::new(5, 19))),
    (0xf2f5_2010, "f2fs", Some(KernelVersion::new(5, 18))),
    (0xe0f5_e1e2, "erofs", Some(KernelVersion::new(5, 19))),
    (0x7371_7368, "squashfs", Some(KernelVersion::new(6, 2))),
    (0x2fc1_2fc1, "zfs", Some(KernelVersion::new(5, 12))),
    (0xca45_1a4e, "bcachefs", Some(KernelVersion::new(6, 7))),
    (0x00c3_6400, "ceph", Some(KernelVersion::new(6, 7))),
    (0x4d44, "vfat", Some(KernelVersion::new(5, 12))),
    (0x7366_746e, "ntfs3", Some(KernelVersion::new(5, 15))),
    (0x6573_5546, "fuse", None),
    (0x6969, "nfs", None),
    (0x0102_1997, "9p", None),
    (0xff53_4d42, "cifs", None),
    (0x8584_58f6, "ramfs", None),
];

impl IdmapSupport {
    /// What the table says of a magic number of statfs(2).
    #[must_use]
    pub fn of_magic(magic: i64) -> Self {
        FILE_SYSTEMS.iter().find(|(known, ..)| *known == magic).map_or(
            Self {
                file_system: "unknown",
                since: None,
            },
            |(_, file_system, since)| Self {
                file_system,
                since: *since,
            },
        )
    }
}

/// Looks up the file system that `dir` lies on.
///
/// # Errors
/// As fstatfs(2).
pub fn probe_idmap(dir: BorrowedFd<'_>) -> Result<IdmapSupport> {
    let found = fstatfs(dir).map_err(|errno| SysError::new("fstatfs", "DIR", errno))?;
    Ok(IdmapSupport::of_magic(found.f_type))
}

/// Tries it: a copy of the mount at `dir`, attached nowhere, is mapped through `userns`
/// (not the initial one) and dropped.
///
/// # Errors
/// As open_tree(2) and mount_setattr(2), except `EINVAL`, which means that the file
/// system cannot.
pub fn probe_idmap_for_real(dir: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> Result<bool> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(dir, "", flags)
        .map_err(|errno| SysError::new("open_tree", "DIR, \"\", OPEN_TREE_CLONE|AT_EMPTY_PATH", errno))?;
    match map_ids(tree.as_fd(), userns, false) {
        Ok(()) => Ok(true),
        Err(error) if error.errno() == Errno::INVAL => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn findings(state_dir: &Path) -> Vec<Finding> {
    const STARTS: &str = "containers cannot be started: their file trees are built as descriptors";
    const OVERLAY: &str = "no copy-on-write: only --rootfs DIR:rw";
    vec![
        from_result(
            "mounts as descriptors (fsopen)",
            "5.2",
            try_detached_tmpfs().map(drop),
            STARTS,
        ),
        from_result("mount_setattr", "5.12", try_mount_setattr(), STARTS),
        id_mapped(state_dir),
        file_system("overlay", OVERLAY),
        from_result(
            "overlay layers as descriptors",
            "6.13",
            try_overlay_descriptor(),
            "layers are named by paths that this process opened: slightly slower",
        ),
        overlay_for_users(),
        file_system("erofs", "images are kept as directories only"),
    ]
}

/// Whether a file system is registered, or the kernel finds a module for it.
fn file_system(name: &'static str, without: &'static str) -> Finding {
    let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if is_registered(&listed, name) {
        return Finding::new(name, State::Present, "", without);
    }
    match fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Finding::new(name, State::Present, "as a module", without),
        Err(Errno::NODEV) => Finding::new(name, State::Absent, "neither built in nor a module", without),
        Err(errno) => {
            let detail = format!("not loaded, and this user cannot try: {}", reason(errno));
            Finding::new(name, State::Unknown, detail, without)
        }
    }
}

/// Whether `/proc/filesystems` lists `name`.
fn is_registered(text: &str, name: &str) -> bool {
    text.lines()
        .any(|line| line.split('\t').next_back() == Some(name))
}

fn overlay_for_users() -> Finding {
    const SINCE: KernelVersion = KernelVersion::new(5, 11);
    let found = read_kernel_version();
    let detail = if found >= SINCE {
        String::new()
    } else {
        format!("in Linux since {SINCE}")
    };
    let without = "rootless containers have no copy-on-write: only --rootfs DIR:rw";
    Finding::new("overlay in user namespaces", found >= SINCE, detail, without)
}

fn id_mapped(state_dir: &Path) -> Finding {
    const FEATURE: &str = "id-mapped mounts";
    const WITHOUT: &str =
        "--userns=auto is refused: use --userns=host, or keep the state on another file system";
    let finding = |state, detail| Finding::new(FEATURE, state, detail, WITHOUT);
    let dir = match open_nearest(state_dir) {
        Ok(dir) => dir,
        Err(error) => return finding(State::Unknown, error.to_string()),
    };
    let support = match probe_idmap(dir.as_fd()) {
        Ok(support) => support,
        Err(error) => return finding(State::Unknown, error.to_string()),
    };
    let name = support.file_system;
    let tried = make_user_namespace().and_then(|userns| probe_idmap_for_real(dir.as_fd(), userns.as_fd()));
    match tried {
        Ok(true) => finding(
            State::Present,
            format!("tried on {name} below {}", state_dir.display()),
        ),
        Ok(false) => finding(
            State::Absent,
            format!("{name} below {} cannot", state_dir.display()),
        ),
        Err(error) => {
            let by_table = support.since.is_some_and(|since| read_kernel_version() >= since);
            let state = if by_table { State::Partly } else { State::Absent };
            finding(
                state,
                format!("{name} below {}; not for this user: {error}", state_dir.display()),
            )
        }
    }
}

/// Opens the directory, or the nearest one above it that exists.
fn open_nearest(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let nearest = path
        .ancestors()
        .find(|one| one.is_dir())
        .unwrap_or(Path::new("/"));
    open(nearest, flags, Mode::empty()).map_err(|errno| SysError::new("open", format!("{nearest:?}"), errno))
}

/// Makes a user namespace in which the caller's ids are 0, for a child that waits until
/// its namespace has been opened. Doctor only: a start has a namespace of its own.
fn make_user_namespace() -> Result<OwnedFd> {
    let (ours, theirs) = crate::process::channel::pair()?;
    match fork().map_err(|errno| SysError::new("clone3", "fork", errno))? {
        Forked::Child => {
            drop(ours);
            wait_in_user_namespace(theirs.as_fd())
        }
        Forked::Parent(pid) => {
            drop(theirs);
            let opened = open_namespace_of(pid, ours.as_fd());
            // The child ends when its channel is closed.
            drop(ours);
            let waited = waitpid(Some(pid), WaitOptions::empty());
            waited.map_err(|errno| SysError::new("waitpid", pid.as_raw_nonzero().to_string(), errno))?;
            opened
        }
    }
}

/// The child: nothing but system calls.
fn wait_in_user_namespace(channel: BorrowedFd<'_>) -> ! {
    let flags = u32::try_from(namespace::USER).unwrap_or(0);
    let made = cais_sys::namespace::leave(flags);
    let errno = made
        .err()
        .map_or(0, |errno| u8::try_from(errno.raw_os_error()).unwrap_or(u8::MAX));
    if rustix::io::write(channel, &[errno]) == Ok(1) {
        let mut end = [0u8; 1];
        let _ = rustix::io::read(channel, &mut end);
    }
    exit_now(0)
}

fn open_namespace_of(pid: Pid, channel: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut answer = [0u8; 1];
    let length =
        rustix::io::read(channel, &mut answer).map_err(|errno| SysError::new("read", "the child", errno))?;
    if length == 0 {
        return Err(SysError::new("read", "the child", Errno::CHILD));
    }
    if answer[0] != 0 {
        let errno = Errno::from_raw_os_error(i32::from(answer[0]));
        return Err(SysError::new("unshare", "CLONE_NEWUSER", errno));
    }
    let directory = crate::limits::oom::open_proc_pid(pid)?;
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    for (name, text) in [
        ("uid_map", format!("0 {uid} 1\n")),
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("0 {gid} 1\n")),
    ] {
        let file = rustix::fs::openat(
            directory.as_fd(),
            name,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| SysError::new("openat", format!("/proc/PID, {name:?}"), errno))?;
        rustix::io::write(&file, text.as_bytes())
            .map_err(|errno| SysError::new("write", format!("{name}, {text:?}"), errno))?;
    }
    rustix::fs::openat(
        directory.as_fd(),
        "ns/user",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| SysError::new("openat", "/proc/PID, \"ns/user\"", errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        assert_eq!(IdmapSupport::of_magic(0xef53).file_system, "ext4");
        assert_eq!(
            IdmapSupport::of_magic(0x0102_1994).since,
            Some(KernelVersion::new(6, 3))
        );
        assert_eq!(
            IdmapSupport::of_magic(1),
            IdmapSupport {
                file_system: "unknown",
                since: None
            }
        );
        let text = "nodev\tproc\n\text4\nnodev\toverlay\n";
        assert!(is_registered(text, "ext4") && is_registered(text, "overlay"));
        assert!(!is_registered(text, "nodev") && !is_registered(text, "ext"));
    }

    #[test]
    fn the_nearest_directory_is_found() {
        let dir = open_nearest(Path::new("/proc/self/no/such/place")).unwrap();
        assert_eq!(fstatfs(&dir).unwrap().f_type, rustix::fs::PROC_SUPER_MAGIC);
    }
}
