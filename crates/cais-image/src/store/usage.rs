//! Disk usage, exact to the byte: what du(1) says, by object.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::gc::Marks;
use super::places::hold_layers;
use crate::digest::Digest;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How much something takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// The lengths of files as ls(1) shows them, in bytes; of regular files and symbolic
    /// links only.
    pub apparent: u64,
    /// What they take on the disk, directories too: st_blocks of 512 bytes, in bytes.
    pub allocated: u64,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUsage {
    /// Its name.
    pub diff_id: Digest,
    /// What it takes, with what is kept to make its archive again.
    pub size: Size,
    /// How many images have it.
    pub images: usize,
    /// Whether a container uses it.
    pub in_use: bool,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobUsage {
    /// Its name.
    pub digest: Digest,
    /// What it takes.
    pub size: Size,
    /// How many images have it.
    pub images: usize,
    /// Whether a container uses it.
    pub in_use: bool,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// Its manifest.
    pub manifest: Digest,
    /// Its names; none for a dangling one.
    pub names: Vec<String>,
    /// What no other image has: what its removal frees.
    pub unique: Size,
    /// What other images have too.
    pub shared: Size,
    /// Whether a container uses it.
    pub in_use: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Each layer.
    pub layers: Vec<LayerUsage>,
    /// Each blob.
    pub blobs: Vec<BlobUsage>,
    /// Each image.
    pub images: Vec<ImageUsage>,
    /// Directories, records, and what is being worked on.
    pub other: Size,
    /// The sum of layers, blobs and other.
    pub total: Size,
    /// What no container uses: what is free if all other images are removed.
    pub reclaimable: Size,
    /// What no image and no container uses: what a collection removes, leases apart.
    pub garbage: Size,
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.apparent += other.apparent;
        self.allocated += other.allocated;
    }
}

/// Adds up trees, and counts a file with several links once, in the first of them.
#[derive(Debug, Default)]
pub(super) struct Walk {
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    /// The size of a file, or of a directory and all below it; zero for what is not there.
    pub(super) fn size_of(&mut self, path: &Path) -> Result<Size> {
        let mut sum = Size::default();
        let Some(metadata) = read_metadata(path)? else {
            return Ok(sum);
        };
        sum += self.of_one(&metadata);
        if !metadata.is_dir() {
            return Ok(sum);
        }
        let mut waiting = vec![path.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::at("read", &directory)(error)),
            };
            for entry in entries {
                let entry = entry.map_err(StoreError::at("read", &directory))?;
                let Some(metadata) = read_metadata(&entry.path())? else {
                    continue;
                };
                sum += self.of_one(&metadata);
                if metadata.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(sum)
    }

    fn of_one(&mut self, metadata: &Metadata) -> Size {
        let has_more_links = !metadata.is_dir() && metadata.nlink() > 1;
        if has_more_links && !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Size::default();
        }
        Size {
            apparent: if metadata.is_dir() { 0 } else { metadata.len() },
            allocated: metadata.blocks() * 512,
        }
    }
}

fn read_metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        // It went away while we walked.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::at("look at", path)(error)),
    }
}

impl ContentStore {
    /// What the store takes. `in_use` names what containers use.
    ///
    /// # Errors
    /// As readdir(3) and lstat(2).
    pub fn usage(&self, in_use: &[Digest]) -> Result<Usage> {
        let mut used = Marks::default();
        for digest in in_use {
            self.mark(&mut used, digest)?;
        }
        let mut holders: HashMap<Digest, usize> = HashMap::new();
        let images = self.images()?;
        let mut contents = Vec::with_capacity(images.len());
        for image in &images {
            let mut marks = Marks::default();
            for digest in [&image.target.digest, &image.manifest.digest, &image.id] {
                self.mark(&mut marks, digest)?;
            }
            hold_layers(&mut marks.held, &image.diff_ids);
            for digest in &marks.held {
                *holders.entry(digest.clone()).or_default() += 1;
            }
            contents.push(marks.held);
        }
        let mut usage = self.measure(&holders, &used.held)?;
        let mut sizes: BTreeMap<&Digest, Size> = BTreeMap::new();
        for layer in &usage.layers {
            *sizes.entry(&layer.diff_id).or_default() += layer.size;
        }
        for blob in &usage.blobs {
            // A layer without compression and its blob have one name.
            *sizes.entry(&blob.digest).or_default() += blob.size;
        }
        let digests_in_use: HashSet<&Digest> = in_use.iter().collect();
        for (image, held) in images.iter().zip(contents) {
            let own = [&image.target.digest, &image.manifest.digest, &image.id];
            let mut of_image = ImageUsage {
                manifest: image.manifest.digest.clone(),
                names: image.names.clone(),
                unique: Size::default(),
                shared: Size::default(),
                in_use: own.iter().any(|digest| digests_in_use.contains(*digest)),
            };
            for digest in &held {
                let size = sizes.get(digest).copied().unwrap_or_default();
                if holders.get(digest) == Some(&1) {
                    of_image.unique += size;
                } else {
                    of_image.shared += size;
                }
            }
            usage.images.push(of_image);
        }
        Ok(usage)
    }

    fn measure(&self, holders: &HashMap<Digest, usize>, used: &HashSet<Digest>) -> Result<Usage> {
        let mut usage = Usage::default();
        let mut walk = Walk::default();
        for diff_id in self.layers()? {
            let size = walk.size_of(&self.layer_directory(&diff_id))?;
            let images = holders.get(&diff_id).copied().unwrap_or(0);
            let in_use = used.contains(&diff_id);
            usage.add(size, images, in_use);
            usage.layers.push(LayerUsage {
                diff_id,
                size,
                images,
                in_use,
            });
        }
        for digest in self.digests_below(&self.oci().join("blobs"))? {
            let size = walk.size_of(&self.blob_path(&digest))?;
            let images = holders.get(&digest).copied().unwrap_or(0);
            let in_use = used.contains(&digest);
            usage.add(size, images, in_use);
            usage.blobs.push(BlobUsage {
                digest,
                size,
                images,
                in_use,
            });
        }
        // What is neither: the sum of all, less what was counted.
        let mut all = Size::default();
        let mut walk = Walk::default();
        for name in ["layers", "oci", "images", "staging", "ingest", "leases", "locks"] {
            all += walk.size_of(&self.base.join(name))?;
        }
        usage.other = Size {
            apparent: all.apparent.saturating_sub(usage.total.apparent),
            allocated: all.allocated.saturating_sub(usage.total.allocated),
        };
        usage.total += usage.other;
        Ok(usage)
    }
}

impl Usage {
    fn add(&mut self, size: Size, images: usize, in_use: bool) {
        self.total += size;
        if !in_use {
            self.reclaimable += size;
        }
        if images == 0 && !in_use {
            self.garbage += size;
        }
    }
}
