//! What is known of a container, key for key as Docker's `inspect` gives it (API 1.41), and
//! under `Cais` what Docker has no key for. tests/it/inspect.rs compares the keys with those
//! of Docker 20.10.

mod config;
mod host_config;
mod image;
mod network;

use cais_order::Gather;
pub use config::exposed_ports;
pub use image::inspect_image;
pub use network::{host_addresses, read_endpoints};

use crate::disk::read_size;
use crate::engine::Engine;
use crate::error::Result;
use crate::health::{Health, Verdict};
use crate::images;
use crate::log;
use crate::options::{MountKind, MountOption, RootSource};
use crate::record::Exit;
use crate::state::{Container, Status};
use crate::store::read_json;
use cais_image::store::Image;
use cais_json::{Map, Value, json};
use cais_runtime::spec::Spec;
use std::path::Path;

/// What Docker writes for a moment that has not come.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Describes a container; with `with_size` also how much it has written.
///
/// # Errors
/// Where its files cannot be read.
pub fn inspect_container(engine: &Engine, container: &Container, with_size: bool) -> Result<Value> {
    let record = &container.record;
    let options = &record.options;
    let directory = engine.store.container(&record.id);
    let spec: Option<Spec> = read_json(&directory.join("config.json"))?;
    let image = image_of(engine, container);
    let words = container.command_words();
    // They are nowhere but in the container's own tree.
    let file = |name: &str| {
        let init = container.init();
        init.map_or_else(String::new, |init| format!("/proc/{}/root/etc/{name}", init.pid))
    };
    let has_log = options.log.driver.is_file() && record.last_start.is_some();
    let mut described = json!({
        "Id": record.id.as_str(),
        "Created": record.created,
        "Path": words.first().unwrap_or(&""),
        "Args": words.get(1..).unwrap_or(&[]),
        "State": describe_state(engine, container),
        "Image": image_id(container, image.as_ref()),
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": if has_log { log::path(&directory).display().to_string() } else { String::new() },
        "Name": format!("/{}", record.name),
        "RestartCount": restart_count(container),
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": options.security.apparmor.as_deref().unwrap_or(""),
        "ExecIDs": or_null(&crate::exec::running(&engine.store, &record.id)),
        "HostConfig": host_config::describe(container, spec.as_ref()),
        "GraphDriver": graph_driver(container, &directory),
    });
    let mut more = Map::new();
    if with_size {
        let written = read_size(&directory.join("upper"))?;
        let below = image.as_ref().map_or(0, |image| image.size);
        more.insert("SizeRw".to_owned(), written.into());
        more.insert("SizeRootFs".to_owned(), written.saturating_add(below).into());
    }
    more.insert("Mounts".to_owned(), mounts(engine, &options.mounts));
    more.insert("Config".to_owned(), config::describe(container));
    more.insert(
        "NetworkSettings".to_owned(),
        network::describe(engine, container)?,
    );
    more.insert(
        "Cais".to_owned(),
        json!({
            "Bundle": directory,
            "Options": cais_json::to_value(options).unwrap_or_default(),
            "Cgroup": container.state.as_ref().map(|state| &state.cgroup),
            "MonitorPid": container.state.as_ref().map(|state| state.monitor.pid),
        }),
    );
    if let Value::Object(map) = &mut described {
        map.extend(more);
    }
    Ok(described)
}

/// The image that a container is made of, where it is one and is there.
fn image_of(engine: &Engine, container: &Container) -> Option<Image> {
    let RootSource::Image { manifest, .. } = &container.record.options.root else {
        return None;
    };
    images::open(engine).ok()?.resolve(manifest).ok()
}

fn image_id(container: &Container, image: Option<&Image>) -> String {
    match (image, &container.record.options.root) {
        (Some(image), _) => image.id.to_string(),
        (None, RootSource::Image { manifest, .. }) => manifest.clone(),
        (None, _) => container.image_text(),
    }
}

/// How the last run ended, where it has.
fn last_exit(container: &Container) -> Exit {
    match &container.status {
        Status::Exited(exit) | Status::Restarting(exit) => exit.clone(),
        _ => Exit::default(),
    }
}

fn restart_count(container: &Container) -> u32 {
    container
        .state
        .as_ref()
        .map_or(last_exit(container).restart_count, |state| state.restart_count)
}

