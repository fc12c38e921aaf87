//! Unpacked layers: filled in `staging/`, renamed to `layers/`, and told whole from half by
//! markers.
//!
//! `complete` names the boot in which the layer was made. After a power cut its files may be
//! shorter than they were written, so a layer counts only in that boot, unless `synced` is
//! there too, which is made after syncfs(2).

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{ensure_directory, read_file, remove_tree, unique, write_file, write_json};
use super::lease::Lease;
use super::lock::{Wait, is_at, open_locked};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use cais_json::{Map, Value};
use cais_order::InOrder;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

const MAX_META: u64 = 1 << 20;

/// What is known of a layer beside its files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerMeta {
    /// The sum of the sizes of its regular files in bytes, each hard link counted once.
    pub size: u64,
    /// Its diff_id, where it is kept by its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<Digest>,
    /// The size of the archive without compression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_size: Option<u64>,
    /// The forms in which it was fetched or pushed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Descriptor>,
    /// The repositories that have these blobs, for mounting them across.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// How whole a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// There is none.
    Absent,
    /// It is whole.
    Complete,
    /// It has no marker.
    Incomplete,
    /// It was made in an earlier boot and not synced: its files may be short.
    Unsynced,
}

/// What there is of a layer that is wanted.
#[derive(Debug)]
pub enum LayerClaim {
    /// All of it: the path of its files.
    Present(PathBuf),
    /// Nothing: whoever has this is the one to make it, and others wait.
    Missing(Staging),
}

/// A layer that is being filled. Dropped before it is committed, it is removed.
#[derive(Debug)]
pub struct Staging {
    directory: PathBuf,
    committed: bool,
    // Held as long as this process works on it.
    _lock: OwnedFd,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    boot_id: String,
}

impl ContentStore {
    /// A place to fill with a layer whose diff_id is not known yet.
    ///
    /// # Errors
    /// As mkdir(2) and flock(2).
    pub fn stage_layer(&self) -> Result<Staging> {
        loop {
            let directory = self.staging_directory().join(unique("layer"));
            if let Some(staging) = open_staging(&directory, Wait::Yes)? {
                return Ok(staging);
            }
        }
    }

    /// Takes hold of a layer and says whether it is there. Where another thread or process is
    /// making it, waits for that one. What is left of a layer that is not whole is removed.
    ///
    /// A thread that waits here must hold no other layer and no blob, and a layer is to be
    /// claimed before its blob: then nobody waits for somebody who waits for him.
    ///
    /// # Errors
    /// As mkdir(2), flock(2) and unlink(2).
    pub fn claim_layer(&self, lease: &Lease, diff_id: &Digest) -> Result<LayerClaim> {
        lease.claim(diff_id)?;
        let name = format!("{}-{}", diff_id.algorithm(), diff_id.hex());
        let directory = self.staging_directory().join(name);
        loop {
            if let Some(path) = self.layer_path(diff_id)? {
                return Ok(LayerClaim::Present(path));
            }
            let Some(mut staging) = open_staging(&directory, Wait::Yes)? else {
                continue;
            };
            if let Some(path) = self.layer_path(diff_id)? {
                staging.discard()?;
                return Ok(LayerClaim::Present(path));
            }
            return Ok(LayerClaim::Missing(staging));
        }
    }

