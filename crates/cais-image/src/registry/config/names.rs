//! Short names: what `nginx` or `team/web:1` may mean (containers-registries.conf(5),
//! "Short-Name Aliasing").

use super::error::ConfigError;
use super::registries::{Mode, Registries};
use crate::reference::{DOCKER_HUB, Reference};

/// The full names that `text` may mean, in the order in which they are tried. Without any
/// configuration a short name is Docker Hub's.
pub(super) fn resolve(registries: &Registries, text: &str) -> Result<Vec<Reference>, ConfigError> {
    let plain: Reference = text.parse()?;
    if !Reference::is_short(text) {
        return Ok(vec![plain]);
    }
    let short = short_name(text);
    if let Some(full) = registries.aliases.get(short) {
        let rest = text.strip_prefix(short).unwrap_or("");
        return Ok(vec![format!("{full}{rest}").parse()?]);
    }
    let search = &registries.search;
    match (search.len(), registries.mode) {
        (0, _) => Ok(vec![Reference::parse_in(text, DOCKER_HUB)?]),
        (2.., Mode::Enforcing) => Err(ConfigError::Ambiguous {
            name: text.to_owned(),
            registries: search.clone(),
        }),
        _ => search
            .iter()
            .map(|registry| Reference::parse_in(text, registry).map_err(ConfigError::from))
            .collect(),
    }
}

/// Without tag and digest.
fn short_name(text: &str) -> &str {
    let name = text.split('@').next().unwrap_or(text);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        let mut registries = Registries::default();
        let found = |registries: &Registries, text: &str| {
            resolve(registries, text)
                .map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found(&registries, "nginx").unwrap(), "docker.io/library/nginx");
        registries.aliases.insert("web".into(), "quay.io/team/web".into());
        registries.search = vec!["one.example".into(), "two.example:5000".into()];
        for (text, expected) in [
            ("web:1", "quay.io/team/web:1"),
            ("nginx:1", "one.example/nginx:1 two.example:5000/nginx:1"),
            ("team/web", "one.example/team/web two.example:5000/team/web"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("localhost/web", "localhost/web"),
        ] {
            assert_eq!(found(&registries, text).unwrap(), expected, "{text}");
        }
        registries.mode = Mode::Enforcing;
        let error = found(&registries, "nginx").unwrap_err().to_string();
        assert!(error.contains("one.example, two.example:5000"), "{error}");
        assert_eq!(found(&registries, "web").unwrap(), "quay.io/team/web");
        assert!(found(&registries, "-").is_err());
    }
}
