//! Where things lie: `/var/lib/cais` for what outlives a boot, `/run/cais` for what
//! does not; below `$XDG_DATA_HOME` and `$XDG_RUNTIME_DIR` for a user without
//! privilege. See ARCHITECTURE.md, "On disk".

use crate::apart;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The two directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    data: PathBuf,
    run: PathBuf,
}

/// What is mounted into a container of any image: directories, and files below `etc`.
const PLACES: [&str; 7] = [
    "",
    "dev",
    "proc",
    "sys",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
];

impl Store {
    /// The store below these two directories.
    #[must_use]
    pub fn new(data: PathBuf, run: PathBuf) -> Self {
        Self { data, run }
    }

    /// Where the store of this user is. `var` reads the environment: `CAIS_DATA` and
    /// `CAIS_RUN` win, then the user's own directories.
    ///
    /// # Errors
    /// Where a user without privilege has no home directory.
    pub fn locate(is_root: bool, var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let uid = rustix::process::getuid().as_raw();
        let own = |name: &str| {
            var(name)
                .filter(|value| value.starts_with('/'))
                .map(PathBuf::from)
        };
        let home = || {
            own("HOME").ok_or_else(|| {
                EngineError::Invalid(
                    "HOME is not set: set it, or CAIS_DATA and CAIS_RUN, to absolute paths".to_owned(),
                )
            })
        };
        let data = match own("CAIS_DATA") {
            Some(path) => path,
            None if is_root => PathBuf::from("/var/lib/cais"),
            None => match own("XDG_DATA_HOME") {
                Some(path) => path.join("cais"),
                None => home()?.join(".local/share/cais"),
            },
        };
        let run = match own("CAIS_RUN") {
            Some(path) => path,
            None if is_root => PathBuf::from("/run/cais"),
            None => own("XDG_RUNTIME_DIR").map_or_else(
                || PathBuf::from(format!("/tmp/cais-{uid}")),
                |path| path.join("cais"),
            ),
        };
        Ok(Self { data, run })
    }

    /// What outlives a boot.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What does not.
    #[must_use]
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// The directory that holds one directory for each container.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// Where directories of containers are made.
    #[must_use]
    pub(crate) fn apart(&self) -> PathBuf {
        self.data.join("apart")
    }

    /// The lowest layer of all images: empty places for what is mounted into each container.
    /// Without them each start would make the missing ones, and each end remove them.
    #[must_use]
    pub fn mount_points(&self) -> PathBuf {
        self.data.join("mount-points")
    }

    /// The directory of a container: bundle, record, changes, log.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// The directory of the states of running containers.
    #[must_use]
    pub fn states(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// The state of a container while it runs.
    #[must_use]
    pub fn state(&self, id: &ContainerId) -> PathBuf {
        self.states().join(id.as_str())
    }

    /// The directory of names, each a link to a container.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }

    /// The sockets at which monitors can be reached.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.run.join("attach")
    }

    /// What is known of the health of containers.
    #[must_use]
    pub fn healths(&self) -> PathBuf {
        self.run.join("health")
    }

    /// The journal of events.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.run.join("events")
    }

    /// The directory of leases of id ranges.
    #[must_use]
    pub fn userns(&self) -> PathBuf {
        self.run.join("userns")
    }

    /// Networks, leases of addresses, and what containers have in networks.
    #[must_use]
    pub fn networks(&self) -> cais_net::network::NetworkStore {
        cais_net::network::NetworkStore::new(&self.data, &self.run)
    }

    /// The cache of compiled seccomp filters.
    #[must_use]
    pub fn seccomp_cache(&self) -> PathBuf {
        self.run.join("seccomp")
    }

    /// Makes the directories that are missing.
    ///
    /// # Errors
    /// Where one cannot be made, or is open to other users.
    pub fn ensure(&self) -> Result<()> {
        // The last ones to be made tell that all were.
        let last = self.mount_points().join(PLACES[PLACES.len() - 1]);
        if self.userns().is_dir() && last.exists() {
            return Ok(());
        }
        for directory in [
            self.containers(),
            self.run.join("containers"),
            self.names(),
            self.userns(),
        ] {
            ensure_directory(&directory)?;
        }
        apart::ensure_places(&self.apart())?;
        for place in PLACES {
            ensure_mount_point(&self.mount_points().join(place))?;
        }
        Ok(())
    }

    /// The ids of all containers, half-made ones too, in no order.
    ///
    /// # Errors
    /// Where the directory cannot be read; one that is not there holds none.
    pub fn list(&self) -> Result<Vec<ContainerId>> {
        list_ids(&self.containers())
    }

    /// The ids of all containers that have a state, in no order.
    ///
    /// # Errors
    /// Where the directory cannot be read; one that is not there holds none.
    pub fn list_states(&self) -> Result<Vec<ContainerId>> {
        list_ids(&self.states())
    }
}

