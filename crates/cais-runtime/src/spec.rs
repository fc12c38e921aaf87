//! The OCI runtime configuration (runtime-spec 1.3, `config.json`), as far as Linux
//! goes. Unknown fields are tolerated, as the specification asks; unknown values of
//! known fields are errors.

pub mod hooks;
pub mod linux;
pub mod process;
pub mod validate;

pub use hooks::{Hook, Hooks};
pub use linux::{
    Cpu, DeviceNode, DeviceRule, IdMapping, Linux, Memory, Namespace, NamespaceKind, Pids, Resources,
    ThrottleDevice,
};
pub use process::{Capabilities, ConsoleSize, Process, Rlimit, User};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the specification that is written.
pub const VERSION: &str = "1.3.0";

/// `config.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The version of the specification that the file follows.
    pub oci_version: String,
    /// The program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The root file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Root>,
    /// The host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// The mounts, in the order in which they are made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub mounts: Vec<Mount>,
    /// Programs of the host to run at points of the container's life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// Free-form notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub annotations: BTreeMap<String, String>,
    /// What concerns Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linux: Option<Linux>,
}

impl Spec {
    /// The namespaces of the container.
    #[must_use]
    pub fn namespaces(&self) -> &[Namespace] {
        self.linux.as_ref().map_or(&[], |linux| &linux.namespaces)
    }
}

/// The root file system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Root {
    /// Its path, absolute or relative to the bundle.
    pub path: String,
    /// Whether it is mounted read-only.
    pub readonly: bool,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mount {
    /// The absolute path inside the container.
    pub destination: String,
    /// The type of the file system; `bind` for a bind mount.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A path of the host for a bind mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Options in the words of mount(8).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub options: Vec<String>,
    /// The map of users of an id-mapped mount; absent means that of the container.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// The map of groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "crate::spec::or_default")]
    pub gid_mappings: Vec<IdMapping>,
}

/// A list or map that may be `null`, as engines written in Go write an empty one.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Why a configuration cannot be read: the JSON path (`linux.resources.memory.limit`; `.` is the
/// whole), and what was expected there.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}", .0.path(), .0.message())]
pub struct SpecError(cais_json::JsonError);

/// Reads a configuration.
///
/// # Errors
/// For anything that is not JSON of this form, with the JSON path, line and column.
pub fn parse_spec(bytes: &[u8]) -> Result<Spec, SpecError> {
    parse_json(bytes)
}

/// Reads any part of a configuration: a process, resources.
///
/// # Errors
/// As [`parse_spec`].
pub fn parse_json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, SpecError> {
    cais_json::from_slice(bytes).map_err(SpecError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_configuration_survives() {
        let text = r#"{"ociVersion":"1.0.2","process":{"terminal":true,"user":{"uid":5,"gid":6,"additionalGids":[7]},
            "args":["sh"],"env":["A=b"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"]},
            "rlimits":[{"type":"RLIMIT_NOFILE","hard":10,"soft":5}],"noNewPrivileges":true},
            "root":{"path":"rootfs","readonly":true},"hostname":"x",
            "mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
            "linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/x"}],"maskedPaths":["/proc/kcore"],"devices":null,
            "resources":{"memory":{"limit":5,"disableOOMKiller":true},"cpu":{"cpus":"0"},"pids":{"limit":3}}},"unknown":1}"#;
        let spec = parse_spec(text.as_bytes()).unwrap();
        assert_eq!(spec.process.as_ref().unwrap().user.additional_gids, [7]);
        assert_eq!(spec.namespaces()[1].path.as_deref(), Some("/x"));
        let memory = spec
            .linux
            .as_ref()
            .unwrap()
            .resources
            .as_ref()
            .unwrap()
            .memory
            .as_ref()
            .unwrap();
        assert_eq!((memory.limit, memory.disable_oom_killer), (Some(5), Some(true)));
        let again = parse_spec(&cais_json::to_vec(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
    }

    #[test]
    fn unknown_values_are_errors() {
        for bad in [
            "",
            "7",
            r#"{"linux":{"namespaces":[{"type":"moon"}]}}"#,
            r#"{"process":{"args":"sh"}}"#,
        ] {
            assert!(parse_spec(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
