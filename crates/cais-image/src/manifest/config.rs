//! The configuration of an image (image-spec, "Image Configuration"), with the keys that only
//! Docker has (moby, `api/types/container` and the "Docker Image Specification v1.3").

use super::validate::parse_json;
use super::{ImageManifest, ManifestError, null_as_default};
use crate::digest::Digest;
use crate::platform::Platform;
use cais_json::{Map, Value};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// The configuration of an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of the system.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the system must have.
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub os_features: Vec<String>,
    /// The kind of processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What a container of it runs.
    #[serde(default, deserialize_with = "null_as_default")]
    pub config: ContainerConfig,
    /// Its layers.
    pub rootfs: RootFs,
    /// How each layer was made.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub history: Vec<History>,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a container runs unless its user says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub user: String,
    /// `port[/protocol]`.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub env: Vec<String>,
    /// What runs; its arguments are `cmd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// What runs, or the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories that get a volume.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub volumes: BTreeMap<String, Empty>,
    /// Where it starts.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub working_dir: String,
    /// Labels: data only, never to be run or opened.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Docker: how to see whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions for a build that starts from it.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub on_build: Vec<String>,
    /// Docker: the shell of the instructions in the form of a line.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub shell: Vec<String>,
    /// Docker, on Windows: the command is one string already.
    #[serde(
        default,
        skip_serializing_if = "is_false",
        deserialize_with = "null_as_default"
    )]
    pub args_escaped: bool,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Docker's healthcheck. Times are in nanoseconds; 0 is "as inherited".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// While it starts, failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks while it starts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures make it unwell.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers, not compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the archives without compression, the lowest first.
    #[serde(default, deserialize_with = "null_as_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

/// How a layer was made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, as RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// By which instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it made no layer.
    #[serde(default, skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Keys that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The `{}` with which Go writes a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(std::iter::empty::<((), ())>())
    }
}

impl<'de> Deserialize<'de> for Empty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl ImageConfig {
    /// The machine that it is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Checks that it goes with this manifest: a diff_id for each layer.
    ///
    /// # Errors
    /// [`ManifestError::LayerCount`].
    pub fn check_against(&self, manifest: &ImageManifest) -> Result<(), ManifestError> {
        let (diff_ids, layers) = (self.rootfs.diff_ids.len(), manifest.layers.len());
        if diff_ids == layers {
            Ok(())
        } else {
            Err(ManifestError::LayerCount { diff_ids, layers })
        }
    }
}

/// Parses a configuration.
///
/// # Errors
/// [`ManifestError`]: too big, not JSON of this form, or with a `rootfs` that is no layers.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ManifestError> {
    let config: ImageConfig = parse_json(bytes)?;
    if config.rootfs.kind == "layers" {
        Ok(config)
    } else {
        Err(ManifestError::RootFsType(config.rootfs.kind))
    }
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"architecture":"amd64","config":{"Hostname":"","User":"1000:1000",
        "ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"Cmd":["sh"],"ArgsEscaped":true,"Image":"x",
        "Healthcheck":{"Test":["CMD","true"],"Interval":5000000000,"Retries":3},"Volumes":null,
        "WorkingDir":"/w","Entrypoint":null,"OnBuild":["RUN x"],"Shell":["/bin/bash","-c"],
        "Labels":{"a":"b"},"StopSignal":"SIGQUIT","MemorySwap":0},
        "container":"abc","created":"2024-01-01T00:00:00Z","docker_version":"20.10",
        "history":[{"created":"2024-01-01T00:00:00Z","created_by":"ADD x","v1id":"z"},
        {"empty_layer":true}],"os":"linux","variant":"v8","rootfs":{"type":"layers","diff_ids":
        ["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]}}"#;

    #[test]
    fn docker_keys_and_unknown_ones_are_kept() {
        let config = parse_config(DOCKER.as_bytes()).unwrap();
        assert_eq!(
            config.config.healthcheck.as_ref().unwrap().interval,
            5_000_000_000
        );
        assert_eq!(config.config.on_build, ["RUN x"]);
        assert_eq!(config.config.shell, ["/bin/bash", "-c"]);
        assert!(config.config.args_escaped);
        assert_eq!(config.config.entrypoint, None);
        assert_eq!(config.platform().variant.as_deref(), Some("v8"));
        let again = cais_json::to_value(&config).unwrap();
        for (place, expected) in [
            ("/docker_version", "\"20.10\""),
            ("/config/Image", "\"x\""),
            ("/config/MemorySwap", "0"),
            ("/config/ExposedPorts", r#"{"80/tcp":{}}"#),
            ("/history/0/v1id", "\"z\""),
            ("/history/1/empty_layer", "true"),
        ] {
            assert_eq!(again.pointer(place).unwrap().to_string(), expected, "{place}");
        }
    }

    #[test]
    fn wrong_ones_are_refused_with_the_place() {
        for (text, message) in [
            (r#"{"rootfs":{"type":"vhd"}}"#, "rootfs.type"),
            (
                r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
                "rootfs.diff_ids[0]",
            ),
            (
                r#"{"rootfs":{"type":"layers"},"config":{"Env":"A=b"}}"#,
                "config.Env",
            ),
            ("{}", "rootfs"),
            ("{", "EOF"),
        ] {
            let error = parse_config(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let config = parse_config(DOCKER.as_bytes()).unwrap();
        let descriptor = crate::Descriptor::new("t/x", Digest::of(b""), 0);
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: descriptor,
            layers: Vec::new(),
            subject: None,
            annotations: BTreeMap::default(),
            other: Map::default(),
        };
        assert!(config.check_against(&manifest).is_err());
    }
}