    /// Names a layer that was filled, and takes hold of it. Answers the path of its files.
    /// Where another one has it already, that one stays.
    ///
    /// # Errors
    /// As write(2) and rename(2).
    pub fn commit_layer(
        &self,
        lease: &Lease,
        mut staging: Staging,
        diff_id: &Digest,
        meta: &LayerMeta,
    ) -> Result<PathBuf> {
        lease.claim(diff_id)?;
        write_json(self, &staging.directory.join("meta.json"), meta)?;
        let boot_id = self.boot_id()?.to_owned();
        write_json(self, &staging.directory.join("complete"), &Marker { boot_id })?;
        let target = self.layer_directory(diff_id);
        if let Some(parent) = target.parent() {
            ensure_directory(parent)?;
        }
        loop {
            if let Some(path) = self.layer_path(diff_id)? {
                staging.discard()?;
                return Ok(path);
            }
            super::steps::pass();
            match fs::rename(&staging.directory, &target) {
                Ok(()) => break,
                // One that is not whole is in the way.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
                    ) =>
                {
                    let trash = self.trash_layer(diff_id, |state| state != LayerState::Complete)?;
                    trash.map_or(Ok(()), |trash| remove_tree(&trash))?;
                }
                Err(error) => return Err(StoreError::at("rename to", &target)(error)),
            }
        }
        staging.committed = true;
        super::steps::pass();
        self.unsynced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(diff_id.clone());
        Ok(target.join("diff"))
    }

    /// The path of the files of a layer, in overlay form; `None` where it is not there or not
    /// whole.
    ///
    /// # Errors
    /// As open(2).
    pub fn layer_path(&self, diff_id: &Digest) -> Result<Option<PathBuf>> {
        let is_complete = self.layer_state(diff_id)? == LayerState::Complete;
        Ok(is_complete.then(|| self.layer_directory(diff_id).join("diff")))
    }

    /// How whole a layer is.
    ///
    /// # Errors
    /// As open(2).
    pub fn layer_state(&self, diff_id: &Digest) -> Result<LayerState> {
        self.state_at(&self.layer_directory(diff_id))
    }

    pub(super) fn state_at(&self, directory: &Path) -> Result<LayerState> {
        if directory.join("synced").exists() {
            return Ok(LayerState::Complete);
        }
        let Some(bytes) = read_file(&directory.join("complete"), MAX_META)? else {
            return Ok(if directory.exists() {
                LayerState::Incomplete
            } else {
                LayerState::Absent
            });
        };
        Ok(match cais_json::from_slice::<Marker>(&bytes) {
            Ok(marker) if marker.boot_id == self.boot_id()? => LayerState::Complete,
            Ok(_) => LayerState::Unsynced,
            Err(_) => LayerState::Incomplete,
        })
    }

    /// What is known of a layer; `None` where it is not there.
    ///
    /// # Errors
    /// As open(2); [`StoreError::Damaged`].
    pub fn layer_meta(&self, diff_id: &Digest) -> Result<Option<LayerMeta>> {
        match self.own_meta(diff_id)? {
            Some(meta) => Ok(Some(meta)),
            None => match self.any_place(diff_id)? {
                Some(place) => self.own_meta(&place),
                None => Ok(None),
            },
        }
    }

    /// What is known of what is kept by just this digest.
    pub(super) fn own_meta(&self, digest: &Digest) -> Result<Option<LayerMeta>> {
        let path = self.layer_directory(digest).join("meta.json");
        let Some(bytes) = read_file(&path, MAX_META)? else {
            return Ok(None);
        };
        cais_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| StoreError::damaged(&path, error.to_string()))
    }

    /// Notes something about a layer that is there, such as another repository that has it.
    ///
    /// # Errors
    /// As write(2).
    pub fn set_layer_meta(&self, diff_id: &Digest, meta: &LayerMeta) -> Result<()> {
        write_json(self, &self.layer_directory(diff_id).join("meta.json"), meta)
    }

    /// All layers, whole or not.
    ///
    /// # Errors
    /// As readdir(3).
    pub fn layers(&self) -> Result<Vec<Digest>> {
        self.digests_below(&self.base.join("layers"))
    }

    /// The digests that a directory has in the form `<algorithm>/<hex>`.
    pub(super) fn digests_below(&self, directory: &Path) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        for algorithm in super::files::read_names(directory)? {
            for hex in super::files::read_names(&directory.join(&algorithm))? {
                digests.extend(format!("{algorithm}:{hex}").parse::<Digest>());
            }
        }
        digests.order();
        Ok(digests)
    }

    pub(super) fn mark_synced(&self, diff_id: &Digest) -> Result<Option<PathBuf>> {
        let directory = self.layer_directory(diff_id);
        // A collection may have taken it since.
        if !directory.exists() {
            return Ok(None);
        }
        let mark = directory.join("synced");
        write_file(self, &mark, b"")?;
        Ok(Some(mark))
    }

    /// Takes a layer of a certain state out of its place, under its lock. What is in the
    /// trash is removed by whoever sweeps; answers its path.
    pub(super) fn trash_layer(
        &self,
        diff_id: &Digest,
        condition: impl FnOnce(LayerState) -> bool,
    ) -> Result<Option<PathBuf>> {
        let lock = self.object_lock(diff_id)?;
        let trashed = if condition(self.layer_state(diff_id)?) {
            self.rename_to_trash(&self.layer_directory(diff_id))?
        } else {
            None
        };
        drop(lock);
        Ok(trashed)
    }

    pub(super) fn rename_to_trash(&self, path: &Path) -> Result<Option<PathBuf>> {
        let trash = self.staging_directory().join(unique("trash"));
        super::steps::pass();
        match fs::rename(path, &trash) {
            Ok(()) => {
                super::steps::pass();
                Ok(Some(trash))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::at("rename", path)(error)),
        }
    }
}

