//! A question against the names of a container's networks. Pure, but for reading the
//! networks' files.

use super::config::ResolverConfig;
use super::message::{Answer, CLASS_IN, Question, Rcode, Record, kind};
use super::name::Name;
use super::name_file::Value;
use super::name_reader::NameReaders;
use cais_linux::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is to be done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered here.
    Here(Answer),
    /// It is for the upstream servers.
    Upstream,
}

/// Names that are answered here may change at any time: nobody is to keep them.
const LOCAL_TTL: u32 = 0;

/// Looks up a question. Networks are asked in the order of the configuration; the first
/// that has the name answers.
///
/// # Errors
/// Where the names of a network cannot be read.
pub fn look_up(config: &ResolverConfig, readers: &mut NameReaders, question: &Question) -> Result<Verdict> {
    if question.class != CLASS_IN {
        return Ok(Verdict::Here(Answer::empty(Rcode::Refused)));
    }
    let Some(key) = question.name.text() else {
        return Ok(elsewhere(config));
    };
    if let Some(address) = question.name.reverse_address() {
        return look_up_address((config, readers), question, &key, address);
    }
    let values = find_name(config, readers, &key)?;
    if values.is_empty() {
        return Ok(elsewhere(config));
    }
    let wanted = |address: &IpAddr| match question.kind {
        kind::A => address.is_ipv4(),
        kind::AAAA => address.is_ipv6(),
        kind::ANY => true,
        _ => false,
    };
    Ok(found(
        values.into_iter().filter(wanted).map(Record::Address).collect(),
    ))
}

/// A name that exists, with the records that were asked for; perhaps there are none.
fn found(records: Vec<Record>) -> Verdict {
    Verdict::Here(Answer {
        records,
        ttl: LOCAL_TTL,
        ..Answer::empty(Rcode::NoError)
    })
}

/// A name that is not known here. Where nothing goes out it does not exist.
fn elsewhere(config: &ResolverConfig) -> Verdict {
    if config.forward {
        Verdict::Upstream
    } else {
        Verdict::Here(Answer::empty(Rcode::NxDomain))
    }
}

