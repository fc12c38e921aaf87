//! Files with logins: Docker's `config.json` and containers' `auth.json`
//! (containers-auth.json(5)), which have one form.

use super::error::ConfigError;
use super::helper::Helper;
use super::{read_file, write};
use crate::reference::DOCKER_HUB;
use crate::registry::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cais_json::{Map, Value, json};
use cais_order::InOrder;
use std::path::{Path, PathBuf};

/// The name under which Docker keeps the login of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// Other names of Docker Hub in such files.
const DOCKER_HUB_ALIASES: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "docker.io"];

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Docker's: Docker Hub is called `https://index.docker.io/v1/`.
    Docker,
    /// Containers': Docker Hub is called `docker.io`, and keys may have a path.
    Containers,
}

/// A file with logins. What is not understood in it is kept when it is written.
#[derive(Debug, Clone)]
pub struct AuthFile {
    path: PathBuf,
    flavour: Flavour,
    document: Map<String, Value>,
}

impl AuthFile {
    /// Reads a file; `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be read, or is no JSON.
    pub fn read(path: &Path, flavour: Flavour) -> Result<Option<Self>, ConfigError> {
        let text = read_file(path)?;
        text.map(|text| Self::parse(path, flavour, &text)).transpose()
    }

    /// Parses what was read from a file.
    ///
    /// # Errors
    /// Where it is no JSON.
    pub fn parse(path: &Path, flavour: Flavour, text: &str) -> Result<Self, ConfigError> {
        let document = if text.trim().is_empty() {
            Map::new()
        } else {
            cais_json::from_str(text).map_err(|error| ConfigError::File {
                path: path.to_owned(),
                detail: error.to_string(),
            })?
        };
        Ok(Self {
            path: path.to_owned(),
            flavour,
            document,
        })
    }

