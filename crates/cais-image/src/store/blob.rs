//! Blobs: written beside under the object's own lock, verified while they are written, then
//! renamed in. What is cut off stays and is taken up again.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{TempFile, remove_file};
use super::lease::Lease;
use super::lock::{Wait, open_locked};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::manifest::{ImageConfig, MAX_JSON, Manifest, parse_config, parse_manifest};
use rustix::fs::{OFlags, XattrFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// What there is of a blob that is wanted.
#[derive(Debug)]
pub enum Claim {
    /// All of it.
    Present(File),
    /// Not all: whoever has this is the one to fetch it, and others wait.
    Missing(Box<Ingest>),
}

/// A blob that is being written. Dropped before [`Ingest::finish`], what there is of it is
/// kept for the next attempt, of this process or another.
///
/// The length of the partial file is the saved offset. The state of the hash is kept beside it
/// now and then, so that the next attempt hashes only what came after; not beyond a boot, as
/// a power cut may have taken bytes that the state has seen.
#[derive(Debug)]
pub struct Ingest {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    digest: Digest,
    size: u64,
    hasher: Hasher,
    offset: u64,
    resumed: bool,
    /// In which boot a state of the hash counts.
    boot_id: String,
    /// Where the hash was kept last.
    kept: u64,
}

/// The attribute of a partial file with the state of the hash.
const STATE: &str = "user.cais.hash";
/// So many bytes are hashed again at most.
const KEEP_EVERY: u64 = 64 << 20;

/// A blob that is being written and whose digest is not known before.
#[derive(Debug)]
pub struct Unnamed {
    temp: TempFile,
    hasher: Hasher,
    size: u64,
}

impl ContentStore {
    /// Where a blob is, or would be.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blob_directory(digest.algorithm()).join(digest.hex())
    }

    /// Takes hold of a blob and says what there is of it. Where another thread or process
    /// is writing it, waits for that one.
    ///
    /// # Errors
    /// As open(2), flock(2) and read(2).
    pub fn ingest(&self, lease: &Lease, wanted: &Descriptor) -> Result<Claim> {
        loop {
            if let Some(claim) = self.try_claim(lease, wanted, Wait::Yes)? {
                return Ok(claim);
            }
        }
    }

    /// The same without waiting: `None` where another is writing it.
    ///
    /// # Errors
    /// As [`ContentStore::ingest`].
    pub fn try_ingest(&self, lease: &Lease, wanted: &Descriptor) -> Result<Option<Claim>> {
        self.try_claim(lease, wanted, Wait::No)
    }

    fn try_claim(&self, lease: &Lease, wanted: &Descriptor, wait: Wait) -> Result<Option<Claim>> {
        lease.claim(&wanted.digest)?;
        if let Some(file) = self.open_sized(&wanted.digest, wanted.size)? {
            return Ok(Some(Claim::Present(file)));
        }
        let name = format!("part-{}-{}", wanted.digest.algorithm(), wanted.digest.hex());
        let partial = self.ingest_directory().join(name);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Some(file) = open_locked(&partial, flags, wait)? else {
            return Ok(None);
        };
        // Who had the lock before may have finished it.
        if let Some(file) = self.open_sized(&wanted.digest, wanted.size)? {
            remove_file(&partial)?;
            return Ok(Some(Claim::Present(file)));
        }
        if wanted.digest.algorithm() != "sha256" {
            super::files::ensure_directory(&self.blob_directory(wanted.digest.algorithm()))?;
        }
        let mut ingest = Ingest {
            file: file.into(),
            partial,
            target: self.blob_path(&wanted.digest),
            digest: wanted.digest.clone(),
            size: wanted.size,
            hasher: Hasher::like(&wanted.digest),
            offset: 0,
            resumed: false,
            boot_id: self.boot_id()?.to_owned(),
            kept: 0,
        };
        ingest.take_up()?;
        Ok(Some(Claim::Missing(Box::new(ingest))))
    }

    /// Opens a blob of which the size is known; `None` where it is not there, or is of
    /// another size, as after a power cut.
    fn open_sized(&self, digest: &Digest, size: u64) -> Result<Option<File>> {
        let file = self.open_blob(digest)?;
        let Some(file) = file else { return Ok(None) };
        let found = file
            .metadata()
            .map_err(StoreError::io(format!("look at {digest}")))?
            .len();
        Ok((found == size).then_some(file))
    }

    /// Starts a blob of unknown digest.
    ///
    /// # Errors
    /// Where no file can be made.
    pub fn ingest_unnamed(&self) -> Result<Unnamed> {
        Ok(Unnamed {
            temp: TempFile::create(self)?,
            hasher: Hasher::sha256(),
            size: 0,
        })
    }

    /// Names a blob of unknown digest by what was written, and takes hold of it.
    ///
    /// # Errors
    /// As rename(2).
    pub fn finish_unnamed(&self, lease: &Lease, blob: Unnamed, media_type: &str) -> Result<Descriptor> {
        let descriptor = Descriptor::new(media_type, blob.hasher.finish(), blob.size);
        lease.claim(&descriptor.digest)?;
        if self.open_sized(&descriptor.digest, blob.size)?.is_none() {
            blob.temp.persist(&self.blob_path(&descriptor.digest))?;
        }
        Ok(descriptor)
    }

    /// Puts bytes in, and takes hold of them.
    ///
    /// # Errors
    /// As [`ContentStore::ingest`] and [`Ingest::finish`].
    pub fn put(&self, lease: &Lease, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let descriptor = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        if let Claim::Missing(mut ingest) = self.ingest(lease, &descriptor)? {
            ingest.restart()?;
            ingest.append(bytes)?;
            drop(ingest.finish()?);
        }
        Ok(descriptor)
    }

    /// Opens a blob; `None` where it is not there. Its bytes are to be verified by whoever
    /// reads them.
    ///
    /// # Errors
    /// As open(2).
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::at("open", &path)(error)),
        }
    }

    /// Whether a blob is there in its full size.
    ///
    /// # Errors
    /// As open(2).
    pub fn has_blob(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.open_sized(&blob.digest, blob.size)?.is_some())
    }

    /// Reads a small blob and verifies it.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`]; [`StoreError::TooBig`] above [`MAX_JSON`];
    /// [`StoreError::DigestMismatch`].
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let file = self
            .open_blob(digest)?
            .ok_or_else(|| StoreError::NoBlob(digest.clone()))?;
        let failed = |verb: &str| StoreError::io(format!("{verb} {digest}"));
        let (size, limit) = (file.metadata().map_err(failed("look at"))?.len(), MAX_JSON);
        if size > limit {
            let digest = digest.clone();
            return Err(StoreError::TooBig { digest, size, limit });
        }
        // With room for the read that finds the end.
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 32);
        file.take(limit).read_to_end(&mut bytes).map_err(failed("read"))?;
        let mut hasher = Hasher::like(digest);
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(StoreError::DigestMismatch {
                wanted: digest.clone(),
                found,
                resumed: false,
            });
        }
        Ok(bytes)
    }

    /// Reads and parses an index or a manifest, which must be what its descriptor says.
    ///
    /// # Errors
    /// As [`ContentStore::read_blob`]; [`StoreError::Manifest`].
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        let bytes = self.read_blob(&descriptor.digest)?;
        parse_manifest(&bytes, Some(&descriptor.media_type)).map_err(StoreError::manifest(&descriptor.digest))
    }

    /// Reads and parses a configuration.
    ///
    /// # Errors
    /// As [`ContentStore::read_blob`]; [`StoreError::Manifest`].
    pub fn config(&self, digest: &Digest) -> Result<ImageConfig> {
        parse_config(&self.read_blob(digest)?).map_err(StoreError::manifest(digest))
    }

    /// Drops a blob that is not needed any more, such as the compressed form of a layer that
    /// is unpacked. It stays where another lease than `lease` holds it: then a collection
    /// removes it later, if no image does.
    ///
    /// # Errors
    /// As unlink(2).
    pub fn drop_blob(&self, lease: &Lease, digest: &Digest) -> Result<bool> {
        let lock = self.object_lock(digest)?;
        let others = self
            .read_leases()?
            .iter()
            .any(|other| !other.is_dead && !lease.is(&other.name) && other.digests.contains(digest));
        if !others {
            remove_file(&self.blob_path(digest))?;
        }
        drop(lock);
        Ok(!others)
    }
}

