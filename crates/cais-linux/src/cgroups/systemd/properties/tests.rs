//! Limits and the properties they become.

use super::*;
use PropertyValue::{Bytes, DeviceAllow, Text, U64};

fn pairs(properties: Vec<Property>) -> Vec<(String, PropertyValue)> {
    properties
        .into_iter()
        .map(|property| (property.name, property.value))
        .collect()
}

fn owned(want: &[(&str, PropertyValue)]) -> Vec<(String, PropertyValue)> {
    want.iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

fn plan(resources: &Resources, version2: bool) -> Vec<(String, PropertyValue)> {
    pairs(plan_properties(resources, version2))
}

fn everything() -> Resources {
    Resources {
        cpu: Cpu {
            shares: Some(1024),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: Some("0-1,8".into()),
            mems: Some("0".into()),
            ..Cpu::default()
        },
        memory: Memory {
            limit: Some(1 << 20),
            swap: Some(3 << 20),
            reservation: Some(1 << 19),
            ..Memory::default()
        },
        pids: Some(10),
        block_io: BlockIo {
            weight: Some(1000),
            ..BlockIo::default()
        },
        ..Resources::default()
    }
}

#[test]
fn version_2() {
    let want = [
        ("MemoryMax", U64(1 << 20)),
        ("MemoryLow", U64(1 << 19)),
        ("MemorySwapMax", U64(2 << 20)),
        ("CPUWeight", U64(100)),
        ("AllowedCPUs", Bytes(vec![3, 1])),
        ("AllowedMemoryNodes", Bytes(vec![1])),
        ("IOWeight", U64(10_000)),
        ("CPUQuotaPeriodUSec", U64(100_000)),
        ("CPUQuotaPerSecUSec", U64(500_000)),
        ("TasksMax", U64(10)),
    ];
    assert_eq!(plan(&everything(), true), owned(&want));
}

#[test]
fn version_1() {
    let want = [
        ("MemoryLimit", U64(1 << 20)),
        ("CPUShares", U64(1024)),
        ("BlockIOWeight", U64(1000)),
        ("CPUQuotaPeriodUSec", U64(100_000)),
        ("CPUQuotaPerSecUSec", U64(500_000)),
        ("TasksMax", U64(10)),
    ];
    assert_eq!(plan(&everything(), false), owned(&want));
}

#[test]
fn nothing_is_asked_for_by_default() {
    assert_eq!(plan(&Resources::default(), true), []);
    assert_eq!(plan(&Resources::default(), false), []);
}

#[test]
fn less_than_nothing_is_no_limit() {
    let resources = Resources {
        memory: Memory {
            limit: Some(-1),
            swap: Some(-1),
            reservation: Some(-1),
            ..Memory::default()
        },
        cpu: Cpu {
            quota: Some(-1),
            ..Cpu::default()
        },
        pids: Some(-1),
        ..Resources::default()
    };
    let names = [
        "MemoryMax",
        "MemoryLow",
        "MemorySwapMax",
        "CPUQuotaPerSecUSec",
        "TasksMax",
    ];
    let want = names.map(|name| (name, U64(u64::MAX)));
    assert_eq!(plan(&resources, true), owned(&want));
}

#[test]
fn quotas_are_rounded_up_to_a_percent() {
    for (quota, period, want) in [
        (Some(50_000), Some(100_000), vec![100_000, 500_000]),
        (Some(5_000), None, vec![50_000]),
        (Some(5_001), Some(1_000_000), vec![1_000_000, 10_000]),
        (Some(33_333), Some(100_000), vec![100_000, 340_000]),
        (Some(1), Some(1_000_000), vec![1_000_000, 10_000]),
        (None, Some(50_000), vec![50_000, u64::MAX]),
        (Some(-1), Some(50_000), vec![50_000, u64::MAX]),
        (Some(0), Some(0), vec![]),
        (Some(i64::MAX), Some(1), vec![1, u64::MAX]),
    ] {
        let mut properties = Vec::new();
        plan_quota(quota, period, &mut properties);
        let values: Vec<PropertyValue> = properties.into_iter().map(|p| p.value).collect();
        let want: Vec<PropertyValue> = want.into_iter().map(U64).collect();
        assert_eq!(values, want, "{quota:?} {period:?}");
    }
}

#[test]
fn sets_of_numbers() {
    for (list, want) in [
        ("0", Some(vec![1])),
        ("0-3", Some(vec![0x0f])),
        ("1,3-5", Some(vec![0b11_1010])),
        (" 8 , ,0-1,", Some(vec![3, 1])),
        ("15-16", Some(vec![0, 0x80, 1])),
        ("", None),
        (",", None),
        ("3-1", None),
        ("a", None),
        ("-1", None),
        ("0-4294967295", None),
    ] {
        assert_eq!(parse_set(list), want, "{list:?}");
    }
}

#[test]
fn files_of_version_2() {
    let unified = [
        ("cpu.max", "20000 50000"),
        ("cpu.weight", "50"),
        ("cpuset.cpus", "2"),
        ("cpuset.mems", "0-1"),
        ("memory.high", "1000"),
        ("memory.low", "wrong"),
        ("memory.max", " max\n"),
        ("memory.oom.group", "1"),
        ("memory.swap.max", "0"),
        ("pids.max", "7"),
    ];
    let resources = Resources {
        unified: unified
            .map(|(file, value)| (file.to_owned(), value.to_owned()))
            .into(),
        ..Resources::default()
    };
    let want = [
        ("CPUQuotaPeriodUSec", U64(50_000)),
        ("CPUQuotaPerSecUSec", U64(400_000)),
        ("CPUWeight", U64(50)),
        ("AllowedCPUs", Bytes(vec![4])),
        ("AllowedMemoryNodes", Bytes(vec![3])),
        ("MemoryHigh", U64(1000)),
        ("MemoryMax", U64(u64::MAX)),
        ("MemorySwapMax", U64(0)),
        ("TasksMax", U64(7)),
    ];
    assert_eq!(plan(&resources, true), owned(&want));
    assert_eq!(plan(&resources, false), []);
}

#[test]
fn a_group_that_runs_idle_has_no_weight() {
    let mut resources = Resources {
        cpu: Cpu {
            shares: Some(512),
            idle: Some(1),
            ..Cpu::default()
        },
        ..Resources::default()
    };
    assert_eq!(plan(&resources, true), owned(&[("CPUWeight", U64(0))]));
    resources.cpu = Cpu::default();
    for (file, value) in [("cpu.idle", "1"), ("cpu.weight", "50")] {
        resources.unified.insert(file.into(), value.into());
    }
    assert_eq!(plan(&resources, true), owned(&[("CPUWeight", U64(0))]));
    resources.unified.insert("cpu.idle".into(), "0".into());
    assert_eq!(plan(&resources, true), owned(&[("CPUWeight", U64(50))]));
}

#[test]
fn an_old_systemd_gets_what_it_knows() {
    let names = |version| -> Vec<String> {
        let properties = plan_properties(&everything(), true);
        keep_supported(properties, version)
            .into_iter()
            .map(|property| property.name)
            .collect()
    };
    assert_eq!(names(252).len(), 10);
    assert_eq!(names(243).len(), 8);
    assert_eq!(names(241).len(), 7);
    let idle = vec![Property::new("CPUWeight", U64(0))];
    assert_eq!(keep_supported(idle.clone(), 251), []);
    assert_eq!(keep_supported(idle.clone(), 252), idle);
}

const NONE: DeviceRule = DeviceRule {
    allow: false,
    kind: DeviceKind::All,
    major: None,
    minor: None,
    read: true,
    write: true,
    mknod: true,
};

fn allow(kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        ..NONE
    }
}

