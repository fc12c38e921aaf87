//! `Config`: what does not depend on the host.

use super::{object, or_null};
use crate::options::{AttachedStream, HealthOptions, MountKind, RunOptions};
use crate::state::Container;
use cais_json::{Map, Value, json};
use cais_order::InOrder;

pub(super) fn describe(container: &Container) -> Value {
    let options = &container.record.options;
    let attached = |stream: AttachedStream| is_attached(options, stream);
    let hostname = options.hostname.as_deref().unwrap_or(container.record.id.short());
    let mut config = Map::new();
    let mut add = |key: &str, value: Value| {
        config.insert(key.to_owned(), value);
    };
    add("Hostname", hostname.into());
    add("Domainname", options.domainname.as_deref().unwrap_or("").into());
    add("User", options.user.as_deref().unwrap_or("").into());
    add("AttachStdin", attached(AttachedStream::Stdin).into());
    add("AttachStdout", attached(AttachedStream::Stdout).into());
    add("AttachStderr", attached(AttachedStream::Stderr).into());
    let exposed = exposed_ports(options);
    if !exposed.is_empty() {
        add("ExposedPorts", Value::Object(exposed));
    }
    add("Tty", options.tty.into());
    add("OpenStdin", options.interactive.into());
    add("StdinOnce", attached(AttachedStream::Stdin).into());
    add("Env", or_null(&environment(options)));
    add("Cmd", or_null(&options.command));
    if let Some(check) = health(&options.health) {
        add("Healthcheck", check);
    }
    add("Image", container.image_text().into());
    add("Volumes", volumes(options));
    add("WorkingDir", options.workdir.as_deref().unwrap_or("").into());
    add(
        "Entrypoint",
        or_null(options.entrypoint.as_deref().unwrap_or(&[])),
    );
    add("OnBuild", Value::Null);
    add("Labels", object(container.labels()));
    if let Some(signal) = &options.stop_signal {
        add("StopSignal", signal.as_str().into());
    }
    if let Some(seconds) = options.stop_timeout {
        add("StopTimeout", seconds.into());
    }
    Value::Object(config)
}

/// The places of volumes that nobody named: those of the image and of `-v PLACE`.
fn volumes(options: &RunOptions) -> Value {
    let places = options
        .mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Volume { anonymous: true, .. }));
    let places: Map<String, Value> = places.map(|mount| (mount.target.clone(), json!({}))).collect();
    if places.is_empty() {
        Value::Null
    } else {
        Value::Object(places)
    }
}

/// Whether the caller of `run` was to see a stream.
fn is_attached(options: &RunOptions, stream: AttachedStream) -> bool {
    if options.detach {
        return false;
    }
    match (options.attach.is_empty(), stream) {
        (true, AttachedStream::Stdin) => options.interactive,
        (true, _) => true,
        (false, stream) => options.attach.contains(&stream),
    }
}

/// Ports that the program listens at, published or not.
#[must_use]
pub fn exposed_ports(options: &RunOptions) -> Map<String, Value> {
    let network = &options.network;
    let exposed = network
        .expose
        .iter()
        .map(|exposed| (exposed.ports, exposed.protocol));
    let published = network
        .publish
        .iter()
        .map(|mapping| (mapping.container_ports, mapping.protocol));
    let mut ports: Vec<(u16, String)> = exposed
        .chain(published)
        .flat_map(|(range, protocol)| {
            (range.first..=range.last).map(move |port| (port, format!("{port}/{protocol}")))
        })
        .collect();
    ports.order();
    ports.into_iter().map(|(_, port)| (port, json!({}))).collect()
}

/// The environment, of each variable the value that counts.
fn environment(options: &RunOptions) -> Vec<&str> {
    let name = |entry: &str| entry.split_once('=').map_or(entry.len(), |(name, _)| name.len());
    let all = &options.env;
    let counts = |index: usize, entry: &str| {
        let later = all.get(index + 1..).unwrap_or(&[]);
        !later
            .iter()
            .any(|other| other.get(..name(other)) == entry.get(..name(entry)))
    };
    all.iter()
        .enumerate()
        .filter(|(index, entry)| counts(*index, entry))
        .map(|(_, entry)| entry.as_str())
        .collect()
}

fn health(options: &HealthOptions) -> Option<Value> {
    let test = options.test();
    if test.is_empty() {
        return None;
    }
    let mut check = Map::new();
    check.insert("Test".to_owned(), json!(test));
    for (key, value) in [
        ("Interval", options.interval),
        ("Timeout", options.timeout),
        ("StartPeriod", options.start_period),
        ("StartInterval", options.start_interval),
        ("Retries", u64::from(options.retries)),
    ] {
        if value != 0 {
            check.insert(key.to_owned(), value.into());
        }
    }
    Some(Value::Object(check))
}
