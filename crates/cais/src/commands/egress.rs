//! `cais network egress`: what a container may reach, and what it was refused.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais_engine::network::hold::{Egress, read_egress};
use cais_json::json;
use std::fmt::Write;

pub(super) fn show(container: &str, as_json: bool) -> Result<u8, Failure> {
    let failed = |error| Failure::from(error).code(1);
    let engine = engine().map_err(|failure| failure.code(1))?;
    let egress = read_egress(&engine.store, container).map_err(failed)?;
    print(&if as_json {
        in_json(&egress)
    } else {
        in_words(&egress)
    })?;
    Ok(0)
}

/// The name of a protocol above IP, or its number.
fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => other.to_string(),
    }
}

fn in_json(egress: &Egress) -> String {
    let refused = egress.refused.iter().map(|refusal| {
        json!({
            "Address": refusal.address,
            "Protocol": protocol(refusal.protocol),
            "Port": refusal.port,
            "Packets": refusal.packets,
        })
    });
    let names = egress
        .refused_names
        .iter()
        .map(|(name, count)| json!({ "Name": name, "Questions": count }));
    let value = json!({
        "Policy": if egress.allowed.is_some() { "deny" } else { "allow" },
        "Allowed": egress.allowed,
        "Refused": refused.collect::<Vec<_>>(),
        "RefusedNames": names.collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

fn in_words(egress: &Egress) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let mut line = |words: String| writeln!(text, "{words}").unwrap_or_default();
    let Some(allowed) = &egress.allowed else {
        return "everything may be reached\n".to_owned();
    };
    line(format!("{:<44} {:>9}", "REFUSED", "PACKETS"));
    for refusal in &egress.refused {
        let address = match (refusal.port, refusal.address.is_ipv6()) {
            (0, _) => refusal.address.to_string(),
            (port, true) => format!("[{}]:{port}", refusal.address),
            (port, false) => format!("{}:{port}", refusal.address),
        };
        let what = format!("{address}/{}", protocol(refusal.protocol));
        line(format!("{what:<44} {:>9}", refusal.packets));
    }
    line(format!("\n{:<44} {:>9}", "REFUSED NAME", "QUESTIONS"));
    for (name, count) in &egress.refused_names {
        line(format!("{name:<44} {count:>9}"));
    }
    line("\nALLOWED".to_owned());
    for allowance in allowed {
        line(allowance.to_string());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use cais_net::egress::table::Refusal;

    #[test]
    fn in_words_and_in_json() {
        let egress = Egress {
            allowed: Some(vec!["github.com:443".parse().unwrap()]),
            refused: vec![Refusal {
                address: "192.0.2.1".parse().unwrap(),
                protocol: 6,
                port: 22,
                packets: 3,
            }],
            refused_names: vec![("evil.example".to_owned(), 2)],
        };
        let words = in_words(&egress);
        for part in ["192.0.2.1:22/tcp", "evil.example", "github.com:443"] {
            assert!(words.contains(part), "{words}");
        }
        let value: cais_json::Value = cais_json::from_str(&in_json(&egress)).unwrap();
        assert_eq!(value["Refused"][0]["Packets"], 3);
        assert_eq!(value["Allowed"][0], "github.com:443");
    }
}
