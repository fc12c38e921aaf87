//! A crate may use only crates of a lower layer: each declares its own in
//! `[package.metadata.cais]`.

use crate::{Outcome, workspace};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) fn check() -> Outcome {
    let metadata = workspace::metadata()?;
    let members: Vec<&Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|package| package["source"].is_null())
        .collect();
    let mut layers = BTreeMap::new();
    let mut wrong = Vec::new();
    for package in &members {
        let name = package["name"].as_str().unwrap_or_default();
        let is_crate = package["manifest_path"]
            .as_str()
            .is_some_and(|path| path.contains("/crates/"));
        match package["metadata"]["cais"]["layer"].as_u64() {
            Some(layer) => drop(layers.insert(name, layer)),
            None if is_crate => wrong.push(format!("{name} declares no layer in [package.metadata.cais]")),
            None => {}
        }
    }
    for package in &members {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = layers.get(name) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            if let Some(layer) = layers.get(other).filter(|layer| *layer >= own) {
                wrong.push(format!("{name} (layer {own}) uses {other} (layer {layer})"));
            }
        }
    }
    if wrong.is_empty() {
        println!("layers: {} crates, each above what it uses", layers.len());
        return Ok(());
    }
    Err(wrong.join("\n"))
}
