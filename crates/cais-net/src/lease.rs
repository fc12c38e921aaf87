//! Leases of addresses: one link for each, `networks/<name>/<address>` below the run
//! directory. A link is made in one step and only where there is none, so an address is
//! never given twice. It says whose the address is: container and maker.

use crate::error::{NetError, Result};
use crate::network::{Network, NetworkStore, Pool, ensure_directory, entries};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Who takes a lease: the container's id, and the process that makes it (its id and start
/// time).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder<'a> {
    /// The container.
    pub container: &'a str,
    /// The process that makes it.
    pub maker: (i32, u64),
}

/// What a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// The container.
    pub container: String,
    /// The process that made it.
    pub maker: (i32, u64),
}

fn path_of(store: &NetworkStore, network: &str, address: IpAddr) -> PathBuf {
    store.leases_of(network).join(address.to_string())
}

/// Takes this address; false where somebody else has it. One's own is kept.
///
/// # Errors
/// Where the link cannot be made.
pub fn take(store: &NetworkStore, network: &str, address: IpAddr, holder: Holder<'_>) -> Result<bool> {
    Ok(take_new(store, network, address, holder)?
        || read(&path_of(store, network, address)).is_some_and(|lease| lease.container == holder.container))
}

/// So many addresses are tried before all that are taken are read.
const AT_ONCE: usize = 8;

/// Takes this address where nobody has it, not even the holder.
fn take_new(store: &NetworkStore, network: &str, address: IpAddr, holder: Holder<'_>) -> Result<bool> {
    let path = path_of(store, network, address);
    let content = format!("{} {} {}", holder.container, holder.maker.0, holder.maker.1);
    let mut made = symlink(&content, &path);
    if made
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    {
        ensure_directory(&store.leases_of(network))?;
        made = symlink(&content, &path);
    }
    match made {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(NetError::file(format!("lease {address} ({})", path.display()))(
            error,
        )),
    }
}

/// Takes the next free address of a pool: the one after the last that was given out, so
/// that an address which has just become free rests for a while.
///
/// # Errors
/// [`NetError::Invalid`] where all are taken.
pub fn take_free(store: &NetworkStore, network: &Network, pool: &Pool, holder: Holder<'_>) -> Result<IpAddr> {
    let directory = store.leases_of(&network.name);
    let range = pool.range.unwrap_or(pool.subnet);
    let hint = directory.join(if range.is_ipv4() { ".next4" } else { ".next6" });
    let next = fs::read_to_string(&hint).ok().and_then(|text| text.parse().ok());
    let start = next.filter(|index| *index <= range.last_index()).unwrap_or(0u128);
    let try_at = |index: u128| -> Result<Option<IpAddr>> {
        let address = range.nth(index).filter(|address| pool.may_lease(*address));
        let Some(address) = address else { return Ok(None) };
        if !take_new(store, &network.name, address, holder)? {
            return Ok(None);
        }
        // A hint that is lost costs nothing but the rest.
        fs::write(&hint, (index + 1).to_string()).unwrap_or_default();
        Ok(Some(address))
    };
    // Most often the next one is free, however many are taken.
    for index in candidates(start, range.last_index()).take(AT_ONCE) {
        if let Some(address) = try_at(index)? {
            return Ok(address);
        }
    }
    let taken: BTreeSet<IpAddr> = entries(&directory)?
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    for index in candidates(start, range.last_index()) {
        let Some(address) = range.nth(index) else { break };
        if !taken.contains(&address)
            && let Some(address) = try_at(index)?
        {
            return Ok(address);
        }
    }
    Err(NetError::Invalid(format!(
        "network {} has no free address in {range}: end some containers, or make a network with a larger subnet",
        network.name
    )))
}

/// The places of a range, from `start` on and then from its beginning; no more than there
/// can be leases.
fn candidates(start: u128, last: u128) -> impl Iterator<Item = u128> {
    const MOST: usize = 1 << 20;
    (start..=last).take(MOST).chain((0..start).take(MOST))
}

