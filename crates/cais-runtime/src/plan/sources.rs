//! What the caller opens for the stub, each in its slot.

use crate::plan::IdMaps;
use cais_linux::mounts::overlay::Layers;
use cais_sys::mount::MountAttr;
use rustix::fs::FileType;
use std::path::PathBuf;

/// Something of the host that a step uses by its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Standard input, output or error of the program.
    Stdio(usize),
    /// The `tasks` file of the n-th cgroup v1 hierarchy.
    Tasks(usize),
    /// The process whose namespaces are entered.
    Target,
    /// The socket at which the start is waited for.
    Listener,
    /// The copy-on-write root.
    Overlay {
        /// What it is made of.
        layers: Layers,
        /// Whether its marks are `user.overlay.*`: the only way without privilege.
        user_xattr: bool,
    },
    /// A directory or file of the host, as a detached tree.
    Tree {
        /// Its path on the host.
        path: PathBuf,
        /// Whether its submounts come along.
        recursive: bool,
        /// Whether it stays in the peer group of the original.
        peer: bool,
        /// Flags to set and clear.
        attributes: MountAttr,
        /// How its owners are mapped.
        map_ids: MapIds,
        /// Whether a link at the end of the path is refused instead of followed.
        no_follow: bool,
    },
    /// A directory as another process sees it.
    TreeOf {
        /// `/proc/PID`.
        process: PathBuf,
        /// The path that it sees.
        path: PathBuf,
    },
    /// A device node of the host, verified.
    Device {
        /// Its path on the host.
        path: PathBuf,
        /// Character or block device.
        kind: FileType,
        /// Its major number.
        major: u32,
        /// Its minor number.
        minor: u32,
    },
    /// A namespace file to enter.
    NamespaceFile {
        /// `/proc/PID/ns/…` or a bind mount of one.
        path: PathBuf,
    },
}

/// How the owners of a tree are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MapIds {
    /// They stay.
    No,
    /// Through the user namespace of the container.
    Container,
    /// Through maps of its own; with submounts where `recursive`.
    Own {
        /// The maps.
        maps: IdMaps,
        /// Whether the submounts are mapped too.
        recursive: bool,
    },
}

impl Source {
    /// What opening it means, for errors and `--explain`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Stdio(index) => {
                let name = ["input", "output", "error"].get(*index).unwrap_or(&"stream");
                format!("hand over standard {name}")
            }
            Self::Tasks(index) => format!("open the tasks file of cgroup v1 hierarchy {index}"),
            Self::Target => "open the container's first process".to_owned(),
            Self::Listener => "listen for the start".to_owned(),
            Self::Overlay { layers, .. } => format!(
                "make the root: overlay of {} under {}",
                layers
                    .lower
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(":"),
                layers.changes.display()
            ),
            Self::Tree {
                path,
                recursive,
                map_ids,
                ..
            } => format!(
                "open {}{}{}",
                path.display(),
                if *recursive { " with its submounts" } else { "" },
                if *map_ids == MapIds::No {
                    ""
                } else {
                    ", owners mapped"
                }
            ),
            Self::TreeOf { process, path } => {
                format!("open {} of the process {}", path.display(), process.display())
            }
            Self::Device {
                path, major, minor, ..
            } => format!("open device {} ({major}:{minor})", path.display()),
            Self::NamespaceFile { path } => format!("open namespace {}", path.display()),
        }
    }
}
