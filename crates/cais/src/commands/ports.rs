//! Ports as `ps` shows them.

use cais_engine::inspect::host_addresses;
use cais_engine::publish::PublishedPort;
use cais_json::{Map, Value};
use cais_order::InOrder;
use std::collections::BTreeMap;

/// Ports in a row: the first of the container, the first of the host, and how many.
#[derive(Debug, Clone, Copy)]
struct Run {
    inside: u16,
    outside: u16,
    count: u16,
}

/// Published ports as `0.0.0.0:8080->80/tcp`, those in a row as one, and ports that are only
/// exposed as `80/tcp`.
pub(super) fn port_list(published: &[PublishedPort], exposed: &Map<String, Value>) -> String {
    let mut all: BTreeMap<(String, String), Vec<(u16, u16)>> = BTreeMap::new();
    for port in published {
        for address in host_addresses(port) {
            let key = (port.protocol.to_string(), address);
            all.entry(key)
                .or_default()
                .push((port.container_port, port.host_port));
        }
    }
    let mut texts = Vec::new();
    for ((protocol, address), mut ports) in all {
        ports.order();
        for run in runs(&ports) {
            let range = |first: u16| match run.count {
                1 => first.to_string(),
                count => format!("{first}-{}", first.saturating_add(count - 1)),
            };
            let address = if address.contains(':') {
                format!("[{address}]")
            } else {
                address.clone()
            };
            texts.push((
                run.inside,
                format!(
                    "{address}:{}->{}/{protocol}",
                    range(run.outside),
                    range(run.inside)
                ),
            ));
        }
    }
    let is_published = |key: &str| {
        published
            .iter()
            .any(|port| key == format!("{}/{}", port.container_port, port.protocol))
    };
    for key in exposed.keys().filter(|key| !is_published(key)) {
        let number = key.split('/').next().and_then(|number| number.parse().ok());
        texts.push((number.unwrap_or(0), key.clone()));
    }
    texts.order_by_key(|(port, _)| *port);
    let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
    texts.join(", ")
}

/// Pairs of ports, sorted, as runs in which both grow by one.
fn runs(ports: &[(u16, u16)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &(inside, outside) in ports {
        let continued = runs.last_mut().filter(|run| {
            run.inside.checked_add(run.count) == Some(inside)
                && run.outside.checked_add(run.count) == Some(outside)
        });
        match continued {
            Some(run) => run.count += 1,
            None => runs.push(Run {
                inside,
                outside,
                count: 1,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use cais_engine::publish::Protocol;
    use std::net::Ipv4Addr;

    #[test]
    fn ports_as_ps_shows_them() {
        let port = |host: Option<Ipv4Addr>, outside, inside| PublishedPort {
            host: host.map(Into::into),
            host_port: outside,
            container_port: inside,
            protocol: Protocol::Tcp,
        };
        let local = Some(Ipv4Addr::LOCALHOST);
        let mut exposed = Map::new();
        exposed.insert("80/tcp".to_owned(), Value::Null);
        exposed.insert("443/tcp".to_owned(), Value::Null);
        for (ports, want) in [
            (vec![], "80/tcp, 443/tcp"),
            (
                vec![port(None, 8080, 80)],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp, 443/tcp",
            ),
            (
                vec![port(local, 1, 1), port(local, 3, 3), port(local, 2, 2)],
                "127.0.0.1:1-3->1-3/tcp, 80/tcp, 443/tcp",
            ),
            (
                vec![port(local, 1, 1), port(local, 3, 2)],
                "127.0.0.1:1->1/tcp, 127.0.0.1:3->2/tcp, 80/tcp, 443/tcp",
            ),
        ] {
            assert_eq!(port_list(&ports, &exposed), want);
        }
    }
}
