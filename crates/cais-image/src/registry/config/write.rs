//! Files with secrets, written beside and renamed.

use super::error::ConfigError;
use crate::store::unique;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Puts other bytes into a file that only its owner reads. Where it is a link, what it points
/// at is replaced and the link stays.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    let mut target = path.to_owned();
    // As many as the kernel follows.
    for _ in 0..40 {
        match std::fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(Path::new("/")).join(link),
            Err(_no_link) => break,
        }
    }
    write(&target, bytes).map_err(|source| ConfigError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn write(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = target.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let beside = directory.join(unique(".cais-new"));
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&beside, target));
    if written.is_err() {
        // The first error counts.
        std::fs::remove_file(&beside).unwrap_or_default();
    }
    written
}
