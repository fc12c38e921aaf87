//! A seccomp profile of the user's: read, compiled, and kept compiled for the next start.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::store::ensure_directory;
use cais_runtime::plan::facts::SeccompFilter;
use cais_runtime::seccomp_filter;
use std::path::Path;

pub(super) fn read_filter(engine: &Engine, path: &Path, capabilities: u64) -> Result<SeccompFilter> {
    let bytes = std::fs::read(path).map_err(EngineError::store(format!(
        "read the seccomp profile {}",
        path.display()
    )))?;
    let cache = engine.store.seccomp_cache();
    ensure_directory(&cache)?;
    let filter = seccomp_filter::read(&bytes, capabilities, &cache).map_err(|error| {
        EngineError::Invalid(format!(
            "the seccomp profile {} cannot be used: {}",
            path.display(),
            super::chain(&error)
        ))
    })?;
    Ok(SeccompFilter {
        flags: filter.flags,
        program: filter.program,
    })
}
