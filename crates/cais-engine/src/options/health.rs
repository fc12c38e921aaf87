//! `--health-…`: how it is found out whether the program does its work.

use super::error::OptionError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the container's health is found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthOptions {
    /// `--no-healthcheck`: not even by what the image says.
    pub disabled: bool,
    /// What is tried. Absent: what the image says, or nothing.
    pub probe: Option<HealthProbe>,
    /// `--health-interval` in nanoseconds; 0 is the default.
    pub interval: u64,
    /// `--health-timeout` in nanoseconds; 0 is the default.
    pub timeout: u64,
    /// `--health-start-period` in nanoseconds; 0 is none.
    pub start_period: u64,
    /// `--health-start-interval` in nanoseconds; 0 is the default.
    pub start_interval: u64,
    /// `--health-retries`; 0 is the default.
    pub retries: u32,
    /// `--health-on-failure`.
    pub on_failure: HealthAction,
}

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthProbe {
    /// A program inside: `CMD`.
    Command(Vec<String>),
    /// A line for the shell inside: `CMD-SHELL`.
    Shell(String),
    /// `--health-http`: a URL that must answer with a status from 200 to 399. Its host is
    /// reached from inside the container.
    Http(String),
    /// `--health-tcp`: a port on the loopback address inside that must accept.
    Tcp(u16),
    /// `--health-unix`: a socket at this path inside that must accept.
    Unix(String),
}

/// What follows when the container becomes unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthAction {
    /// Nothing but the state.
    #[default]
    None,
    /// It is killed; the restart policy holds.
    Kill,
    /// It is killed and started again, whatever the policy.
    Restart,
    /// It is stopped as by `cais stop`.
    Stop,
}

/// Docker's default for the interval and the timeout.
const DEFAULT_TIME: Duration = Duration::from_secs(30);
/// Docker's default for the interval while the container starts.
const DEFAULT_START_INTERVAL: Duration = Duration::from_secs(5);
/// Docker's default for the failures in a row.
const DEFAULT_RETRIES: u32 = 3;

fn or_default(nanoseconds: u64, default: Duration) -> Duration {
    if nanoseconds == 0 {
        default
    } else {
        Duration::from_nanos(nanoseconds)
    }
}

impl HealthOptions {
    /// The probe that is in use.
    #[must_use]
    pub fn active(&self) -> Option<&HealthProbe> {
        self.probe.as_ref().filter(|_| !self.disabled)
    }

    /// From the end of one probe to the beginning of the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        or_default(self.interval, DEFAULT_TIME)
    }

    /// How long a probe may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        or_default(self.timeout, DEFAULT_TIME)
    }

    /// For how long after the start a failure does not count.
    #[must_use]
    pub fn start_period(&self) -> Duration {
        Duration::from_nanos(self.start_period)
    }

    /// The interval within the start period.
    #[must_use]
    pub fn start_interval(&self) -> Duration {
        or_default(self.start_interval, DEFAULT_START_INTERVAL)
    }

    /// How many failures in a row make the container unhealthy.
    #[must_use]
    pub fn retries(&self) -> u32 {
        if self.retries == 0 {
            DEFAULT_RETRIES
        } else {
            self.retries
        }
    }

    /// `Test` as Docker's `inspect` shows it.
    #[must_use]
    pub fn test(&self) -> Vec<String> {
        if self.disabled {
            return vec!["NONE".to_owned()];
        }
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match &self.probe {
            None => Vec::new(),
            Some(HealthProbe::Command(words)) => std::iter::once("CMD".to_owned())
                .chain(words.iter().cloned())
                .collect(),
            Some(HealthProbe::Shell(line)) => list(&["CMD-SHELL", line]),
            Some(HealthProbe::Http(url)) => list(&["HTTP", url]),
            Some(HealthProbe::Tcp(port)) => list(&["TCP", &port.to_string()]),
            Some(HealthProbe::Unix(path)) => list(&["UNIX", path]),
        }
    }
}