fn describe_state(engine: &Engine, container: &Container) -> Value {
    let exit = last_exit(container);
    let moment = |text: &str| {
        if text.is_empty() {
            NEVER.to_owned()
        } else {
            text.to_owned()
        }
    };
    let (pid, started) = match &container.status {
        Status::Running { init, started } | Status::Paused { init, started } => (init.pid, started.clone()),
        _ => (0, moment(&exit.started)),
    };
    // -1 stands for an end that nobody saw.
    let unseen = !exit.finished.is_empty() || !exit.started.is_empty() || !exit.error.is_empty();
    let mut state = json!({
        "Status": container.state_word(),
        "Running": container.is_up(),
        "Paused": matches!(container.status, Status::Paused { .. }),
        "Restarting": matches!(container.status, Status::Restarting(_)),
        "OOMKilled": exit.oom_killed,
        "Dead": false,
        "Pid": pid,
        "ExitCode": exit.code.map_or(if unseen { -1 } else { 0 }, i32::from),
        "Error": exit.error,
        "StartedAt": started,
        "FinishedAt": moment(&exit.finished),
    });
    if let (Value::Object(map), Some(health)) = (&mut state, describe_health(engine, container)) {
        map.insert("Health".to_owned(), health);
    }
    state
}

/// The state of its health, where it has a probe and was started. What does not run is not
/// well.
fn describe_health(engine: &Engine, container: &Container) -> Option<Value> {
    container.record.options.health.active()?;
    let status = match container.status {
        Status::Created => return None,
        Status::Exited(_) => Verdict::Unhealthy,
        _ => Verdict::Starting,
    };
    let known = crate::health::read(&engine.store, &container.record.id);
    let unknown = Health {
        status,
        ..Health::default()
    };
    cais_json::to_value(&known.unwrap_or(unknown)).ok()
}

fn graph_driver(container: &Container, directory: &Path) -> Value {
    let mut data = Map::new();
    let lower: Vec<String> = match &container.record.options.root {
        RootSource::Host => vec!["/".to_owned()],
        RootSource::Image { layers, .. } => layers.iter().map(|path| path.display().to_string()).collect(),
        RootSource::Directory { path, .. } => vec![path.display().to_string()],
    };
    data.insert("LowerDir".to_owned(), lower.join(":").into());
    // It is mounted in the container's own mount namespace alone.
    let merged = container.init().map(|init| format!("/proc/{}/root", init.pid));
    data.insert("MergedDir".to_owned(), merged.unwrap_or_default().into());
    for (key, name) in [("UpperDir", "upper"), ("WorkDir", "work")] {
        data.insert(key.to_owned(), directory.join(name).display().to_string().into());
    }
    json!({ "Data": data, "Name": "overlay2" })
}

fn mounts(engine: &Engine, mounts: &[MountOption]) -> Value {
    let described = mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind {
            source, propagation, ..
        } => Some(json!({
            "Type": "bind",
            "Source": source,
            "Destination": mount.target,
            "Mode": host_config::mode(mount),
            "RW": !mount.read_only,
            "Propagation": propagation.as_deref().unwrap_or("rprivate"),
        })),
        MountKind::Volume { name, .. } => Some(json!({
            "Type": "volume",
            "Name": name,
            "Source": crate::volumes::data(&engine.store, name),
            "Destination": mount.target,
            "Driver": "local",
            "Mode": host_config::mode(mount),
            "RW": !mount.read_only,
            "Propagation": "",
        })),
        MountKind::Tmpfs { .. } if mount.by_mount => Some(json!({
            "Type": "tmpfs",
            "Source": "",
            "Destination": mount.target,
            "Mode": "",
            "RW": !mount.read_only,
            "Propagation": "",
        })),
        MountKind::Tmpfs { .. } => None,
    });
    described.collect()
}

/// A list, or null where it is empty: some of Docker's are so.
fn or_null<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() {
        return Value::Null;
    }
    cais_json::to_value(&list).unwrap_or_default()
}

/// Pairs as an object, sorted by their keys.
fn object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let sorted: std::collections::BTreeMap<&str, &str> = pairs.into_map();
    Value::Object(
        sorted
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.into()))
            .collect(),
    )
}

/// Finds a container and describes it.
///
/// # Errors
/// [`crate::EngineError::NoSuchContainer`] and what reading it meets.
pub fn find_container(engine: &Engine, name: &str, with_size: bool) -> Result<Value> {
    let container = crate::list::container(&engine.store, name)?;
    inspect_container(engine, &container, with_size)
}
