//! `cais port`.

use super::{engine, privileged_engine, sweep};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::PortArgs;
use cais_engine::inspect::{host_addresses, read_endpoints};
use cais_engine::list;
use cais_engine::network::ports;
use cais_engine::options::network::parse_publish;
use cais_order::InOrder;
use std::fmt::Write;

pub(crate) fn port(args: &PortArgs) -> Result<u8, Failure> {
    if !args.mappings.is_empty() {
        return change(args);
    }
    let engine = engine()?;
    let container = list::container(&engine.store, &args.container)?;
    let wanted = args.port.as_deref().map(parse_port).transpose()?;
    let mut ports = read_endpoints(&engine, &container)?.ports;
    ports.order_by_key(|port| (port.container_port, port.protocol));
    let mut text = String::new();
    for port in &ports {
        let inside = format!("{}/{}", port.container_port, port.protocol);
        if wanted.as_ref().is_some_and(|wanted| *wanted != inside) {
            continue;
        }
        for address in host_addresses(port) {
            let address = if address.contains(':') {
                format!("[{address}]")
            } else {
                address
            };
            // Writing to a String cannot fail.
            match wanted {
                Some(_) => writeln!(text, "{address}:{}", port.host_port),
                None => writeln!(text, "{inside} -> {address}:{}", port.host_port),
            }
            .unwrap_or_default();
        }
    }
    match wanted {
        Some(wanted) if text.is_empty() => Err(Failure::new(format!(
            "No public port '{wanted}' published for {}",
            args.container
        ))),
        _ => {
            print(&text)?;
            Ok(0)
        }
    }
}

/// `80` or `80/udp`, as `80/udp`.
fn parse_port(text: &str) -> Result<String, Failure> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number: u16 = port
        .parse()
        .map_err(|_bad| Failure::new(format!("{port:?} is not a port: give a number up to 65535")))?;
    Ok(format!("{number}/{protocol}"))
}

/// `cais port add` and `cais port rm`.
fn change(args: &PortArgs) -> Result<u8, Failure> {
    let act = match args.container.as_str() {
        "add" => ports::add,
        "rm" | "remove" => ports::remove,
        _ => {
            return Err(Failure::new(
                "usage: cais port CONTAINER [PORT], cais port add CONTAINER PORTS…, cais port rm CONTAINER PORTS…",
            ));
        }
    };
    let container = args.port.as_deref().unwrap_or_default();
    let mappings = args.mappings.iter().map(|text| parse_publish(text));
    let mappings = mappings.collect::<Result<Vec<_>, _>>()?;
    let engine = privileged_engine()?;
    sweep(&engine);
    for mapping in &mappings {
        let mut text = String::new();
        for port in act(&engine, container, mapping)? {
            let inside = format!("{}/{}", port.container_port, port.protocol);
            // Writing to a String cannot fail.
            writeln!(text, "{inside} -> {}", port.host_text()).unwrap_or_default();
        }
        print(&text)?;
    }
    Ok(0)
}
