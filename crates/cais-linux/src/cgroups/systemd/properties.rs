//! From limits to properties of a unit (systemd.resource-control(5)), pure.
//!
//! What systemd has no property for, or none that says it exactly, is left out or said
//! more widely here: the files of the group, written afterwards, say the rest. systemd
//! must not be narrower than they are, nor may it undo them when it writes next.

use super::dbus::Value;
use crate::cgroups::resources::{BlockIo, Cpu, DeviceKind, DeviceRule, Memory};
use crate::cgroups::{Resources, v2};
use std::collections::BTreeMap;

/// systemd's "no limit" (`CGROUP_LIMIT_MAX`, `USEC_INFINITY`).
const INFINITY: u64 = u64::MAX;
/// The kernel's own period of the CFS bandwidth, in microseconds.
const PERIOD: u64 = 100_000;
/// More CPUs or memory nodes than any kernel is built for.
const SET_MAX: usize = 1 << 16;

/// A value of a property, with the type that systemd wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyValue {
    /// `t`
    U64(u64),
    /// `au`
    U32List(Vec<u32>),
    /// `s`
    Text(String),
    /// `b`
    Bool(bool),
    /// `as`
    TextList(Vec<String>),
    /// `ay`: a set of numbers, the lowest in the lowest bit of the first byte.
    Bytes(Vec<u8>),
    /// `a(ss)`: devices (`/dev/char/1:3`, `char-136`, `block-*`) and what of `rwm` is
    /// allowed. An empty list takes back what was allowed before, any other adds to it.
    DeviceAllow(Vec<(String, String)>),
}

/// A property of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name on D-Bus, which is not always that in unit files: `CPUQuotaPerSecUSec`.
    pub name: String,
    /// What it is set to.
    pub value: PropertyValue,
}

impl Property {
    /// `name` set to `value`.
    #[must_use]
    pub fn new(name: impl Into<String>, value: PropertyValue) -> Self {
        Self {
            name: name.into(),
            value,
        }
    }

    /// As `(sv)`.
    pub(super) fn to_value(&self) -> Value {
        let text = |text: &String| Value::Text(text.clone());
        let value = match &self.value {
            PropertyValue::U64(number) => Value::U64(*number),
            PropertyValue::Text(content) => text(content),
            PropertyValue::Bool(flag) => Value::Bool(*flag),
            PropertyValue::U32List(list) => {
                Value::Array("u".into(), list.iter().copied().map(Value::U32).collect())
            }
            PropertyValue::TextList(list) => Value::Array("s".into(), list.iter().map(text).collect()),
            PropertyValue::Bytes(list) => {
                Value::Array("y".into(), list.iter().copied().map(Value::Byte).collect())
            }
            PropertyValue::DeviceAllow(list) => {
                let pair = |(device, access)| Value::Struct(vec![text(device), text(access)]);
                Value::Array("(ss)".into(), list.iter().map(|(a, b)| pair((a, b))).collect())
            }
        };
        Value::Struct(vec![text(&self.name), Value::Variant(Box::new(value))])
    }
}

/// The properties for `resources` on cgroup version 2 or 1, to start a unit with or to
/// change it by. Accounting is not among them: [`super::Bus::start_transient_unit`] turns
/// it on.
///
/// Values that cannot be read (a CPU list, a file of `unified`) are left out: the write
/// into the file of the group says what is wrong with them.
#[must_use]
pub fn plan_properties(resources: &Resources, version2: bool) -> Vec<Property> {
    let mut properties = Vec::new();
    plan_devices(&resources.devices, &mut properties);
    if version2 {
        plan_memory_v2(&resources.memory, &mut properties);
        plan_cpu_v2(&resources.cpu, &mut properties);
        plan_io_v2(&resources.block_io, &mut properties);
    } else {
        plan_v1(resources, &mut properties);
    }
    plan_quota(resources.cpu.quota, resources.cpu.period, &mut properties);
    if let Some(limit) = resources.pids {
        let limit = u64::try_from(limit).ok().filter(|limit| *limit != 0);
        number("TasksMax", limit.unwrap_or(INFINITY), &mut properties);
    }
    if version2 {
        plan_unified(&resources.unified, &mut properties);
    }
    properties
}

