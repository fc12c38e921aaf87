//! Names that a container may reach: what the resolver answered is let through before the
//! container hears it, for as long as the answer holds; names that it may not ask for are
//! counted.

use super::table::{
    NAMED_ANY4, NAMED_ANY6, NAMED4, NAMED6, bytes_of, open_socket, service_bytes, transaction,
};
use super::{Allowance, Target};
use crate::dns::AllowAddresses;
use crate::dns::config::NamePattern;
use crate::error::{NetError, Result};
use crate::netlink::Socket;
use crate::netlink::nftables::{Element, Set};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An address stays reachable for so long after its answer has ended: who asked just before
/// that connects a little later.
const GRACE: Duration = Duration::from_secs(60);
/// No answer holds longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Refused names that are remembered.
const REMEMBERED: usize = 512;
/// Addresses that are known to be let through. Beyond that, what ends first is forgotten.
const KNOWN: usize = 4096;

/// The names that a container may ask for.
#[must_use]
pub fn patterns(allowances: &[Allowance]) -> Vec<NamePattern> {
    let names = allowances.iter().filter_map(|allowance| match &allowance.target {
        Target::Name(name) => Some(name.clone()),
        Target::Subnet(_) => None,
    });
    names.collect()
}

/// Lets addresses through in a container's network namespace.
#[derive(Debug)]
pub struct NameGate {
    socket: Socket,
    allowances: Vec<Allowance>,
    /// What is let through, and until when.
    known: BTreeMap<(&'static str, Vec<u8>), Instant>,
    refused: BTreeMap<String, u64>,
    refused_file: PathBuf,
}

/// A name that was refused, and how often, as they stand in the file of refused names: one
/// line each.
pub type RefusedName = (String, u64);

impl NameGate {
    /// The gate of a container, whose table is there. What it refuses it writes into a file.
    ///
    /// # Errors
    /// Where no netlink socket can be opened.
    pub fn open(namespace: BorrowedFd<'_>, allowances: &[Allowance], refused_file: &Path) -> Result<Self> {
        Ok(Self {
            socket: open_socket(namespace)?,
            allowances: allowances.to_vec(),
            known: BTreeMap::new(),
            // A monitor that takes over goes on counting.
            refused: read_refused(refused_file)
                .unwrap_or_default()
                .into_iter()
                .collect(),
            refused_file: refused_file.to_owned(),
        })
    }

    /// The elements that let an address of this name through.
    fn keys(&self, name: &str, address: IpAddr) -> Vec<(&'static Set, Vec<u8>)> {
        let four = address.is_ipv4();
        let mut keys = Vec::new();
        for allowance in &self.allowances {
            if !matches!(&allowance.target, Target::Name(pattern) if pattern.matches(name)) {
                continue;
            }
            let address = bytes_of(address);
            match allowance.port {
                None => keys.push((if four { &NAMED_ANY4 } else { &NAMED_ANY6 }, address)),
                Some(port) => {
                    let set = if four { &NAMED4 } else { &NAMED6 };
                    let services = allowance.protocols().into_iter();
                    keys.extend(services.map(|protocol| {
                        (
                            set,
                            [&address[..], &service_bytes(protocol.number(), port)].concat(),
                        )
                    }));
                }
            }
        }
        keys
    }

    /// Adds elements; those that are there already first go, where `anew` says so, because
    /// older kernels would keep their end.
    fn add(
        &mut self,
        elements: &[(&'static Set, Vec<u8>, Duration)],
        anew: bool,
    ) -> std::result::Result<(), Errno> {
        let mut change = transaction();
        for (set, key, kept) in elements {
            let is_known = self.known.contains_key(&(set.name, key.clone()));
            if anew && is_known {
                change.delete_elements(set, &[plain(key)]);
            }
            change.add_timed_elements(set, &[(key.clone(), *kept)]);
        }
        self.socket.apply(&mut change.finish())
    }

    fn forget_ended(&mut self, now: Instant) {
        self.known.retain(|_, end| *end > now);
        while self.known.len() > KNOWN {
            let first = self
                .known
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(key, _)| key.clone());
            let Some(first) = first else { return };
            self.known.remove(&first);
        }
    }

    fn write_refused(&self) -> std::io::Result<()> {
        let lines = self
            .refused
            .iter()
            .map(|(name, count)| format!("{count} {name}\n"));
        let beside = self.refused_file.with_extension("new");
        std::fs::write(&beside, lines.collect::<String>())?;
        std::fs::rename(&beside, &self.refused_file)
    }
}

fn plain(key: &[u8]) -> Element {
    Element {
        key: key.to_vec(),
        last: None,
        value: Vec::new(),
        comment: String::new(),
    }
}

impl AllowAddresses for NameGate {
    fn allow(&mut self, name: &str, addresses: &[(IpAddr, u32)]) -> std::result::Result<(), Errno> {
        let now = Instant::now();
        self.forget_ended(now);
        let mut wanted = Vec::new();
        for (address, ttl) in addresses {
            let holds = Duration::from_secs(u64::from(*ttl)).min(LONGEST);
            // Each time, also where it is thought to be there: somebody may have made the
            // table anew.
            let keys = self.keys(name, *address).into_iter();
            wanted.extend(keys.map(|(set, key)| (set, key, holds + GRACE)));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        match self.add(&wanted, true) {
            // One of those that were to be replaced has ended on its own.
            Err(Errno::NOENT) => self.add(&wanted, false)?,
            other => other?,
        }
        for (set, key, kept) in wanted {
            self.known.insert((set.name, key), now + kept);
        }
        Ok(())
    }

    fn refuse(&mut self, name: &str) {
        if !self.refused.contains_key(name) && self.refused.len() >= REMEMBERED {
            return;
        }
        let count = self.refused.entry(name.to_owned()).or_default();
        *count += 1;
        if count.is_power_of_two() || count.is_multiple_of(64) {
            // There is nobody to tell; the next one tries again.
            self.write_refused().unwrap_or_default();
        }
    }
}

/// The names that a container was refused, and how often. Counts may lag by some dozens.
///
/// # Errors
/// Where the file is there but cannot be read.
pub fn read_refused(file: &Path) -> Result<Vec<RefusedName>> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NetError::file(format!("read {}", file.display()))(error)),
    };
    let parse = |line: &str| {
        let (count, name) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    Ok(text.lines().filter_map(parse).collect())
}