/// The addresses that this name has in the first network that knows it.
fn find_name(config: &ResolverConfig, readers: &mut NameReaders, key: &str) -> Result<Vec<IpAddr>> {
    // RFC 6761, 6.3: these never leave the machine.
    if key == "localhost" || key.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if let Some(host) = config.hosts.iter().find(|host| host.name == key) {
        return Ok(host.addresses.clone());
    }
    for (network, reader) in readers.beside(&config.networks) {
        let within = key
            .strip_suffix(network.name.to_ascii_lowercase().as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        for candidate in [Some(key), within].into_iter().flatten() {
            let values = reader.look_up(candidate)?.into_iter();
            let addresses: Vec<IpAddr> = values
                .filter_map(|value| match value {
                    Value::Address(address) => Some(address),
                    Value::Pointer(_) => None,
                })
                .collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
        }
    }
    Ok(Vec::new())
}

/// The names of an address. What lies in one of our own networks is nobody else's.
fn look_up_address(
    (config, readers): (&ResolverConfig, &mut NameReaders),
    question: &Question,
    key: &str,
    address: IpAddr,
) -> Result<Verdict> {
    for (_, reader) in readers.beside(&config.networks) {
        let values = reader.look_up(key)?;
        let names: Vec<Record> = values
            .into_iter()
            .filter_map(|value| match value {
                Value::Pointer(name) => Name::from_text(&name).map(Record::Pointer),
                Value::Address(_) => None,
            })
            .collect();
        if !names.is_empty() {
            let asked = matches!(question.kind, kind::PTR | kind::ANY);
            return Ok(found(if asked { names } else { Vec::new() }));
        }
    }
    let ours = config
        .networks
        .iter()
        .flat_map(|network| &network.subnets)
        .any(|subnet| subnet.contains(address));
    Ok(if ours {
        Verdict::Here(Answer::empty(Rcode::NxDomain))
    } else {
        elsewhere(config)
    })
}

#[cfg(test)]
mod tests {
    use super::super::config::{HostName, NetworkNames};
    use super::super::name_file::{NameFile, plan_entries};
    use super::*;
    use crate::subnet::Subnet;

    fn ask(config: &ResolverConfig, name: &str, kind: u16) -> String {
        let question = Question {
            name: Name::from_text(name).unwrap(),
            kind,
            class: CLASS_IN,
        };
        match look_up(config, &mut NameReaders::default(), &question).unwrap() {
            Verdict::Upstream => "upstream".to_owned(),
            Verdict::Here(answer) if answer.rcode != Rcode::NoError => format!("{:?}", answer.rcode),
            Verdict::Here(answer) => answer
                .records
                .iter()
                .map(|record| match record {
                    Record::Address(address) => address.to_string(),
                    Record::Pointer(name) => name.to_string(),
                })
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn names_addresses_and_what_is_neither() {
        let base = std::env::temp_dir().join(format!("cais-lookup-{}", std::process::id()));
        let mut config = ResolverConfig {
            hosts: vec![HostName {
                name: "host.docker.internal".to_owned(),
                addresses: vec!["10.0.0.1".parse().unwrap()],
            }],
            forward: true,
            ..ResolverConfig::default()
        };
        for (network, address, names) in [
            ("front", "10.0.0.2", &["web", "app", "web.shop"][..]),
            ("Back", "10.0.1.2", &["db", "app"]),
        ] {
            let directory = base.join(network);
            std::fs::create_dir_all(&directory).unwrap();
            let addresses = [address.parse().unwrap(), "fd00::2".parse().unwrap()];
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let count = if network == "front" { 2 } else { 1 };
            let planned = plan_entries(&names, network, &addresses[..count]);
            NameFile::new(&directory).add("owner", &planned).unwrap();
            config.networks.push(NetworkNames {
                name: network.to_owned(),
                directory,
                subnets: vec![Subnet::new(address.parse().unwrap(), 24)],
            });
        }
        let mut closed = config.clone();
        closed.forward = false;
        for (name, kind, open, shut) in [
            ("web", kind::A, "10.0.0.2", "10.0.0.2"),
            ("WEB.Front", kind::A, "10.0.0.2", "10.0.0.2"),
            ("web.shop", kind::A, "10.0.0.2", "10.0.0.2"),
            ("web", kind::AAAA, "fd00::2", "fd00::2"),
            ("web", kind::ANY, "10.0.0.2 fd00::2", "10.0.0.2 fd00::2"),
            // It exists, but has no such record.
            ("db", kind::AAAA, "", ""),
            ("db", 15, "", ""),
            ("db.back", kind::A, "10.0.1.2", "10.0.1.2"),
            ("app", kind::A, "10.0.0.2", "10.0.0.2"),
            ("app.back", kind::A, "10.0.1.2", "10.0.1.2"),
            ("db.front", kind::A, "upstream", "NxDomain"),
            ("example.org", kind::A, "upstream", "NxDomain"),
            ("localhost", kind::AAAA, "::1", "::1"),
            ("a.localhost", kind::A, "127.0.0.1", "127.0.0.1"),
            ("host.docker.internal", kind::A, "10.0.0.1", "10.0.0.1"),
            ("2.0.0.10.in-addr.arpa", kind::PTR, "web.front.", "web.front."),
            ("2.0.0.10.in-addr.arpa", kind::A, "", ""),
            ("9.0.0.10.in-addr.arpa", kind::PTR, "NxDomain", "NxDomain"),
            ("9.9.0.10.in-addr.arpa", kind::PTR, "upstream", "NxDomain"),
        ] {
            assert_eq!(ask(&config, name, kind), open, "{name} {kind}");
            assert_eq!(ask(&closed, name, kind), shut, "{name} {kind}, closed");
        }
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn other_classes_are_refused() {
        let question = Question {
            name: Name::from_text("version.bind").unwrap(),
            kind: 16,
            class: 3,
        };
        let config = ResolverConfig {
            forward: true,
            ..ResolverConfig::default()
        };
        assert_eq!(
            look_up(&config, &mut NameReaders::default(), &question),
            Ok(Verdict::Here(Answer::empty(Rcode::Refused)))
        );
    }
}
