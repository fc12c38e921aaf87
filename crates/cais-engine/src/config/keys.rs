//! The keys: one table says of each what it is for, how it is read and how it is shown.

use super::file::Written;
use super::{Config, ConfigError, Origin};
use crate::options::{namespaces, process, size};

/// What setting a key gives: nothing, or what is wrong with the value.
type Applied = Result<(), String>;

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in a file.
    pub name: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// What it is for.
    pub help: &'static str,
    form: Form,
    set: fn(&mut Config, &Written, Origin) -> Applied,
    show: fn(&Config) -> (String, &Origin),
}

/// How a variable's text is to be taken.
#[derive(Debug, Clone, Copy)]
enum Form {
    Scalar,
    List,
    Table,
}

/// All keys.
pub const KEYS: [Key; 11] = [
    Key {
        name: "disk-budget",
        variable: "CAIS_DISK_BUDGET",
        help: "how much images, logs and stopped containers may take on the disk",
        form: Form::Scalar,
        set: |config, value, origin| {
            let bytes = size_of("disk-budget", value)?;
            config.disk_budget.set(Some(bytes), origin);
            Ok(())
        },
        show: |config| {
            let text = config.disk_budget.value.map(|bytes| bytes.to_string());
            (
                text.unwrap_or_else(|| "none".to_owned()),
                &config.disk_budget.origin,
            )
        },
    },
    Key {
        name: "log-driver",
        variable: "CAIS_LOG_DRIVER",
        help: "the log driver of new containers",
        form: Form::Scalar,
        set: |config, value, origin| {
            let name = text_of(value)?;
            crate::options::logging::parse_driver(&name).map_err(|error| error.to_string())?;
            config.log_driver.set(name, origin);
            Ok(())
        },
        show: |config| (config.log_driver.value.clone(), &config.log_driver.origin),
    },
    Key {
        name: "log-opts",
        variable: "CAIS_LOG_OPTS",
        help: "the options of the log driver of new containers",
        form: Form::Table,
        set: |config, value, origin| {
            let Written::Table(pairs) = value else {
                return Err(expected("a table", value));
            };
            config.log_opts.set(pairs.clone(), origin);
            Ok(())
        },
        show: |config| {
            let pairs = config.log_opts.value.iter();
            let texts: Vec<String> = pairs.map(|(key, value)| format!("{key}={value}")).collect();
            (texts.join(","), &config.log_opts.origin)
        },
    },
    Key {
        name: "pids-limit",
        variable: "CAIS_PIDS_LIMIT",
        help: "the number of processes of a new container; -1 for no limit",
        form: Form::Scalar,
        set: |config, value, origin| {
            let limit = integer_of(value)?;
            if limit < -1 {
                return Err(format!("{limit} is out of range: -1 for no limit, or a number"));
            }
            config.pids_limit.set(Some(limit), origin);
            Ok(())
        },
        show: |config| {
            let limit = config.pids_limit.value.unwrap_or(crate::bundle::DEFAULT_PIDS);
            (limit.to_string(), &config.pids_limit.origin)
        },
    },
    Key {
        name: "shm-size",
        variable: "CAIS_SHM_SIZE",
        help: "the size of /dev/shm of a new container",
        form: Form::Scalar,
        set: |config, value, origin| {
            let bytes = size_of("shm-size", value)?;
            config.shm_size.set(Some(bytes), origin);
            Ok(())
        },
        show: |config| {
            let bytes = config.shm_size.value.unwrap_or(crate::bundle::DEFAULT_SHM_SIZE);
            (bytes.to_string(), &config.shm_size.origin)
        },
    },
    Key {
        name: "userns",
        variable: "CAIS_USERNS",
        help: "the users of a new container: auto, keep-id or host",
        form: Form::Scalar,
        set: |config, value, origin| {
            let mode = text_of(value)?;
            namespaces::parse_userns(&mode).map_err(|error| error.to_string())?;
            config.userns.set(Some(mode), origin);
            Ok(())
        },
        show: |config| {
            let mode = config.userns.value.clone();
            (mode.unwrap_or_else(|| "auto".to_owned()), &config.userns.origin)
        },
    },
    Key {
        name: "publish-address",
        variable: "CAIS_PUBLISH_ADDRESS",
        help: "the address of the host at which ports are published when --publish names none",
        form: Form::Scalar,
        set: |config, value, origin| {
            let text = text_of(value)?;
            let address = text
                .parse()
                .map_err(|_bad| format!("{text:?} is not an IP address"))?;
            config.publish_address.set(Some(address), origin);
            Ok(())
        },
        show: |config| {
            let address = config.publish_address.value.map(|address| address.to_string());
            (
                address.unwrap_or_else(|| "all".to_owned()),
                &config.publish_address.origin,
            )
        },
    },
    Key {
        name: "default-ulimits",
        variable: "CAIS_DEFAULT_ULIMITS",
        help: "resource limits of new containers, each as --ulimit takes it",
        form: Form::List,
        set: |config, value, origin| {
            let Written::List(texts) = value else {
                return Err(expected("a list of texts", value));
            };
            let limits = texts.iter().map(|text| process::parse_ulimit(text));
            let limits = limits
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?;
            config.default_ulimits.set(limits, origin);
            Ok(())
        },
        show: |config| {
            let limits = config.default_ulimits.value.iter();
            let texts: Vec<String> = limits.map(crate::options::Ulimit::to_string).collect();
            (texts.join(","), &config.default_ulimits.origin)
        },
    },
    Key {
        name: "stop-timeout",
        variable: "CAIS_STOP_TIMEOUT",
        help: "seconds that stop waits before it kills; -1 waits for ever",
        form: Form::Scalar,
        set: |config, value, origin| {
            let seconds = integer_of(value)?;
            if seconds < -1 {
                return Err(format!("{seconds} is out of range: -1 for ever, or a number"));
            }
            config.stop_timeout.set(Some(seconds), origin);
            Ok(())
        },
        show: |config| {
            let seconds = config.stop_timeout.value.map(|seconds| seconds.to_string());
            (
                seconds.unwrap_or_else(|| "10".to_owned()),
                &config.stop_timeout.origin,
            )
        },
    },
    Key {
        name: "detach-keys",
        variable: "CAIS_DETACH_KEYS",
        help: "the keys that leave a terminal",
        form: Form::Scalar,
        set: |config, value, origin| {
            let keys = text_of(value)?;
            process::parse_detach_keys(&keys).map_err(|error| error.to_string())?;
            config.detach_keys.set(Some(keys), origin);
            Ok(())
        },
        show: |config| {
            let keys = config.detach_keys.value.clone();
            (
                keys.unwrap_or_else(|| "ctrl-p,ctrl-q".to_owned()),
                &config.detach_keys.origin,
            )
        },
    },
    Key {
        name: "ps-format",
        variable: "CAIS_PS_FORMAT",
        help: "the form of ps without --format",
        form: Form::Scalar,
        set: |config, value, origin| {
            config.ps_format.set(Some(text_of(value)?), origin);
            Ok(())
        },
        show: |config| {
            let format = config.ps_format.value.clone();
            (
                format.unwrap_or_else(|| "table".to_owned()),
                &config.ps_format.origin,
            )
        },
    },
];

