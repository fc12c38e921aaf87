//! Ports: what `--publish` and `--expose` say, in Docker's forms.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number above IP.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Its name in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a port cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not of the form.
    #[error(
        "not a port: write [ADDRESS:][HOST_PORT:]PORT[/tcp|udp|sctp], ports as 80 or 8000-8010, IPv6 addresses in brackets"
    )]
    Form,
    /// The two ranges have different lengths.
    #[error("the range of the host and that of the container have different lengths")]
    Lengths,
    /// The address does not parse.
    #[error("{0:?} is no IP address")]
    Address(String),
}

/// Ports in a row: the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl PortRange {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let port = |text: &str| -> Result<u16, PortError> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse()
                .ok()
                .filter(|port| digits && *port != 0)
                .ok_or(PortError::Form)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = Self {
            first: port(first)?,
            last: port(last)?,
        };
        if range.last < range.first {
            return Err(PortError::Form);
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// `--expose`: ports that the program listens at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExposedPorts {
    /// The ports.
    pub ports: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

impl FromStr for ExposedPorts {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (ports, protocol) = split_protocol(text)?;
        Ok(Self {
            ports: ports.parse()?,
            protocol,
        })
    }
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), PortError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(PortError::Form),
    };
    Ok((ports, protocol))
}

/// One `--publish`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The address of the host; where the configuration says if absent.
    pub host: Option<IpAddr>,
    /// The ports of the host; free ones where absent. For a single port of the container a
    /// longer range means any of it.
    pub host_ports: Option<PortRange>,
    /// The ports of the container.
    pub container_ports: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

impl FromStr for PortMapping {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (text, protocol) = split_protocol(text)?;
        let (rest, container) = match text.rsplit_once(':') {
            Some((rest, container)) => (Some(rest), container),
            None => (None, text),
        };
        let (host, ports) = match rest {
            None => (None, ""),
            // An address in brackets has colons of its own.
            Some(rest) if rest.ends_with(']') => (Some(rest), ""),
            Some(rest) => match rest.rsplit_once(':') {
                Some((host, ports)) => (Some(host), ports),
                None if rest.contains('.') => (Some(rest), ""),
                None => (None, rest),
            },
        };
        let mapping = Self {
            host: host.filter(|host| !host.is_empty()).map(parse_host).transpose()?,
            host_ports: match ports {
                "" | "0" => None,
                ports => Some(ports.parse()?),
            },
            container_ports: container.parse()?,
            protocol,
        };
        let inside = mapping.container_ports.count();
        if mapping
            .host_ports
            .is_some_and(|ports| inside > 1 && ports.count() != inside)
        {
            return Err(PortError::Lengths);
        }
        Ok(mapping)
    }
}

/// An address of the host, IPv6 in brackets.
fn parse_host(text: &str) -> Result<IpAddr, PortError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .ok()
        .ok_or_else(|| PortError::Address(text.to_owned()))
}

/// A port of the host that leads to one of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublishedPort {
    /// The address of the host; none for all of them.
    pub host: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the container.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl PublishedPort {
    /// Address and port of the host as `ps` and errors show them.
    #[must_use]
    pub fn host_text(&self) -> String {
        match self.host {
            None => self.host_port.to_string(),
            Some(IpAddr::V4(address)) => format!("{address}:{}", self.host_port),
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.host_port),
        }
    }
}

/// How files say which ports are published: those in a row as one mapping, in the form of
/// `--publish`. There may be thousands.
pub(crate) mod rows {
    use super::{PortMapping, PortRange, PublishedPort};
    use serde::{Deserialize, Deserializer, Serializer};

    fn continues(port: &PublishedPort, next: &PublishedPort) -> bool {
        (port.host, port.protocol) == (next.host, next.protocol)
            && port.host_port.checked_add(1) == Some(next.host_port)
            && port.container_port.checked_add(1) == Some(next.container_port)
    }

