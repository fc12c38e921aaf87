//! Removing networks.

use super::sweep::Work;
use crate::checkpoint::Checkpoints;
use crate::error::{EngineError, Result};
use crate::options::network::DEFAULT_NETWORK;
use crate::store::Store;
use cais_net::bridge;
use cais_net::firewall::{Firewall, network_elements};
use cais_net::netlink::{Protocol, Socket};
use cais_net::network::{Driver, Network, NetworkStore};
use std::fs;

/// Removes a network that no running container is in.
///
/// # Errors
/// Where one is, naming it, or where something cannot be removed.
pub fn remove(store: &Store, word: &str, checkpoints: &Checkpoints) -> Result<Network> {
    let networks = store.networks();
    let refuse = |name: &str| {
        let text = format!("{name} is a pre-defined network and cannot be removed");
        Err(EngineError::Invalid(text))
    };
    // It is made on use: before that, its name alone is known.
    if [DEFAULT_NETWORK, "host", "none"].contains(&word) {
        return refuse(word);
    }
    let network = networks.find(word)?;
    if network.name == DEFAULT_NETWORK {
        return refuse(&network.name);
    }
    let members = networks.members(&network)?;
    if let Some((member, _)) = members.first() {
        return Err(EngineError::Invalid(format!(
            "error while removing network: network {} has active endpoints (name:{:?}): stop or disconnect them first",
            network.name, member.name
        )));
    }
    let note = Work::Remove {
        network: network.name.clone(),
    }
    .begin(&networks)?;
    checkpoints.pass("forget the network");
    // From here on nobody finds it.
    let aside = aside(&networks, &network.name);
    fs::rename(networks.definition(&network.name), &aside)
        .map_err(EngineError::store(format!("rename {}", aside.display())))?;
    checkpoints.pass("take the network out of the table");
    finish(&networks, &network.name)?;
    checkpoints.pass("the network is removed");
    note.end()?;
    super::create::note(store, &network, "destroy");
    Ok(network)
}

/// Where the file of a network stands while it is removed.
fn aside(networks: &NetworkStore, name: &str) -> std::path::PathBuf {
    networks.definitions.join(format!(".removed-{name}"))
}

/// The rest of a removal: elements, bridge, leases, file.
pub(super) fn finish(networks: &NetworkStore, name: &str) -> Result<()> {
    let aside = aside(networks, name);
    let bytes = match fs::read(&aside) {
        Ok(bytes) => bytes,
        // Killed before the removal began.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(EngineError::store(format!("read {}", aside.display()))(error)),
    };
    if let Ok(network) = cais_json::from_slice::<Network>(&bytes)
        && network.driver == Driver::Bridge
    {
        forget(networks, &network)?;
    }
    // A new network of this name may have been made meanwhile: its leases are its own.
    if !networks.definition(name).exists() {
        networks.remove(name)?;
    }
    fs::remove_file(&aside).map_err(EngineError::store(format!("remove {}", aside.display())))
}

fn forget(networks: &NetworkStore, network: &Network) -> Result<()> {
    let mut route = Socket::open(Protocol::Route)?;
    if bridge::index_of(&route, &network.interface)?.is_some() {
        bridge::remove(&mut route, network)?;
    }
    let mut firewall = Firewall::open(networks)?;
    match firewall.read_elements() {
        // The last network takes the table along.
        Ok(Some(_))
            if networks
                .list()?
                .iter()
                .all(|other| other.driver != Driver::Bridge) =>
        {
            Ok(firewall.remove_table()?)
        }
        Ok(Some(_)) => Ok(firewall.remove(&network_elements(network))?),
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes all networks that no container is in, running or not, but the default one.
///
/// # Errors
/// Where one cannot be removed.
pub fn prune(
    store: &Store,
    wanted: impl Fn(&Network) -> bool,
    checkpoints: &Checkpoints,
) -> Result<Vec<Network>> {
    let networks = store.networks();
    let mut named = std::collections::BTreeSet::new();
    for id in store.list()? {
        if let Some(record) = crate::record::Record::read(store, &id)?
            && let crate::options::NetworkMode::Networks(attachments) = record.options.namespaces.network
        {
            named.extend(attachments.into_iter().map(|each| each.network));
        }
    }
    let mut removed = Vec::new();
    for network in networks.list()? {
        let is_used = network.name == cais_net::network::DEFAULT
            || named.contains(&network.name)
            || named.iter().any(|word| network.id.starts_with(word.as_str()))
            || !networks.members(&network)?.is_empty();
        if !is_used && wanted(&network) {
            removed.push(remove(store, &network.name, checkpoints)?);
        }
    }
    Ok(removed)
}