impl Key {
    /// Takes a value over.
    pub(super) fn apply(
        &self,
        config: &mut Config,
        value: &Written,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        (self.set)(config, value, origin.clone()).map_err(|detail| ConfigError::Value {
            origin,
            key: self.name,
            detail,
        })
    }

    /// A variable's text in the form that the key takes.
    pub(super) fn parse_variable(&self, text: &str) -> Written {
        let parts = || text.split(',').filter(|part| !part.is_empty());
        match self.form {
            Form::Scalar => Written::Text(text.to_owned()),
            Form::List => Written::List(parts().map(str::to_owned).collect()),
            Form::Table => {
                let pairs = parts().map(|part| part.split_once('=').unwrap_or((part, "")));
                Written::Table(
                    pairs
                        .map(|(key, value)| (key.to_owned(), value.to_owned()))
                        .collect(),
                )
            }
        }
    }

    /// The value that counts, as text, and where it comes from.
    #[must_use]
    pub fn shown<'a>(&self, config: &'a Config) -> (String, &'a Origin) {
        (self.show)(config)
    }
}

/// The names of all keys, for the user.
pub(super) fn names() -> String {
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    names.join(", ")
}

fn expected(what: &str, found: &Written) -> String {
    let kind = match found {
        Written::Text(_) => "a text",
        Written::Integer(_) => "a number",
        Written::List(_) => "a list",
        Written::Table(_) => "a table",
        Written::Other(kind) => kind,
    };
    format!("{what} is expected, and it is {kind}")
}

fn text_of(value: &Written) -> Result<String, String> {
    match value {
        Written::Text(text) => Ok(text.clone()),
        other => Err(expected("a text", other)),
    }
}

fn integer_of(value: &Written) -> Result<i64, String> {
    match value {
        Written::Integer(number) => Ok(*number),
        // From a variable.
        Written::Text(text) => text.parse().map_err(|_bad| format!("{text:?} is not a number")),
        other => Err(expected("a number", other)),
    }
}

fn size_of(key: &'static str, value: &Written) -> Result<u64, String> {
    match value {
        Written::Integer(number) => u64::try_from(*number).map_err(|_bad| format!("{number} is no size")),
        Written::Text(text) => size::parse_size(key, text).map_err(|error| match error {
            crate::options::OptionError::Form { value, expected, .. } => {
                format!("{value:?} is not {expected}")
            }
            other => other.to_string(),
        }),
        other => Err(expected("a size", other)),
    }
}
