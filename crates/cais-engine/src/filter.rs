//! `ps --filter`: which containers are meant. Several values of one key are alternatives
//! (labels excepted), several keys must all fit, as with Docker.

use crate::engine::Engine;
use crate::error::{EngineError, Result};
use crate::images;
use crate::list;
use crate::options::{MountKind, RootSource};
use crate::prune::LabelFilter;
use crate::state::{Container, Status};
use cais_net::publish::{ExposedPorts, Protocol, PublishedPort};
use regex_lite::Regex;
use std::path::PathBuf;

/// The words that `status=` takes.
const STATES: [&str; 7] = [
    "created",
    "restarting",
    "running",
    "removing",
    "paused",
    "exited",
    "dead",
];

/// Which containers are meant. Empty lists restrict nothing.
#[derive(Debug, Default)]
pub struct ContainerFilter {
    ids: Vec<String>,
    names: Vec<Regex>,
    labels: Vec<LabelFilter>,
    exited: Vec<i32>,
    states: Vec<String>,
    health: Vec<String>,
    volumes: Vec<String>,
    networks: Vec<String>,
    is_task: Option<bool>,
    publish: Vec<ExposedPorts>,
    expose: Vec<ExposedPorts>,
    /// Layers of ancestors, the uppermost first, or the words `host` and paths.
    ancestors: Vec<Ancestor>,
    before: Option<String>,
    since: Option<String>,
}

#[derive(Debug)]
enum Ancestor {
    Layers(Vec<PathBuf>),
    Named(String),
}

fn invalid(key: &str, value: &str) -> EngineError {
    EngineError::Invalid(format!("Invalid filter '{key}={value}'"))
}

impl ContainerFilter {
    /// Reads the values of `--filter`. Images and containers that they name are looked up.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] for keys and values that are none, and where a container that
    /// is named is not there.
    pub fn parse(engine: &Engine, texts: &[String]) -> Result<Self> {
        let mut filter = Self::default();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                EngineError::Invalid(format!("bad format of filter (expected name=value): {text:?}"))
            })?;
            filter.add(engine, key.trim(), value.trim())?;
        }
        Ok(filter)
    }

    fn add(&mut self, engine: &Engine, key: &str, value: &str) -> Result<()> {
        let own = || value.to_owned();
        match key {
            "id" => self.ids.push(own()),
            "name" => {
                let pattern = Regex::new(value).map_err(|_bad| invalid(key, value))?;
                self.names.push(pattern);
            }
            "label" => self.labels.push(LabelFilter::parse(value)),
            "exited" => self
                .exited
                .push(value.parse().map_err(|_bad| invalid(key, value))?),
            "status" if STATES.contains(&value) => self.states.push(own()),
            "health" if matches!(value, "starting" | "healthy" | "unhealthy" | "none") => {
                self.health.push(own());
            }
            "ancestor" => self.ancestors.push(find_ancestor(engine, value)),
            "before" => self.before = Some(created(engine, value)?),
            "since" => self.since = Some(created(engine, value)?),
            "publish" | "expose" => {
                let ports = value.parse().map_err(|_bad| invalid(key, value))?;
                let list = if key == "publish" {
                    &mut self.publish
                } else {
                    &mut self.expose
                };
                list.push(ports);
            }
            "volume" => self.volumes.push(own()),
            "network" => self.networks.push(own()),
            "is-task" => match value {
                "true" | "1" | "True" => self.is_task = Some(true),
                "false" | "0" | "False" => self.is_task = Some(false),
                _ => return Err(invalid(key, value)),
            },
            "health" => {
                return Err(EngineError::Invalid(format!(
                    "Unrecognised filter value for health: {value}"
                )));
            }
            "status" => return Err(invalid(key, value)),
            _ => return Err(EngineError::Invalid(format!("Invalid filter '{key}'"))),
        }
        Ok(())
    }

    /// Whether containers that do not run are meant without `--all` too.
    #[must_use]
    pub fn wants_all(&self) -> bool {
        !self.states.is_empty()
    }

    /// Whether the health of containers has to be known.
    #[must_use]
    pub fn needs_health(&self) -> bool {
        !self.health.is_empty()
    }

    /// Whether the published ports of containers have to be known.
    #[must_use]
    pub fn needs_ports(&self) -> bool {
        !self.publish.is_empty()
    }

    /// Whether a container is meant. `health` and `published` are what is known of it, where
    /// they have to be known.
    #[must_use]
    pub fn takes(&self, container: &Container, health: Option<&str>, published: &[PublishedPort]) -> bool {
        let created = &container.record.created;
        self.takes_identity(container)
            && self.labels.iter().all(|label| label.matches(container.labels()))
            && any(&self.exited, |code| exit_code(container) == Some(*code))
            && any(&self.states, |state| state == container.state_word())
            && any(&self.health, |wanted| wanted == health.unwrap_or("none"))
            && any(&self.volumes, |volume| has_volume(container, volume))
            && any(&self.publish, |wanted| {
                published
                    .iter()
                    .any(|port| holds(wanted, port.host_port, port.protocol))
            })
            && any(&self.expose, |wanted| is_exposed(container, wanted))
            && any(&self.networks, |network| {
                container.network_names().contains(network)
            })
            && any(&self.ancestors, |ancestor| is_from(container, ancestor))
            && self.before.as_ref().is_none_or(|before| created < before)
            && self.since.as_ref().is_none_or(|since| created > since)
            // A task is a part of a swarm's service; there are none here.
            && self.is_task != Some(true)
    }

    fn takes_identity(&self, container: &Container) -> bool {
        let record = &container.record;
        any(&self.ids, |id| record.id.as_str().starts_with(id.as_str()))
            && any(&self.names, |name| {
                // Docker's names begin with a slash, and its users write both.
                name.is_match(&record.name) || name.is_match(&format!("/{}", record.name))
            })
    }
}

