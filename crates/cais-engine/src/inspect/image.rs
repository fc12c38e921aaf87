//! What is known of an image.

use super::or_null;
use crate::error::{EngineError, Result};
use crate::images;
use cais_image::store::Image;
use cais_image::{ContentStore, Reference};
use cais_json::{Map, Value, json};
use cais_order::InOrder;

/// Describes an image.
///
/// # Errors
/// Where its configuration cannot be read.
pub fn inspect_image(store: &ContentStore, image: &Image) -> Result<Value> {
    let config = store
        .config(&image.id)
        .map_err(EngineError::image("read the image's configuration"))?;
    // All names count, whichever it was found by, and in whichever form it came.
    let mut all = store.images().map_err(EngineError::image("list the images"))?;
    all.retain(|other| other.id == image.id);
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for other in &all {
        for reference in other
            .names
            .iter()
            .filter_map(|name| name.parse::<Reference>().ok())
        {
            tags.push(reference.familiar());
            digests.push(format!("{}@{}", reference.familiar_name(), other.target.digest));
        }
    }
    tags.order();
    digests.order();
    digests.dedup();
    let last = config.history.last();
    let comment = last.and_then(|step| step.comment.clone()).unwrap_or_default();
    let layers = images::layers(store, image).unwrap_or_default();
    let shown: Vec<String> = layers.iter().map(|path| path.display().to_string()).collect();
    let mut data = Map::new();
    if let Some((upper, lower)) = shown.split_first() {
        if !lower.is_empty() {
            data.insert("LowerDir".to_owned(), lower.join(":").into());
        }
        data.insert("MergedDir".to_owned(), "".into());
        data.insert("UpperDir".to_owned(), upper.as_str().into());
        data.insert("WorkDir".to_owned(), "".into());
    }
    let mut described = json!({
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment,
        "Created": image.created.as_deref().unwrap_or(""),
        "Container": other(&config.other, "container"),
        "ContainerConfig": container_config(&json!({})),
        "DockerVersion": other(&config.other, "docker_version"),
        "Author": config.author.as_deref().unwrap_or(""),
        "Config": container_config(&cais_json::to_value(&config.config).unwrap_or_default()),
        "Architecture": image.platform.architecture,
        "Os": image.platform.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": { "Data": data, "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": image.diff_ids },
        "Metadata": { "LastTagTime": crate::time::format(store.last_used(image)) },
        "Cais": { "Digest": image.target.digest, "Manifest": image.manifest.digest },
    });
    if let (Value::Object(map), Some(variant)) = (&mut described, &image.platform.variant) {
        map.insert("Variant".to_owned(), variant.as_str().into());
    }
    Ok(described)
}

/// A key that only Docker's own images have.
fn other(all: &Map<String, Value>, key: &str) -> Value {
    all.get(key).cloned().unwrap_or_else(|| "".into())
}

/// What a container of it runs, with the keys that the image leaves out, as Docker fills
/// them in.
fn container_config(known: &Value) -> Value {
    let mut all = Map::new();
    let mut add = |key: &str, otherwise: Value| {
        let value = known.get(key).cloned().unwrap_or(otherwise);
        all.insert(key.to_owned(), value);
    };
    for key in ["Hostname", "Domainname", "User"] {
        add(key, "".into());
    }
    for key in ["AttachStdin", "AttachStdout", "AttachStderr"] {
        add(key, false.into());
    }
    if known.get("ExposedPorts").is_some() {
        add("ExposedPorts", Value::Null);
    }
    for key in ["Tty", "OpenStdin", "StdinOnce"] {
        add(key, false.into());
    }
    add("Env", Value::Null);
    add("Cmd", or_null::<String>(&[]));
    if known.get("Healthcheck").is_some() {
        add("Healthcheck", Value::Null);
    }
    add("Image", "".into());
    add("Volumes", Value::Null);
    add("WorkingDir", "".into());
    for key in ["Entrypoint", "OnBuild", "Labels"] {
        add(key, Value::Null);
    }
    for key in ["StopSignal", "Shell"] {
        if known.get(key).is_some() {
            add(key, Value::Null);
        }
    }
    Value::Object(all)
}
