//! What one container's resolver knows: a file of the engine's, replaced by rename(2)
//! when the container joins or leaves a network. The resolver looks whether it is another
//! one with each question.

use super::name::Name;
use crate::subnet::Subnet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// The configuration of one resolver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResolverConfig {
    /// The networks whose names are known, in the order in which they are asked.
    pub networks: Vec<NetworkNames>,
    /// Further names: `host.docker.internal` and its like, in lower case.
    pub hosts: Vec<HostName>,
    /// Whether other names are asked for upstream: not so where all networks are internal.
    pub forward: bool,
    /// The upstream servers: addresses as in resolv.conf(5), or with a port behind
    /// (`10.0.0.1:5353`); where there are none, the host's.
    pub servers: Vec<String>,
    /// The names that may be asked for upstream; all of them where this is absent.
    pub allowed: Option<Vec<NamePattern>>,
}

/// The names of one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNames {
    /// What users call it.
    pub name: String,
    /// Where its names lie, see [`super::name_file`].
    pub directory: PathBuf,
    /// Its addresses: none of them is asked for upstream.
    pub subnets: Vec<Subnet>,
}

/// A fixed name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostName {
    /// The name in lower case.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// One name, or with `*.` in front all names below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern(String);

impl NamePattern {
    /// Parses `github.com` or `*.debian.org`; `None` where it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        let spelled = Name::from_text(name)?.text()?;
        (plain && !spelled.is_empty()).then(|| {
            let star = if name.len() == text.len() { "" } else { "*." };
            Self(format!("{star}{spelled}"))
        })
    }

    /// Whether it means this name, which is in lower case and without a final dot.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_prefix("*.") {
            None => self.0 == name,
            Some(above) => name
                .strip_suffix(above)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NamePattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a domain name")
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, want) in [
            ("GitHub.com", "github.com", true),
            ("github.com.", "github.com", true),
            ("github.com", "api.github.com", false),
            ("github.com", "notgithub.com", false),
            ("*.debian.org", "deb.debian.org", true),
            ("*.debian.org", "a.b.debian.org", true),
            ("*.debian.org", "debian.org", false),
            ("*.debian.org", "evildebian.org", false),
            ("*.debian.org", "debian.org.evil.net", false),
        ] {
            assert_eq!(
                NamePattern::parse(pattern).unwrap().matches(name),
                want,
                "{pattern} {name}"
            );
        }
        for wrong in ["", ".", "*", "*.", "a*.org", "a..b", "a b", "*.*.org", "a/b"] {
            assert_eq!(NamePattern::parse(wrong), None, "{wrong:?}");
        }
    }
}