/// Whether one fits, or there is none.
fn any<T>(wanted: &[T], fits: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

fn created(engine: &Engine, name: &str) -> Result<String> {
    list::container(&engine.store, name).map(|container| container.record.created)
}

/// The code of a container that ended.
fn exit_code(container: &Container) -> Option<i32> {
    match &container.status {
        Status::Exited(exit) => exit.code.map(i32::from),
        _ => None,
    }
}

/// Whether a port is among these.
fn holds(ports: &ExposedPorts, port: u16, protocol: Protocol) -> bool {
    ports.protocol == protocol && (ports.ports.first..=ports.ports.last).contains(&port)
}

/// Whether the program listens at one of these ports, published or not.
fn is_exposed(container: &Container, wanted: &ExposedPorts) -> bool {
    let network = &container.record.options.network;
    let overlaps = |first: u16, last: u16| wanted.ports.first <= last && first <= wanted.ports.last;
    let exposed = network
        .expose
        .iter()
        .any(|ports| ports.protocol == wanted.protocol && overlaps(ports.ports.first, ports.ports.last));
    exposed
        || network.publish.iter().any(|mapping| {
            let ports = mapping.container_ports;
            mapping.protocol == wanted.protocol && overlaps(ports.first, ports.last)
        })
}

/// Whether a volume or a path of the host, or a path inside, is mounted.
fn has_volume(container: &Container, wanted: &str) -> bool {
    container.record.options.mounts.iter().any(|mount| {
        let source = match &mount.kind {
            MountKind::Bind { source, .. } => source.to_str() == Some(wanted),
            MountKind::Volume { name, .. } => name == wanted,
            MountKind::Tmpfs { .. } => false,
        };
        source || mount.target == wanted
    })
}

/// An image by name or id. One that is not there is the ancestor of nothing.
fn find_ancestor(engine: &Engine, text: &str) -> Ancestor {
    let layers = images::open(engine).and_then(|store| {
        let image = images::find(&store, text)?;
        images::layers(&store, &image)
    });
    layers.map_or_else(|_none| Ancestor::Named(text.to_owned()), Ancestor::Layers)
}

/// Whether a container is made of the image, or of one that stands on its layers.
fn is_from(container: &Container, ancestor: &Ancestor) -> bool {
    match (&container.record.options.root, ancestor) {
        (RootSource::Image { layers, .. }, Ancestor::Layers(wanted)) => {
            !wanted.is_empty() && layers.ends_with(wanted)
        }
        (RootSource::Image { .. }, Ancestor::Named(_)) => false,
        (_, Ancestor::Named(wanted)) => container.image_text() == *wanted,
        (_, Ancestor::Layers(_)) => false,
    }
}
