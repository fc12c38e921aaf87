//! `--network cni:NAME`: a container whose interface programs of CNI make.
//!
//! It has a file among the endpoints as others have, with a network `cni:NAME`, so that what
//! it holds is found and given back in the same way. Beside it `cni/<id>` says what the
//! programs were told, since the configuration may change while the container runs. Both are
//! written before the first program is executed. `cni/<id>.net` is the container's network
//! namespace, mounted there so that the programs can take back what they did for it when its
//! processes are gone. Published ports are told to the programs
//! that take them; the monitor keeps them, and passes on what still comes to it.

use super::connect::Connected;
use super::proxy::Targets;
use crate::checkpoint::Checkpoints;
use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::run::Prepared;
use crate::state::RunState;
use crate::store::{Store, ensure_directory, read_json, write_json};
use cais_json::{Value, json};
use cais_linux::SysError;
use cais_net::cni::{List, Target, find, parse_given};
use cais_net::endpoint::{Endpoint, Endpoints};
use cais_net::mac::Mac;
use cais_net::network::Driver;
use rustix::mount::UnmountFlags;
use std::path::{Path, PathBuf};

/// How the names of such networks begin.
pub const PREFIX: &str = "cni:";
const INTERFACE: &str = "eth0";

fn file(store: &Store, id: &str) -> PathBuf {
    store.run().join("cni").join(id)
}

/// Whether a container's interface was made by such programs.
pub(super) fn is_theirs(endpoints: &Endpoints) -> bool {
    endpoints
        .endpoints
        .iter()
        .any(|each| each.network.starts_with(PREFIX))
}

/// Connects the container whose first process is `state.init`.
///
/// # Errors
/// Where there is no such configuration, a port is taken or a program fails; [`release`]
/// undoes what was done.
pub(super) fn connect(
    engine: &Engine,
    prepared: &Prepared,
    name: &str,
    state: &RunState,
    checkpoints: &Checkpoints,
) -> Result<Connected> {
    let store = &engine.store;
    let networks = store.networks();
    let init = state
        .init
        .ok_or_else(|| EngineError::Invalid("the first process ended before it was connected".to_owned()))?;
    let list = find(name)?;
    let forwarding = super::keeping::keep_all(
        engine,
        prepared,
        Targets {
            all: true,
            ..Targets::default()
        },
    )?;
    let mut endpoints = Endpoints {
        version: 1,
        container: prepared.record.id.as_str().to_owned(),
        name: prepared.record.name.clone(),
        process: Some((init.pid, init.start)),
        endpoints: vec![endpoint(name)?],
        ports: forwarding.ports().copied().collect(),
        proxy: true,
        host_ipv6: None,
    };
    checkpoints.pass("write the endpoints down");
    networks.write_endpoints(&endpoints)?;
    let path = file(store, &endpoints.container);
    if let Some(directory) = path.parent() {
        ensure_directory(directory)?;
    }
    write_json(&path, &json!({ "list": list.value() }))?;
    checkpoints.pass("keep the network namespace");
    let kept = namespace_file(&path);
    keep_namespace(init.pid, &kept)?;
    checkpoints.pass("execute the CNI plugins");
    let result = list.add(&Target {
        container: &endpoints.container,
        namespace: kept.to_str(),
        interface: INTERFACE,
        ports: &endpoints.ports,
    })?;
    checkpoints.pass("write down what they gave");
    write_json(&path, &json!({ "list": list.value(), "result": result }))?;
    let given = parse_given(&result, INTERFACE);
    for endpoint in &mut endpoints.endpoints {
        endpoint.ipv4 = given.ipv4.map(|(address, bits, _)| (address, bits));
        endpoint.ipv6 = given.ipv6.map(|(address, bits, _)| (address, bits));
        endpoint.gateway4 = given.ipv4.and_then(|(_, _, gateway)| gateway);
        endpoint.gateway6 = given.ipv6.and_then(|(_, _, gateway)| gateway);
        let mac = given.mac.as_ref().and_then(|text| text.parse().ok());
        endpoint.mac = mac.unwrap_or(endpoint.mac);
    }
    networks.write_endpoints(&endpoints)?;
    Ok(Connected {
        forwarding,
        endpoints: Some(endpoints),
        names: given.names,
    })
}

fn namespace_file(path: &Path) -> PathBuf {
    path.with_extension("net")
}

fn keep_namespace(pid: i32, kept: &Path) -> Result<()> {
    let action = || format!("keep the network namespace at {}", kept.display());
    std::fs::write(kept, "").map_err(EngineError::store(action()))?;
    rustix::mount::mount_bind(format!("/proc/{pid}/ns/net"), kept)
        .map_err(|errno| SysError::new("mount", "MS_BIND", errno))
        .map_err(EngineError::system(action()))
}

/// Whether the namespace is mounted there, or only its place was made.
fn is_kept(kept: &Path) -> bool {
    /// `NSFS_MAGIC`.
    const NAMESPACES: u64 = 0x6e73_6673;
    rustix::fs::statfs(kept).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NAMESPACES))
}

fn endpoint(name: &str) -> Result<Endpoint> {
    Ok(Endpoint {
        network: format!("{PREFIX}{name}"),
        network_id: String::new(),
        id: ContainerId::random()?.as_str().to_owned(),
        driver: Driver::Bridge,
        parent: String::new(),
        interface: INTERFACE.to_owned(),
        host_interface: None,
        mac: Mac::local([0; 6]),
        ipv4: None,
        ipv6: None,
        gateway4: None,
        gateway6: None,
        link_local: Vec::new(),
        aliases: Vec::new(),
        mtu: 0,
        mode: None,
        isolated: false,
        hairpin: false,
        internal: false,
        default_route: true,
    })
}

/// Has the programs take away what they made. Doing it again does nothing.
///
/// # Errors
/// The first error of a program.
pub(super) fn release(store: &Store, endpoints: &Endpoints) -> Result<()> {
    let path = file(store, &endpoints.container);
    let Some(noted) = read_json::<Value>(&path)? else {
        return Ok(());
    };
    let list = List::new(noted.get("list").cloned().unwrap_or_default())?;
    let kept = namespace_file(&path);
    let is_kept = is_kept(&kept);
    list.delete(
        &Target {
            container: &endpoints.container,
            namespace: kept.to_str().filter(|_| is_kept),
            interface: INTERFACE,
            ports: &endpoints.ports,
        },
        noted.get("result"),
    )?;
    if is_kept {
        rustix::mount::unmount(&kept, UnmountFlags::DETACH)
            .map_err(|errno| SysError::new("umount2", format!("{kept:?}"), errno))
            .map_err(EngineError::system("let go of the network namespace"))?;
    }
    for path in [kept, path] {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EngineError::store(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}
