//! Connecting a container that is being started, and taking it out again.

use super::keeping::Keeping;
use super::proxy::{self, Forwarding};
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
use cais_net::dns::resolv_conf::ResolvConf;
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::firewall::{Firewall, network_elements, port_elements};
use cais_net::lease::{self, Holder};
use cais_net::netlink::{Protocol, Socket, conntrack};
use cais_net::network::{Driver, NetworkStore};
use cais_net::publish::{self, PublishedPort};
use cais_net::reserve::{Reserved, reserve_one};
use cais_net::{bridge, host, namespace, veth};
use rustix::fd::AsFd;
use rustix::io::Errno;

/// What a connected container holds in the monitor.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    /// What keeps its ports.
    pub(super) forwarding: Forwarding,
    /// What it has; none where it is in no network.
    pub(crate) endpoints: Option<Endpoints>,
    /// Whom the programs that made its interface say to ask for names.
    pub(crate) names: ResolvConf,
}

impl Connected {
    /// What a container that runs has, whose monitor was killed: its ports are kept anew.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub(crate) fn again(store: &Store, record: &Record) -> Result<Self> {
        let networks = store.networks();
        let endpoints = networks.read_endpoints(record.id.as_str())?;
        let forwarding = endpoints.as_ref().map(|endpoints| {
            let ports = endpoints.ports.iter();
            let reserved = ports.map(|port| keep_again(&networks, *port)).collect();
            Forwarding::of(proxy::targets(endpoints), reserved)
        });
        Ok(Self {
            forwarding: forwarding.unwrap_or_default(),
            endpoints,
            ..Self::default()
        })
    }
}

/// Keeps a port that was kept before. Where somebody was faster, the kernel leads packets to
/// the container all the same.
pub(super) fn keep_again(networks: &NetworkStore, port: PublishedPort) -> Reserved {
    reserve_one(networks, port).unwrap_or(Reserved { port, socket: None })
}

/// Writes down what the container has, and makes it: bridges, interfaces, what lies in the table.
#[inline(never)]
fn make_interfaces(
    networks: &NetworkStore,
    endpoints: &Endpoints,
    checkpoints: &Checkpoints,
) -> Result<Firewall> {
    let pass = |name| checkpoints.pass(name);
    pass("write the endpoints down");
    networks.write_endpoints(endpoints)?;
    pass("make the bridge");
    let mut route = Socket::open(Protocol::Route)?;
    let mut firewall = Firewall::open(networks)?;
    for endpoint in &endpoints.endpoints {
        ensure_bridge(&mut route, &mut firewall, networks, endpoint)?;
    }
    pass("look at the table");
    firewall.ensure()?;
    pass("make the interfaces");
    let (init, _) = endpoints
        .process
        .ok_or_else(|| EngineError::Invalid("the first process ended before it was connected".to_owned()))?;
    let inside = namespace::open_of(init)?;
    let has_ipv6 = endpoints.host_ipv6.unwrap_or_else(host::has_ipv6);
    veth::attach(&mut route, inside.as_fd(), &endpoints.endpoints, has_ipv6)?;
    pass("set the interfaces up");
    veth::configure(&mut veth::open_inside(inside.as_fd())?, &endpoints.endpoints)?;
    Ok(firewall)
}

/// Takes over the ports that are kept.
#[inline(never)]
fn take_ports(keeping: &mut Keeping, endpoints: &mut Endpoints) -> Result<Forwarding> {
    let forwarding = keeping.finish()?;
    endpoints.ports = forwarding.ports().copied().collect();
    Ok(forwarding)
}

/// Connects the container whose first process is `state.init`.
///
/// # Errors
/// Where a port is taken or the kernel refuses; [`disconnect`] gives back what was taken.
pub(crate) fn connect(
    engine: &Engine,
    prepared: &Prepared,
    keeping: &mut Keeping,
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
    // Where threads keep the ports, the interfaces are made meanwhile.
    let goes_on = keeping.goes_on();
    let kept = match goes_on {
        false => Some(take_ports(keeping, &mut endpoints)?),
        true => None,
    };
    for endpoint in &mut endpoints.endpoints {
        endpoint.hairpin = goes_on || !endpoints.ports.is_empty();
    }
    let mut firewall = make_interfaces(&networks, &endpoints, checkpoints)?;
    let forwarding = match kept {
        Some(kept) => kept,
        None => {
            let kept = take_ports(keeping, &mut endpoints)?;
            checkpoints.pass("write the ports down");
            networks.write_endpoints(&endpoints)?;
            kept
        }
    };
    checkpoints.pass("publish the ports");
    publish_ports(&mut firewall, &endpoints)?;
    Ok(Connected {
        forwarding,
        endpoints: Some(endpoints),
        ..Connected::default()
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

/// Makes the bridge of an endpoint where it is not there: after a boot, or the first time; and
/// finishes one that somebody was killed over.
/// The table knows of it first, so that no bridge is ever without its rules.
pub(super) fn ensure_bridge(
    route: &mut Socket,
    firewall: &mut Firewall,
    networks: &NetworkStore,
    endpoint: &Endpoint,
) -> Result<()> {
    if endpoint.driver != Driver::Bridge || bridge::is_up(route, &endpoint.parent)? {
        return Ok(());
    }
    let network = networks.find(&endpoint.network)?;
    let here = network.clone().on_host(host::has_ipv6())?;
    host::ensure_forwarding(networks, here.pool(false).is_some())?;
    // The table follows the file, whatever the host has.
    firewall.add(&network_elements(&network))?;
    bridge::ensure(route, &here)?;
    Ok(())
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
