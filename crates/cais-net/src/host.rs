//! What the host must do for bridges: route packets. And what it had not done before.

use crate::error::{NetError, Result};
use crate::netlink::{Batch, Protocol, Socket, link};
use crate::network::{NetworkStore, ensure_directory};
use std::fs;
use std::path::{Path, PathBuf};

const FORWARD4: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

fn read_setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn write_setting(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            NetError::Impossible {
                action: format!("write {value} to {}", path.display()),
                reason: "the kernel's settings cannot be changed here: set it beforehand".to_owned(),
            }
        }
        _ => NetError::file(format!("write {value} to {}", path.display()))(error),
    })
}

/// Whether new interfaces of this host have IPv6: to turn it off for all of them changes what is
/// given to new ones (ip-sysctl, `conf/default`).
#[must_use]
pub fn has_ipv6() -> bool {
    read_setting("/proc/sys/net/ipv6/conf/default/disable_ipv6").is_some_and(|value| value == "0")
}

/// The note that this host routed nothing of a family before we asked it to.
fn note(store: &NetworkStore, ipv4: bool) -> PathBuf {
    let name = if ipv4 { ".no-routing-4" } else { ".no-routing-6" };
    store.leases.join(name)
}

/// The families, IPv4 and IPv6, in which this host routed nothing before we asked it to, and the
/// bridges that it had then.
#[must_use]
pub fn read_no_routing(store: &NetworkStore) -> ([bool; 2], Vec<String>) {
    let notes = [true, false].map(|ipv4| fs::read_to_string(note(store, ipv4)).ok());
    let bridges = notes.iter().flatten().flat_map(|text| text.lines());
    let bridges = bridges.map(str::to_owned).collect();
    (notes.map(|text| text.is_some()), bridges)
}

/// The bridges that are there.
fn read_bridges() -> Result<Vec<String>> {
    let mut socket = Socket::open_here(Protocol::Route)?;
    let mut batch = Batch::default();
    link::list(&mut batch);
    let mut bridges = Vec::new();
    socket
        .ask(&batch, |message| {
            let link = link::parse(message).filter(|link| link.kind == "bridge");
            bridges.extend(link.map(|link| link.name));
        })
        .map_err(NetError::netlink(
            "list the interfaces of this host",
            "RTM_GETLINK",
        ))?;
    Ok(bridges)
}

/// Has the host route packets of IPv4, and with `ipv6` those of IPv6. Where it did not, that
/// is noted first: then the table lets it route for our networks, and for bridges that others
/// make later, and the host does not become a router between its other interfaces.
///
/// # Errors
/// Where a setting cannot be written.
pub fn ensure_forwarding(store: &NetworkStore, ipv6: bool) -> Result<()> {
    crate::namespace::at_home(|| turn_on_forwarding(store, ipv6))
}

fn turn_on_forwarding(store: &NetworkStore, ipv6: bool) -> Result<()> {
    if read_setting(FORWARD4).as_deref() == Some("0") {
        write_note(store, true)?;
        write_setting(Path::new(FORWARD4), "1")?;
    }
    if ipv6 && read_setting(FORWARD6).as_deref() == Some("0") {
        write_note(store, false)?;
        keep_router_advertisements();
        write_setting(Path::new(FORWARD6), "1")?;
    }
    Ok(())
}

fn write_note(store: &NetworkStore, ipv4: bool) -> Result<()> {
    if !store.is_main() {
        // Several stores side by side must not drop each other's packets.
        return Ok(());
    }
    ensure_directory(&store.leases)?;
    let path = note(store, ipv4);
    // Whoever reads it reads all of it.
    let beside = path.with_extension(std::process::id().to_string());
    fs::write(&beside, read_bridges()?.join("\n"))
        .and_then(|()| fs::rename(&beside, &path))
        .map_err(NetError::file(format!("write {}", path.display())))
}

/// A router does not listen to others' advertisements unless it is told to: without this
/// the host would lose its own default route.
fn keep_router_advertisements() {
    let Ok(interfaces) = fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return;
    };
    for interface in interfaces.flatten() {
        let path = interface.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            // An interface that has just gone has no route to lose.
            fs::write(&path, "2").unwrap_or_default();
        }
    }
}
