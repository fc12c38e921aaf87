//! The names of containers: where they are kept, what a container's resolver knows, and
//! what its resolv.conf(5) says.
//!
//! Each network has a file with the names of its running containers
//! ([`cais_net::dns::name_file`]), beside its leases; each container in networks has one
//! with what its resolver knows, `resolvers/<id>` below the run directory
//! ([`cais_net::dns::config`]), which is written first: a sweep goes by it. The resolver
//! itself lives in the container's monitor and listens at 127.0.0.11 inside.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::monitor::attendant::{Attendant, Attention, Program, Wanted};
use crate::network::{hold, links};
use crate::options::{NetworkMode, NetworkOptions, RunOptions};
use crate::record::Record;
use crate::state::{ProcessName, RunState};
use crate::store::{Store, read_json, write_json};
use cais_linux::SysError;
use cais_net::dns::config::{HostName, NetworkNames, ResolverConfig};
use cais_net::dns::name_file::{NameFile, plan_entries};
use cais_net::dns::resolv_conf::{ResolvConf, Wishes, plan_direct, plan_ours};
use cais_net::dns::{Resolver, listen};
use cais_net::egress::names::patterns;
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::network::{DEFAULT, NetworkStore};
use cais_net::{namespace, veth};
use cais_order::InOrder;
use rustix::event::PollFlags;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file that a container's programs read.
pub(crate) const FILE: &str = "/etc/resolv.conf";
/// The host's resolver configuration.
const HOST_FILE: &str = FILE;
/// Names under which a container reaches its host, as Docker and Podman call it.
const HOST_NAMES: [&str; 3] = [
    "host.docker.internal",
    "gateway.docker.internal",
    "host.containers.internal",
];
/// The labels by which Compose says what a container is.
const COMPOSE: [&str; 2] = ["com.docker.compose.service", "com.docker.compose.project"];

fn config_file(store: &Store, id: &ContainerId) -> PathBuf {
    store.run().join("resolvers").join(id.as_str())
}

/// Makes the names of a container known, and tells its resolver what it knows: before its
/// program runs, and when it joins or leaves a network.
///
/// # Errors
/// Where a file cannot be written.
pub(crate) fn announce(store: &Store, record: &Record) -> Result<()> {
    if !record.options.is_in_networks() {
        return Ok(());
    }
    let networks = NetworkStore::new(store.data(), store.run());
    let endpoints = networks.read_endpoints(record.id.as_str())?.unwrap_or_default();
    let path = config_file(store, &record.id);
    let before: ResolverConfig = read_json(&path)?.unwrap_or_default();
    let mut config = plan_config(&networks, record, &endpoints);
    // One that has ended meanwhile has no name any more.
    let links = links::resolve(store, &record.options, Some(&endpoints)).unwrap_or_default();
    config.hosts.extend(links.into_iter().flat_map(|link| {
        let addresses = link.addresses;
        link.names.into_iter().map(move |name| HostName {
            name,
            addresses: addresses.clone(),
        })
    }));
    config.allowed = hold::allowances(store, record, &endpoints)?.map(|allowed| patterns(&allowed));
    // A sweep goes by this file: no name may stand where it does not say so.
    let mut union = config.clone();
    union.networks.extend(
        before
            .networks
            .iter()
            .filter(|known| !config.networks.contains(known))
            .cloned(),
    );
    write_config(&path, &union)?;
    for network in &union.networks {
        let endpoint = endpoints
            .endpoints
            .iter()
            .find(|endpoint| endpoint.network == network.name);
        let file = NameFile::new(&network.directory);
        let changed = match endpoint {
            Some(endpoint) => {
                let addresses: Vec<IpAddr> = endpoint.addresses().map(|(address, _)| address).collect();
                let entries = plan_entries(&names_of(record, endpoint), &network.name, &addresses);
                file.add(record.id.short(), &entries)
            }
            None => file.remove(record.id.short()),
        };
        changed.map_err(EngineError::system(format!(
            "write the names of network {}",
            network.name
        )))?;
    }
    if union == config {
        return Ok(());
    }
    write_config(&path, &config)
}

