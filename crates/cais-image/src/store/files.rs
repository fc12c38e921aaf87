//! Files that appear whole or not at all, and trees that go away.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::lock::{Wait, is_at, lock};
use super::steps;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file that has no name of its own yet. It is swept when its process dies, which shows by
/// its free lock.
#[derive(Debug)]
pub(super) struct TempFile {
    path: PathBuf,
    /// The file, for reading and writing.
    pub(super) file: File,
    kept: bool,
}

impl TempFile {
    pub(super) fn create(store: &ContentStore) -> Result<Self> {
        loop {
            let path = store.ingest_directory().join(unique("tmp"));
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(&path)
                .map_err(StoreError::at("make", &path))?;
            lock(&file, Wait::Yes).map_err(|errno| StoreError::at("lock", &path)(errno.into()))?;
            // A sweeper may have had the lock before us.
            if is_at(&file, &path) {
                steps::pass();
                let kept = false;
                return Ok(Self { path, file, kept });
            }
        }
    }

    /// Gives it its name, over what had that name.
    pub(super) fn persist(mut self, path: &Path) -> Result<()> {
        steps::pass();
        fs::rename(&self.path, path).map_err(StoreError::at("rename to", path))?;
        self.kept = true;
        steps::pass();
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept {
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// Writes a file so that a reader sees the old content or the new, never a part.
pub(super) fn write_file(store: &ContentStore, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temp = TempFile::create(store)?;
    temp.file
        .write_all(bytes)
        .map_err(StoreError::at("write", path))?;
    temp.persist(path)
}

/// Writes a value as JSON by [`write_file`].
pub(super) fn write_json<T: serde::Serialize>(store: &ContentStore, path: &Path, value: &T) -> Result<()> {
    let bytes = cais_json::to_vec(value).map_err(|error| StoreError::damaged(path, error.to_string()))?;
    write_file(store, path, &bytes)
}

/// Reads a file of at most `limit` bytes; `None` where there is none.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::at("open", path)(error)),
    };
    // Most fit in one read; without room the library begins with 32 bytes.
    let mut bytes = Vec::with_capacity(4096);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(StoreError::at("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::damaged(path, format!("more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// Makes a directory with its parents, for this user alone.
pub(super) fn ensure_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::at("make the directory", path))
}

/// Removes a file, if there is one.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    steps::pass();
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a tree or file, if there is one. Directories that their owner may not write to
/// (a layer has such) are opened up first.
pub(super) fn remove_tree(path: &Path) -> Result<()> {
    let is_directory = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::at("look at", path)(error)),
    };
    if !is_directory {
        return remove_file(path);
    }
    steps::pass();
    let mut removed = fs::remove_dir_all(path);
    if matches!(&removed, Err(error) if error.kind() == ErrorKind::PermissionDenied) {
        open_up(path).map_err(StoreError::at("open up", path))?;
        removed = fs::remove_dir_all(path);
    }
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

fn open_up(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

/// The names in a directory; none where there is none.
pub(super) fn read_names(directory: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::at("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::at("read", directory))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// A name that no other thread and no other process has.
pub(crate) fn unique(kind: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut random = [0_u8; 8];
    // Ids of processes may be equal in two pid namespaces.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).unwrap_or_default();
    let random = u64::from_ne_bytes(random);
    format!("{kind}-{}-{number}-{random:016x}", std::process::id())
}
