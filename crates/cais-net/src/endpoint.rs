//! What a running container has in networks: one file for each, `endpoints/<id>` below the
//! run directory. It is written before anything is taken and goes when all is given back.
//! Together with the networks' files it is all that the nf_tables table is made of.

use crate::error::{NetError, Result};
use crate::mac::Mac;
use crate::network::{Driver, Network, NetworkStore, ensure_directory, entries, remove_file, write_new};
use crate::publish::{PublishedPort, rows};
use crate::table::PortEntry;
use cais_order::InOrder;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// An interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The name of the network.
    pub network: String,
    /// The id of the network.
    pub network_id: String,
    /// An id of its own: 64 hexadecimal digits.
    pub id: String,
    /// What made it.
    pub driver: Driver,
    /// The bridge, or the parent of macvlan.
    pub parent: String,
    /// The interface's name inside.
    pub interface: String,
    /// The name of the other end, at the bridge.
    #[serde(default)]
    pub host_interface: Option<String>,
    /// Its hardware address.
    pub mac: Mac,
    /// Its address of IPv4, with the bits of the network.
    #[serde(default)]
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its address of IPv6, with the bits of the network.
    #[serde(default)]
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// By whom it reaches the rest of the world, of IPv4.
    #[serde(default)]
    pub gateway4: Option<IpAddr>,
    /// The same of IPv6.
    #[serde(default)]
    pub gateway6: Option<IpAddr>,
    /// Further addresses.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Further names in the network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The largest packet.
    pub mtu: u32,
    /// The mode of macvlan.
    #[serde(default)]
    pub mode: Option<String>,
    /// Whether it does not reach its neighbours.
    #[serde(default)]
    pub isolated: bool,
    /// Whether it may be reached by itself, by way of a published port.
    #[serde(default)]
    pub hairpin: bool,
    /// Whether nothing leaves the network.
    #[serde(default)]
    pub internal: bool,
    /// Whether this one gives the default route.
    #[serde(default)]
    pub default_route: bool,
}

impl Endpoint {
    /// Its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        let four = self.ipv4.map(|(address, prefix)| (IpAddr::V4(address), prefix));
        let six = self.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
        four.into_iter().chain(six)
    }
}

/// Everything that a container has in networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// The version of the file's form.
    pub version: u32,
    /// The container's id.
    pub container: String,
    /// Its name when it was started.
    #[serde(default)]
    pub name: String,
    /// Its first process, whose network namespace it is: id and start time.
    #[serde(default)]
    pub process: Option<(i32, u64)>,
    /// Its interfaces.
    pub endpoints: Vec<Endpoint>,
    /// Its published ports.
    #[serde(default, with = "rows")]
    pub ports: Vec<PublishedPort>,
    /// Whether the monitor passes connections on, and the kernel translates nothing.
    #[serde(default)]
    pub proxy: bool,
    /// Whether the host has IPv6, where that was found out with the plan.
    #[serde(skip)]
    pub host_ipv6: Option<bool>,
}

impl Endpoints {
    /// The interface to which published ports lead: that of the default route, or the first
    /// that is not internal.
    #[must_use]
    pub fn published_to(&self) -> Option<&Endpoint> {
        let is_open = |endpoint: &&Endpoint| !endpoint.internal && endpoint.driver == Driver::Bridge;
        self.endpoints
            .iter()
            .filter(is_open)
            .find(|endpoint| endpoint.default_route)
            .or_else(|| self.endpoints.iter().find(is_open))
    }

    /// What the table says of its ports.
    #[must_use]
    pub fn port_entries(&self) -> Vec<PortEntry> {
        if self.proxy {
            return Vec::new();
        }
        let Some(endpoint) = self.published_to() else {
            return Vec::new();
        };
        let owner = self.container.get(..12).unwrap_or(&self.container);
        let entry = |port: &PublishedPort, last: Option<u16>| PortEntry {
            owner: owner.to_owned(),
            host: port.host,
            host_port: port.host_port,
            last,
            protocol: port.protocol,
            ipv4: endpoint.ipv4.map(|(address, _)| address),
            ipv6: endpoint.ipv6.map(|(address, _)| address),
            container_port: port.container_port,
        };
        let mut entries = Vec::new();
        for row in self.ports.chunk_by(continues) {
            match row {
                [first, .., last] if row.len() >= ROW => entries.push(entry(first, Some(last.host_port))),
                _ => entries.extend(row.iter().map(|port| entry(port, None))),
            }
        }
        entries
    }
}

/// So many ports in a row are one range in the table. Fewer are found faster one by one.
const ROW: usize = 8;

/// Whether a port is the next after another, and both are the same inside.
fn continues(port: &PublishedPort, next: &PublishedPort) -> bool {
    let is_same = |port: &PublishedPort| port.container_port == port.host_port;
    is_same(port)
        && is_same(next)
        && port.host_port.checked_add(1) == Some(next.host_port)
        && (port.host, port.protocol) == (next.host, next.protocol)
}

/// The suffix of a file whose container is giving back what it has.
const LEAVING: &str = ".leaving";

impl NetworkStore {
    /// The file of a container.
    #[must_use]
    pub fn endpoint_file(&self, container: &str) -> PathBuf {
        self.endpoints.join(container)
    }

    fn leaving_file(&self, container: &str) -> PathBuf {
        self.endpoints.join(format!("{container}{LEAVING}"))
    }

