//! `NetworkSettings`.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::options::NetworkMode;
use crate::state::Container;
use cais_json::{Map, Value, json};
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::network::NetworkStore;
use cais_net::publish::PublishedPort;
use std::net::IpAddr;

/// What a running container has in networks; nothing where it has nothing.
///
/// # Errors
/// Where the file cannot be read or is damaged.
pub fn read_endpoints(engine: &Engine, container: &Container) -> Result<Endpoints> {
    if !container.is_running() {
        return Ok(Endpoints::default());
    }
    let store = NetworkStore::new(engine.store.data(), engine.store.run());
    let found = store
        .read_endpoints(container.record.id.as_str())
        .map_err(|error| EngineError::Invalid(error.to_string()))?;
    Ok(found.unwrap_or_default())
}

pub(super) fn describe(engine: &Engine, container: &Container) -> Result<Value> {
    let found = read_endpoints(engine, container)?;
    let mode = &container.record.options.namespaces.network;
    let mut networks = Map::new();
    for name in container.network_names() {
        networks.insert(name, describe_endpoint(None));
    }
    for endpoint in &found.endpoints {
        networks.insert(endpoint.network.clone(), describe_endpoint(Some(endpoint)));
    }
    let key = container.init().map_or_else(String::new, |init| match mode {
        NetworkMode::Host => String::new(),
        _ => format!("/proc/{}/ns/net", init.pid),
    });
    // The default network's stands above the list too.
    let bridge = found
        .endpoints
        .iter()
        .find(|endpoint| endpoint.network == "bridge");
    let of_bridge = describe_endpoint(bridge);
    let same = |key: &str| of_bridge.get(key).cloned().unwrap_or_default();
    Ok(json!({
        "Bridge": "",
        "SandboxID": if key.is_empty() { "" } else { container.record.id.as_str() },
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": describe_ports(container, &found.ports),
        "SandboxKey": key,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": same("EndpointID"),
        "Gateway": same("Gateway"),
        "GlobalIPv6Address": same("GlobalIPv6Address"),
        "GlobalIPv6PrefixLen": same("GlobalIPv6PrefixLen"),
        "IPAddress": same("IPAddress"),
        "IPPrefixLen": same("IPPrefixLen"),
        "IPv6Gateway": same("IPv6Gateway"),
        "MacAddress": same("MacAddress"),
        "Networks": networks,
    }))
}

/// A network, with what the container has in it.
fn describe_endpoint(endpoint: Option<&Endpoint>) -> Value {
    let text = |value: Option<String>| value.unwrap_or_default();
    let four = endpoint.and_then(|endpoint| endpoint.ipv4);
    let six = endpoint.and_then(|endpoint| endpoint.ipv6);
    let aliases = endpoint
        .map(|endpoint| &endpoint.aliases)
        .filter(|aliases| !aliases.is_empty());
    let gateway = |pick: fn(&Endpoint) -> Option<IpAddr>| {
        text(endpoint.and_then(pick).map(|address| address.to_string()))
    };
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": aliases,
        "NetworkID": text(endpoint.map(|endpoint| endpoint.network_id.clone())),
        "EndpointID": text(endpoint.map(|endpoint| endpoint.id.clone())),
        "Gateway": gateway(|endpoint| endpoint.gateway4),
        "IPAddress": text(four.map(|(address, _)| address.to_string())),
        "IPPrefixLen": four.map_or(0, |(_, bits)| bits),
        "IPv6Gateway": gateway(|endpoint| endpoint.gateway6),
        "GlobalIPv6Address": text(six.map(|(address, _)| address.to_string())),
        "GlobalIPv6PrefixLen": six.map_or(0, |(_, bits)| bits),
        "MacAddress": text(endpoint.map(|endpoint| endpoint.mac.to_string())),
        "DriverOpts": null,
    })
}

/// The addresses of the host at which a port is published: one that names none is there at
/// all of both kinds.
#[must_use]
pub fn host_addresses(port: &PublishedPort) -> Vec<String> {
    match port.host {
        Some(address) => vec![address.to_string()],
        None => vec!["0.0.0.0".to_owned(), "::".to_owned()],
    }
}

fn describe_ports(container: &Container, published: &[PublishedPort]) -> Value {
    let mut all = Map::new();
    if !container.is_up() {
        return Value::Object(all);
    }
    if published.is_empty()
        && !matches!(
            container.record.options.namespaces.network,
            NetworkMode::Networks(_) | NetworkMode::Cni(_)
        )
    {
        return Value::Object(all);
    }
    for (port, _) in super::config::exposed_ports(&container.record.options) {
        all.insert(port, Value::Null);
    }
    for port in published {
        let bindings: Vec<Value> = host_addresses(port)
            .into_iter()
            .map(|address| json!({ "HostIp": address, "HostPort": port.host_port.to_string() }))
            .collect();
        let key = format!("{}/{}", port.container_port, port.protocol);
        match all.get_mut(&key) {
            Some(Value::Array(known)) => known.extend(bindings),
            _ => {
                all.insert(key, bindings.into());
            }
        }
    }
    Value::Object(all)
}
