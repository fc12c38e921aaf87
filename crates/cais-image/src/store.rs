//! The content store: images as they lie on disk, in standard forms where there are any.
//!
//! | below the base | what |
//! | --- | --- |
//! | `oci/` | an OCI image layout: `oci-layout`, `index.json` (made from `images/`), `blobs/` |
//! | `layers/<algorithm>/<diff_id>/` | an unpacked layer: `diff/`, `meta.json`, `complete`, `synced`, and what the unpacker puts beside them |
//! | `images/<encoded name>` | one file for each name, the truth about names |
//! | `staging/` | layers that are being unpacked, and trash |
//! | `ingest/` | blobs that are being written, and those that were cut off |
//! | `leases/` | what processes that run now must find later |
//! | `locks/` | locks of single objects while somebody has them |
//!
//! Rules: write elsewhere, then rename; one flock(2) for each object, never one for all;
//! readers take none. What is not renamed into place yet is held by a flock, so that what a
//! killed process leaves is known by its free lock and swept.

mod blob;
mod check;
mod error;
mod files;
mod gc;
mod image;
mod index;
mod layer;
mod lease;
mod lock;
mod places;
mod record;
mod steps;
mod sweep;
#[cfg(test)]
mod tests;
mod usage;

pub use blob::{Claim, Ingest, Unnamed};
pub use check::{Finding, Problem};
pub use error::{Result, StoreError};
pub(crate) use files::unique;
pub use gc::{GcOptions, GcReport};
pub use image::{Image, Removed};
pub(crate) use index::{LAYOUT, REF_NAME, check_layout};
pub use layer::{LayerClaim, LayerMeta, LayerState, Staging};
pub use lease::Lease;
pub use places::places;
pub use record::{Record, decode_name, encode_name};
pub use steps::kill_at_step;
pub use usage::{BlobUsage, ImageUsage, LayerUsage, Size, Usage};

use crate::digest::Digest;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Where root's store is.
pub const DEFAULT_BASE: &str = "/var/lib/cais";

/// The store. It may be used by many threads and many processes at once.
#[derive(Debug)]
pub struct ContentStore {
    base: PathBuf,
    /// Which boot this is, once somebody asked.
    boot_id: OnceLock<String>,
    unsynced: Mutex<Vec<Digest>>,
}

impl ContentStore {
    /// The store below `base`; what is missing of it is made.
    ///
    /// # Errors
    /// Where a directory or file cannot be made, or where the layout has another version
    /// than 1.0.0.
    pub fn open(base: &Path) -> Result<Self> {
        let store = Self {
            base: base.to_owned(),
            boot_id: OnceLock::new(),
            unsynced: Mutex::default(),
        };
        // The last one to be made tells that all were.
        let layout = store.oci().join("oci-layout");
        if !layout.exists() {
            for directory in [
                store.blob_directory("sha256"),
                store.base.join("layers/sha256"),
                store.images_directory(),
                store.staging_directory(),
                store.ingest_directory(),
                store.leases_directory(),
                store.locks_directory(),
            ] {
                files::ensure_directory(&directory)?;
            }
            spread(&store.staging_directory());
            store.refresh_index()?;
        }
        index::ensure_layout(&store, &layout)?;
        Ok(store)
    }

    /// Writes everything to the disk by one syncfs(2), and marks the layers that this store
    /// took in as such. Without it, a layer counts as whole until the machine stops. The marks
    /// come after, and the last of them is synced by itself, which takes those before it along
    /// in the journal; where it does not, a layer is fetched again after a power cut.
    ///
    /// # Errors
    /// As open(2) and syncfs(2).
    pub fn sync(&self) -> Result<()> {
        let layers = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        let base = std::fs::File::open(&self.base).map_err(StoreError::at("open", &self.base))?;
        steps::pass();
        rustix::fs::syncfs(&base).map_err(|errno| StoreError::at("sync", &self.base)(errno.into()))?;
        let mut last = None;
        for diff_id in &layers {
            last = self.mark_synced(diff_id)?.or(last);
        }
        if let Some(path) = last {
            let mark = std::fs::File::open(&path).and_then(|mark| mark.sync_all());
            match mark {
                // A collection may have taken it since.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::at("sync", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The directory that all is below.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The OCI image layout.
    #[must_use]
    pub fn oci(&self) -> PathBuf {
        self.base.join("oci")
    }

    fn blob_directory(&self, algorithm: &str) -> PathBuf {
        self.base.join("oci/blobs").join(algorithm)
    }

    fn layer_directory(&self, diff_id: &Digest) -> PathBuf {
        let layers = self.base.join("layers");
        layers.join(diff_id.algorithm()).join(diff_id.hex())
    }

    /// Which boot of the machine this is.
    fn boot_id(&self) -> Result<&str> {
        if self.boot_id.get().is_none() {
            let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .map_err(StoreError::io("read /proc/sys/kernel/random/boot_id"))?;
            // Another thread may have been faster: it read the same.
            self.boot_id.set(read.trim().to_owned()).unwrap_or_default();
        }
        Ok(self.boot_id.get().map_or("", String::as_str))
    }

    fn images_directory(&self) -> PathBuf {
        self.base.join("images")
    }

    fn staging_directory(&self) -> PathBuf {
        self.base.join("staging")
    }

    fn ingest_directory(&self) -> PathBuf {
        self.base.join("ingest")
    }

    fn leases_directory(&self) -> PathBuf {
        self.base.join("leases")
    }

    fn locks_directory(&self) -> PathBuf {
        self.base.join("locks")
    }
}

/// Asks ext4 to put each directory made in this one somewhere else on the disk. Otherwise a
/// layer lands where another was removed a moment ago, and every file that is made there
/// steps over the inodes of those that were, since they rest for minutes (`recently_deleted`
/// in fs/ext4/ialloc.c): measured, ten seconds instead of one for 10,000 files.
fn spread(directory: &Path) {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let Ok(handle) = std::fs::File::open(directory) else {
        return;
    };
    // Other file systems have no such flag, and no such need.
    if let Ok(flags) = ioctl_getflags(&handle) {
        ioctl_setflags(&handle, flags | IFlags::TOPDIR).unwrap_or_default();
    }
}
