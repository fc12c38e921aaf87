//! `cais port add` and `cais port rm`: published ports of a container that runs.

use super::sweep::Work;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::list;
use crate::lock::ContainerLock;
use crate::monitor::door::await_look;
use crate::record::Record;
use crate::state::RunState;
use cais_net::endpoint::Endpoints;
use cais_net::firewall::{Firewall, port_elements};
use cais_net::netlink::{Protocol, Socket};
use cais_net::publish::{PortMapping, PortRange, PublishedPort};
use cais_net::reserve::{HostWays, reserve};
use cais_net::veth;

/// A container whose ports are changed.
struct Subject {
    record: Record,
    endpoints: Endpoints,
    held: ContainerLock,
}

fn subject(engine: &Engine, container: &str) -> Result<Subject> {
    let store = &engine.store;
    let container = list::container(store, container)?;
    let name = container.record.name.clone();
    let held = ContainerLock::acquire(store, &container.record.id)?
        .ok_or_else(|| EngineError::NoSuchContainer(name.clone()))?;
    let endpoints = store.networks().read_endpoints(container.record.id.as_str())?;
    let endpoints = endpoints.filter(|_| container.is_running()).ok_or_else(|| {
        EngineError::Invalid(format!(
            "container {name} does not run in a network of cais: ports are published when it starts (`cais run -p`)"
        ))
    })?;
    let record = Record::read(store, &container.record.id)?
        .ok_or_else(|| EngineError::NoSuchContainer(name.clone()))?;
    Ok(Subject {
        record,
        endpoints,
        held,
    })
}

/// Publishes further ports.
///
/// # Errors
/// Where a port of the host is taken, or nothing leads to the container.
pub fn add(engine: &Engine, container: &str, mapping: &PortMapping) -> Result<Vec<PublishedPort>> {
    let Subject {
        record,
        endpoints,
        held,
    } = subject(engine, container)?;
    let networks = engine.store.networks();
    let target = endpoints.published_to().ok_or_else(|| {
        EngineError::Invalid(format!(
            "container {} is in internal or macvlan networks only, to which the host leads nothing",
            record.name
        ))
    })?;
    super::plan::check_protocol(engine, &endpoints, mapping.protocol)?;
    let own = networks.find(&target.network)?.publish_address;
    let reserved = reserve(
        &networks,
        mapping,
        (own.or(engine.config.publish_address.value), &HostWays::unknown()),
    )?;
    let added: Vec<PublishedPort> = reserved.iter().map(|each| each.port).collect();
    let mut after = endpoints.clone();
    after.ports.extend(&added);
    let mut route = Socket::open(Protocol::Route)?;
    for endpoint in after.endpoints.iter_mut().filter(|endpoint| !endpoint.hairpin) {
        veth::allow_hairpin(&mut route, endpoint)?;
        endpoint.hairpin = true;
    }
    // The monitor keeps the ports from here on.
    drop(reserved);
    apply(engine, record, (&endpoints, &after))?;
    held.release();
    Ok(added)
}

/// Takes published ports back: those of the mapping, or all that lead to the port of the
/// container where the mapping names none of the host.
///
/// # Errors
/// Where there is none.
pub fn remove(engine: &Engine, container: &str, mapping: &PortMapping) -> Result<Vec<PublishedPort>> {
    let Subject {
        record,
        endpoints,
        held,
    } = subject(engine, container)?;
    let is_in = |range: PortRange, port: u16| (range.first..=range.last).contains(&port);
    let is_meant = |port: &PublishedPort| {
        port.protocol == mapping.protocol
            && is_in(mapping.container_ports, port.container_port)
            && mapping
                .host_ports
                .is_none_or(|range| is_in(range, port.host_port))
            && (mapping.host.is_none() || mapping.host == port.host)
    };
    let (gone, kept): (Vec<PublishedPort>, Vec<PublishedPort>) =
        endpoints.ports.iter().partition(|port| is_meant(port));
    if gone.is_empty() {
        return Err(EngineError::Invalid(format!(
            "container {} publishes no such port: `cais port {}` lists those that it does",
            record.name, record.name
        )));
    }
    let after = Endpoints {
        ports: kept,
        ..endpoints.clone()
    };
    apply(engine, record, (&endpoints, &after))?;
    held.release();
    Ok(gone)
}

/// Writes the ports down, and changes the table.
fn apply(engine: &Engine, mut record: Record, (before, after): (&Endpoints, &Endpoints)) -> Result<()> {
    let store = &engine.store;
    let networks = store.networks();
    let pass = |name| engine.checkpoints.pass(name);
    let note = Work::Ports.begin(&networks)?;
    pass("write the ports down");
    networks.write_endpoints(after)?;
    pass("change the table");
    let mut firewall = Firewall::open(&networks)?;
    let entries = |from: &Endpoints, without: &Endpoints| {
        let known = without.port_entries();
        let mut entries = from.port_entries();
        entries.retain(|entry| !known.contains(entry));
        entries
    };
    let (gone, new) = (entries(before, after), entries(after, before));
    match (gone.is_empty(), new.is_empty()) {
        // A range that loses a port in its middle becomes two.
        (false, false) => firewall.replace(&port_elements(gone), &port_elements(new))?,
        (true, false) => firewall.add(&port_elements(new))?,
        _ => firewall.remove(&port_elements(gone))?,
    }
    let mut changed = before.ports.clone();
    changed.extend(&after.ports);
    changed.retain(|port| before.ports.contains(port) != after.ports.contains(port));
    super::connect::forget_flows(&mut firewall, &changed)?;
    pass("record the ports");
    record.options.network.publish = after.ports.iter().map(as_mapping).collect();
    record.options.network.publish_all = false;
    record.write(store)?;
    pass("the ports are changed");
    note.end()?;
    if let Some(state) = RunState::read(store, &record.id)? {
        // What it keeps, and no longer keeps, holds when this command returns.
        await_look(store, &record.id, state.monitor)?;
    }
    Ok(())
}

/// A published port as a mapping, for the next start.
fn as_mapping(port: &PublishedPort) -> PortMapping {
    let one = |port| PortRange {
        first: port,
        last: port,
    };
    PortMapping {
        host: port.host,
        host_ports: Some(one(port.host_port)),
        container_ports: one(port.container_port),
        protocol: port.protocol,
    }
}
