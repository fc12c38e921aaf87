//! Connecting containers to networks and taking them out, while they run or not.

use super::connect::ensure_bridge;
use super::plan::{self, add_endpoint};
use super::sweep::Work;
use crate::checkpoint::Checkpoints;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::lock::ContainerLock;
use crate::monitor::door::nudge;
use crate::options::{Attachment, NetworkMode};
use crate::record::Record;
use crate::state::{Container, ProcessName, RunState};
use crate::store::Store;
use crate::{list, resolver};
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::firewall::{Firewall, port_elements};
use cais_net::netlink::{Protocol, Socket};
use cais_net::network::{Network, NetworkStore};
use cais_net::{host, lease, namespace, veth};
use rustix::fd::AsFd;

fn invalid(text: impl Into<String>) -> EngineError {
    EngineError::Invalid(text.into())
}

/// Locks a container that can be in networks of ours.
fn lock(store: &Store, container: &Container) -> Result<ContainerLock> {
    let name = &container.record.name;
    let NetworkMode::Networks(_) = container.record.options.namespaces.network else {
        return Err(invalid(format!(
            "container {name} was made with --network none, host, container: or ns:, and cannot be connected to networks"
        )));
    };
    ContainerLock::acquire(store, &container.record.id)?
        .ok_or_else(|| EngineError::NoSuchContainer(name.clone()))
}

/// Connects a container to a network.
///
/// # Errors
/// Where it is in it already, has a network namespace that is not its own, or an address is
/// taken.
pub fn connect(engine: &Engine, container: &str, attachment: Attachment) -> Result<()> {
    let store = &engine.store;
    let container = list::container(store, container)?;
    let id = container.record.id.clone();
    let held = lock(store, &container)?;
    let network = plan::find(store, &attachment.network)?;
    let mut record = Record::read(store, &id)?
        .ok_or_else(|| EngineError::NoSuchContainer(container.record.name.clone()))?;
    let networks = store.networks();
    if attachments(&record).iter().any(|each| {
        networks
            .find(&each.network)
            .is_ok_and(|known| known.id == network.id)
    }) {
        return Err(invalid(format!(
            "container {} is already connected to network {}",
            record.name, network.name
        )));
    }
    let note = Work::Change {
        container: id.as_str().to_owned(),
        network: network.id.clone(),
    }
    .begin(&networks)?;
    let state = RunState::read(store, &id)?;
    let connected = connect_noted(engine, &mut record, (&network, attachment), state.as_ref());
    if connected.is_err() {
        // The error that counts is the one that stopped it; what is left, a sweep finds.
        take_out(store, &id, &network.id).unwrap_or_default();
    }
    note.end()?;
    connected?;
    held.release();
    tell(store, &network, "connect", &id);
    Ok(())
}

fn attachments(record: &Record) -> &[Attachment] {
    match &record.options.namespaces.network {
        NetworkMode::Networks(attachments) => attachments,
        _ => &[],
    }
}

fn connect_noted(
    engine: &Engine,
    record: &mut Record,
    (network, attachment): (&Network, Attachment),
    state: Option<&RunState>,
) -> Result<()> {
    let store = &engine.store;
    let pass = |name| engine.checkpoints.pass(name);
    let networks = store.networks();
    let running = state.filter(|state| state.init.is_some_and(|init| init.is_alive()));
    if running.is_some()
        && let Some(mut endpoints) = networks.read_endpoints(record.id.as_str())?
    {
        pass("lease addresses");
        endpoints.host_ipv6 = Some(host::has_ipv6());
        let planned = add_endpoint(store, network, &attachment, &mut endpoints);
        if planned.is_err() {
            if let Some(endpoint) = endpoints.endpoints.pop() {
                release(&networks, &endpoints.container, &endpoint);
            }
            planned?;
        }
        let leads_out = endpoints.endpoints.iter().any(|each| each.default_route);
        if let Some(endpoint) = endpoints.endpoints.last_mut() {
            endpoint.default_route = !leads_out && !network.internal;
        }
        pass("write the endpoints down");
        networks.write_endpoints(&endpoints)?;
        make_interface(&networks, &endpoints, &engine.checkpoints)?;
    }
    pass("record the network");
    if let NetworkMode::Networks(attachments) = &mut record.options.namespaces.network {
        attachments.push(attachment);
    }
    record.write(store)?;
    pass("make the names known");
    if let Some(state) = running {
        super::hold::hold(store, record, state)?;
        resolver::announce(store, record)?;
        nudge(state.monitor);
    }
    pass("the container is connected");
    Ok(())
}

