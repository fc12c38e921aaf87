//! What killed commands leave behind in networks, found and finished by the next command.
//!
//! A command that changes a running container, or removes a network, first writes a note:
//! a hidden file beside the files that it is about to change, whose name says what it does
//! and which process it is. The note goes last. One whose process is gone is finished here.

use super::change;
use super::connect::disconnect;
use super::remove;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::resolver;
use crate::state::ProcessName;
use crate::store::Store;
use cais_net::firewall::Firewall;
use cais_net::lease;
use cais_net::network::NetworkStore;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a command is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// It connects a container to a network, or takes it out: until the note is gone the
    /// container is to be out of it.
    Change {
        /// The container.
        container: String,
        /// The id of the network.
        network: String,
    },
    /// It changes the published ports of a running container.
    Ports,
    /// It removes a network.
    Remove {
        /// Its name.
        network: String,
    },
}

/// A note, until it is dropped or the work is done.
#[derive(Debug)]
pub(super) struct Note {
    path: PathBuf,
}

impl Work {
    fn file_name(&self, maker: ProcessName) -> String {
        let ending = format!("{}+{}", maker.pid, maker.start);
        match self {
            Self::Change { container, network } => format!(".change+{container}+{network}+{ending}"),
            Self::Ports => format!(".ports+{ending}"),
            Self::Remove { network } => format!(".remove+{network}+{ending}"),
        }
    }

    fn parse(name: &str) -> Option<(Self, ProcessName)> {
        let words: Vec<&str> = name.strip_prefix('.')?.split('+').collect();
        let (work, rest) = match words.as_slice() {
            ["change", container, network, rest @ ..] => (
                Self::Change {
                    container: (*container).to_owned(),
                    network: (*network).to_owned(),
                },
                rest,
            ),
            ["ports", rest @ ..] => (Self::Ports, rest),
            ["remove", network, rest @ ..] => (
                Self::Remove {
                    network: (*network).to_owned(),
                },
                rest,
            ),
            _ => return None,
        };
        let [pid, start] = rest else { return None };
        let maker = ProcessName {
            pid: pid.parse().ok()?,
            start: start.parse().ok()?,
        };
        Some((work, maker))
    }

    /// Writes the note.
    ///
    /// # Errors
    /// Where the file cannot be made.
    pub(super) fn begin(&self, networks: &NetworkStore) -> Result<Note> {
        let maker = ProcessName::of_this()
            .ok_or_else(|| EngineError::Invalid("/proc does not show this process: mount it".to_owned()))?;
        crate::store::ensure_directory(&networks.endpoints)?;
        let path = networks.endpoints.join(self.file_name(maker));
        fs::write(&path, "").map_err(EngineError::store(format!("write {}", path.display())))?;
        Ok(Note { path })
    }
}

impl Note {
    /// The work is done.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub(super) fn end(self) -> Result<()> {
        remove_quietly(&self.path)
    }
}

fn remove_quietly(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(EngineError::store(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Frees what containers held that are gone, and finishes what killed commands began.
///
/// # Errors
/// Where something could be found but not removed.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    let networks = store.networks();
    finish_work(store, &networks)?;
    let mut held = BTreeSet::new();
    for container in networks.list_containers()? {
        let Some(id) = ContainerId::parse(&container) else {
            continue;
        };
        if store.state(&id).exists() {
            held.insert(container);
        } else {
            disconnect(store, &id)?;
        }
    }
    resolver::sweep(store)?;
    let is_left_behind = |lease: &lease::Lease| {
        let maker = ProcessName {
            pid: lease.maker.0,
            start: lease.maker.1,
        };
        !held.contains(&lease.container)
            && !maker.is_alive()
            && ContainerId::parse(&lease.container).is_none_or(|id| !store.state(&id).exists())
    };
    Ok(lease::sweep(&networks, is_left_behind)?)
}

/// The hidden files of a directory.
fn hidden(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with('.'))
        .collect()
}

fn finish_work(store: &Store, networks: &NetworkStore) -> Result<()> {
    for directory in [&networks.endpoints, &networks.definitions] {
        for name in hidden(directory) {
            let path = directory.join(&name);
            if let Some((work, maker)) = Work::parse(&name) {
                if !maker.is_alive() && finish(store, networks, &work)? {
                    remove_quietly(&path)?;
                }
            } else if is_abandoned(&name) {
                remove_quietly(&path)?;
            }
        }
    }
    Ok(())
}

/// Written beside and never renamed: its writer was killed.
fn is_abandoned(name: &str) -> bool {
    let pid = name.rsplit_once('.').and_then(|(_, pid)| pid.parse().ok());
    pid.is_some_and(|pid| ProcessName::read(pid).is_none())
}

/// Tells whether it is finished.
fn finish(store: &Store, networks: &NetworkStore, work: &Work) -> Result<bool> {
    match work {
        Work::Change { container, network } => {
            let Some(id) = ContainerId::parse(container) else {
                return Ok(true);
            };
            let lock = ContainerLock::try_acquire(store, &id)?;
            if lock.is_none() && store.container(&id).exists() {
                // Somebody ends it or changes it: after that.
                return Ok(false);
            }
            change::take_out(store, &id, network)?;
            // Killed between the file and the elements: what the files say holds.
            Firewall::open(networks)?.rebuild()?;
            lock.into_iter().for_each(ContainerLock::release);
        }
        // What the files say holds.
        Work::Ports => Firewall::open(networks)?.rebuild()?,
        Work::Remove { network } => remove::finish(networks, network)?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_notes() {
        let maker = ProcessName { pid: 7, start: 8 };
        for work in [
            Work::Change {
                container: "ab".to_owned(),
                network: "cd".to_owned(),
            },
            Work::Ports,
            Work::Remove {
                network: "a.b-c".to_owned(),
            },
        ] {
            assert_eq!(Work::parse(&work.file_name(maker)), Some((work, maker)));
        }
        for other in [".change+a", ".ports", "ports+1+2", ".0123.77", ".ports+x+2"] {
            assert_eq!(Work::parse(other), None, "{other}");
        }
        assert!(is_abandoned(".abc.0"));
        assert!(!is_abandoned(&format!(".abc.{}", std::process::id())));
    }
}
