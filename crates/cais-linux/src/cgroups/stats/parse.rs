//! What both versions write the same way.

use super::{Pressure, PressureLine};
use cais_order::Gather;
use std::collections::BTreeMap;

/// A file with one number: `memory.current`, `memory.usage_in_bytes`, `cpuacct.usage` and
/// the like. `max` is [`u64::MAX`]; what is no number is 0.
#[must_use]
pub fn parse_value(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        number => number.parse().unwrap_or(0),
    }
}

/// A file with a name and a number in each line: `memory.stat` of both versions
/// (cgroup-v2.rst, "Flat keyed").
#[must_use]
pub fn parse_keyed(text: &str) -> BTreeMap<String, u64> {
    keyed(text)
        .map(|(name, value)| (name.to_owned(), value))
        .into_map()
}

/// The same without collecting.
pub(super) fn keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

/// The value of one name, or 0.
pub(super) fn keyed_value(text: &str, name: &str) -> u64 {
    keyed(text)
        .find(|(known, _)| *known == name)
        .map_or(0, |(_, value)| value)
}

/// `pids.max` (cgroup-v1/pids.rst): `None` for `max`, which is no limit.
#[must_use]
pub fn parse_pids_max(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// A list of ids, `0-3,7`: `cpuset.cpus`, `cpuset.mems` (cgroup-v1/cpusets.rst, "List
/// format"). A part that is none is left out.
#[must_use]
pub fn parse_id_list(text: &str) -> Vec<u16> {
    text.trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect()
}

/// A pressure file: `cpu.pressure`, `memory.pressure`, `io.pressure`
/// (accounting/psi.rst). `None` where it has no line.
#[must_use]
pub fn parse_pressure(text: &str) -> Option<Pressure> {
    let mut pressure = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let kind = words.next();
        let parsed = pressure_line(words);
        match kind {
            Some("some") => pressure.get_or_insert_with(Pressure::default).some = parsed,
            Some("full") => pressure.get_or_insert_with(Pressure::default).full = parsed,
            _ => {}
        }
    }
    pressure
}

fn pressure_line<'a>(words: impl Iterator<Item = &'a str>) -> PressureLine {
    let mut line = PressureLine::default();
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        match name {
            "avg10" => line.avg10 = value.parse().unwrap_or(0.0),
            "avg60" => line.avg60 = value.parse().unwrap_or(0.0),
            "avg300" => line.avg300 = value.parse().unwrap_or(0.0),
            "total" => line.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    line
}

/// A device's numbers, `8:16`.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The page size in `hugetlb.SIZE<suffix>`; none for the files of reservations
/// (`hugetlb.2MB.rsvd.current`).
pub(super) fn page_size<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
    (!size.is_empty() && !size.contains('.')).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values() {
        for (text, expected) in [
            ("247670962\n", 247_670_962),
            ("0\n", 0),
            ("max\n", u64::MAX),
            ("9223372036854771712\n", 9_223_372_036_854_771_712),
            ("", 0),
            ("-1\n", 0),
            ("junk\n", 0),
        ] {
            assert_eq!(parse_value(text), expected, "{text:?}");
        }
        for (text, expected) in [
            ("100\n", Some(100)),
            ("0\n", Some(0)),
            ("max\n", None),
            ("", None),
        ] {
            assert_eq!(parse_pids_max(text), expected, "{text:?}");
        }
    }

    #[test]
    fn keyed_lines() {
        let parsed = parse_keyed("cache 385024\nrss 0\n\nodd\nbad x\nhierarchical_memory_limit 67108864\n");
        let expected = [
            ("cache", 385_024),
            ("hierarchical_memory_limit", 67_108_864),
            ("rss", 0),
        ];
        assert_eq!(
            parsed,
            expected
                .map(|(name, value)| (name.to_owned(), value))
                .into_iter()
                .collect()
        );
        // A name is not found by its beginning.
        assert_eq!(keyed_value("oom_kill 3\noom 2\n", "oom"), 2);
        assert_eq!(keyed_value("", "oom"), 0);
    }

    #[test]
    fn id_lists() {
        for (text, expected) in [
            ("0-1\n", vec![0, 1]),
            ("0\n", vec![0]),
            ("0-2,5,8-9\n", vec![0, 1, 2, 5, 8, 9]),
            ("\n", vec![]),
            ("3-1\n", vec![]),
            ("x,1-y,70000,4\n", vec![4]),
        ] {
            assert_eq!(parse_id_list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn pressure() {
        let text = "some avg10=34.48 avg60=9.05 avg300=2.01 total=6073775\nfull avg10=34.48 avg60=9.05 avg300=2.00 total=6073445\n";
        let some = PressureLine {
            avg10: 34.48,
            avg60: 9.05,
            avg300: 2.01,
            total: 6_073_775,
        };
        let full = PressureLine {
            avg300: 2.0,
            total: 6_073_445,
            ..some
        };
        assert_eq!(parse_pressure(text), Some(Pressure { some, full }));
        // Before Linux 5.13 the CPU had one line.
        let old = text.lines().next().unwrap();
        let full = PressureLine::default();
        assert_eq!(parse_pressure(old), Some(Pressure { some, full }));
        for text in ["", "\n", "other avg10=1.00\n"] {
            assert_eq!(parse_pressure(text), None, "{text:?}");
        }
        assert_eq!(
            parse_pressure("some avg10 avg60=x new=1\n"),
            Some(Pressure::default())
        );
    }

    #[test]
    fn page_sizes() {
        for (name, suffix, expected) in [
            ("hugetlb.2MB.current", ".current", Some("2MB")),
            ("hugetlb.1GB.usage_in_bytes", ".usage_in_bytes", Some("1GB")),
            ("hugetlb.2MB.rsvd.current", ".current", None),
            ("hugetlb.2MB.max_usage_in_bytes", ".usage_in_bytes", None::<&str>),
            ("hugetlb.2MB.rsvd.usage_in_bytes", ".usage_in_bytes", None),
            ("hugetlb..current", ".current", None),
            ("memory.current", ".current", None),
        ] {
            assert_eq!(page_size(name, suffix), expected, "{name}");
        }
    }
}