    /// A file that is to be made.
    #[must_use]
    pub fn new(path: &Path, flavour: Flavour) -> Self {
        Self {
            path: path.to_owned(),
            flavour,
            document: Map::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a program keeps the secrets of this registry.
    #[must_use]
    pub fn has_helper(&self, registry: &str) -> bool {
        self.helper(registry).is_some()
    }

    /// `HttpHeaders`: to be sent with each request.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let headers = self.document.get("HttpHeaders").and_then(Value::as_object);
        let headers = headers.into_iter().flatten();
        headers
            // Docker takes no name of the program from here either.
            .filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent"))
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect()
    }

    /// The login for a repository: the longest key that it begins with, by whole parts.
    ///
    /// # Errors
    /// Where what is kept for it is no login, or the program that keeps it fails.
    pub fn find(&self, registry: &str, repository: &str) -> Result<Option<Credentials>, ConfigError> {
        if let Some((helper, server)) = self.helper(registry)
            && let Some(found) = helper.get(&server)?
        {
            return Ok(Some(found));
        }
        let Some(auths) = self.document.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        let mut scope = format!("{}/{repository}", canonical(registry));
        loop {
            let mut same = auths.iter().filter(|(key, _)| normal(key) == scope);
            // A key in today's form wins over an old one with a scheme.
            let exact = same
                .clone()
                .find(|(key, _)| **key == scope || *key == DOCKER_HUB_KEY);
            if let Some((key, entry)) = exact.or_else(|| same.next())
                && let Some(found) = self.parse_entry(key, entry)?
            {
                return Ok(Some(found));
            }
            match scope.rfind('/') {
                Some(end) => scope.truncate(end),
                None => return Ok(None),
            }
        }
    }

    fn parse_entry(&self, key: &str, entry: &Value) -> Result<Option<Credentials>, ConfigError> {
        let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials::IdentityToken(token.to_owned())));
        }
        if let Some(token) = text("registrytoken") {
            return Ok(Some(Credentials::RegistryToken(token.to_owned())));
        }
        if let Some(encoded) = text("auth") {
            let bad = || ConfigError::File {
                path: self.path.clone(),
                detail: format!("auths: {key:?}: auth is not the base64 of USER:PASSWORD"),
            };
            let bytes = STANDARD.decode(encoded.trim()).map_err(|_not_base64| bad())?;
            let decoded = String::from_utf8(bytes).map_err(|_not_text| bad())?;
            let (username, password) = decoded.split_once(':').ok_or_else(bad)?;
            return Ok(Some(Credentials::Password {
                username: username.to_owned(),
                // Old versions of Docker filled up with zeros.
                password: password.trim_end_matches('\0').to_owned(),
            }));
        }
        let login = text("username").zip(text("password"));
        Ok(login.map(|(username, password)| Credentials::Password {
            username: username.to_owned(),
            password: password.to_owned(),
        }))
    }

    /// The program that keeps the login of a registry, and what it calls the registry.
    fn helper(&self, registry: &str) -> Option<(Helper, String)> {
        let own = self.document.get("credHelpers").and_then(Value::as_object);
        let wanted = canonical(registry);
        let mut own = own.into_iter().flatten();
        if let Some((key, name)) = own.find(|(key, _)| normal(key) == wanted) {
            return Some((Helper::new(name.as_str()?, &self.path), key.clone()));
        }
        let store = self.document.get("credsStore")?.as_str()?;
        (!store.is_empty()).then(|| (Helper::new(store, &self.path), self.key(registry)))
    }

    /// What a registry is called in a file of this kind.
    fn key(&self, registry: &str) -> String {
        match (canonical(registry), self.flavour) {
            (DOCKER_HUB, Flavour::Docker) => DOCKER_HUB_KEY.to_owned(),
            (name, _) => name.to_owned(),
        }
    }

    /// Keeps a login, in the program that keeps secrets if there is one, else in the file.
    ///
    /// # Errors
    /// Where the file cannot be written, or the program fails.
    pub fn store(&mut self, registry: &str, credentials: &Credentials) -> Result<(), ConfigError> {
        let key = self.key(registry);
        let entry = match self.helper(registry) {
            Some((helper, server)) => {
                helper.store(&server, credentials)?;
                json!({})
            }
            None => match credentials {
                Credentials::Password { username, password } => {
                    json!({"auth": STANDARD.encode(format!("{username}:{password}"))})
                }
                Credentials::IdentityToken(token) => json!({"identitytoken": token}),
                Credentials::RegistryToken(token) => json!({"registrytoken": token}),
            },
        };
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths[key] = entry;
        self.write()
    }

    /// Forgets the login of a registry, in whatever form its name is written; `false` where
    /// there was none.
    ///
    /// # Errors
    /// As [`AuthFile::store`].
    pub fn erase(&mut self, registry: &str) -> Result<bool, ConfigError> {
        let mut had = false;
        if let Some((helper, server)) = self.helper(registry) {
            had |= helper.erase(&server)?;
        }
        let wanted = canonical(registry).to_owned();
        if let Some(auths) = self.document.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|key, _| normal(key) != wanted);
            if auths.len() != before {
                had = true;
                self.write()?;
            }
        }
        Ok(had)
    }

    /// The registries with a login.
    ///
    /// # Errors
    /// Where the program that keeps logins fails.
    pub fn list(&self) -> Result<Vec<String>, ConfigError> {
        let auths = self.document.get("auths").and_then(Value::as_object);
        let mut names: Vec<String> = auths.into_iter().flatten().map(|(key, _)| normal(key)).collect();
        if let Some(store) = self.document.get("credsStore").and_then(Value::as_str)
            && !store.is_empty()
        {
            names.extend(
                Helper::new(store, &self.path)
                    .list()?
                    .keys()
                    .map(|key| normal(key)),
            );
        }
        names.order();
        names.dedup();
        Ok(names)
    }

    fn write(&self) -> Result<(), ConfigError> {
        let mut text = cais_json::to_string_indented(&Value::Object(self.document.clone()), "  ");
        text.push('\n');
        write::replace(&self.path, text.as_bytes())
    }
}

