//! A seccomp profile as bytes of JSON, compiled, and kept compiled for the next start.

use crate::seccomp_json::{ProfileError, parse_profile};
use cais_linux::mounts::tree::open_directory;
use cais_linux::seccomp::cache::{KeyMaterial, cache_key, read_cached, write_cached};
use cais_linux::seccomp::load::program_bytes;
use cais_linux::seccomp::{Arch, compile};
use rustix::fd::AsFd;
use std::path::Path;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Whole `struct sock_filter` instructions.
    pub program: Vec<u8>,
    /// The socket that gets the notifications.
    pub listener_path: Option<String>,
    /// What it is told beside them.
    pub listener_metadata: Option<String>,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The text is no profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] cais_linux::seccomp::CompileError),
}

/// Compiles a profile for a process with these bounding capabilities, or finds it compiled
/// in `cache`, a directory. A cache that cannot be used costs time, nothing else.
///
/// # Errors
/// See [`FilterError`].
pub fn read(bytes: &[u8], capabilities: u64, cache: &Path) -> Result<Filter, FilterError> {
    let kernel = kernel_version();
    let material = KeyMaterial {
        profile: bytes,
        native: Arch::NATIVE,
        capabilities,
        kernel,
        version: env!("CARGO_PKG_VERSION"),
    };
    // Who listens is no part of the program.
    let listens = bytes
        .windows(LISTENER.len())
        .any(|window| window == LISTENER.as_bytes());
    let key = cache_key(&material);
    std::fs::create_dir_all(cache).unwrap_or_default();
    let directory = open_directory(cache).ok().filter(|_| !listens);
    if let Some(directory) = &directory
        && let Ok(Some(cached)) = read_cached(directory.as_fd(), &key)
    {
        return Ok(Filter {
            flags: cached.flags,
            program: program_bytes(&cached.program),
            listener_path: None,
            listener_metadata: None,
        });
    }
    let profile = parse_profile(bytes, capabilities, Arch::NATIVE, kernel)?;
    let compiled = compile(&profile, Arch::NATIVE)?;
    if let Some(directory) = &directory {
        write_cached(directory.as_fd(), &key, &compiled).unwrap_or_default();
    }
    Ok(Filter {
        flags: compiled.flags,
        program: program_bytes(&compiled.program),
        listener_path: profile.listener_path.filter(|path| !path.is_empty()),
        listener_metadata: profile.listener_metadata,
    })
}

const LISTENER: &str = "\"listenerPath\"";

/// Major and minor number of the running kernel.
fn kernel_version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