    fn read_endpoints_at(path: &std::path::Path) -> Result<Option<Endpoints>> {
        match fs::read(path) {
            Ok(bytes) => cais_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| NetError::Invalid(format!("{} is damaged: {error}", path.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NetError::file(format!("read {}", path.display()))(error)),
        }
    }

    /// What a container has; `None` where it has nothing.
    ///
    /// # Errors
    /// Where the file cannot be read or is damaged.
    pub fn read_endpoints(&self, container: &str) -> Result<Option<Endpoints>> {
        Self::read_endpoints_at(&self.endpoint_file(container))
    }

    /// What a container has, also while it gives it back.
    ///
    /// # Errors
    /// As [`Self::read_endpoints`].
    pub fn read_leaving(&self, container: &str) -> Result<Option<Endpoints>> {
        match self.read_endpoints(container)? {
            Some(endpoints) => Ok(Some(endpoints)),
            None => Self::read_endpoints_at(&self.leaving_file(container)),
        }
    }

    /// Writes what a container has: beside, then renamed.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_endpoints(&self, endpoints: &Endpoints) -> Result<()> {
        let beside = self
            .endpoints
            .join(format!(".{}.{}", endpoints.container, std::process::id()));
        let path = self.endpoint_file(&endpoints.container);
        if !self.endpoints.is_dir() {
            ensure_directory(&self.endpoints)?;
        }
        write_new(&beside, endpoints)?;
        fs::rename(&beside, &path).map_err(NetError::file(format!("write {}", path.display())))
    }

    /// From here on the container counts as one that has nothing: whoever makes the table
    /// leaves it out.
    ///
    /// # Errors
    /// Where the file cannot be renamed.
    pub fn mark_leaving(&self, container: &str) -> Result<()> {
        match fs::rename(self.endpoint_file(container), self.leaving_file(container)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(NetError::file(format!(
                "rename {}",
                self.endpoint_file(container).display()
            ))(error)),
            _ => Ok(()),
        }
    }

    /// Forgets a container: all was given back.
    ///
    /// # Errors
    /// Where the file cannot be removed.
    pub fn forget_endpoints(&self, container: &str) -> Result<()> {
        remove_file(&self.leaving_file(container))
    }

    /// The ids of the containers that have something, or are giving it back.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list_containers(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = entries(&self.endpoints)?
            .into_iter()
            .map(|name| name.strip_suffix(LEAVING).unwrap_or(&name).to_owned())
            .collect();
        names.order();
        names.dedup();
        Ok(names)
    }

    /// What all containers have; those that are giving it back are left out.
    ///
    /// # Errors
    /// As [`Self::read_endpoints`].
    pub fn list_endpoints(&self) -> Result<Vec<Endpoints>> {
        let mut all = Vec::new();
        for container in self.list_containers()? {
            all.extend(self.read_endpoints(&container)?);
        }
        Ok(all)
    }

    /// The interfaces in one network: container and interface.
    ///
    /// # Errors
    /// As [`Self::read_endpoints`].
    pub fn members(&self, network: &Network) -> Result<Vec<(Endpoints, Endpoint)>> {
        let mut members = Vec::new();
        for endpoints in self.list_endpoints()? {
            let found = endpoints
                .endpoints
                .iter()
                .find(|endpoint| endpoint.network_id == network.id)
                .cloned();
            members.extend(found.map(|endpoint| (endpoints, endpoint)));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Protocol;

    #[test]
    fn ports_in_a_row_are_one_entry() {
        let port = |host_port, container_port, protocol| PublishedPort {
            host: None,
            host_port,
            container_port,
            protocol,
        };
        let same =
            |ports: std::ops::RangeInclusive<u16>, protocol| ports.map(move |at| port(at, at, protocol));
        let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
        for (ports, expected) in [
            (same(80..=80, tcp).collect::<Vec<_>>(), vec![(80, None)]),
            (same(1..=8, tcp).collect(), vec![(1, Some(8))]),
            (same(1..=7, tcp).collect(), (1..=7).map(|at| (at, None)).collect()),
            (
                same(1..=9, tcp)
                    .chain(same(10..=17, udp))
                    .chain(same(65535..=65535, udp))
                    .collect(),
                vec![(1, Some(9)), (10, Some(17)), (65535, None)],
            ),
            (
                (1..=9).map(|at| port(at, at + 1, tcp)).collect(),
                (1..=9).map(|at| (at, None)).collect(),
            ),
        ] {
            let endpoint = cais_json::json!({
                "network": "n", "network_id": "i", "id": "e", "driver": "bridge", "parent": "b", "interface": "eth0",
                "mac": "02:00:00:00:00:01", "ipv4": ["10.0.0.2", 24], "mtu": 1500,
            });
            let endpoints = Endpoints {
                endpoints: vec![cais_json::from_value(&endpoint).unwrap()],
                ports,
                ..Endpoints::default()
            };
            let found: Vec<_> = endpoints
                .port_entries()
                .iter()
                .map(|each| (each.host_port, each.last))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_container_that_leaves_counts_no_more() {
        let base = std::env::temp_dir().join(format!("cais-endpoint-{}", std::process::id()));
        let store = NetworkStore::new(&base.join("data"), &base.join("run"));
        let endpoints = Endpoints {
            version: 1,
            container: "0123456789abcdef".to_owned(),
            ..Endpoints::default()
        };
        store.write_endpoints(&endpoints).unwrap();
        assert_eq!(store.list_endpoints().unwrap(), vec![endpoints.clone()]);
        store.mark_leaving(&endpoints.container).unwrap();
        store.mark_leaving(&endpoints.container).unwrap();
        assert!(store.list_endpoints().unwrap().is_empty());
        assert_eq!(
            store.list_containers().unwrap(),
            vec![endpoints.container.clone()]
        );
        assert_eq!(
            store.read_leaving(&endpoints.container).unwrap(),
            Some(endpoints.clone())
        );
        store.forget_endpoints(&endpoints.container).unwrap();
        assert!(store.list_containers().unwrap().is_empty());
        fs::remove_dir_all(&base).unwrap();
    }
}
