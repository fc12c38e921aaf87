//! overlayfs: the copy-on-write root of a container, as a detached mount.
//!
//! With a user namespace all layers are id-mapped, the upper one too, so that the
//! disk holds the ids that the container sees and the same layers serve every range
//! of ids. overlayfs does its own work (work directory, whiteouts) as the process
//! that mounted it; that process must therefore have file system ids that the map
//! reaches, or the kernel answers `EOVERFLOW`. [`make`] takes on the container's
//! id 0 for the one call (setfsuid(2)).
//! Kernel documentation: filesystems/overlayfs.rst.

use crate::error::{Result, SysError};
use crate::mounts::tree;
use crate::mounts::visit::Visit;
use cais_sys::cred::{set_thread_fs_gid, set_thread_fs_uid};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use rustix::thread::{capabilities, set_capabilities};
use std::path::{Path, PathBuf};

/// What an overlay is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The read-only directories, the uppermost first.
    pub lower: Vec<PathBuf>,
    /// A directory that holds `upper/` and `work/`.
    pub changes: PathBuf,
    /// Whether what changes is not to outlive a crash of the machine (overlayfs.rst, "Volatile
    /// mount"): else the kernel writes out the whole file system below at the end.
    pub volatile: bool,
}

/// Whose ids the layers are mapped to.
#[derive(Debug, Clone, Copy)]
pub struct Mapping<'fd> {
    /// The user namespace of the container.
    pub userns: BorrowedFd<'fd>,
    /// The host's uid that is 0 inside.
    pub uid: u32,
    /// The host's gid that is 0 inside.
    pub gid: u32,
}

/// An overlay as a detached mount.
#[derive(Debug)]
pub struct Made {
    /// The mount.
    pub mount: OwnedFd,
    /// What it was made of, and needs no more. Whoever closes one of these waits for a grace
    /// period of RCU, since a mount is taken apart by it: better when there is time.
    pub layers: Vec<OwnedFd>,
}

/// Makes the overlay.
///
/// # Errors
/// As fsconfig(2): `EINVAL` where a layer's file system cannot be id-mapped or
/// the kernel cannot take layers by descriptor.
pub fn make(layers: &Layers, mapping: Option<Mapping<'_>>, user_xattr: bool) -> Result<Made> {
    if layers.volatile {
        forget_last_mount(&layers.changes);
    }
    let opened = OpenLayers::open(&layers.lower, Some(&layers.changes), mapping)?;
    let flags = Flags {
        user_xattr,
        volatile: layers.volatile,
    };
    let mount = opened.assemble(mapping, flags)?;
    let OpenLayers { mut lower, changes } = opened;
    lower.extend(changes);
    Ok(Made { mount, layers: lower })
}

/// Makes an overlay that cannot be changed: what the layers show together, the uppermost
/// first. There must be two at least; an empty directory serves as another one.
///
/// # Errors
/// As [`make`].
pub fn make_read_only(lower: &[PathBuf], user_xattr: bool) -> Result<OwnedFd> {
    let flags = Flags {
        user_xattr,
        volatile: false,
    };
    OpenLayers::open(lower, None, None)?.assemble(None, flags)
}

/// A volatile overlay leaves a mark that forbids the next one (overlayfs.rst). Whoever mounts it
/// again did not go down with the machine since: what was written is still in memory.
fn forget_last_mount(changes: &Path) {
    let mark = changes.join("work/work/incompat/volatile");
    // Mostly there is none; what cannot be removed the mount tells of.
    if rustix::fs::unlink(mark.join("dirty")).is_ok() {
        for directory in mark.ancestors().take(2) {
            rustix::fs::rmdir(directory).unwrap_or_default();
        }
    }
}

/// How an overlay is to be.
#[derive(Debug, Clone, Copy)]
struct Flags {
    user_xattr: bool,
    volatile: bool,
}

/// The layers as detached trees.
struct OpenLayers {
    lower: Vec<OwnedFd>,
    /// Without, the overlay cannot be changed.
    changes: Option<OwnedFd>,
}

