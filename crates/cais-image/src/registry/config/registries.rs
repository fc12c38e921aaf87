//! `registries.conf`, version 2 (containers-registries.conf(5)): where images are really
//! fetched from.

use super::error::ConfigError;
use super::{Places, read_file};
use crate::reference::Reference;
use cais_order::InOrder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is done with short names of which nothing tells where they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Several registries are an error.
    Enforcing,
    /// All registries are tried.
    #[default]
    Permissive,
}

/// What the files say, together.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registries {
    pub(super) search: Vec<String>,
    pub(super) mode: Mode,
    pub(super) aliases: BTreeMap<String, String>,
    tables: Vec<Table>,
}

/// `[[registry]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Table {
    pub(super) prefix: String,
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) blocked: bool,
    pub(super) mirror_by_digest_only: bool,
    #[serde(rename = "mirror")]
    pub(super) mirrors: Vec<Mirror>,
}

/// `[[registry.mirror]]`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Mirror {
    pub(super) location: String,
    pub(super) insecure: bool,
    pub(super) pull_from_mirror: String,
}

/// One file.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    aliases: BTreeMap<String, String>,
    registry: Vec<Table>,
    /// Version 1.
    registries: Option<Old>,
}

/// `[registries.search]` and its like.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Old {
    search: OldList,
    insecure: OldList,
    block: OldList,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OldList {
    registries: Vec<String>,
}

/// A place to fetch an image from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The registry, as references have it.
    pub registry: String,
    /// The repository there.
    pub repository: String,
    /// Whether TLS may be missing or unproven.
    pub insecure: bool,
    /// Whether it is a mirror of the place that was asked for.
    pub is_mirror: bool,
}

impl Registries {
    /// Reads the user's or the machine's file and all drop-ins.
    ///
    /// # Errors
    /// Where one cannot be read, or is not what it is to be.
    pub fn read(places: &Places) -> Result<Self, ConfigError> {
        let user = places
            .config_home
            .as_ref()
            .map(|config| config.join("containers"));
        let system = places.system.join("containers");
        let own = user.as_ref().map(|user| user.join("registries.conf"));
        let main = places
            .registries_conf
            .clone()
            .or_else(|| own.filter(|own| own.exists()))
            .unwrap_or_else(|| system.join("registries.conf"));
        let mut files = vec![main];
        files.extend(drop_ins(&system.join("registries.conf.d"))?);
        if let Some(user) = &user {
            files.extend(drop_ins(&user.join("registries.conf.d"))?);
        }
        files.extend(places.registries_override.clone());
        // What Podman's users chose when they were asked.
        let chosen = places.cache.as_ref();
        files.extend(chosen.map(|cache| cache.join("containers/short-name-aliases.conf")));
        let mut all = Self::default();
        for path in files {
            if let Some(text) = read_file(&path)? {
                let file = Self::parse(&text).map_err(|detail| ConfigError::File { path, detail })?;
                all.add(file);
            }
        }
        Ok(all)
    }

