//! Slower and worse networks: `--network-rate`, `--network-latency`, `--network-loss`.
//!
//! The kernel does it with queueing disciplines at both ends of a container's veth pair:
//! what goes to the container leaves the host's end, what comes from it leaves its own. A
//! container with CAP_NET_ADMIN can therefore lift its own side.

use crate::bridge;
use crate::error::{NetError, Result};
use crate::netlink::qdisc::{Bucket, Emulation, Place, ROOT, add_bucket, add_emulation};
use crate::netlink::{Batch, Protocol, Socket};
use cais_linux::SysError;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a network is to be like, in each direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shape {
    /// The most bits a second.
    pub rate: Option<u64>,
    /// So much longer every packet takes.
    pub latency: Option<Duration>,
    /// How many packets of a million are lost.
    pub loss: Option<u32>,
}

impl Shape {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The requests that make an interface so.
    fn plan(&self, batch: &mut Batch, interface: u32) {
        const OUTER: u32 = 0x1_0000;
        const INNER: u32 = 0x2_0000;
        let worse = self.latency.is_some() || self.loss.is_some();
        if worse {
            let place = Place {
                interface,
                handle: OUTER,
                parent: ROOT,
            };
            let loss = u64::from(self.loss.unwrap_or(0)) * u64::from(u32::MAX) / 1_000_000;
            let emulation = Emulation {
                latency: self.latency.unwrap_or_default(),
                loss: u32::try_from(loss).unwrap_or(u32::MAX),
            };
            add_emulation(batch, place, emulation);
        }
        if let Some(rate) = self.rate {
            let (handle, parent) = if worse { (INNER, OUTER | 1) } else { (OUTER, ROOT) };
            let place = Place {
                interface,
                handle,
                parent,
            };
            add_bucket(batch, place, plan_bucket(rate));
        }
    }
}

/// The bucket for so many bits a second: bursts of ten milliseconds, at least of one
/// packet as the kernel hands it down (64 KiB), and a fifth of a second of waiting.
fn plan_bucket(bits: u64) -> Bucket {
    const SMALLEST: u64 = 64 * 1024;
    let rate = (bits / 8).max(1);
    let burst = (rate / 100).max(SMALLEST);
    let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Bucket {
        rate,
        burst: number(burst),
        waiting: number((rate / 5).max(burst)),
    }
}

/// Makes both ends of a veth pair so: `host_interface` in the namespace of this process,
/// and `interface` in `namespace`.
///
/// # Errors
/// Where the kernel lacks a queueing discipline, which is named; where an interface is gone.
pub fn apply(shape: Shape, host_interface: &str, namespace: BorrowedFd<'_>, interface: &str) -> Result<()> {
    let host = Socket::open(Protocol::Route)?;
    apply_at(shape, host, host_interface)?;
    apply_at(shape, crate::veth::open_inside(namespace)?, interface)
}

fn apply_at(shape: Shape, mut socket: Socket, interface: &str) -> Result<()> {
    let index = bridge::index_of(&socket, interface)?.ok_or_else(|| refusal(shape, Errno::NODEV))?;
    let mut batch = Batch::default();
    shape.plan(&mut batch, index);
    socket.apply(&mut batch).map_err(|errno| refusal(shape, errno))
}

/// What the user hears where the kernel refuses.
fn refusal(shape: Shape, errno: Errno) -> NetError {
    let worse = shape.latency.is_some() || shape.loss.is_some();
    if errno == Errno::NOENT {
        let (flags, kind, option) = if worse {
            (
                "--network-latency and --network-loss",
                "netem",
                "CONFIG_NET_SCH_NETEM",
            )
        } else {
            ("--network-rate", "tbf", "CONFIG_NET_SCH_TBF")
        };
        return NetError::Invalid(format!(
            "{flags}: this kernel lacks the queueing discipline {kind}: load the module sch_{kind}, or use a kernel with {option}"
        ));
    }
    NetError::System {
        action: "set the container's rate, latency or loss".to_owned(),
        source: SysError::new("netlink", "RTM_NEWQDISC", errno),
    }
}

/// Reads a rate: `100mbit`, `1gbit`, `512kbit`, `9600bit`; returns bits a second.
#[must_use]
pub fn parse_rate(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, unit) = split_number(&lower)?;
    let factor = match unit {
        "" | "bit" => 1.0,
        "k" | "kbit" => 1e3,
        "m" | "mbit" => 1e6,
        "g" | "gbit" => 1e9,
        "t" | "tbit" => 1e12,
        _ => return None,
    };
    whole(number * factor).filter(|rate| (8..=1_000_000_000_000_000).contains(rate))
}

/// Reads a time: `50ms`, `1s`, `200us`; at most a minute.
#[must_use]
pub fn parse_latency(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let factor = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    whole(number * factor)
        .map(Duration::from_nanos)
        .filter(|latency| *latency <= Duration::from_secs(60))
}

/// Reads a share: `1%`, `0.1%`; returns how many of a million.
#[must_use]
pub fn parse_loss(text: &str) -> Option<u32> {
    let (number, unit) = split_number(text)?;
    if unit != "%" || number > 100.0 {
        return None;
    }
    whole(number * 1e4).and_then(|loss| u32::try_from(loss).ok())
}

/// A number without a sign, and what is behind it.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// A number that is not too large, without its fraction.
fn whole(number: f64) -> Option<u64> {
    format!("{:.0}", number.is_finite().then_some(number)?)
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, want) in [
            ("100mbit", Some(100_000_000)),
            ("1Gbit", Some(1_000_000_000)),
            ("1.5m", Some(1_500_000)),
            ("9600", Some(9600)),
            ("9600bit", Some(9600)),
            ("", None),
            ("mbit", None),
            ("-1mbit", None),
            ("1", None),
            ("1.2.3m", None),
            ("1mb", None),
            ("999999tbit", None),
        ] {
            assert_eq!(parse_rate(text), want, "{text:?}");
        }
    }

    #[test]
    fn times_and_shares() {
        assert_eq!(parse_latency("50ms"), Some(Duration::from_millis(50)));
        assert_eq!(parse_latency("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["50", "ms", "61s", "-1ms", "1h"] {
            assert_eq!(parse_latency(bad), None, "{bad}");
        }
        assert_eq!(parse_loss("1%"), Some(10_000));
        assert_eq!(parse_loss("0.1%"), Some(1000));
        assert_eq!(parse_loss("100%"), Some(1_000_000));
        for bad in ["1", "101%", "%", "-1%", "x%"] {
            assert_eq!(parse_loss(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_named() {
        let slow = Shape {
            latency: Some(Duration::from_millis(1)),
            ..Shape::default()
        };
        assert!(refusal(slow, Errno::NOENT).to_string().contains("netem"));
        let narrow = Shape {
            rate: Some(1),
            ..Shape::default()
        };
        assert!(refusal(narrow, Errno::NOENT).to_string().contains("tbf"));
    }
}
