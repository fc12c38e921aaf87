//! Ports as `ps` shows them.

use cais_engine::inspect::host_addresses;
use cais_engine::publish::PublishedPort;
use cais_json::{Map, Value};
use cais_order::InOrder;

/// Published ports as `0.0.0.0:8080->80/tcp`, and ports that are only exposed as `80/tcp`. As
/// with Docker those in a row are one where they are the same on the host, and stand first.
pub(super) fn port_list(published: &[PublishedPort], exposed: &Map<String, Value>) -> String {
    // The port, the address, the port of the host, the protocol.
    let mut all: Vec<(u16, String, u16, String)> = Vec::new();
    for port in published {
        for mut address in host_addresses(port) {
            if address.contains(':') {
                address = format!("[{address}]");
            }
            let protocol = port.protocol.to_string();
            all.push((port.container_port, address, port.host_port, protocol));
        }
    }
    let is_published = |key: &str| {
        published
            .iter()
            .any(|port| key == format!("{}/{}", port.container_port, port.protocol))
    };
    for key in exposed.keys().filter(|key| !is_published(key)) {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        all.push((port.parse().unwrap_or(0), String::new(), 0, protocol.to_owned()));
    }
    all.order();
    let (mut texts, mut rows, mut mapped) = (Vec::new(), Vec::<Row>::new(), Vec::new());
    for (port, address, outside, protocol) in all {
        if !address.is_empty() && outside != port {
            mapped.push(format!("{address}:{outside}->{port}/{protocol}"));
            continue;
        }
        let known = rows
            .iter_mut()
            .find(|row| row.address == address && row.protocol == protocol);
        match known {
            Some(row) if row.last.checked_add(1) == Some(port) => row.last = port,
            Some(row) => {
                texts.push(row.text());
                (row.first, row.last) = (port, port);
            }
            None => rows.push(Row {
                address,
                protocol,
                first: port,
                last: port,
            }),
        }
    }
    texts.extend(rows.iter().map(Row::text));
    texts.extend(mapped);
    texts.join(", ")
}

/// Ports in a row, the same on the host, or only exposed.
struct Row {
    address: String,
    protocol: String,
    first: u16,
    last: u16,
}

impl Row {
    fn text(&self) -> String {
        let ports = match self.first {
            first if first == self.last => first.to_string(),
            first => format!("{first}-{}", self.last),
        };
        let protocol = &self.protocol;
        match self.address.as_str() {
            "" => format!("{ports}/{protocol}"),
            address => format!("{address}:{ports}->{ports}/{protocol}"),
        }
    }
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
            // What Docker 20.10 says of these, but for the brackets.
            (vec![], "80/tcp, 443/tcp"),
            (
                vec![port(None, 8080, 80)],
                "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                vec![port(local, 1, 1), port(local, 3, 3), port(local, 2, 2)],
                "80/tcp, 127.0.0.1:1-3->1-3/tcp, 443/tcp",
            ),
            (
                vec![port(local, 1, 1), port(local, 3, 2)],
                "80/tcp, 127.0.0.1:1->1/tcp, 443/tcp, 127.0.0.1:3->2/tcp",
            ),
        ] {
            assert_eq!(port_list(&ports, &exposed), want);
        }
    }
}
