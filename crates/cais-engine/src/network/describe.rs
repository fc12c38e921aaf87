//! Networks as `network inspect` and `network ls` show them: Docker's keys.

use super::create::ensure_default;
use crate::error::Result;
use crate::store::Store;
use cais_json::{Map, Value, json};
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::network::{Network, NetworkStore, Pool};
use cais_order::InOrder;

/// A network of the list: one of ours, or one of the two that are always there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// What is known of one of ours.
    pub network: Option<Network>,
}

/// The networks that are no interfaces: no files, and ids that are none of ours.
const FIXED: [(&str, &str, char); 2] = [("host", "host", '1'), ("none", "null", '0')];

/// All networks by name, those of Docker that are always there too.
///
/// # Errors
/// Where a file cannot be read.
pub fn list(store: &Store) -> Result<Vec<Listed>> {
    // The default network is made on first use; a list is one, as far as may be.
    let made = ensure_default(store);
    let mut all: Vec<Listed> = store
        .networks()
        .list()?
        .into_iter()
        .map(|network| Listed {
            id: network.id.clone(),
            name: network.name.clone(),
            driver: network.driver.name().to_owned(),
            network: Some(network),
        })
        .collect();
    drop(made);
    all.extend(FIXED.map(|(name, driver, digit)| Listed {
        id: digit.to_string().repeat(64),
        name: name.to_owned(),
        driver: driver.to_owned(),
        network: None,
    }));
    all.order_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// A network as `network inspect` shows it.
///
/// # Errors
/// Where there is none of this name, or a file cannot be read.
pub fn inspect(store: &Store, word: &str) -> Result<Value> {
    if let Some((name, driver, digit)) = FIXED.into_iter().find(|(name, ..)| *name == word) {
        return Ok(describe_fixed(name, driver, digit));
    }
    let network = super::plan::find(store, word)?;
    let networks: NetworkStore = store.networks();
    let members = networks.members(&network)?;
    Ok(describe(&network, &members))
}

fn describe_fixed(name: &str, driver: &str, digit: char) -> Value {
    json!({
        "Name": name,
        "Id": digit.to_string().repeat(64),
        "Created": "0001-01-01T00:00:00Z",
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": null, "Config": [] },
        "Internal": false,
        "Attachable": false,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": {},
        "Options": {},
        "Labels": {},
    })
}

fn describe_pool(pool: &Pool) -> Value {
    let mut config = Map::new();
    config.insert("Subnet".to_owned(), json!(pool.subnet));
    if let Some(range) = &pool.range {
        config.insert("IPRange".to_owned(), json!(range));
    }
    if let Some(gateway) = pool.gateway {
        config.insert("Gateway".to_owned(), json!(gateway));
    }
    if !pool.aux.is_empty() {
        config.insert("AuxiliaryAddresses".to_owned(), json!(pool.aux));
    }
    Value::Object(config)
}

fn describe_member(container: &Endpoints, endpoint: &Endpoint) -> Value {
    let text = |address: Option<String>| address.unwrap_or_default();
    json!({
        "Name": container.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": text(endpoint.ipv4.map(|(address, prefix)| format!("{address}/{prefix}"))),
        "IPv6Address": text(endpoint.ipv6.map(|(address, prefix)| format!("{address}/{prefix}"))),
    })
}

fn describe(network: &Network, members: &[(Endpoints, Endpoint)]) -> Value {
    let containers: Map<String, Value> = members
        .iter()
        .map(|(container, endpoint)| (container.container.clone(), describe_member(container, endpoint)))
        .collect();
    json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver.name(),
        "EnableIPv4": network.pool(true).is_some(),
        "EnableIPv6": network.pool(false).is_some(),
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": network.pools.iter().map(describe_pool).collect::<Vec<_>>(),
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
    })
}