/// The properties that a systemd of the version ([`super::Bus::version`]) knows. One that
/// it does not know would make it refuse all of them; the files of the group say the same.
#[must_use]
pub fn keep_supported(properties: Vec<Property>, version: u32) -> Vec<Property> {
    let since = |property: &Property| match (property.name.as_str(), &property.value) {
        ("CPUQuotaPeriodUSec", _) => 242,
        ("AllowedCPUs" | "AllowedMemoryNodes", _) => 244,
        // A weight of 0, which is cpu.idle.
        ("CPUWeight", PropertyValue::U64(0)) => 252,
        _ => 0,
    };
    properties
        .into_iter()
        .filter(|property| version >= since(property))
        .collect()
}

fn number(name: &'static str, value: u64, properties: &mut Vec<Property>) {
    properties.push(Property::new(name, PropertyValue::U64(value)));
}

/// Bytes, where less than nothing is no limit.
fn bytes(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(INFINITY)
}

fn plan_v1(resources: &Resources, properties: &mut Vec<Property>) {
    // Zero is what runc takes for "not given", and out of range for systemd.
    if let Some(limit) = resources.memory.limit.filter(|limit| *limit != 0) {
        number("MemoryLimit", bytes(limit), properties);
    }
    if let Some(shares) = resources.cpu.shares.filter(|shares| *shares != 0) {
        number("CPUShares", shares, properties);
    }
    if let Some(weight) = resources.block_io.weight.filter(|weight| *weight != 0) {
        number("BlockIOWeight", u64::from(weight), properties);
    }
}

fn plan_memory_v2(memory: &Memory, properties: &mut Vec<Property>) {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        number("MemoryMax", bytes(limit), properties);
    }
    if let Some(reservation) = memory.reservation {
        number("MemoryLow", bytes(reservation), properties);
    }
    if let Some(swap) = memory.swap {
        // Version 1 counts memory and swap together, version 2 swap alone.
        let alone = match memory.limit {
            Some(limit) if swap >= 0 && limit >= 0 => (swap - limit).max(0),
            _ => swap,
        };
        number("MemorySwapMax", bytes(alone), properties);
    }
}

fn plan_cpu_v2(cpu: &Cpu, properties: &mut Vec<Property>) {
    if cpu.idle.unwrap_or(0) != 0 {
        number("CPUWeight", 0, properties);
    } else if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        number("CPUWeight", v2::cpu::weight_of_shares(shares), properties);
    }
    for (name, list) in [("AllowedCPUs", &cpu.cpus), ("AllowedMemoryNodes", &cpu.mems)] {
        plan_set(name, list.as_deref().unwrap_or(""), properties);
    }
}

fn plan_io_v2(block_io: &BlockIo, properties: &mut Vec<Property>) {
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        number("IOWeight", v2::io::io_weight(u64::from(weight)), properties);
    }
}

/// systemd counts in whole percents of a CPU, so that a quota is rounded up to the next
/// 10 ms a second, as runc does: the group's own file may be below it but not above.
fn plan_quota(quota: Option<i64>, period: Option<u64>, properties: &mut Vec<Property>) {
    const PERCENT: u128 = 10_000;
    let quota = quota.unwrap_or(0);
    let period = period.unwrap_or(0);
    if period != 0 {
        number("CPUQuotaPeriodUSec", period, properties);
    }
    if quota == 0 && period == 0 {
        return;
    }
    let each_second = u128::try_from(quota)
        .ok()
        .filter(|quota| *quota != 0)
        .map(|quota| {
            let period = if period == 0 { PERIOD } else { period };
            let exact = (quota * 1_000_000).div_ceil(u128::from(period));
            u64::try_from(exact.next_multiple_of(PERCENT)).unwrap_or(INFINITY)
        });
    number("CPUQuotaPerSecUSec", each_second.unwrap_or(INFINITY), properties);
}

fn plan_set(name: &'static str, list: &str, properties: &mut Vec<Property>) {
    if let Some(set) = parse_set(list) {
        properties.push(Property::new(name, PropertyValue::Bytes(set)));
    }
}

/// `0-2,8` as bits; none when it is no list, or empty.
fn parse_set(list: &str) -> Option<Vec<u8>> {
    let mut set = Vec::new();
    // The kernel takes spaces and superfluous commas.
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first: usize = first.parse().ok()?;
        let last: usize = last.parse().ok()?;
        if first > last || last >= SET_MAX {
            return None;
        }
        for bit in first..=last {
            if set.len() <= bit / 8 {
                set.resize(bit / 8 + 1, 0);
            }
            set[bit / 8] |= 1 << (bit % 8);
        }
    }
    (!set.is_empty()).then_some(set)
}

