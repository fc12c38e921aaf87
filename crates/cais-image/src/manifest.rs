//! Manifests, indexes and configurations (image-spec, "Image Manifest", "Image Index",
//! "Image Configuration"; Docker's "Image Manifest Version 2, Schema 2").
//!
//! What is parsed here is a view: the store keeps, and every copy moves, the original
//! bytes, because a digest is of bytes and not of meaning.

pub mod config;
mod error;
mod validate;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs, parse_config};
pub use error::ManifestError;
pub use validate::{check_descriptor, media_type_of, parse_image, parse_index, parse_manifest};

use crate::descriptor::Descriptor;
use cais_json::{Map, Value};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The longest manifest, index or configuration that is read, in bytes (CVE-2023-25153,
/// CVE-2020-1702: an unbounded read). A registry must take 4 MiB (distribution-spec,
/// "Pushing Manifests"); this is twice that.
pub const MAX_JSON: u64 = 8 << 20;

/// A list of manifests, each for a platform or an artifact (image-spec, "Image Index"; also
/// Docker's manifest list).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// What it says it is; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests, and indexes too, in the order of preference.
    #[serde(default, deserialize_with = "null_as_default")]
    pub manifests: Vec<Descriptor>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One image or artifact: a configuration and layers (image-spec, "Image Manifest"; also
/// Docker's schema 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// What it says it is; may be missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What an artifact is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub layers: Vec<Descriptor>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form notes.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub annotations: BTreeMap<String, String>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a tag may point at.
#[derive(Debug, Clone, PartialEq)]
pub enum Manifest {
    /// A list of others.
    Index(Box<Index>),
    /// An image or artifact.
    Image(Box<ImageManifest>),
}

impl Manifest {
    /// All that it names and cannot be whole without: manifests; or configuration and layers.
    /// Not the subject, which need not exist.
    #[must_use]
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index(index) => index.manifests.iter().collect(),
            Self::Image(image) => std::iter::once(&image.config).chain(&image.layers).collect(),
        }
    }

    /// What it says it is.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        match self {
            Self::Index(index) => index.media_type.as_deref(),
            Self::Image(image) => image.media_type.as_deref(),
        }
    }
}

/// Go writes an empty list or map as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