impl Staging {
    /// Where the files of the layer go, in overlay form. Its root is a directory of mode
    /// 0755; whoever fills it may change that.
    #[must_use]
    pub fn diff(&self) -> PathBuf {
        self.directory.join("diff")
    }

    /// Where other things go that are to stay with the layer, such as what is needed to make
    /// the archive again.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Gives up the claim of its diff_id, for a layer that is to be kept by its place: nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// As rename(2).
    pub fn detach(&mut self) -> Result<()> {
        let directory = self.directory.with_file_name(unique("layer"));
        // The lock goes with the directory.
        fs::rename(&self.directory, &directory).map_err(StoreError::at("rename", &self.directory))?;
        self.directory = directory;
        Ok(())
    }

    fn discard(&mut self) -> Result<()> {
        self.committed = true;
        // While its lock is held: who waits for it sees that it is gone.
        remove_tree(&self.directory)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed is swept later.
            remove_tree(&self.directory).unwrap_or_default();
        }
    }
}

/// Makes a directory, if it is not there, by a name that nobody had before: ext4 derives from
/// the name where on the disk it puts a directory (see `spread`).
fn make_elsewhere(directory: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    if directory.exists() {
        return Ok(());
    }
    let fresh = directory.with_file_name(unique("fresh"));
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder.create(&fresh).map_err(StoreError::at("make", &fresh))?;
    match renameat_with(CWD, &fresh, CWD, directory, RenameFlags::NOREPLACE) {
        // Swept away: then whoever wants it tries again.
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        _ => fs::remove_dir(&fresh).unwrap_or_default(),
    }
    // Somebody else was faster, or the file system cannot do it.
    match builder.create(directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::at("make", directory)(error))
        }
        _ => Ok(()),
    }
}

/// Makes or takes over a directory in `staging/`; `None` where it went away meanwhile.
fn open_staging(directory: &Path, wait: Wait) -> Result<Option<Staging>> {
    let make = |path: &Path, mode| match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(StoreError::at("make", path)(error)),
        _ => Ok(()),
    };
    make_elsewhere(directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Some(lock) = open_locked(directory, flags, wait)? else {
        return Ok(None);
    };
    // What a killed process left in it.
    for name in super::files::read_names(directory)? {
        remove_tree(&directory.join(name))?;
    }
    if !is_at(&lock, directory) {
        return Ok(None);
    }
    super::steps::pass();
    let diff = directory.join("diff");
    make(&diff, 0o755)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&diff, mode).map_err(StoreError::at("set the mode of", &diff))?;
    Ok(Some(Staging {
        directory: directory.to_owned(),
        committed: false,
        _lock: lock,
    }))
}