/// The files of cgroup v2 that a property stands for.
fn plan_unified(files: &BTreeMap<String, String>, properties: &mut Vec<Property>) {
    let idle = files.get("cpu.idle").is_some_and(|value| value.trim() == "1");
    for (file, value) in files {
        let value = value.trim();
        let limit = if value == "max" {
            Some(INFINITY)
        } else {
            value.parse().ok()
        };
        let (name, limit) = match file.as_str() {
            "cpu.idle" => ("CPUWeight", idle.then_some(0)),
            "cpu.weight" => ("CPUWeight", limit.filter(|_| !idle)),
            "memory.min" => ("MemoryMin", limit),
            "memory.low" => ("MemoryLow", limit),
            "memory.high" => ("MemoryHigh", limit),
            "memory.max" => ("MemoryMax", limit),
            "memory.swap.max" => ("MemorySwapMax", limit),
            "pids.max" => ("TasksMax", limit),
            "cpu.max" => {
                plan_cpu_max(value, properties);
                continue;
            }
            "cpuset.cpus" => {
                plan_set("AllowedCPUs", value, properties);
                continue;
            }
            "cpuset.mems" => {
                plan_set("AllowedMemoryNodes", value, properties);
                continue;
            }
            _ => continue,
        };
        if let Some(limit) = limit {
            number(name, limit, properties);
        }
    }
}

/// `QUOTA [PERIOD]`, where the quota may be `max`.
fn plan_cpu_max(value: &str, properties: &mut Vec<Property>) {
    let mut words = value.split_ascii_whitespace();
    let quota = match words.next() {
        Some("max") => Some(-1),
        word => word.and_then(|word| word.parse().ok()),
    };
    let period = words.next().map_or(Some(PERIOD), |word| word.parse().ok());
    if let (Some(quota), Some(period)) = (quota, period) {
        plan_quota(Some(quota), Some(period), properties);
    }
}

/// Devices: systemd has a list of what is allowed and nothing to take from it. Rules
/// that begin with "all" are therefore not said at all, and what a rule means that the
/// list cannot say (a minor number without a major one) is allowed more widely.
fn plan_devices(rules: &[DeviceRule], properties: &mut Vec<Property>) {
    if rules.is_empty() {
        return;
    }
    let mut all = false;
    let mut allowed: Vec<DeviceRule> = Vec::new();
    for rule in rules {
        if rule.is_everything() {
            all = rule.allow;
            allowed.clear();
        } else if rule.allow {
            allowed.push(*rule);
        } else {
            take_back(rule, &mut allowed);
        }
    }
    let mut list = Vec::new();
    if !all {
        for rule in &allowed {
            list.extend(device_names(rule).map(|name| (name, access(rule))));
        }
    }
    let policy = if all { "auto" } else { "strict" };
    properties.push(Property::new("DevicePolicy", PropertyValue::Text(policy.into())));
    properties.push(Property::new(
        "DeviceAllow",
        PropertyValue::DeviceAllow(Vec::new()),
    ));
    if !list.is_empty() {
        properties.push(Property::new("DeviceAllow", PropertyValue::DeviceAllow(list)));
    }
}

/// Takes a denial out of the rules that are about just the same devices.
fn take_back(denied: &DeviceRule, allowed: &mut Vec<DeviceRule>) {
    for rule in allowed.iter_mut() {
        let same = (rule.kind, rule.major, rule.minor) == (denied.kind, denied.major, denied.minor);
        if same {
            rule.read &= !denied.read;
            rule.write &= !denied.write;
            rule.mknod &= !denied.mknod;
        }
    }
    allowed.retain(|rule| rule.read || rule.write || rule.mknod);
}

/// The devices of a rule in systemd's words.
fn device_names(rule: &DeviceRule) -> impl Iterator<Item = String> {
    let kinds: &[&str] = match rule.kind {
        DeviceKind::All => &["block", "char"],
        DeviceKind::Block => &["block"],
        DeviceKind::Character => &["char"],
    };
    let (major, minor) = (rule.major, rule.minor);
    kinds.iter().map(move |kind| match (major, minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, _) => format!("{kind}-*"),
    })
}

fn access(rule: &DeviceRule) -> String {
    let letters = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')];
    letters
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
mod tests;
