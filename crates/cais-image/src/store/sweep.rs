//! What killed processes leave: known by a lock that is free.

use super::ContentStore;
use super::error::Result;
use super::files::{read_names, remove_file, remove_tree};
use super::gc::{GcOptions, GcReport};
use super::lock::{Wait, is_locked, open_locked};
use super::usage::Walk;
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::fs;
use std::path::Path;

impl ContentStore {
    /// Removes leftovers. `leases` are the dead ones that may be removed, if any may.
    pub(super) fn sweep_leftovers(
        &self,
        options: GcOptions,
        leases: Option<&HashSet<String>>,
        report: &mut GcReport,
    ) -> Result<()> {
        for directory in [self.staging_directory(), self.ingest_directory()] {
            for name in read_names(&directory)? {
                let path = directory.join(&name);
                if !(name.starts_with("part-") && is_young(&path, options)) {
                    sweep_object(&path, options, report)?;
                }
            }
        }
        for name in read_names(&self.locks_directory())? {
            let path = self.locks_directory().join(&name);
            if options.dry_run {
                report.leftovers += usize::from(!is_locked(&path));
            } else if let Some(lock) = open_locked(&path, OFlags::RDWR | OFlags::CLOEXEC, Wait::No)? {
                remove_file(&path)?;
                report.leftovers += 1;
                drop(lock);
            }
        }
        for name in leases.into_iter().flatten() {
            report.leftovers += 1;
            if !options.dry_run {
                self.remove_lease(name)?;
            }
        }
        for name in read_names(&self.leases_directory())? {
            // The announcement of a collection that was killed.
            let path = self.leases_directory().join(&name);
            if name.starts_with("gc-") && !options.dry_run && !is_locked(&path) {
                remove_announcement(&path, report)?;
            }
        }
        Ok(())
    }
}

fn is_young(path: &Path, options: GcOptions) -> bool {
    fs::symlink_metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|modified| modified.elapsed().ok())
        // A time in the future is young.
        .is_none_or(|age| age < options.keep_partials)
}

/// Removes a file of `ingest/` or a directory of `staging/` that nobody works on.
fn sweep_object(path: &Path, options: GcOptions, report: &mut GcReport) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Some(lock) = open_locked(path, flags, Wait::No)? else {
        return Ok(());
    };
    let size = Walk::default().size_of(path)?;
    if !options.dry_run {
        remove_tree(path)?;
    }
    drop(lock);
    report.leftovers += 1;
    report.freed += size;
    Ok(())
}

/// One that is announcing itself at this moment has no lock yet either: taking the lock first
/// makes it see that its file has lost its name.
fn remove_announcement(path: &Path, report: &mut GcReport) -> Result<()> {
    if let Some(lock) = open_locked(path, OFlags::RDWR | OFlags::CLOEXEC, Wait::No)? {
        remove_file(path)?;
        report.leftovers += 1;
        drop(lock);
    }
    Ok(())
}
