//! `--log-driver` and `--log-opt`: where the program's output is kept.

use super::error::OptionError;
use super::size::parse_size;
use serde::{Deserialize, Serialize};

/// The size at which a file is put aside, in bytes.
pub const MAX_SIZE: u64 = 10 * 1024 * 1024;
/// How many files there are at most, the current one included.
pub const MAX_FILES: u32 = 3;
/// How much is kept of what cannot be written at once, in bytes, as Docker's.
pub const MAX_BUFFER: u64 = 1024 * 1024;

/// Where the output goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Files in Docker's form.
    #[default]
    JsonFile,
    /// Files in the form of Kubernetes' runtimes.
    Cri,
    /// systemd's journal.
    Journald,
    /// A syslog.
    Syslog,
    /// Nowhere.
    None,
    /// The caller's own standard streams: cais is not in between.
    Passthrough,
}

impl LogDriver {
    /// The name, as `--log-driver` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Cri => "cri",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::None => "none",
            Self::Passthrough => "passthrough",
        }
    }

    /// Whether `cais logs` can read it back.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Self::JsonFile | Self::Cri)
    }
}

/// Where the output goes, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// `--log-driver`.
    pub driver: LogDriver,
    /// `--log-opt`, as written: key and value.
    pub options: Vec<(String, String)>,
}

impl LogOptions {
    fn get(&self, key: &str) -> Option<&str> {
        let mut found = self.options.iter().rev().filter(|(known, _)| known == key);
        found.next().map(|(_, value)| value.as_str())
    }

    /// The size in bytes at which a file is put aside.
    #[must_use]
    pub fn max_size(&self) -> u64 {
        match self.get("max-size") {
            Some("-1") => u64::MAX,
            Some(text) => parse_size("--log-opt", text).unwrap_or(MAX_SIZE),
            None => MAX_SIZE,
        }
    }

    /// How many files there are at most.
    #[must_use]
    pub fn max_files(&self) -> u32 {
        let number = self.get("max-file").and_then(|text| text.parse().ok());
        number.filter(|number| *number > 0).unwrap_or(MAX_FILES)
    }

    /// How much may wait to be written where the program is not to wait; `None` where it
    /// waits.
    #[must_use]
    pub fn buffer(&self) -> Option<u64> {
        (self.get("mode") == Some("non-blocking")).then(|| {
            let text = self.get("max-buffer-size");
            text.and_then(|text| parse_size("--log-opt", text).ok())
                .unwrap_or(MAX_BUFFER)
        })
    }

    /// `tag`, where it was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.get("tag")
    }

    /// `syslog-address`.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.get("syslog-address")
    }

    /// `syslog-facility`.
    #[must_use]
    pub fn facility(&self) -> Option<&str> {
        self.get("syslog-facility")
    }

    /// The names in a list: `labels`, `env`.
    pub fn names(&self, key: &str) -> impl Iterator<Item = &str> {
        self.get(key)
            .into_iter()
            .flat_map(|list| list.split(','))
            .filter(|name| !name.is_empty())
    }
}

/// Reads `--log-driver`.
///
/// # Errors
/// For a driver that there is not.
pub fn parse_driver(text: &str) -> Result<LogDriver, OptionError> {
    let all = [
        LogDriver::JsonFile,
        LogDriver::Cri,
        LogDriver::Journald,
        LogDriver::Syslog,
        LogDriver::None,
        LogDriver::Passthrough,
    ];
    all.into_iter()
        .find(|driver| driver.name() == text)
        .ok_or_else(|| {
            OptionError::unsupported(
                "--log-driver",
                text,
                "choose json-file, cri, journald, syslog, none or passthrough",
            )
        })
}

/// Reads `--log-opt KEY=VALUE`.
///
/// # Errors
/// For another form.
pub fn parse_log_opt(text: &str) -> Result<(String, String), OptionError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(OptionError::form("--log-opt", text, "KEY=VALUE")),
    }
}

/// The facilities of syslog(3) by number.
pub const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "",
    "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// Checks the options together with the driver.
