//! Networks as the user made them: one file each, `networks/<name>.json` below the data
//! directory.

use crate::error::{NetError, Result};
use crate::subnet::Subnet;
use cais_order::InOrder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The version of the files that this engine writes.
pub const VERSION: u32 = 1;

/// The network that a container is in unless told otherwise.
pub const DEFAULT: &str = "bridge";

/// Whether this can be the name of a network: letters, digits, `_`, `.`, `-`, not beginning
/// with one of these three.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// What makes the interfaces of a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host, and a veth pair for each container.
    #[default]
    Bridge,
    /// An interface above one of the host's, with an address of its own in its network.
    Macvlan,
}

impl Driver {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
        }
    }
}

/// The addresses of one subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The subnet.
    pub subnet: Subnet,
    /// The address of the bridge, which routes for the containers; absent where nothing does.
    pub gateway: Option<IpAddr>,
    /// The part from which addresses are given out; all of the subnet where absent.
    #[serde(default)]
    pub range: Option<Subnet>,
    /// Addresses that something else has: name and address.
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

impl Pool {
    /// Whether an address may be given to a container.
    #[must_use]
    pub fn may_lease(&self, address: IpAddr) -> bool {
        self.subnet.is_usable(address)
            && self.gateway != Some(address)
            && !self.aux.values().any(|taken| *taken == address)
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The version of the file's form.
    pub version: u32,
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made (RFC 3339).
    pub created: String,
    /// What makes its interfaces.
    pub driver: Driver,
    /// The bridge's interface, or the parent of macvlan.
    pub interface: String,
    /// Its subnets: at most one of each family is used for containers.
    pub pools: Vec<Pool>,
    /// Whether nothing leaves it.
    #[serde(default)]
    pub internal: bool,
    /// Whether containers may be connected that are made by somebody else: kept for Docker's
    /// `--attachable`, all of ours are.
    #[serde(default)]
    pub attachable: bool,
    /// Whether its containers leave with the host's address.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Whether its containers reach each other.
    #[serde(default = "yes")]
    pub neighbours: bool,
    /// The largest packet; the uplink's where absent.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// The address on which ports are published unless told otherwise.
    #[serde(default)]
    pub publish_address: Option<IpAddr>,
    /// `--label`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `--opt` as written.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

fn yes() -> bool {
    true
}

impl Network {
    /// The pool of a family.
    #[must_use]
    pub fn pool(&self, ipv4: bool) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.is_ipv4() == ipv4)
    }

    /// What of it is possible on a host: where that has IPv6 turned off, what is of IPv4.
    ///
    /// # Errors
    /// [`NetError::Impossible`] where that is nothing.
    pub fn on_host(mut self, has_ipv6: bool) -> Result<Self> {
        if !has_ipv6 && self.driver == Driver::Bridge {
            self.pools.retain(|pool| pool.subnet.is_ipv4());
        }
        if self.pools.is_empty() && !has_ipv6 {
            return Err(NetError::Impossible {
                action: format!("use network {}, which is of IPv6 alone", self.name),
                reason: "IPv6 is turned off on this host: `sysctl -w net.ipv6.conf.all.disable_ipv6=0` turns it on".to_owned(),
            });
        }
        Ok(self)
    }

    /// The pool that has this address.
    #[must_use]
    pub fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.contains(address))
    }
}

/// Where networks and what runs in them is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkStore {
    /// `networks/` below the data directory: one file for each network.
    pub definitions: PathBuf,
    /// `networks/` below the run directory: leases.
    pub leases: PathBuf,
    /// `endpoints/` below the run directory: what running containers have.
    pub endpoints: PathBuf,
    /// The name of the table. The store of the host has `cais`; others, which tests and other
    /// users have, a name of their own, so that they do not undo each other's.
    pub table: String,
    /// The name of the default network's bridge.
    pub bridge: String,
}

/// Where the host's own store keeps what does not outlive a boot.
const MAIN_RUN: &str = "/run/cais";

/// Eight digits for a path (FNV-1a).
fn digits_of(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = path
        .as_os_str()
        .as_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    format!("{hash:08x}")
}

impl NetworkStore {
    /// The store below these two directories.
    #[must_use]
    pub fn new(data: &Path, run: &Path) -> Self {
        let (table, bridge) = if run == Path::new(MAIN_RUN) {
            ("cais".to_owned(), "cais0".to_owned())
        } else {
            let name = format!("cais-{}", digits_of(run));
            (name.clone(), name)
        };
        Self {
            definitions: data.join("networks"),
            leases: run.join("networks"),
            endpoints: run.join("endpoints"),
            table,
            bridge,
        }
    }

