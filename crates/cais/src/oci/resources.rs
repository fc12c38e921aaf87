//! `update` and `events`: limits and what is used of them.

use super::{Call, Failed, Outcome};
use cais_linux::process::pidfd;
use cais_runtime::container::{cgroups, events, state, update as updating};
use cais_runtime::spec::linux::BlockIo;
use cais_runtime::spec::{Cpu, Memory, Pids, Resources, parse_json};
use rustix::fd::AsFd;
use std::io::Read;
use std::time::Duration;

pub(super) fn update(call: &Call) -> Outcome {
    let id = call.id()?;
    for flag in ["l3-cache-schema", "mem-bw-schema"] {
        if call.given.value(flag).is_some_and(|value| !value.is_empty()) {
            return Err(Failed::usage(format!("--{flag}: not supported")));
        }
    }
    let resources = match call.given.value("resources") {
        Some(file) => read_resources(file)?,
        None => resources_of_flags(call)?,
    };
    updating::update(&call.runtime, id, &resources)?;
    Ok(0)
}

fn read_resources(file: &str) -> Result<Resources, Failed> {
    let failed = |error: std::io::Error| Failed::usage(format!("{file}: {error}"));
    let mut bytes = Vec::new();
    if file == "-" {
        std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
    } else {
        bytes = std::fs::read(file).map_err(failed)?;
    }
    parse_json(&bytes).map_err(|error| Failed::usage(format!("{file}: {error}")))
}

fn resources_of_flags(call: &Call) -> Result<Resources, Failed> {
    let number = |name: &str| -> Result<Option<i64>, Failed> {
        let Some(text) = call.given.value(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let value = text
            .parse()
            .map_err(|_bad| Failed::usage(format!("invalid value for {name}: {text:?}")))?;
        Ok(Some(value))
    };
    let positive = |name: &str| -> Result<Option<u64>, Failed> {
        number(name)?
            .map(|value| {
                u64::try_from(value)
                    .map_err(|_negative| Failed::usage(format!("--{name} {value}: below zero")))
            })
            .transpose()
    };
    let bytes = |name: &str| -> Result<Option<i64>, Failed> {
        let Some(text) = call.given.value(name).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        parse_bytes(text)
            .map(Some)
            .ok_or_else(|| Failed::usage(format!("invalid value for {name}: {text:?}")))
    };
    let text = |name: &str| call.given.value(name).map(str::to_owned);
    let weight = positive("blkio-weight")?
        .map(|weight| {
            u16::try_from(weight)
                .map_err(|_large| Failed::usage(format!("--blkio-weight {weight}: above 1000")))
        })
        .transpose()?;
    Ok(Resources {
        memory: Some(Memory {
            limit: bytes("memory")?,
            reservation: bytes("memory-reservation")?,
            swap: bytes("memory-swap")?,
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: positive("cpu-share")?,
            quota: number("cpu-quota")?,
            period: positive("cpu-period")?,
            burst: positive("cpu-burst")?,
            realtime_period: positive("cpu-rt-period")?,
            realtime_runtime: number("cpu-rt-runtime")?,
            idle: number("cpu-idle")?,
            cpus: text("cpuset-cpus"),
            mems: text("cpuset-mems"),
        }),
        pids: number("pids-limit")?.map(|limit| Pids { limit }),
        block_io: weight.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    })
}

/// Bytes with `b`, `k`, `m`, `g` or `t`, as Docker writes them; -1 is unlimited.
fn parse_bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match lower
        .get(digits.len()..)?
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let number: i64 = digits.parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(1 << shift)
}

pub(super) fn events(call: &Call) -> Outcome {
    let id = call.id()?;
    let show = |value: &cais_json::Value| super::print(&format!("{value}\n"));
    let show_stats = || -> Result<u8, Failed> {
        Ok(show(&events::stats_event(
            id,
            &events::read_stats(&call.runtime, id)?,
        )))
    };
    if call.given.has("stats") {
        return show_stats();
    }
    let interval = parse_duration(call.given.value("interval").unwrap_or("5s"))
        .ok_or_else(|| Failed::usage("invalid value for interval: a duration such as 5s is wanted"))?;
    let state = state::read(&call.runtime, id)?;
    let group = cgroups::open(&state)?
        .ok_or_else(|| Failed::usage(format!("container {id} has no cgroup of its own")))?;
    let init = rustix::process::Pid::from_raw(state.pid)
        .and_then(|pid| pidfd::open(pid).ok())
        .filter(|_| state.is_alive())
        .ok_or_else(|| Failed::usage(format!("container with id {id} is not running")))?;
    let mut kills = group.read_oom_kills().unwrap_or(0);
    loop {
        show_stats()?;
        let ended = pidfd::await_end(init.as_fd(), Some(interval))
            .map_err(|error| Failed::usage(format!("cannot wait for the container: {error}")))?;
        let now = group.read_oom_kills().unwrap_or(kills);
        if now > kills {
            kills = now;
            show(&events::oom_event(id));
        }
        if ended {
            return Ok(0);
        }
    }
}

/// `5s`, `100ms`, `1m`: one number with a unit, above zero.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    Some(match text.get(digits.len()..)? {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_units() {
        for (text, want) in [
            ("1024", Some(1024)),
            ("1k", Some(1024)),
            ("2M", Some(2 << 20)),
            ("1gb", Some(1 << 30)),
            ("1GiB", Some(1 << 30)),
            ("-1", Some(-1)),
            ("-2", None),
            ("k", None),
            ("1q", None),
            ("", None),
            ("9999999999999t", None),
        ] {
            assert_eq!(parse_bytes(text), want, "{text:?}");
        }
    }
}