/// Reads a duration as Go writes it: `1m30s`, `500ms`, `1.5h`. Nanoseconds.
///
/// # Errors
/// For another form, and for times below a millisecond that are not 0 (as Docker).
pub fn parse_duration(flag: &'static str, text: &str) -> Result<u64, OptionError> {
    let bad = || OptionError::form(flag, text, "a duration such as 30s, 1m30s or 500ms");
    let mut rest = text;
    let mut sum = 0f64;
    if text == "0" {
        return Ok(0);
    }
    if text.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let unit_length = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_length);
        let scale = match unit {
            "ns" => 1e0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(bad()),
        };
        sum += number.parse::<f64>().or(Err(bad()))? * scale;
        rest = next;
    }
    if !(0.0..=9e18).contains(&sum) {
        return Err(bad());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 9e18"
    )]
    let nanoseconds = sum.round() as u64;
    if nanoseconds != 0 && nanoseconds < 1_000_000 {
        return Err(OptionError::range(
            flag,
            text,
            "at least 1ms, or 0 for the default",
        ));
    }
    Ok(nanoseconds)
}

/// Reads `--health-on-failure`.
///
/// # Errors
/// For another word.
pub fn parse_action(text: &str) -> Result<HealthAction, OptionError> {
    Ok(match text {
        "none" => HealthAction::None,
        "kill" => HealthAction::Kill,
        "restart" => HealthAction::Restart,
        "stop" => HealthAction::Stop,
        _ => {
            return Err(OptionError::form(
                "--health-on-failure",
                text,
                "none, kill, restart or stop",
            ));
        }
    })
}

/// Checks `--health-http`: `http://HOST[:PORT]/PATH`, where HOST is an address or
/// `localhost`.
///
/// # Errors
/// For another form.
pub fn parse_http(text: &str) -> Result<HealthProbe, OptionError> {
    match HttpTarget::parse(text) {
        Some(_) => Ok(HealthProbe::Http(text.to_owned())),
        None => Err(OptionError::form(
            "--health-http",
            text,
            "an address such as http://localhost:8080/health (http only, an IP address or localhost)",
        )),
    }
}

/// Checks `--health-tcp`: a port.
///
/// # Errors
/// For anything else.
pub fn parse_tcp(text: &str) -> Result<HealthProbe, OptionError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(OptionError::form("--health-tcp", text, "a port from 1 to 65535")),
        Ok(port) => Ok(HealthProbe::Tcp(port)),
    }
}

/// Checks `--health-unix`: an absolute path.
///
/// # Errors
/// For anything else.
pub fn parse_unix(text: &str) -> Result<HealthProbe, OptionError> {
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(HealthProbe::Unix(text.to_owned()));
    }
    Err(OptionError::form(
        "--health-unix",
        text,
        "an absolute path inside the container",
    ))
}

/// What an address for a probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where to connect.
    pub address: std::net::SocketAddr,
    /// What stands in the header `Host`.
    pub host: String,
    /// The path with the query.
    pub path: String,
}

impl HttpTarget {
    /// Understands an address; `None` for another form. Names other than `localhost` are not
    /// looked up: a probe must not wait for a resolver.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        if rest.bytes().any(|byte| byte <= b' ' || byte == 127) {
            return None;
        }
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let named = host
            .strip_prefix("localhost")
            .map(|port| format!("127.0.0.1{port}"));
        let address = named.as_deref().unwrap_or(host);
        let address = address.parse().ok().or_else(|| {
            let ip = address
                .trim_start_matches('[')
                .trim_end_matches(']')
                .parse()
                .ok()?;
            Some(std::net::SocketAddr::new(ip, 80))
        })?;
        Some(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_writes_them() {
        for (text, want) in [
            ("30s", 30_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1.5h", 5_400_000_000_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration("--health-interval", text), Ok(want), "{text}");
        }
        for bad in ["", "30", "s", "-1s", "1x", "10us", "1.2.3s", "99999999999h"] {
            assert!(parse_duration("--health-interval", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_probes() {
        let target = HttpTarget::parse("http://localhost:8080/health?x=1").unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:8080");
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("localhost:8080", "/health?x=1")
        );
        assert_eq!(HttpTarget::parse("http://10.0.0.1").unwrap().address.port(), 80);
        let six = HttpTarget::parse("http://[::1]:81/").unwrap();
        assert_eq!(six.address.to_string(), "[::1]:81");
        for bad in [
            "https://localhost/",
            "localhost",
            "http://example.com/",
            "http://localhost/a b",
            "http://",
        ] {
            assert_eq!(HttpTarget::parse(bad), None, "{bad}");
        }
        assert!(parse_tcp("0").is_err() && parse_tcp("80").is_ok());
        assert!(parse_unix("x").is_err() && parse_unix("/run/x").is_ok());
    }
}
