//! What registries have, as it lies there: `manifest inspect`.

use super::remote::{TransferOptions, pass_warnings};
use super::watch::Watch;
use crate::error::{EngineError, Result};
use cais_image::manifest::{Manifest, parse_manifest};
use cais_image::registry::FetchedManifest;

/// A manifest in a registry.
#[derive(Debug)]
pub struct ShownManifest {
    /// The name, with the digest where it was found in an index.
    pub name: String,
    /// Its descriptor and bytes.
    pub fetched: FetchedManifest,
}

/// Fetches the manifest or index that a name points at; with `all` the manifests of an index
/// in its place.
///
/// # Errors
/// Where there is none.
pub fn remote_manifests(
    text: &str,
    all: bool,
    options: &TransferOptions,
    watch: &dyn Watch,
) -> Result<Vec<ShownManifest>> {
    let reference = options.resolve(text)?.into_iter().next();
    let reference = reference.ok_or_else(|| EngineError::Invalid(format!("{text:?} names no image")))?;
    let remote = options.to_read(&reference)?;
    let action = || EngineError::registry(format!("inspect {}", reference.familiar()));
    let fetched = remote.fetch_manifest(&reference.target()).map_err(action())?;
    let parsed = parse_manifest(&fetched.bytes, Some(&fetched.descriptor.media_type))
        .map_err(|error| EngineError::Invalid(format!("{}: {error}", fetched.descriptor.digest)))?;
    let mut shown = Vec::new();
    match parsed {
        Manifest::Index(index) if all => {
            for child in &index.manifests {
                let name = format!("{}@{}", reference, child.digest);
                let mut fetched = remote.fetch_manifest_of(child).map_err(action())?;
                fetched.descriptor = child.clone();
                shown.push(ShownManifest { name, fetched });
            }
        }
        _ => shown.push(ShownManifest {
            name: reference.to_string(),
            fetched,
        }),
    }
    pass_warnings(&remote, watch);
    Ok(shown)
}