/// The ids that are names in a directory.
fn list_ids(directory: &Path) -> Result<Vec<ContainerId>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(EngineError::Store {
                action: format!("read {}", directory.display()),
                source,
            });
        }
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| ContainerId::parse(entry.file_name().to_str()?))
        .collect())
}

/// Makes an empty directory that everybody may enter, or an empty file in such a one.
fn ensure_mount_point(path: &Path) -> Result<()> {
    let is_file = path.parent().is_some_and(|above| above.ends_with("etc"));
    let directory = if is_file {
        path.parent().unwrap_or(path)
    } else {
        path
    };
    let make = || -> std::io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)?;
        if is_file {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path)?;
        }
        Ok(())
    };
    make().map_err(EngineError::store(format!("make {}", path.display())))
}

/// Makes a directory with its parents, for this user alone.
///
/// # Errors
/// As mkdir(2).
pub fn ensure_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(EngineError::store(format!(
            "make the directory {}",
            path.display()
        )))
}

/// Writes a file so that a reader sees the old content or the new, never a part:
/// beside it, then renamed over it.
///
/// # Errors
/// As open(2), write(2), rename(2).
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(bytes)?;
        fs::rename(&beside, path)
    };
    write().map_err(|source| {
        // What is left of the attempt; the error that counts is the first.
        fs::remove_file(&beside).unwrap_or_default();
        EngineError::Store {
            action: format!("write {}", path.display()),
            source,
        }
    })
}

/// Writes over what a file holds, which takes no room on most file systems: for what must be
/// kept where there is none at all. Whoever reads at this very moment may find half of each, and
/// reads again when this one lets go of the file ([`read_json`]).
///
/// # Errors
/// As open(2), which makes no file, flock(2) and pwrite(2).
pub fn write_over(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        file.lock()?;
        file.write_all_at(bytes, 0)?;
        file.set_len(bytes.len() as u64)
    };
    write().map_err(EngineError::store(format!("write {}", path.display())))
}

/// Reads a file; `None` where there is none.
///
/// # Errors
/// As open(2) and read(2).
pub fn read_file(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EngineError::Store {
            action: format!("read {}", path.display()),
            source,
        }),
    }
}

/// Reads a JSON file; `None` where there is none.
///
/// # Errors
/// As [`read_file`]; [`EngineError::Damaged`] for something else than it should be.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(bytes) = read_file(path)? else {
        return Ok(None);
    };
    let Ok(value) = cais_json::from_slice(&bytes) else {
        return read_json_again(path);
    };
    Ok(Some(value))
}

/// Reads it when nobody writes over it ([`write_over`]).
#[cold]
fn read_json_again<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let written = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.and_then(|file| file.lock_shared().map(|()| file)),
    };
    let written = written.map_err(EngineError::store(format!("read {}", path.display())))?;
    let Some(bytes) = read_file(path)? else {
        return Ok(None);
    };
    drop(written);
    cais_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| EngineError::Damaged {
            path: path.display().to_string(),
            detail: error.to_string(),
        })
}

/// Writes a value as JSON by [`write_file`].
///
/// # Errors
/// As [`write_file`].
pub fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<()> {
    write_file(path, &to_json(path, value)?)
}

/// The JSON of a value for this file.
///
/// # Errors
/// For what is none.
pub fn to_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    cais_json::to_vec(value).map_err(|error| EngineError::Damaged {
        path: path.display().to_string(),
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_over_is_read_whole() {
        let path = std::env::temp_dir().join(format!("cais-written-over-{}", std::process::id()));
        let texts = [1, 300].map(|count| vec!["text".to_owned(); count]);
        write_json(&path, &texts[0]).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..20_000 {
                    write_over(&path, &to_json(&path, &texts[round % 2]).unwrap()).unwrap();
                }
            });
            while !writer.is_finished() {
                let read: Vec<String> = read_json(&path).unwrap().unwrap();
                assert!(texts.contains(&read));
            }
        });
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_store_follows_user_and_environment() {
        let none = |_: &str| None;
        let root = Store::locate(true, none).unwrap();
        assert_eq!(
            (root.data(), root.run()),
            (Path::new("/var/lib/cais"), Path::new("/run/cais"))
        );
        let user = Store::locate(false, |name| match name {
            "HOME" => Some("/home/ana".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".to_owned()),
            _ => None,
        })
        .unwrap();
        assert_eq!(user.data(), Path::new("/home/ana/.local/share/cais"));
        assert_eq!(user.run(), Path::new("/run/user/1000/cais"));
        assert!(Store::locate(false, none).is_err());
        let named = Store::locate(true, |name| (name == "CAIS_DATA").then(|| "/x".to_owned())).unwrap();
        assert_eq!(named.data(), Path::new("/x"));
    }
}