/// Makes the last of the interfaces.
fn make_interface(networks: &NetworkStore, endpoints: &Endpoints, checkpoints: &Checkpoints) -> Result<()> {
    let (pid, start) = endpoints.process.unwrap_or_default();
    let Some(endpoint) = endpoints.endpoints.last() else {
        return Ok(());
    };
    let mut route = Socket::open(Protocol::Route)?;
    checkpoints.pass("make the bridge");
    let mut firewall = Firewall::open(networks)?;
    ensure_bridge(&mut route, &mut firewall, networks, endpoint)?;
    firewall.ensure()?;
    let inside = namespace::open_of(pid)?;
    if !(ProcessName { pid, start }).is_alive() {
        return Err(EngineError::NotRunning(endpoints.name.clone()));
    }
    checkpoints.pass("make the interface");
    let new = std::slice::from_ref(endpoint);
    let has_ipv6 = endpoints.host_ipv6.unwrap_or_else(host::has_ipv6);
    veth::attach(&mut route, inside.as_fd(), new, has_ipv6)?;
    checkpoints.pass("set the interface up");
    veth::configure(&mut veth::open_inside(inside.as_fd())?, new)?;
    // It may be the first network that ports can lead to.
    checkpoints.pass("publish the ports");
    super::connect::publish_ports(&mut firewall, endpoints)
}

fn release(networks: &NetworkStore, container: &str, endpoint: &Endpoint) {
    for (address, _) in endpoint.addresses() {
        // What cannot be freed now a sweep frees.
        lease::release(networks, &endpoint.network, address, container).unwrap_or_default();
    }
}

/// Takes a container out of a network.
///
/// # Errors
/// Where it is not in it.
pub fn disconnect(engine: &Engine, network: &str, container: &str) -> Result<()> {
    let store = &engine.store;
    let networks = store.networks();
    let container = list::container(store, container)?;
    let id = container.record.id.clone();
    // Where it can be in none, that says more than that there is none of this name.
    let held = lock(store, &container)?;
    let network = networks.find(network)?;
    let is_in = attachments(&container.record).iter().any(|each| {
        networks
            .find(&each.network)
            .is_ok_and(|known| known.id == network.id)
    });
    if !is_in {
        return Err(invalid(format!(
            "container {} is not connected to network {}",
            container.record.name, network.name
        )));
    }
    let note = Work::Change {
        container: id.as_str().to_owned(),
        network: network.id.clone(),
    }
    .begin(&networks)?;
    engine.checkpoints.pass("take the container out of the network");
    take_out(store, &id, &network.id)?;
    engine.checkpoints.pass("the container is disconnected");
    note.end()?;
    held.release();
    tell(store, &network, "disconnect", &id);
    Ok(())
}

fn tell(store: &Store, network: &Network, action: &str, container: &ContainerId) {
    let attributes = [
        ("container", container.as_str()),
        ("name", &network.name),
        ("type", network.driver.name()),
    ];
    crate::events::other(store, "network", &network.id, action, &attributes);
}

/// Takes a container out of the network with this id, whatever of it is there: ports,
/// interface, names, leases, record. Doing it again does nothing.
///
/// # Errors
/// Where something cannot be given back.
pub(super) fn take_out(store: &Store, id: &ContainerId, network_id: &str) -> Result<()> {
    let networks = store.networks();
    let mut record = Record::read(store, id)?;
    if let Some(record) = &mut record
        && let NetworkMode::Networks(attachments) = &mut record.options.namespaces.network
    {
        let before = attachments.len();
        attachments.retain(|each| {
            !networks
                .find(&each.network)
                .is_ok_and(|known| known.id == network_id)
        });
        if attachments.len() != before {
            record.write(store)?;
        }
    }
    let Some(endpoints) = networks.read_endpoints(id.as_str())? else {
        return Ok(());
    };
    let mut after = endpoints.clone();
    after.endpoints.retain(|each| each.network_id != network_id);
    let Some(gone) = endpoints
        .endpoints
        .iter()
        .find(|each| each.network_id == network_id)
    else {
        return Ok(());
    };
    let (pid, start) = endpoints.process.unwrap_or_default();
    if (ProcessName { pid, start }).is_alive()
        && let Ok(inside) = namespace::open_of(pid)
    {
        veth::detach(&mut veth::open_inside(inside.as_fd())?, gone)?;
    }
    // The file first: whoever makes the table anew goes by it.
    networks.write_endpoints(&after)?;
    move_ports(&networks, &endpoints, &after)?;
    release(&networks, &endpoints.container, gone);
    if let Some(record) = &record {
        resolver::announce(store, record)?;
    }
    if let Some(state) = RunState::read(store, id)? {
        nudge(state.monitor);
    }
    Ok(())
}

/// Leads the ports of a container to another interface, where that changes.
fn move_ports(networks: &NetworkStore, before: &Endpoints, after: &Endpoints) -> Result<()> {
    let (old, new) = (before.port_entries(), after.port_entries());
    if old == new {
        return Ok(());
    }
    let mut firewall = Firewall::open(networks)?;
    if new.is_empty() {
        firewall.remove(&port_elements(old))?;
    } else {
        firewall.replace(&port_elements(old), &port_elements(new))?;
    }
    super::connect::forget_flows(&mut firewall, &before.ports)
}
