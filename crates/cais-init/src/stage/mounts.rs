//! Mounts, device nodes and links inside the root.

use super::{Failure, Stage, StepResult, failed, plain, target};
use crate::step::{Slot, target as kind};
use crate::wire::StrBlock;
use cais_sys::mount::{AT_EMPTY_PATH, AT_RECURSIVE, MOUNT_ATTR_RDONLY, MountAttr, mount_setattr};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, fstat, makedev, mknodat, openat, openat2,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};

/// A file system to make.
pub(super) struct NewMount<'a> {
    pub(super) fstype: &'a CStr,
    pub(super) parameters: StrBlock<'a>,
    pub(super) attributes: u64,
}

/// A device node to make.
pub(super) struct Device {
    pub(super) mode: u32,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Makes a file system that is mounted nowhere yet.
fn new_mount<'a>(new: &NewMount<'a>) -> StepResult<'a, OwnedFd> {
    let context = fsopen(new.fstype, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen", new.fstype))?;
    let mut parameters = new.parameters.iter();
    while let (Some(key), Some(value)) = (parameters.next(), parameters.next()) {
        let set = if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), key)
        } else {
            fsconfig_set_string(context.as_fd(), key, value)
        };
        set.map_err(failed("fsconfig", key))?;
    }
    fsconfig_create(context.as_fd()).map_err(failed("fsconfig", new.fstype))?;
    let attributes = MountAttrFlags::from_bits_retain(u32::try_from(new.attributes).unwrap_or(0));
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount", new.fstype))
}

/// Attaches a mount to the place behind `place`.
fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", place, c"", flags)
}

/// A copy of the mount at the place behind `place`, mounted nowhere.
fn copy_mount(place: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(place, c"", flags)
}

pub(super) fn set_tree_propagation<'a>(propagation: u64) -> StepResult<'a> {
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    mount_setattr(CWD, c"/", AT_RECURSIVE, &attr).map_err(failed("mount_setattr", c"/"))
}

pub(super) fn mount_new<'a>(
    root: BorrowedFd<'_>,
    path: &'a CStr,
    new: &NewMount<'a>,
    wanted: u32,
) -> StepResult<'a> {
    let Some(place) = target::open_for_mount(root, path, wanted)? else {
        return Ok(());
    };
    let mount = new_mount(new)?;
    if wanted & kind::COPY_UP != 0 {
        super::copy_up::copy(root, path, mount.as_fd())?;
    }
    attach(mount.as_fd(), place.as_fd()).map_err(failed("move_mount", path))
}

pub(super) fn mount_tree<'a>(
    root: BorrowedFd<'_>,
    mount: BorrowedFd<'_>,
    path: &'a CStr,
    propagation: u64,
    wanted: u32,
) -> StepResult<'a> {
    let Some(place) = target::open_for_mount(root, path, place_for(mount, wanted))? else {
        return Ok(());
    };
    attach(mount, place.as_fd()).map_err(failed("move_mount", path))?;
    if propagation == 0 {
        return Ok(());
    }
    let recursive = if wanted & kind::RECURSIVE != 0 {
        AT_RECURSIVE
    } else {
        0
    };
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    mount_setattr(mount, c"", AT_EMPTY_PATH | recursive, &attr).map_err(failed("mount_setattr", path))
}

/// What to make for a mount whose place is missing, where either may be made.
fn place_for(mount: BorrowedFd<'_>, wanted: u32) -> u32 {
    const EITHER: u32 = kind::MAKE_DIRECTORY | kind::MAKE_FILE;
    if wanted & EITHER != EITHER {
        return wanted;
    }
    let is_directory =
        fstat(mount).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    wanted
        & !if is_directory {
            kind::MAKE_FILE
        } else {
            kind::MAKE_DIRECTORY
        }
}

pub(super) fn make_device<'a>(root: BorrowedFd<'_>, path: &'a CStr, device: &Device) -> StepResult<'a> {
    let (parent, name) = target::open_parent(root, path)?;
    let mode = Mode::from_raw_mode(device.mode);
    let kind = FileType::from_raw_mode(device.mode);
    // The mask would take bits off the mode.
    let mask = rustix::process::umask(Mode::empty());
    let made = mknodat(
        parent.as_fd(),
        name,
        kind,
        mode,
        makedev(device.major, device.minor),
    );
    rustix::process::umask(mask);
    match made {
        // A root that was used before has it already; anything else there is not believed.
        Err(Errno::EXIST) if is_device(parent.as_fd(), name, device) => return Ok(()),
        other => other.map_err(failed("mknodat", path))?,
    }
    if device.uid == 0 && device.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(
        parent.as_fd(),
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .map_err(failed("fchownat", path))
}

/// Whether the very node is there.
fn is_device(parent: BorrowedFd<'_>, name: &CStr, device: &Device) -> bool {
    let found = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::from_raw_mode(device.mode)
            && stat.st_rdev == makedev(device.major, device.minor)
    })
}

