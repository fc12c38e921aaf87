//! Docker's `daemon.json`, as far as it says where images are: `registry-mirrors` of Docker
//! Hub, `insecure-registries`. Who comes from Docker has them there.

use super::error::ConfigError;
use super::registries::{Mirror, Registries, Table};
use super::{Places, read_file};
use crate::reference::{DOCKER_HUB, check_registry};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

/// Reads it; nothing where there is none. Ranges of addresses (`10.0.0.0/8`) are left out:
/// names are not looked up here.
pub(super) fn read(places: &Places) -> Result<Registries, ConfigError> {
    let path = places.system.join("docker/daemon.json");
    let mut found = Registries::default();
    let Some(text) = read_file(&path)? else {
        return Ok(found);
    };
    let file: File = cais_json::from_str(&text).map_err(|error| ConfigError::File {
        path,
        detail: error.to_string(),
    })?;
    found.add_tables(plan_tables(&file));
    Ok(found)
}

fn plan_tables(file: &File) -> Vec<Table> {
    let mut tables = Vec::new();
    let is_insecure = |host: &str| file.insecure_registries.iter().any(|own| own == host);
    let mirrors = file.registry_mirrors.iter().filter_map(|url| {
        let (scheme, rest) = url.split_once("://")?;
        let location = rest.trim_end_matches('/').to_owned();
        let host = location.split('/').next().unwrap_or("");
        check_registry(host).is_ok().then(|| Mirror {
            insecure: scheme == "http" || is_insecure(host),
            location: location.clone(),
            ..Mirror::default()
        })
    });
    let mirrors: Vec<Mirror> = mirrors.collect();
    if !mirrors.is_empty() {
        tables.push(Table {
            prefix: DOCKER_HUB.to_owned(),
            location: DOCKER_HUB.to_owned(),
            mirrors,
            ..Table::default()
        });
    }
    let hosts = file
        .insecure_registries
        .iter()
        .filter(|host| check_registry(host).is_ok());
    tables.extend(hosts.map(|host| Table {
        prefix: host.clone(),
        location: host.clone(),
        insecure: true,
        ..Table::default()
    }));
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_insecure_registries() {
        let file: File = cais_json::from_str(
            r#"{"registry-mirrors": ["https://m.example/", "http://n.example:5000", "x"],
                "insecure-registries": ["i.example:5000", "10.0.0.0/8", "m.example"], "log-level": "warn"}"#,
        )
        .unwrap();
        let tables = plan_tables(&file);
        let hub = &tables[0].mirrors;
        assert_eq!((hub[0].location.as_str(), hub[0].insecure), ("m.example", true));
        assert_eq!(
            (hub[1].location.as_str(), hub[1].insecure),
            ("n.example:5000", true)
        );
        let hosts: Vec<&str> = tables[1..].iter().map(|table| table.prefix.as_str()).collect();
        assert_eq!(hosts, ["i.example:5000", "m.example"]);
    }
}
