//! Leases: what a process is about to need, so that a garbage collection leaves it alone.
//!
//! A lease is a file with one digest on each line. It holds while its process lives: the
//! file is locked, and its name has the process's id and start.
//!
//! How that is safe without a lock for all. A collection (1) announces itself by a locked
//! file `gc-…`, (2) reads the leases, (3) reads the images, and (4) for each object that
//! nothing holds takes the object's lock, reads the leases again, and only then removes it.
//! A claim writes its line first and looks for an announcement second. If there is none, (2)
//! sees the line. If there is one, the claim takes the object's lock once: it either waits
//! until the object is gone, and finds it missing, or (4) sees the line. A lease that ends
//! during a collection stays as a closed one, so that (4) still sees it although what it
//! protected was tagged after (3).

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{read_file, read_names, remove_file, unique};
use super::lock::{LockFile, Wait, is_at, is_locked, lock};
use crate::digest::Digest;
use cais_linux::process::start_time::read_stat;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const CLOSED: &str = "closed";
const MAX_LEASE: u64 = 64 << 20;

/// What holds contents until it is dropped. It may be shared by threads.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    directory: PathBuf,
    locks: PathBuf,
    file: Mutex<File>,
}

/// A lease as a collection sees it.
#[derive(Debug)]
pub(super) struct FoundLease {
    pub(super) name: String,
    pub(super) is_dead: bool,
    pub(super) digests: HashSet<Digest>,
}

/// That a collection is running.
#[derive(Debug)]
pub(super) struct Announcement {
    path: PathBuf,
    _file: File,
}

impl ContentStore {
    /// A new lease, which holds nothing yet.
    ///
    /// # Errors
    /// Where its file cannot be made.
    pub fn lease(&self) -> Result<Lease> {
        let start = i32::try_from(std::process::id())
            .ok()
            .and_then(read_stat)
            .map_or(0, |stat| stat.start);
        let path = self
            .leases_directory()
            .join(format!("lease.{start}.{}", unique("pid")));
        let file = create_locked(&path)?;
        Ok(Lease {
            path,
            directory: self.leases_directory(),
            locks: self.locks_directory(),
            file: Mutex::new(file),
        })
    }

    pub(super) fn announce_collection(&self) -> Result<Announcement> {
        loop {
            let path = self.leases_directory().join(unique("gc"));
            let file = create_locked(&path)?;
            // Another collection may have swept it before it was locked.
            if is_at(&file, &path) {
                return Ok(Announcement { path, _file: file });
            }
        }
    }

    pub(super) fn read_leases(&self) -> Result<Vec<FoundLease>> {
        let directory = self.leases_directory();
        let mut leases = Vec::new();
        for name in read_names(&directory)? {
            if !name.starts_with("lease.") {
                continue;
            }
            let path = directory.join(&name);
            // First whether it is dead, then what it holds: a dead one grows no more.
            let has_holder = is_locked(&path) || !is_process_gone(&name);
            let Some(bytes) = read_file(&path, MAX_LEASE)? else {
                continue;
            };
            let text = String::from_utf8_lossy(&bytes);
            let is_closed = text.lines().any(|line| line == CLOSED);
            leases.push(FoundLease {
                name,
                is_dead: is_closed || !has_holder,
                digests: text.lines().filter_map(|line| line.parse().ok()).collect(),
            });
        }
        Ok(leases)
    }

    pub(super) fn object_lock(&self, digest: &Digest) -> Result<LockFile> {
        LockFile::acquire(object_lock_path(&self.locks_directory(), digest))
    }

    pub(super) fn remove_lease(&self, name: &str) -> Result<()> {
        remove_file(&self.leases_directory().join(name))
    }
}

impl Lease {
    /// Holds a content, whether or not it is there yet: from now on, if it is there, it
    /// stays. Look for it after this call and not before.
    ///
    /// # Errors
    /// Where the file of the lease cannot be written, or the lock of the object not be had.
    pub fn claim(&self, digest: &Digest) -> Result<()> {
        let line = format!("{digest}\n");
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(line.as_bytes())
            .map_err(StoreError::at("write", &self.path))?;
        if is_collecting(&self.directory)? {
            drop(LockFile::acquire(object_lock_path(&self.locks, digest))?);
        }
        Ok(())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.path.file_name().is_some_and(|own| own == name)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if is_collecting(&self.directory).unwrap_or(true) {
            let closed = format!("{CLOSED}\n");
            let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
            // If it cannot be written, the lease lasts until its process ends.
            file.write_all(closed.as_bytes()).unwrap_or_default();
        } else {
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

impl Announcement {
    /// Whether no other collection is running.
    pub(super) fn is_alone(&self, store: &ContentStore) -> Result<bool> {
        let directory = store.leases_directory();
        Ok(!read_names(&directory)?.iter().any(|name| {
            let path = directory.join(name);
            name.starts_with("gc-") && path != self.path && is_locked(&path)
        }))
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        fs::remove_file(&self.path).unwrap_or_default();
    }
}

fn object_lock_path(locks: &Path, digest: &Digest) -> PathBuf {
    locks.join(format!("{}-{}", digest.algorithm(), digest.hex()))
}

/// Whether a collection is running. One that was killed holds no lock.
fn is_collecting(directory: &Path) -> Result<bool> {
    Ok(read_names(directory)?
        .iter()
        .any(|name| name.starts_with("gc-") && is_locked(&directory.join(name))))
}

fn create_locked(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::at("make", path))?;
    lock(&file, Wait::Yes).map_err(|errno| StoreError::at("lock", path)(errno.into()))?;
    Ok(file)
}

/// Whether the process is gone that a lease's name `lease.START.pid-PID-…` tells.
fn is_process_gone(name: &str) -> bool {
    let mut parts = name.split('.').skip(1);
    let start = parts.next().and_then(|start| start.parse::<u64>().ok());
    let pid = parts
        .next()
        .and_then(|rest| rest.split('-').nth(1)?.parse::<i32>().ok());
    match (start, pid) {
        (Some(start), Some(pid)) => read_stat(pid).is_none_or(|stat| stat.start != start || stat.has_ended()),
        _ => true,
    }
}
