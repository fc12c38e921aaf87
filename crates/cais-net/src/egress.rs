//! What a container may reach: `--egress deny`, `--egress-allow github.com:443,10.0.0.0/8`.
//!
//! The rules stand in the container's own network namespace ([`table`]): whatever happens to
//! the host's rule set, they stay, and they go with the container. A container that is to
//! be held has no CAP_NET_ADMIN. It reaches the containers of its networks, its resolver,
//! and what is allowed: subnets by elements of sets, names by what the resolver answered
//! ([`names`]), for as long as the answer holds.

pub mod names;
pub mod table;

use crate::dns::config::NamePattern;
use crate::publish::Protocol;
use crate::subnet::Subnet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One thing that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Allowance {
    /// Where.
    pub target: Target,
    /// At which port; at every one where absent.
    pub port: Option<u16>,
    /// By which protocol; TCP and UDP where absent.
    pub protocol: Option<Protocol>,
}

/// Where something may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// These addresses.
    Subnet(Subnet),
    /// What this name stands for.
    Name(NamePattern),
}

/// The text is no allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a destination: NAME, *.NAME, ADDRESS or SUBNET, with :PORT or :PORT/PROTOCOL behind, e.g. github.com:443, *.debian.org, 10.0.0.0/8, [fd00::1]:53/udp"
)]
pub struct BadAllowance;

impl Allowance {
    /// The protocols that it allows at its port.
    #[must_use]
    pub fn protocols(&self) -> Vec<Protocol> {
        self.protocol
            .map_or_else(|| vec![Protocol::Tcp, Protocol::Udp], |one| vec![one])
    }
}

impl FromStr for Allowance {
    type Err = BadAllowance;

    fn from_str(text: &str) -> Result<Self, BadAllowance> {
        let (place, port) = split_port(text)?;
        let (port, protocol) = match port {
            None => (None, None),
            Some(port) => {
                let (number, protocol) = port
                    .split_once('/')
                    .map_or((port, None), |(number, protocol)| (number, Some(protocol)));
                let digits = number.bytes().all(|byte| byte.is_ascii_digit());
                let number = number.parse().ok().filter(|number| digits && *number != 0);
                let protocol = protocol.map(parse_protocol).transpose()?;
                (Some(number.ok_or(BadAllowance)?), protocol)
            }
        };
        let target = if let Ok(address) = place.parse::<IpAddr>() {
            Target::Subnet(Subnet::new(address, u8::MAX))
        } else if let Ok(subnet) = place.parse() {
            Target::Subnet(subnet)
        } else {
            Target::Name(NamePattern::parse(place).ok_or(BadAllowance)?)
        };
        Ok(Self {
            target,
            port,
            protocol,
        })
    }
}

/// What stands before and behind the colon of a port. Colons inside an address of IPv6
/// are none; with a port it is in brackets.
fn split_port(text: &str) -> Result<(&str, Option<&str>), BadAllowance> {
    if let Some(rest) = text.strip_prefix('[') {
        let (place, behind) = rest.split_once(']').ok_or(BadAllowance)?;
        return match behind.strip_prefix(':') {
            Some(port) => Ok((place, Some(port))),
            None if behind.is_empty() => Ok((place, None)),
            None => Err(BadAllowance),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((place, port)) => Ok((place, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_protocol(text: &str) -> Result<Protocol, BadAllowance> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.name() == text)
        .ok_or(BadAllowance)
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Name(name) => f.write_str(name.as_str())?,
            Target::Subnet(subnet) if subnet.is_ipv4() || self.port.is_none() => write!(f, "{subnet}")?,
            Target::Subnet(subnet) => write!(f, "[{subnet}]")?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.protocol
            .map_or(Ok(()), |protocol| write!(f, "/{}", protocol.name()))
    }
}

impl TryFrom<String> for Allowance {
    type Error = BadAllowance;

    fn try_from(text: String) -> Result<Self, BadAllowance> {
        text.parse()
    }
}

impl From<Allowance> for String {
    fn from(allowance: Allowance) -> Self {
        allowance.to_string()
    }
}

/// Reads a list of allowances, separated by commas.
///
/// # Errors
/// For the first that is none.
pub fn parse_allowances(text: &str) -> Result<Vec<Allowance>, BadAllowance> {
    text.split(',').map(|part| part.trim().parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowances() {
        for (text, want) in [
            ("github.com:443", "github.com:443"),
            ("GitHub.com", "github.com"),
            ("*.debian.org", "*.debian.org"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8:5432/tcp", "10.0.0.0/8:5432/tcp"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::1", "fd00::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("[fd00::1]:53/udp", "[fd00::1/128]:53/udp"),
            ("[fd00::/8]", "fd00::/8"),
        ] {
            let allowance: Allowance = text.parse().unwrap();
            assert_eq!(allowance.to_string(), want, "{text}");
            assert_eq!(allowance.to_string().parse(), Ok(allowance));
        }
    }

    #[test]
    fn mistakes() {
        for bad in [
            "",
            ":443",
            "github.com:",
            "github.com:0",
            "github.com:65536",
            "github.com:+1",
            "github.com:443/quic",
            "*",
            "*.",
            "10.0.0.0/33",
            "[fd00::1",
            "[fd00::1]x",
            "http://github.com",
            "a b",
        ] {
            assert_eq!(bad.parse::<Allowance>(), Err(BadAllowance), "{bad:?}");
        }
        assert_eq!(parse_allowances("a.org, 10.0.0.0/8").unwrap().len(), 2);
        assert!(parse_allowances("a.org,").is_err());
    }
}