/// Mounts a file that has no other place than this.
pub(super) fn mount_file<'a>(
    root: BorrowedFd<'_>,
    scratch: &'a CStr,
    path: &'a CStr,
    content: &[u8],
) -> StepResult<'a> {
    const NAME: &CStr = c".cais-file";
    let Some(directory) = target::open(root, scratch, kind::REAL)? else {
        return Ok(());
    };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        openat(directory.as_fd(), NAME, flags, Mode::from_raw_mode(0o644)).map_err(failed("openat", NAME))?;
    rustix::io::write(file.as_fd(), content).map_err(failed("write", path))?;
    let copy = copy_mount(file.as_fd(), false).map_err(failed("open_tree", path))?;
    if let Some(place) = target::open(root, path, kind::MAKE_FILE)? {
        attach(copy.as_fd(), place.as_fd()).map_err(failed("move_mount", path))?;
    }
    unlinkat(directory.as_fd(), NAME, AtFlags::empty()).map_err(failed("unlinkat", NAME))
}

pub(super) fn make_symlink<'a>(root: BorrowedFd<'_>, path: &'a CStr, content: &CStr) -> StepResult<'a> {
    let (parent, name) = target::open_parent(root, path)?;
    match symlinkat(content, parent.as_fd(), name) {
        Err(Errno::EXIST) => Ok(()),
        other => other.map_err(failed("symlinkat", path)),
    }
}

pub(super) fn make_readonly<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> StepResult<'a> {
    let Some(place) = target::open(root, path, kind::OPTIONAL)? else {
        return Ok(());
    };
    let copy = copy_mount(place.as_fd(), true).map_err(failed("open_tree", path))?;
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    mount_setattr(copy.as_fd(), c"", AT_EMPTY_PATH | AT_RECURSIVE, &attr)
        .map_err(failed("mount_setattr", path))?;
    attach(copy.as_fd(), place.as_fd()).map_err(failed("move_mount", path))
}

pub(super) fn set_attributes<'a>(
    root: BorrowedFd<'_>,
    path: &'a CStr,
    attr_set: u64,
    attr_clr: u64,
    recursive: bool,
) -> StepResult<'a> {
    let Some(place) = target::open(root, path, 0)? else {
        return Ok(());
    };
    let attr = MountAttr {
        attr_set,
        attr_clr,
        ..MountAttr::default()
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(place.as_fd(), c"", flags, &attr).map_err(failed("mount_setattr", path))
}

pub(super) fn set_root_propagation<'a>(
    root: BorrowedFd<'_>,
    propagation: u64,
    recursive: bool,
) -> StepResult<'a> {
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    mount_setattr(root, c"", flags, &attr).map_err(failed("mount_setattr", c"/"))
}

/// A detached copy of a part of the host's tree.
pub(super) struct TreeWanted {
    pub(super) recursive: bool,
    pub(super) peer: bool,
    pub(super) set: u64,
    pub(super) clear: u64,
}

fn copy_tree<'a>(path: &'a CStr, wanted: &TreeWanted) -> StepResult<'a, OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if wanted.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(CWD, path, flags).map_err(failed("open_tree", path))?;
    let attr = MountAttr {
        attr_set: wanted.set,
        attr_clr: wanted.clear,
        propagation: if wanted.peer {
            0
        } else {
            cais_sys::mount::MS_PRIVATE
        },
        ..MountAttr::default()
    };
    let flags = AT_EMPTY_PATH | if wanted.recursive { AT_RECURSIVE } else { 0 };
    if attr != MountAttr::default() {
        mount_setattr(tree.as_fd(), c"", flags, &attr).map_err(failed("mount_setattr", path))?;
    }
    Ok(tree)
}

/// Mounts a file of the host at its own place, read-only. One that was removed on the host
/// meanwhile leaves its place empty.
pub(super) fn mount_host_file<'a>(root: BorrowedFd<'_>, path: &'a CStr) -> StepResult<'a> {
    let wanted = TreeWanted {
        recursive: false,
        peer: false,
        set: cais_sys::mount::MOUNT_ATTR_RDONLY,
        clear: 0,
    };
    let file = match copy_tree(path, &wanted) {
        Err(failure) if failure.errno == Errno::NOENT => return Ok(()),
        other => other?,
    };
    match mount_tree(root, file.as_fd(), path, 0, kind::MAKE_FILE) {
        // Removed between the two.
        Err(_) if fstat(&file).is_ok_and(|stat| stat.st_nlink == 0) => Ok(()),
        other => other,
    }
}

