//! `hooks`: programs of the host at points of the container's life.

use serde::{Deserialize, Serialize};

/// The hooks by the point at which they run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// Deprecated; as `createRuntime`, and before those.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub prestart: Vec<Hook>,
    /// On the host, when the namespaces are there and before the root is entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, at the same point, with the host's paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub create_container: Vec<Hook>,
    /// In the container, after `start` and before the program.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub start_container: Vec<Hook>,
    /// On the host, when the program runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub poststart: Vec<Hook>,
    /// On the host, when the container was deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub poststop: Vec<Hook>,
}

/// A program to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    /// Its absolute path.
    pub path: String,
    /// Its arguments, the name first; absent means the path alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub env: Vec<String>,
    /// Seconds after which it is killed and counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}
