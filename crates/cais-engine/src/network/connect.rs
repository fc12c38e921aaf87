//! Connecting a container that is being started, and taking it out again.

use super::{cni, plan};
use crate::checkpoint::Checkpoints;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::options::NetworkMode;
use crate::record::Record;
use crate::run::Prepared;
use crate::state::RunState;
use crate::store::Store;
use cais_net::NetError;
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::firewall::{Firewall, network_elements, port_elements};
use cais_net::lease::{self, Holder};
use cais_net::netlink::{Protocol, Socket, conntrack};
use cais_net::network::{Driver, NetworkStore};
use cais_net::publish::{self, PublishedPort};
use cais_net::reserve::{Reserved, reserve, reserve_one};
use cais_net::{bridge, host, namespace, veth};
use rustix::fd::AsFd;
use rustix::io::Errno;
use std::net::IpAddr;

/// What a connected container holds in the monitor.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    /// The sockets that keep its ports.
    pub(crate) reserved: Vec<Reserved>,
    /// What it has; none where it is in no network.
    pub(crate) endpoints: Option<Endpoints>,
}

impl Connected {
    /// What a container that runs has, whose monitor was killed: its ports are kept anew.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(crate) fn again(store: &Store, record: &Record) -> Result<Self> {
        let networks = store.networks();
        let endpoints = networks.read_endpoints(record.id.as_str())?;
        let ports = endpoints.iter().flat_map(|endpoints| &endpoints.ports);
        Ok(Self {
            reserved: ports.map(|port| keep_again(&networks, *port)).collect(),
            endpoints,
        })
    }
}

/// Keeps a port that was kept before. Where somebody was faster, the kernel leads packets to
/// the container all the same.
pub(super) fn keep_again(networks: &NetworkStore, port: PublishedPort) -> Reserved {
    reserve_one(networks, port).unwrap_or(Reserved { port, socket: None })
}

/// Connects the container whose first process is `state.init`.
///
/// # Errors
/// Where a port is taken or the kernel refuses; [`disconnect`] gives back what was taken.
pub(crate) fn connect(
    engine: &Engine,
    prepared: &Prepared,
    state: &RunState,
    checkpoints: &Checkpoints,
) -> Result<Connected> {
    if let NetworkMode::Cni(name) = &prepared.record.options.namespaces.network {
        return cni::connect(engine, prepared, name, state, checkpoints);
    }
    let Some(planned) = &prepared.network else {
        return Ok(Connected::default());
    };
    let networks = engine.store.networks();
    let mut endpoints = planned.clone();
    endpoints.process = state.init.map(|init| (init.pid, init.start));
    keep_leases(&networks, &endpoints, state)?;
    let reserved = reserve_ports(engine, prepared, &networks)?;
    endpoints.ports = reserved.iter().map(|each| each.port).collect();
    for endpoint in &mut endpoints.endpoints {
        endpoint.hairpin = !endpoints.ports.is_empty();
    }
    let pass = |name| checkpoints.pass(name);
    pass("write the endpoints down");
    networks.write_endpoints(&endpoints)?;
    pass("make the bridge");
    let mut route = Socket::open(Protocol::Route)?;
    let mut firewall = Firewall::open(&networks)?;
    for endpoint in &endpoints.endpoints {
        ensure_bridge(&mut route, &mut firewall, &networks, endpoint)?;
    }
    pass("look at the table");
    firewall.ensure()?;
    pass("make the interfaces");
    let init = state
        .init
        .ok_or_else(|| EngineError::Invalid("the first process ended before it was connected".to_owned()))?;
    let inside = namespace::open_of(init.pid)?;
    veth::attach(&mut route, inside.as_fd(), &endpoints.endpoints)?;
    pass("set the interfaces up");
    veth::configure(&mut veth::open_inside(inside.as_fd())?, &endpoints.endpoints)?;
    pass("publish the ports");
    publish_ports(&mut firewall, &endpoints)?;
    Ok(Connected {
        reserved,
        endpoints: Some(endpoints),
    })
}

/// The leases of the plan: they are there, unless the container is started again and gave
/// them back in between.
fn keep_leases(networks: &NetworkStore, endpoints: &Endpoints, state: &RunState) -> Result<()> {
    let holder = Holder {
        container: &endpoints.container,
        maker: (state.monitor.pid, state.monitor.start),
    };
    for endpoint in &endpoints.endpoints {
        for (address, _) in endpoint.addresses() {
            if !lease::take(networks, &endpoint.network, address, holder)? {
                return Err(EngineError::Invalid(format!(
                    "address {address} of network {} was given to another container",
                    endpoint.network
                )));
            }
        }
    }
    Ok(())
}

