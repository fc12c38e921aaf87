//! Configuration of registries where the field keeps it: Docker's `config.json` and `certs.d`,
//! containers' `auth.json`, `registries.conf` and `certs.d`.
//!
//! | question | files, the first that answers |
//! | --- | --- |
//! | who asks | `$REGISTRY_AUTH_FILE` alone if set; else Docker's `config.json`, `$XDG_RUNTIME_DIR/containers/auth.json`, `~/.config/containers/auth.json` |
//! | where an image is | `registries.conf`, then the files of `registries.conf.d`, a later one over an earlier |
//! | whom to trust | `certs.d/HOST:PORT` of the user, of containers, of Docker |
//!
//! Docker's file is asked first because `cais login` writes it: the newest login wins.

mod auth_file;
mod certificates;
mod daemon;
mod error;
mod helper;
mod names;
mod registries;
mod toml_value;
mod write;

pub use auth_file::{AuthFile, Flavour};
pub use error::ConfigError;
pub use registries::{Mode, Place, Registries};

use super::look_up::LookUp;
use super::{Certificates, Credentials, Options};
use crate::reference::Reference;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the files lie for one user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `$HOME`.
    pub home: Option<PathBuf>,
    /// `$XDG_CONFIG_HOME`, or `.config` in the home.
    pub config_home: Option<PathBuf>,
    /// `$XDG_CACHE_HOME`, or `.cache` in the home; `/var/cache` for root.
    pub cache: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`; `/run/containers/0` is root's without one.
    pub runtime: Option<PathBuf>,
    /// `$DOCKER_CONFIG`, or `.docker` in the home.
    pub docker: Option<PathBuf>,
    /// `$REGISTRY_AUTH_FILE`, or `--authfile`.
    pub auth_file: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF`.
    pub registries_conf: Option<PathBuf>,
    /// `$CONTAINERS_REGISTRIES_CONF_OVERRIDE`: read after all others.
    pub registries_override: Option<PathBuf>,
    /// The machine's: `/etc`.
    pub system: PathBuf,
}

impl Places {
    /// The places that the environment names.
    #[must_use]
    pub fn from_environment(var: impl Fn(&str) -> Option<OsString>, rootless: bool) -> Self {
        let path = |name: &str| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let below = |name: &str| home.as_ref().map(|home| home.join(name));
        let cache = match rootless {
            true => path("XDG_CACHE_HOME").or_else(|| below(".cache")),
            false => Some("/var/cache".into()),
        };
        let runtime = path("XDG_RUNTIME_DIR").map(|runtime| runtime.join("containers"));
        let runtime = runtime.or_else(|| (!rootless).then(|| "/run/containers/0".into()));
        Self {
            config_home: path("XDG_CONFIG_HOME").or_else(|| below(".config")),
            cache,
            runtime,
            docker: path("DOCKER_CONFIG").or_else(|| below(".docker")),
            auth_file: path("REGISTRY_AUTH_FILE"),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            registries_override: path("CONTAINERS_REGISTRIES_CONF_OVERRIDE"),
            system: "/etc".into(),
            home,
        }
    }

    /// The files with logins, in the order in which they are asked.
    #[must_use]
    pub fn auth_files(&self) -> Vec<(PathBuf, Flavour)> {
        if let Some(path) = &self.auth_file {
            return vec![(path.clone(), Flavour::Containers)];
        }
        let docker = self.docker.as_ref().map(|docker| docker.join("config.json"));
        let runtime = self.runtime.as_ref().map(|runtime| runtime.join("auth.json"));
        let config = self.config_home.as_ref();
        let config = config.map(|config| config.join("containers/auth.json"));
        let containers = runtime.into_iter().chain(config);
        let docker = docker.into_iter().map(|path| (path, Flavour::Docker));
        docker
            .chain(containers.map(|path| (path, Flavour::Containers)))
            .collect()
    }

    /// The file that a login is written to.
    #[must_use]
    pub fn login_file(&self) -> Option<(PathBuf, Flavour)> {
        self.auth_files().into_iter().next()
    }
}

/// All that is configured, as one command sees it.
#[derive(Debug)]
pub struct RegistryConfig {
    places: Places,
    auth: Vec<AuthFile>,
    registries: Registries,
    look_up: LookUp,
}

impl RegistryConfig {
    /// Reads the files there are.
    ///
    /// # Errors
    /// Where one cannot be read, or is not what it is to be.
    pub fn read(places: Places, look_up: LookUp) -> Result<Self, ConfigError> {
        let mut auth = Vec::new();
        for (path, flavour) in places.auth_files() {
            auth.extend(AuthFile::read(&path, flavour)?);
        }
        // What registries.conf says of the same registry wins.
        let mut registries = daemon::read(&places)?;
        registries.add(Registries::read(&places)?);
        Ok(Self {
            places,
            auth,
            registries,
            look_up,
        })
    }

    /// Where images are.
    #[must_use]
    pub fn registries(&self) -> &Registries {
        &self.registries
    }

    /// The files that were looked for.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Who asks, for a repository of a registry.
    ///
    /// # Errors
    /// Where a file has what is no login, or the program that keeps it fails.
    pub fn credentials(&self, registry: &str, repository: &str) -> Result<Option<Credentials>, ConfigError> {
        for file in &self.auth {
            if let Some(found) = file.find(registry, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// More certificates for a registry.
    ///
    /// # Errors
    /// Where a file cannot be read, or a key is missing.
    pub fn certificates(&self, registry: &str) -> Result<Certificates, ConfigError> {
        certificates::read(&self.places, registry)
    }

    /// How to speak to a registry about a repository.
    ///
    /// # Errors
    /// As [`RegistryConfig::credentials`] and [`RegistryConfig::certificates`].
    pub fn options(&self, registry: &str, repository: &str) -> Result<Options, ConfigError> {
        let headers = self.auth.iter().flat_map(AuthFile::headers).collect();
        Ok(Options {
            credentials: self.credentials(registry, repository)?,
            certificates: self.certificates(registry)?,
            insecure: self.registries.is_insecure(&format!("{registry}/{repository}")),
            headers,
            look_up: self.look_up,
            ..Options::default()
        })
    }

    /// The full names that a user may mean: one, or several that are tried in order.
    ///
    /// # Errors
    /// For a text that is no reference; where it is a short name of many registries, and
    /// the configuration forbids to guess.
    pub fn resolve(&self, text: &str) -> Result<Vec<Reference>, ConfigError> {
        names::resolve(&self.registries, text)
    }
}

/// Reads a small file; `None` where there is none.
fn read_file(path: &Path) -> Result<Option<String>, ConfigError> {
    /// No configuration is longer.
    const LIMIT: u64 = 4 << 20;
    let failed = |source| ConfigError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, LIMIT), &mut text).map_err(failed)?;
    Ok(Some(text))
}
