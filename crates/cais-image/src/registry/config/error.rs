//! What is wrong with a configuration, with the file and the remedy.

use crate::reference::BadReference;
use std::path::PathBuf;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not what it is to be.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        detail: String,
    },
    /// The program that keeps logins failed.
    #[error(
        "docker-credential-{helper} {action} (named in {path}): {detail}: install it, or take it out of that file"
    )]
    Helper {
        /// Its name.
        helper: String,
        /// What it was asked for: `get`.
        action: &'static str,
        /// The file that names it.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// The registry is forbidden.
    #[error("{name}: registries.conf blocks {prefix}")]
    Blocked {
        /// What was asked for.
        name: String,
        /// The prefix that is blocked.
        prefix: String,
    },
    /// A short name could be one of several.
    #[error(
        "{name:?} could be at any of {}: write the registry too (short-name-mode is \"enforcing\" in registries.conf)",
        .registries.join(", ")
    )]
    Ambiguous {
        /// The name.
        name: String,
        /// Where it could be.
        registries: Vec<String>,
    },
    /// No image has such a name.
    #[error(transparent)]
    Name(#[from] BadReference),
    /// There is no home to write a login to.
    #[error("there is no place for logins: set HOME, DOCKER_CONFIG or REGISTRY_AUTH_FILE")]
    NoPlace,
}