fn plan_rules(devices: &[DeviceRule]) -> Vec<(String, PropertyValue)> {
    let resources = Resources {
        devices: devices.to_vec(),
        ..Resources::default()
    };
    plan(&resources, true)
}

#[test]
fn devices_that_are_allowed() {
    use DeviceKind::{All, Block, Character};
    let mknod = DeviceRule {
        read: false,
        write: false,
        ..allow(Character, None, None)
    };
    let rules = [
        allow(Block, Some(9), Some(9)),
        NONE,
        allow(Character, Some(1), Some(3)),
        allow(Character, Some(136), None),
        mknod,
        allow(Block, None, Some(2)),
        allow(All, Some(7), Some(0)),
        // What was given before is taken back in part, and what is wider stays.
        DeviceRule {
            allow: false,
            mknod: false,
            ..allow(Character, Some(136), None)
        },
        DeviceRule {
            allow: false,
            ..allow(Character, Some(5), Some(0))
        },
    ];
    let list = [
        ("/dev/char/1:3", "rwm"),
        ("char-136", "m"),
        ("char-*", "m"),
        ("block-*", "rwm"),
        ("/dev/block/7:0", "rwm"),
        ("/dev/char/7:0", "rwm"),
    ];
    let list = list.map(|(device, access)| (device.to_owned(), access.to_owned()));
    let want = [
        ("DevicePolicy", Text("strict".into())),
        ("DeviceAllow", DeviceAllow(vec![])),
        ("DeviceAllow", DeviceAllow(list.to_vec())),
    ];
    assert_eq!(plan_rules(&rules), owned(&want));
    assert_eq!(plan_rules(&[NONE]), owned(&want[..2]));
}

#[test]
fn all_devices_but_some_is_more_than_systemd_can_say() {
    let everything = allow(DeviceKind::All, None, None);
    let but = DeviceRule {
        allow: false,
        ..allow(DeviceKind::Block, Some(8), Some(0))
    };
    let want = [
        ("DevicePolicy", Text("auto".into())),
        ("DeviceAllow", DeviceAllow(vec![])),
    ];
    assert_eq!(plan_rules(&[everything, but]), owned(&want));
}

#[test]
fn values_have_the_types_of_systemd() {
    for (value, signature) in [
        (U64(1), "t"),
        (PropertyValue::U32List(vec![1]), "au"),
        (Text("a".into()), "s"),
        (PropertyValue::Bool(true), "b"),
        (PropertyValue::TextList(vec![]), "as"),
        (Bytes(vec![1]), "ay"),
        (DeviceAllow(vec![]), "a(ss)"),
    ] {
        let Value::Struct(members) = Property::new("Name", value).to_value() else {
            panic!("no struct");
        };
        let [Value::Text(name), Value::Variant(value)] = &members[..] else {
            panic!("{members:?}");
        };
        assert_eq!((name.as_str(), value.signature().as_str()), ("Name", signature));
    }
}
