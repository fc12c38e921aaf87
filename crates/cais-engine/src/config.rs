//! The configuration: what an administrator or a user sets once for all commands.
//!
//! Later ones win: the built-in defaults, `/etc/cais/config.toml`,
//! `$XDG_CONFIG_HOME/cais/config.toml` (`~/.config/cais/config.toml`), then a variable
//! `CAIS_` with the key in capitals (`CAIS_PIDS_LIMIT`). `CAIS_CONFIG` names one file that
//! is read in place of the two; empty, none is read. A key that is not known is an error
//! that names file and line: a setting that is silently ignored protects nobody.
//!
//! Where no file is there, reading costs two failed opens.

mod file;
mod keys;

pub use keys::{KEYS, Key};

use crate::options::{RunOptions, Ulimit};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that is there cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A file that somebody else could have written.
    #[error("{path} belongs to uid {owner}, who is neither root nor you: it is not read")]
    Owner {
        /// The file.
        path: String,
        /// Its owner.
        owner: u32,
    },
    /// A file that is no TOML.
    #[error("{origin}: {detail}")]
    Syntax {
        /// The file and the line.
        origin: Origin,
        /// What is wrong.
        detail: String,
    },
    /// A key that is not known.
    #[error("{origin}: unknown key {key:?}: the keys are {}", keys::names())]
    UnknownKey {
        /// The file and the line.
        origin: Origin,
        /// The key.
        key: String,
    },
    /// A value that does not fit its key.
    #[error("{origin}: {key}: {detail}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// What is wrong.
        detail: String,
    },
}

/// Where a value comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, the first being 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment: {name}"),
        }
    }
}

/// A value, and where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    fn new(value: T) -> Self {
        Self {
            value,
            origin: Origin::Default,
        }
    }

    fn set(&mut self, value: T, origin: Origin) {
        *self = Self { value, origin };
    }
}

/// All settings. [`KEYS`] says what each is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `disk-budget` in bytes.
    pub disk_budget: Setting<Option<u64>>,
    /// `log-driver`.
    pub log_driver: Setting<String>,
    /// `log-opts`.
    pub log_opts: Setting<Vec<(String, String)>>,
    /// `pids-limit`; -1 is unlimited.
    pub pids_limit: Setting<Option<i64>>,
    /// `shm-size` in bytes.
    pub shm_size: Setting<Option<u64>>,
    /// `userns`, as `--userns` takes it.
    pub userns: Setting<Option<String>>,
    /// `publish-address`.
    pub publish_address: Setting<Option<IpAddr>>,
    /// `default-ulimits`.
    pub default_ulimits: Setting<Vec<Ulimit>>,
    /// `stop-timeout` in seconds; -1 waits for ever.
    pub stop_timeout: Setting<Option<i64>>,
    /// `detach-keys`, as `--detach-keys` takes it.
    pub detach_keys: Setting<Option<String>>,
    /// `ps-format`, as `ps --format` takes it.
    pub ps_format: Setting<Option<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            disk_budget: Setting::default(),
            log_driver: Setting::new("json-file".to_owned()),
            log_opts: Setting::default(),
            pids_limit: Setting::default(),
            shm_size: Setting::default(),
            userns: Setting::default(),
            publish_address: Setting::default(),
            default_ulimits: Setting::default(),
            stop_timeout: Setting::default(),
            detach_keys: Setting::default(),
            ps_format: Setting::default(),
        }
    }
}

impl Config {
    /// Reads the files and the environment. `var` reads a variable.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(var: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for path in paths(&var) {
            if let Some(text) = file::read_config(&path)? {
                config.apply_file(&path, &text)?;
            }
        }
        config.apply_variables(&var)?;
        Ok(config)
    }

    /// Gives the options of a new container what the user left open. The mode of user
    /// namespaces is not among it: whether it was written shows on the command line alone.
    pub fn fill(&self, options: &mut RunOptions) {
        let limits = &mut options.limits;
        limits.pids = limits.pids.or(self.pids_limit.value);
        limits.shm_size = limits.shm_size.or(self.shm_size.value);
        for limit in &self.default_ulimits.value {
            if !limits.ulimits.iter().any(|known| known.name == limit.name) {
                limits.ulimits.push(limit.clone());
            }
        }
        options.stop_timeout = options.stop_timeout.or(self.stop_timeout.value);
        if options.detach_keys.is_none() {
            options.detach_keys.clone_from(&self.detach_keys.value);
        }
    }

    /// Takes over what a file says.
    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        for entry in file::parse_config(path, text)? {
            let Some(key) = KEYS.iter().find(|key| key.name == entry.key) else {
                return Err(ConfigError::UnknownKey {
                    origin: entry.origin,
                    key: entry.key,
                });
            };
            key.apply(self, &entry.value, entry.origin)?;
        }
        Ok(())
    }

    /// Takes over what variables say.
    fn apply_variables(&mut self, var: &impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for key in &KEYS {
            if let Some(text) = var(key.variable) {
                let origin = Origin::Variable(key.variable.to_owned());
                key.apply(self, &key.parse_variable(&text), origin)?;
            }
        }
        Ok(())
    }
}