/// Takes a container's names back.
///
/// # Errors
/// Where a file cannot be written.
pub(crate) fn withdraw(store: &Store, id: &ContainerId) -> Result<()> {
    let path = config_file(store, id);
    let Some(config) = read_json::<ResolverConfig>(&path)? else {
        return Ok(());
    };
    for network in &config.networks {
        NameFile::new(&network.directory)
            .remove(id.short())
            .map_err(EngineError::system(format!(
                "write the names of network {}",
                network.name
            )))?;
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(EngineError::store(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// Takes the names of containers out of the networks that are there no more: a command that
/// changed one may have been killed while it ended.
///
/// # Errors
/// Where a file cannot be written.
pub(crate) fn sweep(store: &Store) -> Result<()> {
    let entries = std::fs::read_dir(store.run().join("resolvers"));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_str().unwrap_or_default().to_owned();
        let writer = name.split_once('.').and_then(|(_, pid)| pid.parse().ok());
        if writer.is_some_and(|pid| ProcessName::read(pid).is_none()) {
            // Written beside and never renamed. Somebody else may have been faster.
            std::fs::remove_file(entry.path()).unwrap_or_default();
        }
        let id = ContainerId::parse(&name);
        if let Some(id) = id.filter(|id| !store.state(id).exists()) {
            withdraw(store, &id)?;
        }
    }
    Ok(())
}

fn write_config(path: &Path, config: &ResolverConfig) -> Result<()> {
    match write_json(path, config) {
        Err(EngineError::Store { source, .. }) if source.kind() == ErrorKind::NotFound => {
            if let Some(directory) = path.parent() {
                crate::store::ensure_directory(directory)?;
            }
            write_json(path, config)
        }
        other => other,
    }
}

/// What a container is called in a network: its name, its short id, what the user added,
/// and `service.project`.
fn names_of(record: &Record, endpoint: &Endpoint) -> Vec<String> {
    let mut names = vec![record.name.clone(), record.id.short().to_owned()];
    names.extend(endpoint.aliases.iter().cloned());
    let label = |key: &str| {
        let found = record.options.labels.iter().rfind(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str())
    };
    if let [Some(service), Some(project)] = COMPOSE.map(label) {
        names.push(format!("{service}.{project}"));
    }
    names
}

/// What the resolver of a container knows. As with Docker, containers on the default
/// network have no names.
fn plan_config(networks: &NetworkStore, record: &Record, endpoints: &Endpoints) -> ResolverConfig {
    let mut in_order: Vec<&Endpoint> = endpoints.endpoints.iter().collect();
    in_order.order_by_key(|endpoint| !endpoint.default_route);
    let named = in_order.iter().filter(|endpoint| endpoint.network != DEFAULT);
    let gateways: Vec<IpAddr> = in_order
        .iter()
        .find(|endpoint| !endpoint.internal)
        .map(|endpoint| crate::network::home::ways_to_host(endpoint))
        .unwrap_or_default();
    let hosts = HOST_NAMES.iter().filter(|_| !gateways.is_empty());
    let options: &NetworkOptions = &record.options.network;
    ResolverConfig {
        networks: named.map(|endpoint| names_in(networks, endpoint)).collect(),
        hosts: hosts
            .map(|name| HostName {
                name: (*name).to_owned(),
                addresses: gateways.clone(),
            })
            .collect(),
        forward: in_order.iter().any(|endpoint| !endpoint.internal),
        servers: options.dns.iter().map(ToString::to_string).collect(),
        allowed: None,
    }
}

fn names_in(networks: &NetworkStore, endpoint: &Endpoint) -> NetworkNames {
    let subnet = |(address, prefix)| cais_net::subnet::Subnet::new(address, prefix);
    NetworkNames {
        name: endpoint.network.clone(),
        directory: networks.leases_of(&endpoint.network),
        subnets: endpoint.addresses().map(subnet).collect(),
    }
}

/// The resolver as the monitor looks after it.
#[derive(Debug)]
struct Names {
    resolver: Resolver,
    /// Where it listens.
    namespace: OwnedFd,
    networks: NetworkStore,
    container: String,
    /// When it has nothing else to do for the first time: while the program is executed.
    rehearses: Option<Instant>,
}

impl Drop for Names {
    /// The interfaces go with their namespace, unless something holds that: connections of
    /// TCP that nobody has open any more, but whose last bytes the other side has not taken.
    /// The kernel tries for minutes, with an address that somebody else is given meanwhile.
    fn drop(&mut self) {
        let held = namespace::count_tcp(self.namespace.as_fd());
        if held.is_ok_and(|count| count > self.resolver.count_tcp()) {
            // There is nobody to tell; without it they go when the kernel gives up.
            self.remove_interfaces().unwrap_or_default();
        }
    }
}

impl Names {
    fn remove_interfaces(&self) -> cais_net::Result<()> {
        let Some(endpoints) = self.networks.read_endpoints(&self.container)? else {
            return Ok(());
        };
        let process = endpoints.process.map(|(pid, start)| ProcessName { pid, start });
        if process.is_some_and(|process| process.is_alive()) {
            return Ok(());
        }
        let mut inside = veth::open_inside(self.namespace.as_fd())?;
        for endpoint in &endpoints.endpoints {
            veth::detach(&mut inside, endpoint)?;
        }
        Ok(())
    }
}

impl Attendant for Names {
    fn want<'a>(&'a self, wanted: &mut Wanted<'a>) {
        wanted.push((self.resolver.descriptor(), PollFlags::IN));
    }

    fn deadline(&self) -> Option<Instant> {
        self.rehearses
    }

    fn attend(&mut self, ready: &[PollFlags], _program: &Program<'_>) -> Attention {
        let is_asked = ready.iter().any(|flags| !flags.is_empty());
        if self.rehearses.take().is_some() && !is_asked {
            self.resolver.rehearse();
        }
        match self.resolver.handle() {
            Ok(()) => Attention::Stays,
            Err(_) => Attention::Leaves,
        }
    }
}

/// The resolver of a container, with its sockets open in the container's namespace; `None`
/// for one that is in no network of ours.
///
/// # Errors
/// Where a socket cannot be opened.
pub(crate) fn attendant(
    store: &Store,
    record: &Record,
    state: &RunState,
) -> Result<Option<Box<dyn Attendant>>> {
    let (true, Some(init)) = (record.options.is_in_networks(), state.init) else {
        return Ok(None);
    };
    let path = format!("/proc/{}/ns/net", init.pid);
    let namespace = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
        .map_err(EngineError::system("open the container's network namespace"))?;
    let failed = || EngineError::system("listen for questions at 127.0.0.11:53 in the container");
    let listeners = listen::open_in(namespace.as_fd(), serves_names(&record.options.network))?;
    let config = config_file(store, &record.id);
    let mut resolver = Resolver::new(listeners, &config, Path::new(HOST_FILE)).map_err(failed())?;
    if let Some(gate) = hold::name_gate(store, record, state)? {
        resolver.set_policy(Box::new(gate));
    }
    Ok(Some(Box::new(Names {
        resolver,
        namespace,
        networks: store.networks(),
        container: record.id.as_str().to_owned(),
        rehearses: Some(Instant::now()),
    })))
}

/// Whether the container's program is to listen at port 53 itself: it is published or
/// exposed.
fn serves_names(options: &NetworkOptions) -> bool {
    let published = options.publish.iter().map(|mapping| mapping.container_ports);
    let mut all = published.chain(options.expose.iter().map(|exposed| exposed.ports));
    all.any(|ports| (ports.first..=ports.last).contains(&53))
}

/// Whether the user says whom to ask for names.
pub(crate) fn is_asked(options: &RunOptions) -> bool {
    let network = &options.network;
    !network.dns.is_empty() || !network.dns_search.is_empty() || !network.dns_options.is_empty()
}

/// The text of a container's `/etc/resolv.conf` where others say whom to ask: what the user
/// says counts for more, and the host's file where they are silent.
pub(crate) fn resolv_conf_with(options: &RunOptions, names: &ResolvConf) -> String {
    let host = std::fs::read_to_string(HOST_FILE).ok();
    let mut read = ResolvConf::parse(host.as_deref().unwrap_or_default());
    for (ours, theirs) in [
        (&mut read.search, &names.search),
        (&mut read.options, &names.options),
    ] {
        if !theirs.is_empty() {
            ours.clone_from(theirs);
        }
    }
    if !names.servers.is_empty() {
        read.servers.clone_from(&names.servers);
    }
    let network = &options.network;
    let servers: Vec<String> = network.dns.iter().map(ToString::to_string).collect();
    plan_direct(
        &read,
        &Wishes {
            servers: &servers,
            search: &network.dns_search,
            options: &network.dns_options,
        },
    )
}

/// The text of a container's `/etc/resolv.conf`; `None` where that of its root stays.
pub(crate) fn resolv_conf(engine: &Engine, options: &RunOptions) -> Option<String> {
    let network = &options.network;
    let servers: Vec<String> = network.dns.iter().map(ToString::to_string).collect();
    let wishes = Wishes {
        servers: &servers,
        search: &network.dns_search,
        options: &network.dns_options,
    };
    let host = std::fs::read_to_string(HOST_FILE).ok();
    let read = ResolvConf::parse(host.as_deref().unwrap_or_default());
    match &options.namespaces.network {
        NetworkMode::Networks(_) => Some(plan_ours(&read, &wishes)),
        // Whoever shares a namespace hears the same resolver.
        NetworkMode::Container(name) => {
            let other = crate::list::container(&engine.store, name).ok()?;
            resolv_conf(engine, &other.record.options)
        }
        _ if wishes == Wishes::default() => host,
        _ => Some(plan_direct(&read, &wishes)),
    }
}
