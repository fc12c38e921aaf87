//! Values as Go prints and judges them.

use super::TemplateError;
use cais_json::{Map, Value};
use cais_order::InOrder;

/// What an operand is: JSON, nothing at all, which is printed in another way than null, or a
/// nil whose type in Go says how it is printed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Json(Value),
    Missing,
    Nil(&'static str),
}

const NO_LIST: &str = "[]";
const NO_MAP: &str = "map[]";
const NO_POINTER: &str = "<nil>";
const NO: &str = "false";

/// Lists in Go's types that are null where they are empty.
const LISTS: &str = " Aliases Authorization Binds BlkioDeviceReadBps BlkioDeviceReadIOps \
    BlkioDeviceWriteBps BlkioDeviceWriteIOps CapAdd CapDrop Cmd DeviceCgroupRules DeviceRequests \
    Entrypoint Env ExecIDs ExtraHosts GenericResources GroupAdd Links Mounts OnBuild RemoteManagers \
    RepoDigests RepoTags SecondaryIPAddresses SecondaryIPv6Addresses SecurityOpt Ulimits VolumesFrom \
    Warnings ";
/// Pointers in Go's types.
const POINTERS: [&str; 6] = [
    "Cgroup",
    "IPAMConfig",
    "MemorySwappiness",
    "MonitorPid",
    "OomKillDisable",
    "PidsLimit",
];

/// What Docker's JSON leaves out where it is empty (`omitempty`), and its types have all the
/// same: `{{if .State.Health}}`.
const OMITTED: [(&str, &str, &str); 24] = [
    ("State", "Health", NO_POINTER),
    ("", "Node", NO_POINTER),
    ("", "SizeRw", NO_POINTER),
    ("", "SizeRootFs", NO_POINTER),
    ("", "UsageData", NO_POINTER),
    ("", "Variant", ""),
    ("", "OsVersion", ""),
    ("", "Peers", NO_LIST),
    ("", "Services", NO_MAP),
    ("", "IPRange", ""),
    ("", "AuxiliaryAddresses", NO_MAP),
    ("Config", "StopSignal", ""),
    ("HostConfig", "Init", NO_POINTER),
    ("HostConfig", "Mounts", NO_LIST),
    ("HostConfig", "Sysctls", NO_MAP),
    ("HostConfig", "StorageOpt", NO_MAP),
    ("HostConfig", "Tmpfs", NO_MAP),
    ("Config", "ArgsEscaped", NO),
    ("Config", "ExposedPorts", NO_MAP),
    ("Config", "Healthcheck", NO_POINTER),
    ("Config", "MacAddress", ""),
    ("Config", "NetworkDisabled", NO),
    ("Config", "Shell", NO_LIST),
    ("Config", "StopTimeout", NO_POINTER),
];

/// The key under which the data of a list carries its labels as an object, for `.Label "key"`.
#[derive(Debug, Clone, Copy)]
pub struct Label;

impl Label {
    /// The key.
    pub const KEY: &'static str = "\0labels";
}

/// Objects that are maps in Go: a key that is not there is no mistake.
const MAPS: [&str; 16] = [
    "Labels",
    "Ports",
    "PortBindings",
    "Networks",
    "Volumes",
    "ExposedPorts",
    "Options",
    "DriverOpts",
    "Sysctls",
    "Data",
    "Tmpfs",
    "StorageOpt",
    "Annotations",
    "Containers",
    "LogOpts",
    Label::KEY,
];

/// A field of a value. `parent` is the name of the field that the value is.
pub(super) fn field(value: &Operand, parent: Option<&str>, name: &str) -> Result<Operand, String> {
    match value {
        Operand::Json(Value::Object(map)) => match map.get(name) {
            Some(Value::Null) => Ok(nil(name)),
            Some(found) => Ok(Operand::Json(found.clone())),
            None if parent.is_some_and(|parent| MAPS.contains(&parent)) => Ok(Operand::Missing),
            None if let Some(found) = as_in_go(map, name) => Ok(Operand::Json(found.clone())),
            None => omitted(parent.unwrap_or(""), name)
                .ok_or_else(|| format!("map has no entry for key \"{name}\"")),
        },
        Operand::Json(Value::Null) | Operand::Missing | Operand::Nil(_) => {
            Err(format!("nil data; no entry for key \"{name}\""))
        }
        Operand::Json(other) => Err(format!(
            "can't evaluate field {name} in type {}",
            type_name(other)
        )),
    }
}