/// The files to read, the one that wins last.
fn paths(var: &impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    match var("CAIS_CONFIG") {
        Some(path) if path.is_empty() => return Vec::new(),
        Some(path) => return vec![PathBuf::from(path)],
        None => {}
    }
    let absolute = |name: &str| var(name).filter(|value| value.starts_with('/'));
    let own = absolute("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| absolute("HOME").map(|home| Path::new(&home).join(".config")));
    std::iter::once(PathBuf::from("/etc/cais/config.toml"))
        .chain(own.map(|directory| directory.join("cais/config.toml")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        config.apply_file(Path::new("/c.toml"), text)?;
        let var = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        config.apply_variables(&var)?;
        Ok(config)
    }

    #[test]
    fn values_carry_their_origin() {
        let text = "# all of it\ndisk-budget = \"20g\"\npids-limit = 99\nstop-timeout = 3\n\
                    default-ulimits = [\"nofile=10:20\"]\nlog-driver = \"cri\"\n\n[log-opts]\nmax-size = \"1m\"\nmax-file = 3\n";
        let config = load_text(text, &[("CAIS_PIDS_LIMIT", "7"), ("CAIS_LOG_OPTS", "a=b,c=d")]).unwrap();
        assert_eq!(config.disk_budget.value, Some(20 << 30));
        assert_eq!(config.disk_budget.origin.to_string(), "/c.toml:2");
        assert_eq!(config.pids_limit.value, Some(7));
        assert_eq!(
            config.pids_limit.origin.to_string(),
            "environment: CAIS_PIDS_LIMIT"
        );
        assert_eq!(config.default_ulimits.value[0].hard, 20);
        assert_eq!(config.log_opts.value.len(), 2);
        assert_eq!(config.log_opts.value[1], ("c".to_owned(), "d".to_owned()));
        assert_eq!(config.stop_timeout.value, Some(3));
        assert_eq!(config.userns.origin, Origin::Default);
        let of_file = load_text(text, &[]).unwrap();
        assert_eq!(
            of_file.log_opts.value,
            [("max-file", "3"), ("max-size", "1m")].map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        assert_eq!(of_file.log_opts.origin.to_string(), "/c.toml:8");
    }

    #[test]
    fn mistakes_name_file_and_line() {
        for (text, part) in [
            ("a = 1", "/c.toml:1: unknown key \"a\""),
            ("pids-limit = 1\n\n[run]\nx = 1", "/c.toml:3: unknown key \"run\""),
            ("\npids-limit = \"many\"", "/c.toml:2: pids-limit: "),
            ("pids-limit = 1.5", "/c.toml:1: pids-limit: "),
            ("stop-timeout = -2", "/c.toml:1: stop-timeout: "),
            ("disk-budget = \"lots\"", "/c.toml:1: disk-budget: "),
            ("userns = \"maybe\"", "/c.toml:1: userns: "),
            ("publish-address = \"localhost\"", "/c.toml:1: publish-address: "),
            ("default-ulimits = [1]", "/c.toml:1: default-ulimits: "),
            ("detach-keys = \"ctrl-1\"", "/c.toml:1: detach-keys: "),
            ("pids-limit = 1\npids-limit = 2", "/c.toml:2: "),
            ("pids-limit 1", "/c.toml:1: "),
        ] {
            let error = load_text(text, &[]).unwrap_err().to_string();
            assert!(error.starts_with(part), "{text:?}: {error}");
        }
        let error = load_text("", &[("CAIS_STOP_TIMEOUT", "soon")]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("environment: CAIS_STOP_TIMEOUT: stop-timeout: "),
            "{error}"
        );
    }

    #[test]
    fn the_files_of_a_user() {
        let var = |name: &str| (name == "HOME").then(|| "/home/ana".to_owned());
        assert_eq!(
            paths(&var),
            ["/etc/cais/config.toml", "/home/ana/.config/cais/config.toml"].map(PathBuf::from)
        );
        let one = |name: &str| (name == "CAIS_CONFIG").then(|| "/x".to_owned());
        assert_eq!(paths(&one), [PathBuf::from("/x")]);
        let none = |name: &str| (name == "CAIS_CONFIG").then(String::new);
        assert!(paths(&none).is_empty());
    }

    #[test]
    fn every_key_shows_its_default() {
        let config = Config::default();
        for key in &KEYS {
            let (_, origin) = key.shown(&config);
            assert_eq!(*origin, Origin::Default, "{}", key.name);
            let variable = format!("CAIS_{}", key.name.to_ascii_uppercase().replace('-', "_"));
            assert_eq!(key.variable, variable);
        }
    }
}
