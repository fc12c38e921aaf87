//! What holds a container in its networks: what it may reach (`--egress`), and how fast
//! (`--network-rate` and its kin). Set before its program runs; it goes with the namespace.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::validate::may_change_networks;
use crate::record::Record;
use crate::state::RunState;
use crate::store::Store;
use cais_net::egress::names::{NameGate, RefusedName, read_refused};
use cais_net::egress::table::{self, Held, Refusal};
use cais_net::egress::{Allowance, parse_allowances};
use cais_net::endpoint::Endpoints;
use cais_net::network::{DEFAULT, Network};
use cais_net::subnet::Subnet;
use cais_net::{namespace, shape};
use rustix::fd::AsFd;
use std::path::PathBuf;

/// The options of a network by which it holds all its containers.
const POLICY: &str = "egress";
const ALLOW: &str = "egress-allow";

fn refused_file(store: &Store, id: &ContainerId) -> PathBuf {
    store.run().join("resolvers").join(format!("{id}.refused"))
}

/// What a container may reach: what it was given, and what its networks give; `None` for
/// everything.
///
/// # Errors
/// Where a network's options are wrong, or the container could lift what holds it.
pub(crate) fn allowances(
    store: &Store,
    record: &Record,
    endpoints: &Endpoints,
) -> Result<Option<Vec<Allowance>>> {
    let mut all = record.options.network.egress.clone();
    let networks = store.networks();
    // The default network is nobody's to set.
    let named = endpoints
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.network != DEFAULT);
    for endpoint in named {
        let network = networks.find(&endpoint.network)?;
        let Some(theirs) = allowances_of(&network)? else {
            continue;
        };
        if may_change_networks(&record.options) {
            return Err(EngineError::Invalid(format!(
                "network {} has egress=deny, which a container with CAP_NET_ADMIN could lift: run it without --privileged and --cap-add NET_ADMIN, or in another network",
                network.name
            )));
        }
        all.get_or_insert_default().extend(theirs);
    }
    Ok(all)
}

/// What a network gives its containers to reach; `None` for everything.
///
/// # Errors
/// Where its options are wrong.
pub fn allowances_of(network: &Network) -> Result<Option<Vec<Allowance>>> {
    let option = |key: &str| network.options.get(key).map(String::as_str);
    let invalid = |detail: String| EngineError::Invalid(format!("network {}: {detail}", network.name));
    let list = option(ALLOW)
        .map(|text| parse_allowances(text).map_err(|error| invalid(format!("{ALLOW}={text}: {error}"))))
        .transpose()?;
    match (option(POLICY), list) {
        (None | Some("allow"), None) => Ok(None),
        (None | Some("deny"), list) => Ok(Some(list.unwrap_or_default())),
        (Some("allow"), Some(_)) => Err(invalid(format!("{POLICY}=allow and {ALLOW} exclude each other"))),
        (Some(other), _) => Err(invalid(format!("{POLICY}={other} is neither deny nor allow"))),
    }
}

/// Holds a container whose interfaces are there.
///
/// # Errors
/// Where the kernel lacks something, which is named.
pub(crate) fn hold(store: &Store, record: &Record, state: &RunState) -> Result<()> {
    let shape = record.options.network.shape;
    let (Some(init), true) = (state.init, record.options.is_in_networks()) else {
        return Ok(());
    };
    let endpoints = store
        .networks()
        .read_endpoints(record.id.as_str())?
        .unwrap_or_default();
    let allowances = allowances(store, record, &endpoints)?;
    if allowances.is_none() && shape.is_plain() {
        return Ok(());
    }
    let inside = namespace::open_of(init.pid)?;
    if let Some(allowances) = &allowances {
        table::apply(inside.as_fd(), &held(&endpoints, allowances))?;
    }
    if !shape.is_plain() {
        for endpoint in &endpoints.endpoints {
            let Some(host) = &endpoint.host_interface else {
                return Err(EngineError::Invalid(format!(
                    "--network-rate, --network-latency, --network-loss: not possible in network {}, whose driver is {}",
                    endpoint.network,
                    endpoint.driver.name()
                )));
            };
            shape::apply(shape, host, inside.as_fd(), &endpoint.interface)?;
        }
    }
    Ok(())
}

fn held<'a>(endpoints: &Endpoints, allowances: &'a [Allowance]) -> Held<'a> {
    let all = endpoints.endpoints.iter();
    Held {
        allowances,
        near: all
            .clone()
            .flat_map(|endpoint| {
                endpoint
                    .addresses()
                    .map(|(address, prefix)| Subnet::new(address, prefix))
            })
            .collect(),
        hosts: all
            .flat_map(|endpoint| [endpoint.gateway4, endpoint.gateway6])
            .flatten()
            .collect(),
    }
}

/// What lets the addresses of names through, for the resolver of a held container.
///
/// # Errors
/// As [`allowances`]; where no netlink socket can be opened.
pub(crate) fn name_gate(store: &Store, record: &Record, state: &RunState) -> Result<Option<NameGate>> {
    let endpoints = store
        .networks()
        .read_endpoints(record.id.as_str())?
        .unwrap_or_default();
    let (Some(allowances), Some(init)) = (allowances(store, record, &endpoints)?, state.init) else {
        return Ok(None);
    };
    let inside = namespace::open_of(init.pid)?;
    Ok(Some(NameGate::open(
        inside.as_fd(),
        &allowances,
        &refused_file(store, &record.id),
    )?))
}

/// Forgets what was refused.
///
/// # Errors
/// Where the file cannot be removed.
pub(crate) fn release(store: &Store, id: &ContainerId) -> Result<()> {
    let file = refused_file(store, id);
    for path in [file.with_extension("new"), file] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::store(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a running container may reach, and what it was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// What it may reach outside its networks; `None` for everything.
    pub allowed: Option<Vec<Allowance>>,
    /// Addresses and ports that were refused, since it was started.
    pub refused: Vec<Refusal>,
    /// Names that were refused.
    pub refused_names: Vec<RefusedName>,
}

/// Reads what a running container may reach, and what it was refused.
///
/// # Errors
/// Where there is no such container, or it does not run.
pub fn read_egress(store: &Store, word: &str) -> Result<Egress> {
    let container = crate::list::container(store, word)?;
    let init = container
        .init()
        .ok_or_else(|| EngineError::NotRunning(word.to_owned()))?;
    let record = &container.record;
    let endpoints = store
        .networks()
        .read_endpoints(record.id.as_str())?
        .unwrap_or_default();
    let allowed = allowances(store, record, &endpoints)?;
    let refused = match &allowed {
        None => None,
        Some(_) => table::read_refusals(namespace::open_of(init.pid)?.as_fd())?,
    };
    Ok(Egress {
        allowed,
        refused: refused.unwrap_or_default(),
        refused_names: read_refused(&refused_file(store, &record.id))?,
    })
}
