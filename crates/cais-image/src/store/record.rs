//! The files below `images/`: one for each name, and one for each image that has lost its
//! names.

use super::ContentStore;
use super::error::{Result, StoreError};
use super::files::{read_file, read_names, remove_file, write_json};
use super::image::Image;
use super::lock::LockFile;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::platform::Platform;
use cais_order::InOrder;
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

/// A name that is longer when encoded is replaced by its digest; NAME_MAX is 255, and locks
/// put something before it.
const MAX_ENCODED: usize = 200;
const MAX_NAME: usize = 4096;
const MAX_RECORD: usize = 1 << 20;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The name, in full: `docker.io/library/nginx:latest`. None for an image without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the name points at where it came from: an index or a manifest.
    pub target: Descriptor,
    /// The manifest of the image for its platform.
    pub manifest: Descriptor,
    /// The digest of its configuration, which Docker calls the id of the image.
    pub config: Digest,
    /// The machine that it is for.
    pub platform: Platform,
    /// When the image was made, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its layers, the lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
    /// The sum of the sizes of its layers when they were all there, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// A record, or why it cannot be read.
pub(super) struct FoundRecord {
    pub(super) path: PathBuf,
    pub(super) record: Result<Record>,
}

/// The file name of an image's name: reversible, never hidden, never a path, at most 200
/// bytes. A name that is too long for that becomes `~` and its digest, and is found in the
/// file.
#[must_use]
pub fn encode_name(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if is_plain && !(encoded.is_empty() && byte == b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    if encoded.is_empty() || encoded.len() > MAX_ENCODED {
        format!("~{}", Digest::of(name.as_bytes()).hex())
    } else {
        encoded
    }
}

/// The name that a file name stands for; `None` for one that only the file tells, and for
/// what [`encode_name`] never answers.
#[must_use]
pub fn decode_name(encoded: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        });
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode_name(&name) == encoded).then_some(name)
}

/// The file of an image without a name. No encoded name begins with `@`.
fn nameless(manifest: &Digest) -> String {
    format!("@{}-{}", manifest.algorithm(), manifest.hex())
}

impl Record {
    fn file_name(&self) -> String {
        self.name
            .as_deref()
            .map_or_else(|| nameless(&self.manifest.digest), encode_name)
    }
}

impl ContentStore {
    /// What a name stands for; `None` where it is not known.
    ///
    /// # Errors
    /// As open(2); [`StoreError::Damaged`].
    pub fn record(&self, name: &str) -> Result<Option<Record>> {
        let path = self.images_directory().join(encode_name(name));
        let Some(bytes) = read_file(&path, MAX_RECORD as u64)? else {
            return Ok(None);
        };
        parse_record(&bytes, &encode_name(name))
            .map(Some)
            .map_err(|detail| StoreError::damaged(&path, detail))
    }

    /// All names and images without one, the damaged ones too, in the order of their files.
    pub(super) fn read_records(&self) -> Result<Vec<FoundRecord>> {
        let directory = self.images_directory();
        let mut names = read_names(&directory)?;
        names.order();
        let mut found = Vec::with_capacity(names.len());
        let handle = fs::File::open(&directory).map_err(StoreError::at("open", &directory))?;
        let mut buffer = Vec::new();
        for name in names {
            let path = directory.join(&name);
            let is_there = read_into(&handle, &name, &mut buffer)
                .map_err(|errno| StoreError::at("read", &path)(errno.into()))?;
            if is_there {
                let record =
                    parse_record(&buffer, &name).map_err(|detail| StoreError::damaged(&path, detail));
                found.push(FoundRecord { path, record });
            }
        }
        Ok(found)
    }

    /// All names and images without one; fails where one is damaged, since what it held is
    /// not known.
    pub(super) fn sound_records(&self) -> Result<Vec<Record>> {
        let found = self.read_records()?;
        found.into_iter().map(|found| found.record).collect()
    }

    pub(super) fn write_record(&self, record: &Record) -> Result<()> {
        let path = self.images_directory().join(record.file_name());
        write_json(self, &path, record)
    }

    pub(super) fn remove_record(&self, record: &Record) -> Result<()> {
        remove_file(&self.images_directory().join(record.file_name()))
    }

    /// Notes that an image is used now: the time of its file.
    pub(super) fn touch_record(&self, record: &Record) -> Result<()> {
        let path = self.images_directory().join(record.file_name());
        fs::File::open(&path)
            .and_then(|file| file.set_modified(SystemTime::now()))
            .map_err(StoreError::at("touch", &path))
    }

    /// When an image was last used or named: the time of its files.
    #[must_use]
    pub fn last_used(&self, image: &Image) -> SystemTime {
        let named = image.names.iter().map(|name| encode_name(name));
        let files = named.chain(image.names.is_empty().then(|| nameless(&image.manifest.digest)));
        let changed = files.filter_map(|file| {
            let metadata = fs::metadata(self.images_directory().join(file));
            metadata.and_then(|metadata| metadata.modified()).ok()
        });
        changed.max().unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// The lock of a name while what it stands for is changed.
    pub(super) fn name_lock(&self, name: &str) -> Result<LockFile> {
        let file = format!("name-{}", encode_name(name));
        LockFile::acquire(self.locks_directory().join(file))
    }
}

/// Refuses what no reference can be and no terminal should see.
pub(super) fn check_name(name: &str) -> Result<()> {
    let is_bad = name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control);
    if is_bad {
        Err(StoreError::BadName(name.chars().take(200).collect()))
    } else {
        Ok(())
    }
}

/// Reads a file of a directory by as few calls as there can be, since there may be thousands;
/// answers whether it is there.
fn read_into(directory: &fs::File, name: &str, buffer: &mut Vec<u8>) -> rustix::io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        other => other?,
    };
    // Records are never written in place: one read that leaves room has all of one.
    let mut room = buffer.capacity().max(4096);
    loop {
        buffer.resize(room, 0);
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(&file, buffer.as_mut_slice(), 0))?;
        if count < room || room > MAX_RECORD {
            buffer.truncate(count);
            return Ok(true);
        }
        room *= 2;
    }
}

fn parse_record(bytes: &[u8], file_name: &str) -> std::result::Result<Record, String> {
    let record: Record = cais_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if record.file_name() == file_name {
        Ok(record)
    } else {
        Err(format!("it is the file of {:?}", record.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let long = format!("registry.example/{}", "a/".repeat(100));
        for name in [
            "docker.io/library/nginx:latest",
            "a",
            ".",
            "..",
            ".hidden",
            "../../etc/passwd",
            "a%2Fb",
            "~x",
            "@sha256-00",
            "host:5000/x@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            "Grüße\n",
            "",
            &long,
            &"x".repeat(200),
            &"x".repeat(201),
        ] {
            let encoded = encode_name(name);
            assert!(
                encoded.len() <= MAX_ENCODED && !encoded.contains('/'),
                "{encoded}"
            );
            assert!(!encoded.starts_with(['.', '@']), "{encoded}");
            match decode_name(&encoded) {
                Some(decoded) => assert_eq!(decoded, name),
                None => assert!(encoded.starts_with('~'), "{name} {encoded}"),
            }
        }
        for bad in [
            "%", "%2", "%zz", "a/b", "%61", "%2f", ".x", "@x", "~x", "a b", "%FF",
        ] {
            assert_eq!(decode_name(bad), None, "{bad}");
        }
        assert_ne!(encode_name("a/b"), encode_name("a%2Fb"));
    }
}