/// Frees an address, where this container has it.
///
/// # Errors
/// Where the link cannot be removed.
pub fn release(store: &NetworkStore, network: &str, address: IpAddr, container: &str) -> Result<()> {
    let path = path_of(store, network, address);
    if read(&path).is_none_or(|lease| lease.container != container) {
        return Ok(());
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(NetError::file(format!("free {address}"))(error))
        }
        _ => Ok(()),
    }
}

/// The leases of a network.
///
/// # Errors
/// Where the directory cannot be read.
pub fn list(store: &NetworkStore, network: &str) -> Result<Vec<Lease>> {
    let directory = store.leases_of(network);
    let names = entries(&directory)?;
    Ok(names
        .iter()
        .filter_map(|name| read(&directory.join(name)))
        .collect())
}

/// Reads a lease; `None` for what is none.
#[must_use]
pub fn read(path: &Path) -> Option<Lease> {
    let address = path.file_name()?.to_str()?.parse().ok()?;
    let content = fs::read_link(path).ok()?;
    let text = content.to_str()?;
    let mut words = text.split(' ');
    Some(Lease {
        address,
        container: words.next()?.to_owned(),
        maker: (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
    })
}

/// Removes the leases that `is_left_behind` says nobody holds.
///
/// # Errors
/// Where a directory cannot be read.
pub fn sweep(store: &NetworkStore, is_left_behind: impl Fn(&Lease) -> bool) -> Result<()> {
    for network in entries(&store.leases)? {
        let directory = store.leases_of(&network);
        if !directory.is_dir() {
            continue;
        }
        for lease in list(store, &network)? {
            if is_left_behind(&lease) {
                sweep_one(&directory.join(lease.address.to_string()), &lease);
            }
        }
    }
    Ok(())
}

/// Somebody may have removed the lease and somebody else taken the address meanwhile: what
/// is moved aside is looked at again.
fn sweep_one(path: &Path, judged: &Lease) {
    let aside = path.with_file_name(format!(".sweep-{}-{}", std::process::id(), judged.address));
    if fs::rename(path, &aside).is_err() {
        return;
    }
    let content = fs::read_link(&aside).unwrap_or_default();
    let expected = format!("{} {} {}", judged.container, judged.maker.0, judged.maker.1);
    if content.to_str() == Some(&expected) {
        fs::remove_file(&aside).unwrap_or_default();
    } else {
        fs::rename(&aside, path).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_given_once() {
        let base = std::env::temp_dir().join(format!("cais-lease-{}", std::process::id()));
        let store = NetworkStore::new(&base.join("data"), &base.join("run"));
        let network: Network = cais_json::from_value(&cais_json::json!({
            "version": 1, "id": "ab", "name": "small", "created": "", "driver": "bridge", "interface": "x",
            "pools": [{ "subnet": "10.1.0.0/29", "gateway": "10.1.0.1" }],
        }))
        .unwrap();
        let pool = &network.pools[0];
        let holder = |container| Holder {
            container,
            maker: (7, 8),
        };
        let given: Vec<IpAddr> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(|name| take_free(&store, &network, pool, holder(name)).unwrap())
            .collect();
        let expected: Vec<IpAddr> = (2..7).map(|n| IpAddr::from([10, 1, 0, n])).collect();
        assert_eq!(given, expected);
        assert!(take_free(&store, &network, pool, holder("f")).is_err());
        assert!(!take(&store, "small", expected[0], holder("f")).unwrap());
        assert!(take(&store, "small", expected[0], holder("a")).unwrap());
        // Only the holder frees it.
        release(&store, "small", expected[1], "a").unwrap();
        assert_eq!(list(&store, "small").unwrap().len(), 5);
        release(&store, "small", expected[1], "b").unwrap();
        assert_eq!(
            take_free(&store, &network, pool, holder("f")).unwrap(),
            expected[1]
        );
        sweep(&store, |lease| lease.container != "f").unwrap();
        let left = list(&store, "small").unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].container.as_str(), left[0].maker), ("f", (7, 8)));
        fs::remove_dir_all(&base).unwrap();
    }
}