/// The null of this name.
fn nil(name: &str) -> Operand {
    match name {
        _ if POINTERS.contains(&name) => Operand::Nil(NO_POINTER),
        _ if MAPS.contains(&name) => Operand::Nil(NO_MAP),
        _ if LISTS.contains(&format!(" {name} ")) => Operand::Nil(NO_LIST),
        _ => Operand::Json(Value::Null),
    }
}

fn omitted(parent: &str, name: &str) -> Option<Operand> {
    let parent = parent.strip_prefix("Container").unwrap_or(parent);
    let mut all = OMITTED.iter();
    let (.., zero) = all.find(|(holder, known, _)| (*holder, *known) == (parent, name))?;
    Some(match *zero {
        NO => Operand::Json(Value::Bool(false)),
        "" => Operand::Json(Value::String(String::new())),
        nil => Operand::Nil(nil),
    })
}

/// A field by its name in Docker's Go types, where that is written in other letters than the
/// key in JSON: `.ID` for `Id`, `.Status` for `status`.
fn as_in_go<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_exported = name.starts_with(|first: char| first.is_ascii_uppercase());
    let mut fields = map.iter().filter(|_| is_exported);
    let (_, found) = fields.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(found)
}

/// Go's word for the type of a value.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Whether a value counts as true: not false, 0, nil, or empty.
pub(super) fn is_true(value: &Operand) -> bool {
    let Operand::Json(value) = value else { return false };
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as `%v` prints it.
pub(super) fn print(value: &Operand) -> String {
    match value {
        Operand::Missing => "<no value>".to_owned(),
        Operand::Nil(text) => (*text).to_owned(),
        Operand::Json(value) => print_json(value, true),
    }
}

fn print_json(value: &Value, top: bool) -> String {
    match value {
        Value::Null if top => "<no value>".to_owned(),
        Value::Null => "<nil>".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Number(number) => print_number(number),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let all: Vec<String> = list.iter().map(|value| print_json(value, false)).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Object(map) if let Some(members) = members(map) => {
            let all: Vec<String> = members.map(|value| print_json(value, true)).collect();
            format!("{{{}}}", all.join(" "))
        }
        Value::Object(map) => {
            let mut all: Vec<(&String, String)> = map
                .iter()
                .map(|(key, value)| (key, print_json(value, false)))
                .collect();
            all.order();
            let all: Vec<String> = all.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            // What is empty and stands in a map is most often Go's `struct{}`.
            if all.is_empty() && !top {
                return "{}".to_owned();
            }
            format!("map[{}]", all.join(" "))
        }
    }
}

/// The members of what is a struct in Docker's types, in its order, and often printed.
fn members(map: &Map<String, Value>) -> Option<impl Iterator<Item = &Value>> {
    const STRUCTS: [[&str; 2]; 3] = [
        ["HostIp", "HostPort"],
        ["Name", "MaximumRetryCount"],
        ["Type", "Config"],
    ];
    let is_one = |names: &&[&str; 2]| map.len() == 2 && names.iter().all(|name| map.contains_key(*name));
    let names = STRUCTS.iter().find(is_one)?;
    Some(names.iter().filter_map(|name| map.get(*name)))
}

fn print_number(number: &cais_json::Number) -> String {
    match number.as_f64() {
        Some(float) if number.is_f64() && (float.abs() >= 1e21 || float != 0.0 && float.abs() < 1e-4) => {
            let text = format!("{float:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(rest) => ('-', rest),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        Some(float) if number.is_f64() => float.to_string(),
        _ => number.to_string(),
    }
}

/// JSON as Go writes it: without spaces, and `<`, `>`, `&` escaped.
pub(super) fn to_json(value: &Operand) -> Result<String, TemplateError> {
    let Operand::Json(value) = value else {
        return Ok("null".to_owned());
    };
    let visible = match value {
        Value::Object(map) if map.contains_key(Label::KEY) => {
            // A row of a list: in the order of the names, as Go writes a map.
            let mut sorted: Vec<_> = map.iter().filter(|(key, _)| *key != Label::KEY).collect();
            sorted.order_by_key(|(key, _)| *key);
            let sorted = sorted.into_iter();
            Value::Object(sorted.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        other => other.clone(),
    };
    cais_json::to_string(&visible)
        .map(|text| {
            text.replace('&', "\\u0026")
                .replace('<', "\\u003c")
                .replace('>', "\\u003e")
        })
        .map_err(|error| TemplateError::new(error.to_string()))
}
