//! `--link`: further names for other containers, as they are reached in a network that both
//! are in. The addresses are those at the start.

use crate::error::{EngineError, Result};
use crate::list;
use crate::options::RunOptions;
use crate::store::Store;
use cais_net::endpoint::Endpoints;
use std::net::IpAddr;

/// A container that is linked to.
#[derive(Debug)]
pub(crate) struct Link {
    /// What it is called here: the alias first, then its short id and its name.
    pub(crate) names: Vec<String>,
    /// How it is reached.
    pub(crate) addresses: Vec<IpAddr>,
}

/// Finds the containers that are linked to.
///
/// # Errors
/// Where one is not there, does not run, or is in none of these networks.
pub(crate) fn resolve(store: &Store, options: &RunOptions, own: Option<&Endpoints>) -> Result<Vec<Link>> {
    let links = options.network.links.iter();
    links
        .map(|(name, alias)| resolve_one(store, own, name, alias))
        .collect()
}

fn resolve_one(store: &Store, own: Option<&Endpoints>, name: &str, alias: &str) -> Result<Link> {
    let other = list::container(store, name)?;
    let record = &other.record;
    if !other.is_running() {
        return Err(EngineError::Invalid(format!(
            "Cannot link to a non running container: /{} AS {alias}",
            record.name
        )));
    }
    let theirs = store
        .networks()
        .read_endpoints(record.id.as_str())?
        .unwrap_or_default();
    let own = own.map_or(&[][..], |own| &own.endpoints);
    let shared = theirs
        .endpoints
        .iter()
        .filter(|theirs| own.iter().any(|own| own.network_id == theirs.network_id));
    let addresses: Vec<IpAddr> = shared
        .flat_map(|endpoint| endpoint.addresses().map(|(address, _)| address))
        .collect();
    if addresses.is_empty() {
        return Err(EngineError::Invalid(format!(
            "Cannot link to {}, as it does not belong to a network of this container: give both the same --network",
            record.name
        )));
    }
    let mut names = vec![alias.to_owned(), record.id.short().to_owned()];
    if alias != record.name {
        names.push(record.name.clone());
    }
    Ok(Link { names, addresses })
}
