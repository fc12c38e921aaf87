//! The limits of a container's cgroup.

use super::{BundleError, BundleFacts};
use crate::options::RunOptions;
use cais_runtime::spec::linux::{BlockIo, WeightDevice};
use cais_runtime::spec::{Cpu, DeviceRule, Memory, Pids, Resources, ThrottleDevice};
use std::path::PathBuf;

/// The number of processes without `--pids-limit`: enough for any program of ours to
/// know, too few for a fork bomb to be felt.
pub(crate) const DEFAULT_PIDS: i64 = 4096;
/// The period of `--cpus` in microseconds.
const PERIOD: u64 = 100_000;

pub(super) fn plan_resources(options: &RunOptions, facts: &BundleFacts) -> Result<Resources, BundleError> {
    let limits = &options.limits;
    let memory = Memory {
        limit: limits.memory.map(clamp),
        reservation: limits.memory_reservation.map(clamp),
        // Docker: swap as large as the memory, unless said otherwise.
        swap: limits
            .memory_swap
            .filter(|swap| *swap != 0)
            .or(limits.memory.map(|memory| clamp(memory.saturating_mul(2)))),
        swappiness: limits.memory_swappiness,
        disable_oom_killer: limits.oom_kill_disable.then_some(true),
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: limits.cpu_shares.filter(|shares| *shares != 0),
        quota: limits
            .nano_cpus
            .map(|nano| clamp(nano / (1_000_000_000 / PERIOD)))
            .or(limits.cpu_quota),
        period: limits.nano_cpus.map(|_| PERIOD).or(limits.cpu_period),
        realtime_period: limits.cpu_rt_period,
        realtime_runtime: limits.cpu_rt_runtime,
        cpus: limits.cpuset_cpus.clone(),
        mems: limits.cpuset_mems.clone(),
        ..Cpu::default()
    };
    let pids = match limits.pids {
        None => DEFAULT_PIDS,
        Some(limit) if limit <= 0 => -1,
        Some(limit) => limit,
    };
    Ok(Resources {
        devices: plan_devices(options, facts),
        memory: Some(memory).filter(|memory| *memory != Memory::default()),
        cpu: Some(cpu).filter(|cpu| *cpu != Cpu::default()),
        pids: Some(Pids { limit: pids }),
        block_io: plan_block_io(options, facts)?,
        ..Resources::default()
    })
}

fn clamp(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn plan_block_io(options: &RunOptions, facts: &BundleFacts) -> Result<Option<BlockIo>, BundleError> {
    let limits = &options.limits;
    let throttle = |asked: &[(PathBuf, u64)]| -> Result<Vec<ThrottleDevice>, BundleError> {
        asked
            .iter()
            .map(|(path, rate)| {
                let missing = || BundleError::NotABlockDevice(path.display().to_string());
                let (major, minor) = facts.block_devices.get(path).ok_or_else(missing)?;
                Ok(ThrottleDevice {
                    major: i64::from(*major),
                    minor: i64::from(*minor),
                    rate: *rate,
                })
            })
            .collect()
    };
    let block_io = BlockIo {
        weight: limits.blkio_weight.filter(|weight| *weight != 0),
        weight_device: throttle(&limits.blkio_weight_device)?
            .into_iter()
            .map(|device| WeightDevice {
                major: device.major,
                minor: device.minor,
                weight: u16::try_from(device.rate).ok(),
                leaf_weight: None,
            })
            .collect(),
        throttle_read_bps_device: throttle(&limits.device_read_bps)?,
        throttle_write_bps_device: throttle(&limits.device_write_bps)?,
        throttle_read_iops_device: throttle(&limits.device_read_iops)?,
        throttle_write_iops_device: throttle(&limits.device_write_iops)?,
        ..BlockIo::default()
    };
    Ok(Some(block_io).filter(|block_io| *block_io != BlockIo::default()))
}

/// The rules for devices: Docker's own, then the user's. A privileged container may use
/// all.
fn plan_devices(options: &RunOptions, facts: &BundleFacts) -> Vec<DeviceRule> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        kind: Some(kind.to_owned()),
        major,
        minor,
        access: Some(access.to_owned()),
    };
    if options.security.privileged {
        return vec![rule(true, "a", None, None, "rwm")];
    }
    let mut rules = vec![
        rule(false, "a", None, None, "rwm"),
        rule(true, "c", None, None, "m"),
        rule(true, "b", None, None, "m"),
    ];
    let characters = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(characters.map(|(major, minor)| rule(true, "c", Some(major), Some(minor), "rwm")));
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    for (node, access) in facts.devices.iter().zip(&facts.device_access) {
        rules.push(rule(true, &node.kind, Some(node.major), Some(node.minor), access));
    }
    rules.extend(
        options
            .limits
            .device_cgroup_rules
            .iter()
            .filter_map(|text| parse_rule(text)),
    );
    rules
}

/// `c 1:3 rwm`, as the option's parser checked it.
fn parse_rule(text: &str) -> Option<DeviceRule> {
    let mut words = text.split_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| {
        if text == "*" {
            Some(None)
        } else {
            text.parse().ok().map(Some)
        }
    };
    Some(DeviceRule {
        allow: true,
        kind: Some(kind.to_owned()),
        major: number(major)?,
        minor: number(minor)?,
        access: Some(access.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_become_quota_and_memory_doubles_as_swap() {
        let mut options = RunOptions::default();
        options.limits.nano_cpus = Some(1_500_000_000);
        options.limits.memory = Some(1 << 20);
        let resources = plan_resources(&options, &BundleFacts::default()).unwrap();
        let cpu = resources.cpu.unwrap();
        assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
        let memory = resources.memory.unwrap();
        assert_eq!((memory.limit, memory.swap), (Some(1 << 20), Some(2 << 20)));
        assert_eq!(resources.pids.unwrap().limit, DEFAULT_PIDS);
    }

    #[test]
    fn rules_of_the_user_come_last() {
        let mut options = RunOptions::default();
        options.limits.device_cgroup_rules = vec!["c 10:* rw".to_owned()];
        let rules = plan_resources(&options, &BundleFacts::default()).unwrap().devices;
        assert_eq!(
            rules[0],
            DeviceRule {
                allow: false,
                kind: Some("a".into()),
                access: Some("rwm".into()),
                ..DeviceRule::default()
            }
        );
        let last = rules.last().unwrap();
        assert_eq!((last.major, last.minor, last.allow), (Some(10), None, true));
        options.security.privileged = true;
        assert_eq!(
            plan_resources(&options, &BundleFacts::default())
                .unwrap()
                .devices
                .len(),
            1
        );
    }
}