impl OpenLayers {
    fn open(lower: &[PathBuf], changes: Option<&Path>, mapping: Option<Mapping<'_>>) -> Result<Self> {
        let open = |path: &Path| {
            let layer = tree::open_detached(path, false)?;
            if let Some(mapping) = mapping {
                tree::map_ids(layer.as_fd(), mapping.userns, false).map_err(|error| {
                    SysError::new(
                        "mount_setattr",
                        format!("{path:?}, MOUNT_ATTR_IDMAP"),
                        error.errno(),
                    )
                })?;
            }
            Ok(layer)
        };
        Ok(Self {
            lower: lower.iter().map(|path| open(path)).collect::<Result<_>>()?,
            changes: changes.map(open).transpose()?,
        })
    }

    fn assemble(&self, mapping: Option<Mapping<'_>>, flags: Flags) -> Result<OwnedFd> {
        match self.assemble_by_descriptor(mapping, flags) {
            // Before Linux 6.13 overlayfs takes paths only.
            Err(error)
                if matches!(error.errno(), Errno::INVAL | Errno::OPNOTSUPP)
                    && error.arguments().contains("lowerdir+") =>
            {
                self.assemble_by_path(mapping, flags)
            }
            other => other,
        }
    }

    fn assemble_by_descriptor(&self, mapping: Option<Mapping<'_>>, flags: Flags) -> Result<OwnedFd> {
        let context = Context::open(flags)?;
        for layer in &self.lower {
            context.set_fd("lowerdir+", layer.as_fd())?;
        }
        let places = [("upperdir", "upper"), ("workdir", "work")];
        for (changes, (key, name)) in self
            .changes
            .iter()
            .flat_map(|one| places.map(|place| (one, place)))
        {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let directory = openat(changes, name, flags, Mode::empty()).map_err(|errno| {
                SysError::new("openat", format!("{}, {name:?}", changes.as_raw_fd()), errno)
            })?;
            context.set_fd(key, directory.as_fd())?;
        }
        context.create(mapping)
    }

    /// For kernels before 6.13: the layers must have paths in the caller's mount
    /// namespace, so a private one is entered for the time of the call.
    fn assemble_by_path(&self, mapping: Option<Mapping<'_>>, flags: Flags) -> Result<OwnedFd> {
        let home = Visit::to_private_tree()?;
        let result = self.assemble_in_private_tree(mapping, flags);
        home.leave()?;
        result
    }

    fn assemble_in_private_tree(&self, mapping: Option<Mapping<'_>>, flags: Flags) -> Result<OwnedFd> {
        let staging = Staging::mount(self.lower.len())?;
        let mut lower = String::new();
        for (index, layer) in self.lower.iter().enumerate() {
            let place = staging.attach(layer.as_fd(), &index.to_string())?;
            if index > 0 {
                lower.push(':');
            }
            lower.push_str(&place);
        }
        let context = Context::open(flags)?;
        context.set_string("lowerdir", &lower)?;
        if let Some(changes) = &self.changes {
            let place = staging.attach(changes.as_fd(), "changes")?;
            context.set_string("upperdir", &format!("{place}/upper"))?;
            context.set_string("workdir", &format!("{place}/work"))?;
        }
        context.create(mapping)
    }
}

/// An overlay that is being configured (fsopen(2)).
struct Context(OwnedFd);