    /// Whether this is the host's own store.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.table == "cais"
    }

    /// The file of a network.
    #[must_use]
    pub fn definition(&self, name: &str) -> PathBuf {
        self.definitions.join(format!("{name}.json"))
    }

    /// The leases of a network.
    #[must_use]
    pub fn leases_of(&self, name: &str) -> PathBuf {
        self.leases.join(name)
    }

    /// Reads a network; `None` where there is none of this name.
    ///
    /// # Errors
    /// Where it cannot be read or is damaged.
    pub fn read(&self, name: &str) -> Result<Option<Network>> {
        if !is_name(name) {
            return Ok(None);
        }
        let path = self.definition(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NetError::file(format!("read {}", path.display()))(error)),
        };
        let network: Network = cais_json::from_slice(&bytes)
            .map_err(|error| NetError::Invalid(format!("{} is damaged: {error}", path.display())))?;
        if network.version > VERSION {
            return Err(NetError::Invalid(format!(
                "{} is of version {}, and this cais knows {VERSION}: use the newer one",
                path.display(),
                network.version
            )));
        }
        Ok(Some(network))
    }

    /// All networks, by name.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn list(&self) -> Result<Vec<Network>> {
        let mut names: Vec<String> = entries(&self.definitions)?
            .into_iter()
            .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
            .collect();
        names.order();
        let mut networks = Vec::new();
        for name in names {
            // One may have been removed meanwhile.
            networks.extend(self.read(&name)?);
        }
        Ok(networks)
    }

    /// Finds a network by name, id or the beginning of its id.
    ///
    /// # Errors
    /// [`NetError::NoSuchNetwork`]; [`NetError::Invalid`] where several ids begin so.
    pub fn find(&self, word: &str) -> Result<Network> {
        if let Some(network) = self.read(word)? {
            return Ok(network);
        }
        let is_id = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found: Vec<Network> = Vec::new();
        if is_id {
            found = self.list()?;
            found.retain(|network| network.id.starts_with(word));
        }
        match found.len() {
            0 => Err(NetError::NoSuchNetwork(word.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(NetError::Invalid(format!(
                "several networks have an id that begins with {word:?}: give more digits"
            ))),
        }
    }

    /// Writes a new network; false where one of this name is there already.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(&self, network: &Network) -> Result<bool> {
        let path = self.definition(&network.name);
        let beside = self
            .definitions
            .join(format!(".{}.{}", network.name, std::process::id()));
        ensure_directory(&self.definitions)?;
        write_new(&beside, network)?;
        // A link is made only where there is nothing: two makers never get the same name.
        let linked = fs::hard_link(&beside, &path);
        fs::remove_file(&beside).unwrap_or_default();
        match linked {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(NetError::file(format!("write {}", path.display()))(error)),
        }
    }

    /// Forgets a network and its leases.
    ///
    /// # Errors
    /// Where a file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        remove_file(&self.definition(name))?;
        let leases = self.leases_of(name);
        match fs::remove_dir_all(&leases) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(NetError::file(format!("remove {}", leases.display()))(error))
            }
            _ => Ok(()),
        }
    }
}

/// Makes a directory with its parents, for this user alone.
pub(crate) fn ensure_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(NetError::file(format!("make the directory {}", path.display())))
}

/// Writes a value into a file of its own.
pub(crate) fn write_new<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let bytes = cais_json::to_vec(value)?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&bytes)
    };
    write().map_err(|error| {
        fs::remove_file(path).unwrap_or_default();
        NetError::file(format!("write {}", path.display()))(error)
    })
}

/// Removes a file; one that is not there is no error.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(NetError::file(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The names in a directory that do not begin with a dot; one that is not there has none.
pub(crate) fn entries(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(NetError::file(format!("read {}", path.display()))(error)),
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, id: &str) -> Network {
        cais_json::from_value(&cais_json::json!({
            "version": 1, "id": id, "name": name, "created": "", "driver": "bridge", "interface": "cais0",
            "pools": [{ "subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "aux": { "router": "10.1.0.9" } }],
        }))
        .unwrap()
    }

    #[test]
    fn names() {
        for (name, expected) in [
            ("bridge", true),
            ("a_b.c-d", true),
            ("1", true),
            ("", false),
            ("-a", false),
            (".a", false),
            ("a/b", false),
            ("..", false),
            ("ä", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
    }

    #[test]
    fn networks_are_kept_once() {
        let base = std::env::temp_dir().join(format!("cais-network-{}", std::process::id()));
        let store = NetworkStore::new(&base.join("data"), &base.join("run"));
        assert!(store.list().unwrap().is_empty());
        assert!(store.create(&sample("one", "ab01")).unwrap());
        assert!(!store.create(&sample("one", "ab02")).unwrap());
        assert!(store.create(&sample("two", "ab03")).unwrap());
        assert_eq!(store.find("ab01").unwrap().name, "one");
        assert_eq!(store.find("two").unwrap().id, "ab03");
        assert!(matches!(store.find("ab"), Err(NetError::Invalid(_))));
        assert!(matches!(store.find("../two"), Err(NetError::NoSuchNetwork(_))));
        let pool = store.find("one").unwrap().pools.remove(0);
        for (text, expected) in [
            ("10.1.0.1", false),
            ("10.1.0.9", false),
            ("10.1.0.2", true),
            ("10.1.0.255", false),
        ] {
            assert_eq!(pool.may_lease(text.parse().unwrap()), expected, "{text}");
        }
        store.remove("one").unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        fs::remove_dir_all(&base).unwrap();
    }
}