///
/// # Errors
/// For an option that the driver does not have, and for a value that does not fit.
pub fn check(log: &LogOptions) -> Result<(), OptionError> {
    const FLAG: &str = "--log-opt";
    const COMMON: [&str; 5] = ["mode", "max-buffer-size", "tag", "labels", "env"];
    let of_driver: &[&str] = match log.driver {
        LogDriver::JsonFile | LogDriver::Cri => &["max-size", "max-file"],
        LogDriver::Syslog => &["syslog-address", "syslog-facility"],
        LogDriver::Journald => &[],
        LogDriver::None | LogDriver::Passthrough => {
            return match log.options.first() {
                None => Ok(()),
                Some((key, _)) => Err(OptionError::form(
                    FLAG,
                    key,
                    "an option of this driver: it has none",
                )),
            };
        }
    };
    for (key, value) in &log.options {
        if !COMMON.contains(&key.as_str()) && !of_driver.contains(&key.as_str()) {
            return Err(OptionError::form(FLAG, key, "an option of this log driver"));
        }
        check_value(key, value)?;
    }
    if log.options.iter().any(|(key, _)| key == "max-buffer-size") && log.buffer().is_none() {
        return Err(OptionError::form(
            FLAG,
            "max-buffer-size",
            "of use without mode=non-blocking",
        ));
    }
    Ok(())
}

fn check_value(key: &str, value: &str) -> Result<(), OptionError> {
    const FLAG: &str = "--log-opt";
    match key {
        "max-size" if value == "-1" => Ok(()),
        "max-size" | "max-buffer-size" => match parse_size(FLAG, value)? {
            0 => Err(OptionError::form(FLAG, value, "a size above 0")),
            _ => Ok(()),
        },
        "max-file" => match value.parse::<u32>() {
            Ok(1..=1000) => Ok(()),
            _ => Err(OptionError::form(FLAG, value, "a number of files from 1 to 1000")),
        },
        "mode" if ["blocking", "non-blocking"].contains(&value) => Ok(()),
        "mode" => Err(OptionError::form(FLAG, value, "blocking or non-blocking")),
        "syslog-facility" if FACILITIES.contains(&value) && !value.is_empty() => Ok(()),
        "syslog-facility" => Err(OptionError::form(
            FLAG,
            value,
            "a facility such as daemon or local0",
        )),
        "syslog-address" if value.starts_with("unixgram:///") || value.starts_with("udp://") => Ok(()),
        "syslog-address" => Err(OptionError::form(
            FLAG,
            value,
            "an address such as udp://192.0.2.1:514 or unixgram:///dev/log",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(driver: LogDriver, pairs: &[(&str, &str)]) -> LogOptions {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        LogOptions {
            driver,
            options: pairs.collect(),
        }
    }

    #[test]
    fn what_fits_the_driver() {
        let log = options(
            LogDriver::JsonFile,
            &[("max-size", "1m"), ("max-file", "5"), ("mode", "non-blocking")],
        );
        assert!(check(&log).is_ok());
        assert_eq!(
            (log.max_size(), log.max_files(), log.buffer()),
            (1 << 20, 5, Some(1 << 20))
        );
        assert!(check(&options(LogDriver::Syslog, &[("syslog-facility", "local3")])).is_ok());
        for (driver, key, value) in [
            (LogDriver::JsonFile, "max-size", "x"),
            (LogDriver::JsonFile, "max-file", "0"),
            (LogDriver::JsonFile, "mode", "fast"),
            (LogDriver::JsonFile, "syslog-address", "udp://x"),
            (LogDriver::JsonFile, "max-buffer-size", "1m"),
            (LogDriver::None, "tag", "x"),
            (LogDriver::Syslog, "syslog-facility", ""),
        ] {
            assert!(check(&options(driver, &[(key, value)])).is_err(), "{key}={value}");
        }
        assert!(parse_driver("gelf").is_err());
        assert_eq!(options(LogDriver::JsonFile, &[]).max_size(), MAX_SIZE);
    }
}