    pub(crate) fn serialize<S: Serializer>(ports: &[PublishedPort], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ports.chunk_by(continues).filter_map(|row| {
            let (first, last) = (row.first()?, row.last()?);
            let host = first.host_text();
            let range = |first, last| PortRange { first, last };
            let inside = range(first.container_port, last.container_port);
            let end = range(first.host_port, last.host_port).to_string();
            let end = end.find('-').map_or("", |at| end.get(at..).unwrap_or_default());
            Some(format!("{host}{end}:{inside}/{}", first.protocol))
        }))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PublishedPort>, D::Error> {
        let mut ports = Vec::new();
        for text in Vec::<String>::deserialize(from)? {
            let mapping: PortMapping = text.parse().map_err(serde::de::Error::custom)?;
            let first = mapping.host_ports.map_or(0, |range| range.first);
            let inside = mapping.container_ports;
            ports.extend(
                (inside.first..=inside.last)
                    .zip(first..=u16::MAX)
                    .map(|(inside, host_port)| PublishedPort {
                        host: mapping.host,
                        host_port,
                        container_port: inside,
                        protocol: mapping.protocol,
                    }),
            );
        }
        Ok(ports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_one_line_of_a_file() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            #[serde(with = "rows")]
            ports: Vec<PublishedPort>,
        }
        let port = |host: &str, host_port, container_port| PublishedPort {
            host: host.parse().ok(),
            host_port,
            container_port,
            protocol: Protocol::Tcp,
        };
        let mut ports: Vec<PublishedPort> = (0..1000)
            .map(|offset| port("", 8000 + offset, 9000 + offset))
            .collect();
        ports.push(port("", 65535, 65535));
        ports.extend([
            port("::1", 80, 80),
            port("127.0.0.1", 81, 81),
            port("127.0.0.1", 82, 81),
        ]);
        // A port that nobody could have, since the kernel lacks the protocol.
        ports.push(PublishedPort {
            protocol: Protocol::Sctp,
            ..port("", 0, 7)
        });
        let text = cais_json::to_string(&File { ports: ports.clone() }).unwrap();
        let expected = r#"{"ports":["8000-8999:9000-9999/tcp","65535:65535/tcp","[::1]:80:80/tcp","127.0.0.1:81:81/tcp","127.0.0.1:82:81/tcp","0:7/sctp"]}"#;
        assert_eq!(text, expected);
        assert_eq!(cais_json::from_str::<File>(&text).unwrap(), File { ports });
    }

    fn mapping(text: &str) -> PortMapping {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn forms_of_publish() {
        let range = |first, last| PortRange { first, last };
        for (text, host, outside, inside, protocol) in [
            ("80", None, None, range(80, 80), Protocol::Tcp),
            (
                "8080:80",
                None,
                Some(range(8080, 8080)),
                range(80, 80),
                Protocol::Tcp,
            ),
            (
                "8080:80/udp",
                None,
                Some(range(8080, 8080)),
                range(80, 80),
                Protocol::Udp,
            ),
            ("0:80", None, None, range(80, 80), Protocol::Tcp),
            (
                "127.0.0.1::80",
                Some("127.0.0.1"),
                None,
                range(80, 80),
                Protocol::Tcp,
            ),
            (
                "127.0.0.1:80",
                Some("127.0.0.1"),
                None,
                range(80, 80),
                Protocol::Tcp,
            ),
            (
                "127.0.0.1:8080:80/SCTP",
                Some("127.0.0.1"),
                Some(range(8080, 8080)),
                range(80, 80),
                Protocol::Sctp,
            ),
            (
                "[::1]:8080:80",
                Some("::1"),
                Some(range(8080, 8080)),
                range(80, 80),
                Protocol::Tcp,
            ),
            ("[::1]::80", Some("::1"), None, range(80, 80), Protocol::Tcp),
            (
                "8000-8002:9000-9002",
                None,
                Some(range(8000, 8002)),
                range(9000, 9002),
                Protocol::Tcp,
            ),
            (
                "8000-8010:80",
                None,
                Some(range(8000, 8010)),
                range(80, 80),
                Protocol::Tcp,
            ),
            ("7000-7001", None, None, range(7000, 7001), Protocol::Tcp),
        ] {
            let expected = PortMapping {
                host: host.map(|host| host.parse().unwrap()),
                host_ports: outside,
                container_ports: inside,
                protocol,
            };
            assert_eq!(mapping(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for bad in [
            "",
            ":",
            "x",
            "80/icmp",
            "8080:",
            "8080:0",
            "70000:80",
            "1-3:1-2",
            "5-3",
            "+80",
            "a.b:1:2",
            "[::1:80:80",
            "::1:8080:80x",
            "80/tcp/udp",
            "1:2:3:4",
        ] {
            assert!(bad.parse::<PortMapping>().is_err(), "{bad}");
        }
        assert!("80-90/udp".parse::<ExposedPorts>().is_ok());
        assert!("8080:80".parse::<ExposedPorts>().is_err());
    }

    #[test]
    fn texts() {
        let port = PublishedPort {
            host: Some("::1".parse().unwrap()),
            host_port: 80,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        assert_eq!(port.host_text(), "[::1]:80");
        assert_eq!(mapping("1-2").container_ports.to_string(), "1-2");
    }
}