    /// Parses one file.
    ///
    /// # Errors
    /// Says in words what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value = super::toml_value::parse_toml(text)?;
        let file: File = cais_json::from_value(&value).map_err(|error| error.to_string())?;
        let mut tables = file.registry;
        for table in &mut tables {
            if table.prefix.is_empty() {
                table.prefix.clone_from(&table.location);
            }
            check_table(table)?;
        }
        let mut search = file.unqualified_search_registries;
        if let Some(old) = file.registries {
            if search.is_some() || !tables.is_empty() {
                return Err("version 1 ([registries.search]) and version 2 in one file".to_owned());
            }
            search = Some(old.search.registries);
            let table = |prefix: String, insecure: bool, blocked: bool| Table {
                location: prefix.clone(),
                prefix,
                insecure,
                blocked,
                ..Table::default()
            };
            tables.extend(
                old.insecure
                    .registries
                    .into_iter()
                    .map(|prefix| table(prefix, true, false)),
            );
            tables.extend(
                old.block
                    .registries
                    .into_iter()
                    .map(|prefix| table(prefix, false, true)),
            );
        }
        for registry in search.iter().flatten() {
            crate::reference::check_registry(registry).map_err(|fault| fault.to_string())?;
        }
        for (short, full) in &file.aliases {
            let is_full =
                full.is_empty() || (!Reference::is_short(full) && full.parse::<Reference>().is_ok());
            if !Reference::is_short(short) || !is_full {
                return Err(format!(
                    "aliases: {short:?} = {full:?} is no short name with a full one"
                ));
            }
        }
        let mode = match file.short_name_mode.as_deref() {
            Some("enforcing") => Mode::Enforcing,
            None | Some("" | "permissive" | "disabled") => Mode::Permissive,
            Some(other) => return Err(format!("short-name-mode: {other:?}")),
        };
        Ok(Self {
            search: search.unwrap_or_default(),
            mode,
            aliases: file.aliases,
            tables,
        })
    }

    /// Puts another file over this one.
    pub(super) fn add(&mut self, other: Self) {
        if !other.search.is_empty() {
            self.search = other.search;
        }
        if other.mode == Mode::Enforcing {
            self.mode = Mode::Enforcing;
        }
        for (short, full) in other.aliases {
            if full.is_empty() {
                self.aliases.remove(&short);
            } else {
                self.aliases.insert(short, full);
            }
        }
        self.tables
            .retain(|own| !other.tables.iter().any(|later| later.prefix == own.prefix));
        self.tables.extend(other.tables);
    }

    /// What another file says of registries.
    pub(super) fn add_tables(&mut self, tables: Vec<Table>) {
        self.tables.extend(tables);
    }

    /// The table with the longest prefix of a name such as `r.example/team/web:1`.
    fn table(&self, name: &str) -> Option<&Table> {
        let matching = self.tables.iter().filter(|table| matches(&table.prefix, name));
        matching.max_by_key(|table| table.prefix.len())
    }

    /// Whether what is asked of this name may go without TLS.
    #[must_use]
    pub fn is_insecure(&self, name: &str) -> bool {
        self.table(name).is_some_and(|table| table.insecure)
    }

    /// Where an image is fetched from: mirrors in their order, then the place itself.
    ///
    /// # Errors
    /// Where it is blocked.
    pub fn places(&self, reference: &Reference) -> Result<Vec<Place>, ConfigError> {
        let name = reference.to_string();
        let own = Place {
            registry: reference.registry.clone(),
            repository: reference.repository.clone(),
            insecure: false,
            is_mirror: false,
        };
        let Some(table) = self.table(&name) else {
            return Ok(vec![own]);
        };
        if table.blocked {
            let prefix = table.prefix.clone();
            return Err(ConfigError::Blocked { name, prefix });
        }
        let mut places = Vec::new();
        for mirror in &table.mirrors {
            let by_digest = reference.digest.is_some();
            let wanted = match mirror.pull_from_mirror.as_str() {
                "digest-only" => by_digest,
                "tag-only" => !by_digest,
                _ => by_digest || !table.mirror_by_digest_only,
            };
            if wanted {
                let place = rewrite(reference, &table.prefix, &mirror.location);
                places.extend(place.map(|(registry, repository)| Place {
                    registry,
                    repository,
                    insecure: mirror.insecure,
                    is_mirror: true,
                }));
            }
        }
        let (registry, repository) =
            rewrite(reference, &table.prefix, &table.location).unwrap_or((own.registry, own.repository));
        places.push(Place {
            registry,
            repository,
            insecure: table.insecure,
            is_mirror: false,
        });
        Ok(places)
    }

    /// Where an image is given to: the place that its name tells, never a mirror.
    ///
    /// # Errors
    /// Where it is blocked.
    pub fn own_place(&self, reference: &Reference) -> Result<Place, ConfigError> {
        let name = reference.to_string();
        let table = self.table(&name);
        if let Some(table) = table.filter(|table| table.blocked) {
            let prefix = table.prefix.clone();
            return Err(ConfigError::Blocked { name, prefix });
        }
        Ok(Place {
            registry: reference.registry.clone(),
            repository: reference.repository.clone(),
            insecure: table.is_some_and(|table| table.insecure),
            is_mirror: false,
        })
    }
}

