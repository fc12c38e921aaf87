//! A seccomp profile of the user's: read, compiled, and kept compiled for the next start.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::store::ensure_directory;
use cais_linux::seccomp::cache::{KeyMaterial, cache_key, read_cached, write_cached};
use cais_linux::seccomp::load::program_bytes;
use cais_linux::seccomp::{Arch, compile};
use cais_runtime::plan::facts::SeccompFilter;
use cais_runtime::seccomp_json::parse_profile;
use rustix::fd::AsFd;
use std::path::Path;

pub(super) fn read_filter(engine: &Engine, path: &Path, capabilities: u64) -> Result<SeccompFilter> {
    let bytes = std::fs::read(path).map_err(EngineError::store(format!(
        "read the seccomp profile {}",
        path.display()
    )))?;
    let kernel = kernel_version();
    let material = KeyMaterial {
        profile: &bytes,
        native: Arch::NATIVE,
        capabilities,
        kernel,
        version: env!("CARGO_PKG_VERSION"),
    };
    let key = cache_key(&material);
    let directory = engine.store.seccomp_cache();
    ensure_directory(&directory)?;
    let directory = cais_linux::mounts::tree::open_directory(&directory)
        .map_err(EngineError::system("open the cache of filters"))?;
    if let Ok(Some(cached)) = read_cached(directory.as_fd(), &key) {
        return Ok(SeccompFilter {
            flags: cached.flags,
            program: program_bytes(&cached.program),
        });
    }
    let invalid = |error: &dyn std::error::Error| {
        EngineError::Invalid(format!(
            "the seccomp profile {} cannot be used: {}",
            path.display(),
            super::chain(error)
        ))
    };
    let profile =
        parse_profile(&bytes, capabilities, Arch::NATIVE, kernel).map_err(|error| invalid(&error))?;
    let compiled = compile(&profile, Arch::NATIVE).map_err(|error| invalid(&error))?;
    // A cache that cannot be written costs time, nothing else.
    write_cached(directory.as_fd(), &key, &compiled).unwrap_or_default();
    Ok(SeccompFilter {
        flags: compiled.flags,
        program: program_bytes(&compiled.program),
    })
}

/// Major and minor number of the running kernel.
fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