impl Ingest {
    /// What is wanted.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes are there: the next one to fetch has this offset.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The digest of what is there.
    #[must_use]
    pub fn digest_so_far(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// What is there, to be read while it grows.
    ///
    /// # Errors
    /// As open(2).
    pub fn reader(&self) -> Result<File> {
        // Opened anew: the lock stays with the writer.
        File::open(&self.partial).map_err(StoreError::at("open", &self.partial))
    }

    /// Forgets what is there, as when the other side does not serve parts.
    ///
    /// # Errors
    /// As ftruncate(2).
    pub fn restart(&mut self) -> Result<()> {
        let failed = || StoreError::at("truncate", &self.partial);
        self.file.set_len(0).map_err(failed())?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed())?;
        self.hasher = Hasher::like(&self.digest);
        self.offset = 0;
        self.kept = 0;
        self.resumed = false;
        // A state that stays is longer than the file, and is not used.
        rustix::fs::fremovexattr(&self.file, STATE).unwrap_or_default();
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError::SizeMismatch`] as soon as there are more than there are to be;
    /// as write(2).
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let length = self.offset.saturating_add(bytes.len() as u64);
        if length > self.size {
            return Err(self.wrong_size(length));
        }
        self.file
            .write_all(bytes)
            .map_err(StoreError::at("write", &self.partial))?;
        self.hasher.update(bytes);
        self.offset = length;
        if self.offset - self.kept >= KEEP_EVERY {
            self.keep_state();
        }
        super::steps::pass();
        Ok(())
    }

    /// Names the blob, if it is what it is to be. What is too short is kept for another
    /// attempt; what is something else is not.
    ///
    /// # Errors
    /// [`StoreError::SizeMismatch`], [`StoreError::DigestMismatch`]; as rename(2).
    pub fn finish(mut self: Box<Self>) -> Result<File> {
        // Size before digest (image-spec, "Descriptors").
        if self.offset != self.size {
            return Err(self.wrong_size(self.offset));
        }
        let found = self.hasher.clone().finish();
        if found != self.digest {
            remove_file(&self.partial)?;
            return Err(StoreError::DigestMismatch {
                wanted: self.digest.clone(),
                found,
                resumed: self.resumed,
            });
        }
        super::steps::pass();
        // It has done its work; where there is none that is as well.
        rustix::fs::fremovexattr(&self.file, STATE).unwrap_or_default();
        std::fs::rename(&self.partial, &self.target).map_err(StoreError::at("rename to", &self.target))?;
        let rewound = self.file.seek(SeekFrom::Start(0));
        rewound.map_err(StoreError::at("seek in", &self.target))?;
        super::steps::pass();
        // The lock goes with the open file: whoever waits for it sees the new name.
        let file = File::open(&self.target);
        file.map_err(StoreError::at("open", &self.target))
    }

    /// Keeps the state of the hash: `BOOT OFFSET` and its bytes. A file system without
    /// attributes has none, and all is hashed again.
    fn keep_state(&mut self) {
        let mut value = format!("{} {}\n", self.boot_id, self.offset).into_bytes();
        value.extend(self.hasher.state());
        rustix::fs::fsetxattr(&self.file, STATE, &value, XattrFlags::empty()).unwrap_or_default();
        self.kept = self.offset;
    }

    /// The state of the hash that an earlier attempt kept, with how many bytes it has seen.
    fn read_state(&self) -> Option<(u64, Hasher)> {
        let mut value = [0u8; 1024];
        let length = rustix::fs::fgetxattr(&self.file, STATE, &mut value[..]).ok()?;
        let value = value.get(..length)?;
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let (boot, offset) = std::str::from_utf8(&value[..end]).ok()?.split_once(' ')?;
        let hasher = Hasher::resume(&self.digest, &value[end + 1..])?;
        (boot == self.boot_id).then_some((offset.parse().ok()?, hasher))
    }

    /// Hashes what an earlier attempt left.
    fn take_up(&mut self) -> Result<()> {
        let failed = || StoreError::at("read", &self.partial);
        let length = self.file.metadata().map_err(failed())?.len();
        if length > self.size {
            return self.restart();
        }
        if let Some((offset, hasher)) = self.read_state().filter(|(offset, _)| *offset <= length) {
            self.file.seek(SeekFrom::Start(offset)).map_err(failed())?;
            (self.offset, self.kept, self.hasher) = (offset, offset, hasher);
        }
        let mut buffer = vec![0; 256 << 10];
        while self.offset < length {
            let count = match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed()(error)),
            };
            self.hasher.update(&buffer[..count]);
            self.offset += count as u64;
        }
        self.resumed = self.offset > 0;
        Ok(())
    }

    fn wrong_size(&self, found: u64) -> StoreError {
        StoreError::SizeMismatch {
            digest: self.digest.clone(),
            wanted: self.size,
            found,
        }
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // It ended well or badly, but not by a signal.
        if self.offset > self.kept && self.offset < self.size {
            self.keep_state();
        }
        // Nothing to take up again. Under the lock, so that who waits sees it go.
        if self.offset == 0 && super::lock::is_at(&self.file, &self.partial) {
            std::fs::remove_file(&self.partial).unwrap_or_default();
        }
    }
}

impl Unnamed {
    /// How many bytes were written.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.temp.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