/// The name of a registry in references.
fn canonical(registry: &str) -> &str {
    if DOCKER_HUB_ALIASES.contains(&registry) {
        DOCKER_HUB
    } else {
        registry
    }
}

/// A key as registry and path: without the scheme, and then without what older Dockers wrote
/// behind the registry.
fn normal(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let plain = match bare {
        Some(bare) => bare.split('/').next().unwrap_or(bare),
        None => key.trim_end_matches('/'),
    };
    match plain.split_once('/') {
        Some((registry, path)) => format!("{}/{path}", canonical(registry)),
        None => canonical(plain).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, flavour: Flavour) -> AuthFile {
        AuthFile {
            path: "/none/config.json".into(),
            flavour,
            document: cais_json::from_str(text).unwrap(),
        }
    }

    fn user(file: &AuthFile, registry: &str, repository: &str) -> String {
        match file.find(registry, repository).unwrap() {
            Some(Credentials::Password { username, password }) => format!("{username}:{password}"),
            Some(Credentials::IdentityToken(token)) => format!("identity {token}"),
            Some(Credentials::RegistryToken(token)) => format!("registry {token}"),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn the_longest_key_wins() {
        let auth = |text: &str| STANDARD.encode(text);
        let text = json!({"auths": {
            "quay.io": {"auth": auth("host:1")},
            "quay.io/team": {"auth": auth("team:2")},
            "quay.io/team/web": {"auth": auth("web:3:4")},
            "https://old.example/v1/": {"auth": auth("old:5\0\0")},
            "https://index.docker.io/v1/": {"username": "hub", "password": "6"},
            "token.example": {"auth": auth("a:b"), "identitytoken": "T"},
            "empty.example": {},
        }});
        let file = file(&text.to_string(), Flavour::Containers);
        for (registry, repository, expected) in [
            ("quay.io", "other", "host:1"),
            ("quay.io", "team", "team:2"),
            ("quay.io", "teamx", "host:1"),
            ("quay.io", "team/web", "web:3:4"),
            ("quay.io", "team/web/deep", "web:3:4"),
            ("old.example", "x", "old:5"),
            ("docker.io", "library/nginx", "hub:6"),
            ("token.example", "x", "identity T"),
            ("empty.example", "x", "none"),
            ("quay.io:443", "team", "none"),
        ] {
            assert_eq!(
                user(&file, registry, repository),
                expected,
                "{registry}/{repository}"
            );
        }
    }

    #[test]
    fn what_is_no_login_is_told() {
        for auth in ["!", "YWJj"] {
            let text = json!({"auths": {"r.example": {"auth": auth}}}).to_string();
            let error = file(&text, Flavour::Docker).find("r.example", "x").unwrap_err();
            assert!(error.to_string().contains("r.example"), "{error}");
        }
    }

    #[test]
    fn stored_and_erased_with_the_rest_kept() {
        let directory = std::env::temp_dir().join(format!("cais-auth-{}", std::process::id()));
        let path = directory.join("config.json");
        let mut file = AuthFile::new(&path, Flavour::Docker);
        file.document.insert("psFormat".into(), json!("table"));
        let login = Credentials::Password {
            username: "ana".into(),
            password: "secret:1".into(),
        };
        file.store(DOCKER_HUB, &login).unwrap();
        file.store("r.example:5000", &login).unwrap();
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let mut again = AuthFile::read(&path, Flavour::Docker).unwrap().unwrap();
        assert!(again.document["auths"].get(DOCKER_HUB_KEY).is_some());
        assert_eq!(again.document["psFormat"], "table");
        assert_eq!(user(&again, DOCKER_HUB, "library/x"), "ana:secret:1");
        assert_eq!(again.list().unwrap(), ["docker.io", "r.example:5000"]);
        assert!(again.erase(DOCKER_HUB).unwrap() && !again.erase(DOCKER_HUB).unwrap());
        assert_eq!(user(&again, "r.example:5000", "x"), "ana:secret:1");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
