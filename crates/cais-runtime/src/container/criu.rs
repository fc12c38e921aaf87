//! CRIU (criu.org), which writes the processes of a container down and makes them again. It
//! is another program: this room knows how to talk to it and what a container of ours looks
//! like to it.

pub(super) mod message;
pub(super) mod mounts;
pub(super) mod session;

use super::error::{Result, RuntimeError};
use super::state::Container;
use crate::spec::NamespaceKind;
use message::{Fields, option};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::path::{Path, PathBuf};

/// The file in the images that says what the standard streams were.
pub(super) const DESCRIPTORS_FILE: &str = "descriptors.json";

/// What CRIU does with cgroups (`criu_cg_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CgroupsMode {
    /// Nothing.
    Ignore = 0,
    /// It restores them, and their properties where they were made by itself.
    #[default]
    Soft = 3,
    /// Properties always.
    Full = 4,
    /// It refuses groups that are there.
    Strict = 5,
}

/// What both directions are told.
#[derive(Debug, Clone, Default)]
pub struct CriuOptions {
    /// The directory of the images.
    pub images: PathBuf,
    /// The directory of the log; that of the images unless given.
    pub work: Option<PathBuf>,
    /// `--tcp-established`.
    pub tcp_established: bool,
    /// `--tcp-close`, as crun has it.
    pub tcp_close: bool,
    /// `--ext-unix-sk`.
    pub external_unix_sockets: bool,
    /// `--shell-job`.
    pub shell_job: bool,
    /// `--file-locks`.
    pub file_locks: bool,
    /// `--link-remap`.
    pub link_remap: bool,
    /// `--auto-dedup`.
    pub auto_dedup: bool,
    /// `--lazy-pages`.
    pub lazy_pages: bool,
    /// `--manage-cgroups-mode`.
    pub cgroups_mode: CgroupsMode,
    /// `--empty-ns`: namespaces whose content is left out (`CLONE_NEW*`).
    pub empty_namespaces: u32,
}

impl CriuOptions {
    /// The options that both requests share.
    pub(super) fn write(&self, options: &mut Fields) {
        options
            .flag(option::TCP_ESTABLISHED, self.tcp_established)
            .flag(option::TCP_CLOSE, self.tcp_close)
            .flag(option::EXT_UNIX_SK, self.external_unix_sockets)
            .flag(option::SHELL_JOB, self.shell_job)
            .flag(option::FILE_LOCKS, self.file_locks)
            .flag(option::LINK_REMAP, self.link_remap)
            .flag(option::AUTO_DEDUP, self.auto_dedup)
            .flag(option::LAZY_PAGES, self.lazy_pages)
            .number(option::LOG_LEVEL, 4)
            .flag(option::NOTIFY_SCRIPTS, true)
            .flag(option::ORPHAN_PTS_MASTER, true);
        if self.empty_namespaces != 0 {
            options.number(option::EMPTY_NS, i64::from(self.empty_namespaces));
        }
    }
}

/// The directories that CRIU works in.
pub(super) struct Directories {
    pub(super) images: OwnedFd,
    pub(super) work: OwnedFd,
    /// Where the log will be.
    pub(super) log: PathBuf,
}

impl Directories {
    /// Opens them; the one of the images is made where `make` says so, the one for the log
    /// always.
    pub(super) fn open(options: &CriuOptions, make: bool, log: &str) -> Result<Self> {
        let work = options.work.clone().unwrap_or_else(|| options.images.clone());
        if make {
            make_private(&options.images)?;
        }
        make_private(&work)?;
        Ok(Self {
            images: open_directory(&options.images)?,
            log: work.join(log),
            work: open_directory(&work)?,
        })
    }

    pub(super) fn write(&self, options: &mut Fields, log: &str) {
        options
            .number(option::IMAGES_DIR_FD, i64::from(self.images.as_raw_fd()))
            .number(option::WORK_DIR_FD, i64::from(self.work.as_raw_fd()))
            .text(option::LOG_FILE, log);
    }
}

fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(RuntimeError::file(format!("make {}", path.display())))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| cais_linux::SysError::new("open", format!("{path:?}"), errno))
        .map_err(RuntimeError::system("open a directory of criu's"))
}

/// Namespaces that the container joined and that are not its own to write down, by the names
/// that runc gives them: kind, path, name.
pub(super) fn external_namespaces(state: &Container) -> Vec<(&'static str, PathBuf, &'static str)> {
    let named = |kind: NamespaceKind| match kind {
        NamespaceKind::Network => Some(("net", "extRootNetNS")),
        NamespaceKind::Pid => Some(("pid", "extRootPidNS")),
        _ => None,
    };
    let joined = |entry: &crate::spec::Namespace| {
        let (kind, name) = named(entry.kind)?;
        Some((kind, PathBuf::from(entry.path.clone()?), name))
    };
    state.config.namespaces().iter().filter_map(joined).collect()
}

/// CRIU needs the machine's own root.
pub(super) fn check_privilege(runtime: &super::Runtime, what: &str) -> Result<()> {
    if runtime.confined {
        return Err(RuntimeError::Usage(format!(
            "{what} needs the root of the machine: CRIU cannot do it for an ordinary user"
        )));
    }
    Ok(())
}