/// A prefix with `*.` is a host with any subdomain before it.
fn matches(prefix: &str, name: &str) -> bool {
    if let Some(domain) = prefix.strip_prefix("*.") {
        let host = name.split('/').next().unwrap_or("");
        let host = host.split(':').next().unwrap_or("");
        return host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    }
    let rest = name.strip_prefix(prefix);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

/// The registry and repository with the location in the place of the prefix.
fn rewrite(reference: &Reference, prefix: &str, location: &str) -> Option<(String, String)> {
    if location.is_empty() {
        return None;
    }
    let name = reference.name();
    let prefix = prefix
        .strip_prefix("*.")
        .map_or(prefix, |_| reference.registry.as_str());
    // A prefix may have a tag: then all of the name is meant.
    let rest = name.strip_prefix(prefix).unwrap_or("");
    let moved = format!("{location}{rest}");
    let (registry, repository) = moved.split_once('/')?;
    Some((registry.to_owned(), repository.to_owned()))
}

fn check_table(table: &Table) -> Result<(), String> {
    if table.prefix.is_empty() {
        return Err("a [[registry]] has neither prefix nor location".to_owned());
    }
    let is_wild = table.prefix.starts_with("*.");
    if table.prefix.get(1..).is_some_and(|rest| rest.contains('*'))
        || (!is_wild && table.prefix.contains('*'))
    {
        return Err(format!(
            "prefix: {:?} has a * elsewhere than as \"*.\" at its begin",
            table.prefix
        ));
    }
    if table.location.is_empty() && !is_wild {
        return Err(format!("the [[registry]] {:?} has no location", table.prefix));
    }
    for mirror in &table.mirrors {
        if mirror.location.is_empty() {
            return Err(format!("a mirror of {:?} has no location", table.prefix));
        }
        match mirror.pull_from_mirror.as_str() {
            "" | "all" | "digest-only" | "tag-only" => {}
            other => return Err(format!("pull-from-mirror: {other:?}")),
        }
    }
    let locations = table.mirrors.iter().map(|mirror| &mirror.location);
    for location in locations
        .chain([&table.location])
        .filter(|location| !location.is_empty())
    {
        let host = location.split('/').next().unwrap_or("");
        crate::reference::check_registry(host).map_err(|fault| format!("location: {location:?}: {fault}"))?;
    }
    Ok(())
}

/// The `*.conf` of a directory, by name.
fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ConfigError::Io {
                action: "read",
                path: directory.to_owned(),
                source,
            });
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    paths.order();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str, name: &str) -> String {
        let registries = Registries::parse(text).unwrap();
        match registries.places(&name.parse().unwrap()) {
            Ok(places) => places
                .iter()
                .map(|place| {
                    let mark = if place.insecure { "!" } else { "" };
                    format!("{mark}{}/{}", place.registry, place.repository)
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    const DIGEST: &str = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn places_in_order() {
        let text = r#"
            [[registry]]
            prefix = "example.com/foo"
            location = "internal.example/bar"
            [[registry.mirror]]
            location = "mirror-0.local/for-foo"
            [[registry.mirror]]
            location = "mirror-1.local/foo"
            insecure = true
            pull-from-mirror = "digest-only"
            [[registry]]
            location = "example.com"
            insecure = true
            [[registry]]
            prefix = "*.wild.example"
            blocked = true
            [[registry]]
            prefix = "*.open.example"
            location = "proxy.local:5000"
            [[registry]]
            location = "docker.io"
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "hub.local/hub"
        "#;
        for (name, expected) in [
            (
                "example.com/foo/x:1",
                "mirror-0.local/for-foo/x internal.example/bar/x",
            ),
            ("example.com/foo:1", "mirror-0.local/for-foo internal.example/bar"),
            ("example.com/food", "!example.com/food"),
            ("other.com/foo", "other.com/foo"),
            (
                "a.b.wild.example/x",
                "a.b.wild.example/x: registries.conf blocks *.wild.example",
            ),
            ("wild.example/x", "wild.example/x"),
            ("a.open.example/x/y", "proxy.local:5000/x/y"),
            ("nginx", "docker.io/library/nginx"),
        ] {
            assert_eq!(places(text, name), expected, "{name}");
        }
        assert_eq!(
            places(text, &format!("example.com/foo/x{DIGEST}")),
            "mirror-0.local/for-foo/x !mirror-1.local/foo/x internal.example/bar/x"
        );
        assert_eq!(
            places(text, &format!("nginx{DIGEST}")),
            "hub.local/hub/library/nginx docker.io/library/nginx"
        );
    }

    #[test]
    fn later_files_over_earlier_ones() {
        let mut all = Registries::parse(
            "unqualified-search-registries=['a.example']\n[aliases]\nx='q.example/x'\ny='q.example/y'\n[[registry]]\nlocation='r.example'\ninsecure=true",
        )
        .unwrap();
        all.add(
            Registries::parse(
                "short-name-mode='enforcing'\n[aliases]\nx=''\n[[registry]]\nlocation='r.example'",
            )
            .unwrap(),
        );
        assert_eq!(all.search, ["a.example"]);
        assert_eq!(all.mode, Mode::Enforcing);
        assert_eq!(all.aliases.keys().collect::<Vec<_>>(), ["y"]);
        assert!(!all.is_insecure("r.example/x"));
    }

    #[test]
    fn version_1() {
        let text = "[registries.search]\nregistries=['s.example']\n[registries.insecure]\nregistries=['i.example:5000']\n[registries.block]\nregistries=['b.example']";
        let all = Registries::parse(text).unwrap();
        assert_eq!(all.search, ["s.example"]);
        assert!(all.is_insecure("i.example:5000/x") && !all.is_insecure("i.example/x"));
        assert!(places(text, "b.example/x").contains("blocks"));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("x = ", "x"),
            ("[[registry]]\ninsecure=true", "neither"),
            ("[[registry]]\nprefix='a.example'", "no location"),
            ("[[registry]]\nprefix='a.*.example'\nlocation='b.example'", "*"),
            (
                "[[registry]]\nlocation='a.example'\n[[registry.mirror]]\ninsecure=true",
                "mirror",
            ),
            ("[[registry]]\nlocation='https://a.example'", "location"),
            ("short-name-mode='x'", "short-name-mode"),
            ("unqualified-search-registries=['a/b']", "a/b"),
            ("[aliases]\nx='y'", "aliases"),
            (
                "unqualified-search-registries=['a.example']\n[registries.search]\nregistries=[]",
                "version 1",
            ),
        ] {
            let error = Registries::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
