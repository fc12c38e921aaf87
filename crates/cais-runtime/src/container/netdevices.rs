//! `linux.netDevices`: devices of this process's network namespace that become the
//! container's.

use super::error::{Result, RuntimeError};
use super::state::Container;
use crate::spec::NamespaceKind;
use cais_linux::netdevice::move_device;
use rustix::fd::AsFd;
use std::path::PathBuf;

/// Moves them. The first process is in its namespace from its birth, or the namespace is
/// somebody else's and has a path.
pub(super) fn move_in(state: &Container) -> Result<()> {
    let Some(devices) = state.config.linux.as_ref().map(|linux| &linux.net_devices) else {
        return Ok(());
    };
    if devices.is_empty() {
        return Ok(());
    }
    let mut namespaces = state.config.namespaces().iter();
    let joined = namespaces
        .find(|entry| entry.kind == NamespaceKind::Network)
        .and_then(|entry| entry.path.clone());
    let path = joined.map_or_else(
        || PathBuf::from(format!("/proc/{}/ns/net", state.pid)),
        PathBuf::from,
    );
    let namespace = std::fs::File::open(&path).map_err(RuntimeError::file(format!(
        "open the network namespace {}",
        path.display()
    )))?;
    for (name, device) in devices {
        let inside = device.name_inside(name);
        move_device(name, namespace.as_fd(), inside).map_err(RuntimeError::system(format!(
            "move the network device {name} into the container as {inside} (linux.netDevices)"
        )))?;
    }
    Ok(())
}
