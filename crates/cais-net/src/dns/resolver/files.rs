//! Files that may be replaced at any time, read again when they are others.

use super::super::config::ResolverConfig;
use super::super::resolv_conf::{ResolvConf, Server};
use cais_linux::{Result, SysError};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What tells two versions of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: i64,
    seconds: i64,
    nanoseconds: i64,
}

fn read_version(path: &Path) -> Option<Version> {
    let stat = rustix::fs::stat(path).ok()?;
    Some(Version {
        inode: stat.st_ino,
        size: stat.st_size,
        seconds: stat.st_mtime,
        nanoseconds: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    })
}

/// The resolver's configuration.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    version: Option<Version>,
    value: ResolverConfig,
}

impl ConfigFile {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Where it is not there or damaged.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let version = read_version(path);
        let value = read_config(path)?;
        Ok(Self {
            path: path.to_owned(),
            version,
            value,
        })
    }

    /// The configuration as it is now; the last good one where it cannot be read.
    pub(super) fn current(&mut self) -> &ResolverConfig {
        let version = read_version(&self.path);
        if version.is_some()
            && version != self.version
            && let Ok(value) = read_config(&self.path)
        {
            self.version = version;
            self.value = value;
        }
        &self.value
    }
}

fn read_config(path: &Path) -> Result<ResolverConfig> {
    let text = std::fs::read(path).map_err(|error| SysError::from_io("open", format!("{path:?}"), &error))?;
    cais_json::from_slice(&text)
        .map_err(|_damaged| SysError::new("parse", format!("{path:?}"), Errno::BADMSG))
}

/// The host's resolv.conf(5).
#[derive(Debug)]
pub(super) struct HostFile {
    path: PathBuf,
    version: Option<Version>,
    value: ResolvConf,
}

/// Servers, patience, and whether they are to take turns.
pub(super) type Servers = (Vec<SocketAddr>, (Duration, u32), bool);

impl HostFile {
    /// The file at this path, which is read when it is needed.
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            version: None,
            value: ResolvConf::default(),
        }
    }

    /// Whom to ask: those that are `given`, or else the host's servers.
    pub(super) fn servers(&mut self, given: &[String]) -> Servers {
        let version = read_version(&self.path);
        if version != self.version {
            let text = std::fs::read(&self.path).unwrap_or_default();
            self.value = ResolvConf::parse(&String::from_utf8_lossy(&text));
            self.version = version;
        }
        let addresses = if given.is_empty() {
            let servers = self.value.servers.iter();
            servers
                .filter_map(|server| server.socket_address(find_interface))
                .collect()
        } else {
            given.iter().filter_map(|server| parse_given(server)).collect()
        };
        let rotates = self.value.options.iter().any(|option| option == "rotate");
        (addresses, self.value.patience(), rotates)
    }
}

/// A server of the configuration: an address, perhaps with a port.
fn parse_given(text: &str) -> Option<SocketAddr> {
    let server = || Server::parse(text)?.socket_address(find_interface);
    text.parse().ok().or_else(server)
}

/// The number of an interface of the host.
fn find_interface(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex"))
        .ok()
        .filter(|_| !name.contains('/'))?
        .trim()
        .parse()
        .ok()
}
