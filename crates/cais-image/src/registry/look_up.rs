//! Where a host is. The C library finds that out with libraries of the machine, which a static
//! executable cannot count on: whoever uses this crate says how.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Finds the addresses of a host by its name, within a time.
#[derive(Debug, Clone, Copy)]
pub struct LookUp(pub fn(&str, Duration) -> io::Result<Vec<IpAddr>>);

impl Default for LookUp {
    /// Knows this machine only.
    fn default() -> Self {
        Self(|host, _| match host {
            "localhost" => Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }
}

impl Resolver for LookUp {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = match bare.parse() {
            Ok(address) => vec![address],
            Err(_) => (self.0)(bare, *timeout.after).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => ureq::Error::HostNotFound,
                _ => ureq::Error::Io(error),
            })?,
        };
        let port = uri
            .port_u16()
            .unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = found.into_iter().map(|address| SocketAddr::new(address, port));
        let mut all = self.empty();
        // So many fit.
        for address in config.ip_family().keep_wanted(found).take(16) {
            all.push(address);
        }
        if all.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        Ok(all)
    }
}
