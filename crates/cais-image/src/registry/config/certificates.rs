//! `certs.d`: authorities and our own certificate for one registry (docker's "Verify repository
//! client with certificates", containers-certs.d(5)).

use super::Places;
use super::error::ConfigError;
use crate::registry::Certificates;
use cais_order::InOrder;
use std::path::{Path, PathBuf};

/// Reads the directory of a registry: `*.crt` are authorities, `*.cert` with the `*.key` of
/// the same name is ours. The first directory that is there counts.
pub(super) fn read(places: &Places, registry: &str) -> Result<Certificates, ConfigError> {
    let mut found = Certificates::default();
    // The name was checked to be a host with an optional port: it cannot lead elsewhere.
    if crate::reference::check_registry(registry).is_err() {
        return Ok(found);
    }
    let directories = roots(places).into_iter().map(|root| root.join(registry));
    let Some(directory) = directories.into_iter().find(|directory| directory.is_dir()) else {
        return Ok(found);
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ConfigError::Io {
            action: "read",
            path,
            source,
        }
    };
    let entries = std::fs::read_dir(&directory).map_err(failed(&directory))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.order();
    for path in paths {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found
                .authorities
                .push(std::fs::read(&path).map_err(failed(&path))?),
            Some("cert") if found.client.is_none() => {
                let key = path.with_extension("key");
                if !key.exists() {
                    return Err(ConfigError::File {
                        path,
                        detail: format!("its key {} is missing", key.display()),
                    });
                }
                let chain = std::fs::read(&path).map_err(failed(&path))?;
                found.client = Some((chain, std::fs::read(&key).map_err(failed(&key))?));
            }
            Some("key") if !path.with_extension("cert").exists() => {
                let detail = "its certificate (the same name with .cert) is missing".to_owned();
                return Err(ConfigError::File { path, detail });
            }
            _ => {}
        }
    }
    Ok(found)
}

fn roots(places: &Places) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    if let Some(config) = &places.config_home {
        roots.push(config.join("containers/certs.d"));
        roots.push(config.join("docker/certs.d"));
    }
    roots.push(places.system.join("containers/certs.d"));
    roots.push(places.system.join("docker/certs.d"));
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_registry() {
        let base = std::env::temp_dir().join(format!("cais-certs-{}", std::process::id()));
        let directory = base.join("docker/certs.d/r.example:5000");
        std::fs::create_dir_all(&directory).unwrap();
        let places = Places {
            system: base.clone(),
            ..Places::default()
        };
        let file = |name: &str| std::fs::write(directory.join(name), name).unwrap();
        ["ca.crt", "our.cert", "our.key", "README"]
            .into_iter()
            .for_each(file);
        let found = read(&places, "r.example:5000").unwrap();
        assert_eq!(found.authorities, [b"ca.crt".to_vec()]);
        assert_eq!(found.client, Some((b"our.cert".to_vec(), b"our.key".to_vec())));
        assert_eq!(read(&places, "r.example").unwrap(), Certificates::default());
        assert_eq!(read(&places, "../x").unwrap(), Certificates::default());
        std::fs::remove_file(directory.join("our.key")).unwrap();
        assert!(
            read(&places, "r.example:5000")
                .unwrap_err()
                .to_string()
                .contains("our.key")
        );
        file("our.key");
        std::fs::remove_file(directory.join("our.cert")).unwrap();
        assert!(
            read(&places, "r.example:5000")
                .unwrap_err()
                .to_string()
                .contains(".cert")
        );
        std::fs::remove_dir_all(&base).unwrap();
    }
}