impl<'a> Stage<'a> {
    pub(super) fn open_tree(&mut self, slot: Slot, path: &'a CStr, wanted: &TreeWanted) -> StepResult<'a> {
        let tree = copy_tree(path, wanted)?;
        let place = self.slots.get_mut(usize::from(slot.0)).ok_or(Failure::new(
            "slot",
            b"no such slot",
            Errno::BADF,
        ))?;
        *place = Some(tree);
        Ok(())
    }

    pub(super) fn attach_root(&mut self, mount: Slot, path: &'a CStr) -> StepResult<'a> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        let attach =
            |path| move_mount(self.slot(mount)?, c"", CWD, path, flags).map_err(failed("move_mount", path));
        match attach(path) {
            // A user namespace may not see the way there; nobody else needs it.
            Err(failure) if matches!(failure.errno, Errno::ACCESS | Errno::NOENT) => attach(c"/")?,
            other => other?,
        }
        self.root = self.slots.get_mut(usize::from(mount.0)).and_then(Option::take);
        Ok(())
    }

    pub(super) fn mask_path(&mut self, path: &'a CStr, null: Slot) -> StepResult<'a> {
        let Some(place) = target::open(self.root()?, path, kind::OPTIONAL)? else {
            return Ok(());
        };
        let stat = fstat(place.as_fd()).map_err(failed("fstat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            // The slot's own mount stands at /dev/null by now: copies are made of it.
            let copy = copy_mount(self.slot(null)?, false).map_err(failed("open_tree", path))?;
            return attach(copy.as_fd(), place.as_fd()).map_err(failed("move_mount", path));
        }
        if let Some(empty) = &self.empty {
            let copy = copy_mount(empty.as_fd(), false).map_err(failed("open_tree", path))?;
            return attach(copy.as_fd(), place.as_fd()).map_err(failed("move_mount", path));
        }
        // One tmpfs serves every hidden directory: taking down many is slow.
        let new = NewMount {
            fstype: c"tmpfs",
            parameters: StrBlock(b"size\x000\0nr_inodes\x002\0mode\x000555\0"),
            attributes: MOUNT_ATTR_RDONLY,
        };
        let mount = new_mount(&new)?;
        attach(mount.as_fd(), place.as_fd()).map_err(failed("move_mount", path))?;
        self.empty = Some(mount);
        Ok(())
    }

    pub(super) fn write_sysctl(&mut self, name: &'a CStr, value: &[u8]) -> StepResult<'a> {
        if self.settings.is_none() {
            let new = NewMount {
                fstype: c"proc",
                parameters: StrBlock(b""),
                attributes: 0,
            };
            self.settings = Some(new_mount(&new)?);
        }
        let settings = self
            .settings
            .as_ref()
            .ok_or(Failure::new("fsmount", b"proc", Errno::BADF))?;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_XDEV
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(
            settings.as_fd(),
            name,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
        .map_err(failed("openat2", name))?;
        rustix::io::write(file.as_fd(), value)
            .map(drop)
            .map_err(failed("write", name))
    }

    pub(super) fn change_root(&mut self) -> StepResult<'a> {
        rustix::process::fchdir(self.root()?).map_err(plain("fchdir"))?;
        rustix::process::chroot(c".").map_err(failed("chroot", c"."))?;
        rustix::process::chdir(c"/").map_err(failed("chdir", c"/"))?;
        self.root = None;
        self.settings = None;
        self.empty = None;
        Ok(())
    }

    pub(super) fn pivot_root(&mut self) -> StepResult<'a> {
        rustix::process::fchdir(self.root()?).map_err(plain("fchdir"))?;
        // Both names are the new root: the old one lands on top of it and is taken
        // off again, so that no directory is needed for it (pivot_root(2), NOTES).
        rustix::process::pivot_root(c".", c".").map_err(plain("pivot_root"))?;
        unmount(c".", UnmountFlags::DETACH).map_err(failed("umount2", c"."))?;
        rustix::process::chdir(c"/").map_err(failed("chdir", c"/"))?;
        self.root = None;
        self.settings = None;
        self.empty = None;
        Ok(())
    }
}
