//! `update` and `events`: limits and what is used of them.

use super::{Call, Failed, Outcome};
use cais_runtime::container::update as updating;
use cais_runtime::spec::linux::BlockIo;
use cais_runtime::spec::{Cpu, Memory, Pids, Resources, parse_json};
use std::io::Read;

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

pub(super) fn events(_call: &Call) -> Outcome {
    Err(Failed::usage("events is not there yet"))
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