impl Context {
    fn open(flags: Flags) -> Result<Self> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| SysError::new("fsopen", "\"overlay\"", errno))?;
        for (wanted, name) in [(flags.user_xattr, "userxattr"), (flags.volatile, "volatile")] {
            if !wanted {
                continue;
            }
            match fsconfig_set_flag(context.as_fd(), name) {
                // Before Linux 5.10 everything is written out.
                Err(Errno::INVAL) if name == "volatile" => {}
                other => other.map_err(|errno| {
                    SysError::new("fsconfig", format!("FSCONFIG_SET_FLAG, {name:?}"), errno)
                })?,
            }
        }
        Ok(Self(context))
    }

    fn set_fd(&self, key: &str, fd: BorrowedFd<'_>) -> Result<()> {
        fsconfig_set_fd(self.0.as_fd(), key, fd).map_err(|errno| {
            SysError::new(
                "fsconfig",
                format!("FSCONFIG_SET_FD, {key:?}, {}", fd.as_raw_fd()),
                errno,
            )
        })
    }

    fn set_string(&self, key: &str, value: &str) -> Result<()> {
        fsconfig_set_string(self.0.as_fd(), key, value).map_err(|errno| {
            SysError::new(
                "fsconfig",
                format!("FSCONFIG_SET_STRING, {key:?}, {value:?}"),
                errno,
            )
        })
    }

    fn create(&self, mapping: Option<Mapping<'_>>) -> Result<OwnedFd> {
        let created = match mapping {
            None => fsconfig_create(self.0.as_fd()),
            Some(mapping) => as_container_root(mapping, || fsconfig_create(self.0.as_fd())),
        };
        created.map_err(|errno| {
            let told = self.read_log();
            SysError::new("fsconfig", format!("FSCONFIG_CMD_CREATE, overlay{told}"), errno)
        })?;
        fsmount(
            self.0.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
        .map_err(|errno| SysError::new("fsmount", "overlay", errno))
    }

    /// What the kernel says about the failure: lines like `e overlay: …`.
    fn read_log(&self) -> String {
        let mut buffer = [0u8; 512];
        match rustix::io::read(&self.0, &mut buffer[..]) {
            Ok(count) => format!(
                ": {}",
                String::from_utf8_lossy(buffer.get(..count).unwrap_or(&[])).trim_end()
            ),
            // Nothing was logged.
            Err(_) => String::new(),
        }
    }
}

/// Runs `call` with the file system ids of the container's root and all capabilities.
fn as_container_root(
    mapping: Mapping<'_>,
    call: impl FnOnce() -> std::result::Result<(), Errno>,
) -> std::result::Result<(), Errno> {
    let held = capabilities(None)?;
    let old_uid = set_thread_fs_uid(mapping.uid);
    let old_gid = set_thread_fs_gid(mapping.gid);
    // Leaving fsuid 0 takes the file system capabilities; take them back.
    let result = set_capabilities(None, held).and_then(|()| call());
    set_thread_fs_gid(old_gid);
    set_thread_fs_uid(old_uid);
    set_capabilities(None, held)?;
    result
}

/// A tmpfs with one directory for each layer; it goes away with the namespace.
struct Staging;

/// Any directory serves: the namespace is private and short-lived.
const STAGING: &str = "/tmp";

impl Staging {
    fn mount(layers: usize) -> Result<Self> {
        rustix::mount::mount(
            "tmpfs",
            STAGING,
            "tmpfs",
            rustix::mount::MountFlags::NOSUID,
            c"mode=0711",
        )
        .map_err(|errno| SysError::new("mount", "\"tmpfs\", \"/tmp\"", errno))?;
        for name in (0..layers)
            .map(|index| index.to_string())
            .chain(["changes".to_owned()])
        {
            let path = format!("{STAGING}/{name}");
            rustix::fs::mkdir(&path, Mode::from_raw_mode(0o711))
                .map_err(|errno| SysError::new("mkdir", format!("{path:?}"), errno))?;
        }
        Ok(Self)
    }

    fn attach(&self, layer: BorrowedFd<'_>, name: &str) -> Result<String> {
        let path = format!("{STAGING}/{name}");
        move_mount(
            layer,
            "",
            CWD,
            path.as_str(),
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|errno| SysError::new("move_mount", format!("{}, {path:?}", layer.as_raw_fd()), errno))?;
        Ok(path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // It would go with the namespace too; a failure changes nothing.
        unmount(STAGING, UnmountFlags::DETACH).unwrap_or_default();
    }
}