/// Makes the bridge of an endpoint where it is not there: after a boot, or the first time.
/// The table knows of it first, so that no bridge is ever without its rules.
pub(super) fn ensure_bridge(
    route: &mut Socket,
    firewall: &mut Firewall,
    networks: &NetworkStore,
    endpoint: &Endpoint,
) -> Result<()> {
    if endpoint.driver != Driver::Bridge || bridge::index_of(route, &endpoint.parent)?.is_some() {
        return Ok(());
    }
    let network = networks.find(&endpoint.network)?;
    host::ensure_forwarding(networks, network.pool(false).is_some())?;
    firewall.add(&network_elements(&network))?;
    bridge::ensure(route, &network)?;
    Ok(())
}

fn reserve_ports(engine: &Engine, prepared: &Prepared, networks: &NetworkStore) -> Result<Vec<Reserved>> {
    let Some(target) = prepared.network.as_ref().and_then(Endpoints::published_to) else {
        return Ok(Vec::new());
    };
    let options = &prepared.record.options.network;
    if options.publish.is_empty() && !options.publish_all {
        return Ok(Vec::new());
    }
    let own = networks.find(&target.network)?.publish_address;
    reserve_all(engine, prepared, own)
}

/// Keeps the ports that the user wants published. `own` is the address that the network
/// names for those that name none.
pub(super) fn reserve_all(
    engine: &Engine,
    prepared: &Prepared,
    own: Option<IpAddr>,
) -> Result<Vec<Reserved>> {
    let options = &prepared.record.options.network;
    let mut mappings = options.publish.clone();
    if options.publish_all {
        let all = options.expose.iter().map(|exposed| publish::PortMapping {
            host: None,
            host_ports: None,
            container_ports: exposed.ports,
            protocol: exposed.protocol,
        });
        mappings.extend(all);
    }
    let networks = engine.store.networks();
    let fallback = own.or(engine.config.publish_address.value);
    let mut reserved: Vec<Reserved> = Vec::new();
    for mapping in &mappings {
        let more = reserve(&networks, mapping, fallback).map_err(|error| name_ourselves(error, &reserved))?;
        reserved.extend(more);
    }
    Ok(reserved)
}

/// A port that this container has by another `--publish`.
fn name_ourselves(mut error: NetError, reserved: &[Reserved]) -> NetError {
    if let NetError::PortTaken {
        port,
        protocol,
        holder,
    } = &mut error
    {
        let ends = |each: &&Reserved| port.rsplit(':').next() == Some(&each.port.host_port.to_string());
        if reserved
            .iter()
            .filter(ends)
            .any(|each| each.port.protocol.to_string() == *protocol)
        {
            *holder = "another --publish of this container".to_owned();
        }
    }
    error
}

/// Puts the ports of a container into the table.
pub(super) fn publish_ports(firewall: &mut Firewall, endpoints: &Endpoints) -> Result<()> {
    let entries = endpoints.port_entries();
    if entries.is_empty() {
        return Ok(());
    }
    firewall.add(&port_elements(entries))?;
    forget_flows(firewall, &endpoints.ports)
}

/// Forgets the flows of UDP that were sent to these ports of the host.
pub(super) fn forget_flows(firewall: &mut Firewall, ports: &[PublishedPort]) -> Result<()> {
    let udp: Vec<&PublishedPort> = ports
        .iter()
        .filter(|port| port.protocol == publish::Protocol::Udp)
        .collect();
    if udp.is_empty() {
        return Ok(());
    }
    // Until then there may be more of them.
    firewall.await_end();
    let is_theirs = |flow: &conntrack::Flow| udp.iter().any(|port| port.host_port == flow.destination_port);
    match conntrack::forget_udp(firewall.socket(), is_theirs) {
        Ok(_) => Ok(()),
        // A kernel that cannot list connections is not one to refuse a container for.
        Err(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::INVAL) => Ok(()),
        Err(errno) => Err(EngineError::Network(NetError::netlink(
            "forget the connections of a UDP port",
            "ctnetlink",
        )(errno))),
    }
}

/// Gives back everything that a container has in networks. Doing it again does nothing. The
/// interfaces go with the namespace, which costs nobody any time.
///
/// # Errors
/// The first of the errors met; everything else was tried all the same.
pub(crate) fn disconnect(store: &Store, id: &ContainerId) -> Result<()> {
    let networks = store.networks();
    let Some(endpoints) = networks.read_leaving(id.as_str())? else {
        return Ok(());
    };
    networks.mark_leaving(id.as_str())?;
    let entries = endpoints.port_entries();
    let mut result = Ok(());
    if !entries.is_empty() {
        result = Firewall::open(&networks)
            .map_err(EngineError::from)
            .and_then(|mut firewall| {
                firewall.remove(&port_elements(entries))?;
                forget_flows(&mut firewall, &endpoints.ports)
            });
    }
    plan::release(&networks, &endpoints);
    if cni::is_theirs(&endpoints) {
        result = result.and(cni::release(store, &endpoints));
    }
    result?;
    Ok(networks.forget_endpoints(id.as_str())?)
}
