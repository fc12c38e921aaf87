//! Conversations with a fake systemd, and with a real one where there is one.

use super::super::fake::{Fake, STRANGER, SYSTEMD as SYSTEMD_NAME};
use super::super::plan_properties;
use super::*;
use crate::cgroups::Resources;
use crate::cgroups::resources::Memory;

const JOB: &str = "/org/freedesktop/systemd1/job/42";

fn scope() -> UnitName {
    UnitName {
        slice: "system.slice".into(),
        unit: "cais-web.scope".into(),
    }
}

fn slice() -> UnitName {
    UnitName {
        slice: "a.slice".into(),
        unit: "a-b.slice".into(),
    }
}

fn path(path: &str) -> Value {
    Value::Path(path.into())
}

/// `(sv)`.
fn pair(name: &str, value: Value) -> Value {
    Value::Struct(vec![text(name), Value::Variant(Box::new(value))])
}

fn accounting() -> [Value; 5] {
    [
        pair("MemoryAccounting", Value::Bool(true)),
        pair("CPUAccounting", Value::Bool(true)),
        pair("IOAccounting", Value::Bool(true)),
        pair("TasksAccounting", Value::Bool(true)),
        pair("DefaultDependencies", Value::Bool(false)),
    ]
}

fn start_body(unit: &str, first: Vec<Value>, last: Vec<Value>) -> [Value; 4] {
    let properties = [first, accounting().to_vec(), last].concat();
    [
        text(unit),
        text("replace"),
        Value::Array("(sv)".into(), properties),
        Value::Array("(sa(sv))".into(), vec![]),
    ]
}

fn scope_body() -> [Value; 4] {
    let first = vec![
        pair("Description", text("cais container web")),
        pair("Slice", text("system.slice")),
        pair("Delegate", Value::Bool(true)),
        pair("PIDs", Value::Array("u".into(), vec![Value::U32(4711)])),
    ];
    start_body("cais-web.scope", first, vec![pair("MemoryMax", Value::U64(4096))])
}

fn limits() -> Vec<Property> {
    let resources = Resources {
        memory: Memory {
            limit: Some(4096),
            ..Memory::default()
        },
        ..Resources::default()
    };
    plan_properties(&resources, true)
}

fn start(bus: &mut Bus) -> Result<(), SystemdError> {
    bus.start_transient_unit(&scope(), "cais container web", 4711, true, &limits())
}

fn stop(bus: &mut Bus) -> Result<(), SystemdError> {
    bus.stop_unit("cais-web.scope")
}

#[test]
fn a_scope_is_there_when_its_job_is_done() {
    let script = |fake: &mut Fake| {
        let subscribe = fake.expect("Subscribe", &[]);
        assert_eq!(subscribe.text(dbus::PATH), MANAGER_PATH);
        assert_eq!(subscribe.text(dbus::INTERFACE), MANAGER);
        assert_eq!(subscribe.text(dbus::DESTINATION), SYSTEMD);
        fake.reply(&[]);
        let call = fake.expect("StartTransientUnit", &scope_body());
        assert_eq!(
            dbus::signature_of(&call.body),
            "ssa(sv)a(sa(sv))",
            "what systemd takes"
        );
        // Even before the answer; another job does not matter.
        fake.job_removed("", "/org/freedesktop/systemd1/job/41", "failed");
        fake.job_removed("", JOB, "done");
        fake.reply(&[path(JOB)]);
        // Nothing is said twice.
        fake.expect("StopUnit", &[text("cais-web.scope"), text("replace")]);
        fake.reply(&[path(JOB)]);
        fake.job_removed("", JOB, "done");
        fake.expect("ResetFailedUnit", &[text("cais-web.scope")]);
        fake.refuse("org.freedesktop.systemd1.NoSuchUnit");
    };
    let done = Fake::answer(true, script, |bus| start(bus).and_then(|()| stop(bus)));
    assert_eq!(done, Ok(()));
}

#[test]
fn on_a_bus_only_systemd_is_believed() {
    let script = |fake: &mut Fake| {
        let call = fake.expect("AddMatch", &[text(MATCH)]);
        assert_eq!(call.text(dbus::DESTINATION), "org.freedesktop.DBus");
        fake.reply(&[]);
        fake.expect("Subscribe", &[]);
        fake.refuse("org.freedesktop.systemd1.AlreadySubscribed");
        fake.expect("StartTransientUnit", &scope_body());
        fake.job_removed(STRANGER, JOB, "done");
        fake.reply(&[path(JOB)]);
        fake.job_removed(STRANGER, JOB, "done");
        fake.job_removed(SYSTEMD_NAME, JOB, "failed");
        let forget = fake.expect("ResetFailedUnit", &[text("cais-web.scope")]);
        assert_eq!(forget.flags, dbus::NO_REPLY);
    };
    let failed = SystemdError::Job {
        unit: "cais-web.scope".into(),
        result: "failed".into(),
    };
    assert_eq!(Fake::answer(false, script, start), Err(failed));
}

#[test]
fn a_slice_has_no_process_and_wants_the_one_above() {
    let script = |fake: &mut Fake| {
        fake.expect("Subscribe", &[]);
        fake.reply(&[]);
        let first = vec![
            pair("Description", text("pod")),
            pair("Wants", Value::Array("s".into(), vec![text("a.slice")])),
        ];
        fake.expect("StartTransientUnit", &start_body("a-b.slice", first, vec![]));
        fake.reply(&[path(JOB)]);
        fake.job_removed("", JOB, "done");
    };
    let ask = |bus: &mut Bus| bus.start_transient_unit(&slice(), "pod", 0, true, &[]);
    assert_eq!(Fake::answer(true, script, ask), Ok(()));
}

#[test]
fn a_unit_that_failed_before_is_cleared_away_once() {
    let script = |fake: &mut Fake| {
        fake.expect("Subscribe", &[]);
        fake.reply(&[]);
        for _ in 0..2 {
            fake.expect("StartTransientUnit", &scope_body());
            fake.refuse("org.freedesktop.systemd1.UnitExists");
            if let Some(message) = fake.message() {
                assert_eq!(message.text(dbus::MEMBER), "ResetFailedUnit");
                fake.reply_to(&message, &[]);
            }
        }
    };
    let error = Fake::answer(true, script, start).unwrap_err();
    assert!(error.is_unit_exists(), "{error}");
    assert_eq!(
        error.to_string(),
        "systemd refuses StartTransientUnit(\"cais-web.scope\", \"replace\"): No, sorry. (org.freedesktop.systemd1.UnitExists)"
    );
}

#[test]
fn a_job_without_end_is_given_up() {
    let script = |fake: &mut Fake| {
        fake.expect("Subscribe", &[]);
        fake.reply(&[]);
        fake.expect("StartTransientUnit", &scope_body());
        fake.reply(&[path(JOB)]);
        fake.expect("ResetFailedUnit", &[text("cais-web.scope")]);
    };
    let error = Fake::answer(true, script, |bus| {
        bus.connection.patience = std::time::Duration::from_millis(200);
        start(bus)
    });
    assert!(matches!(error, Err(SystemdError::Timeout { .. })), "{error:?}");
}

#[test]
fn a_unit_that_is_gone_is_stopped_already() {
    let script = |fake: &mut Fake| {
        fake.expect("Subscribe", &[]);
        fake.reply(&[]);
        fake.expect("StopUnit", &[text("cais-web.scope"), text("replace")]);
        fake.refuse("org.freedesktop.systemd1.NoSuchUnit");
        fake.expect("ResetFailedUnit", &[text("cais-web.scope")]);
        fake.refuse("org.freedesktop.systemd1.NoSuchUnit");
    };
    assert_eq!(Fake::answer(true, script, stop), Ok(()));
}

#[test]
fn limits_are_changed_until_the_machine_stops() {
    let script = |fake: &mut Fake| {
        let limit = pair("MemoryMax", Value::U64(4096));
        let body = [
            text("cais-web.scope"),
            Value::Bool(true),
            Value::Array("(sv)".into(), vec![limit]),
        ];
        fake.expect("SetUnitProperties", &body);
        fake.refuse("org.freedesktop.DBus.Error.AccessDenied");
    };
    let error = Fake::answer(true, script, |bus| {
        // Nothing to change is nothing to ask.
        bus.set_unit_properties("cais-web.scope", &[])?;
        bus.set_unit_properties("cais-web.scope", &limits())
    });
    let refused =
        matches!(error, Err(SystemdError::Refused { ref name, .. }) if name.ends_with("AccessDenied"));
    assert!(refused, "{error:?}");
}

#[test]
fn properties_are_read() {
    let script = |fake: &mut Fake| {
        let variant = |value: &str| [Value::Variant(Box::new(text(value)))];
        for (unit, interface) in [
            ("cais-web.scope", "org.freedesktop.systemd1.Scope"),
            ("a-b.slice", "org.freedesktop.systemd1.Slice"),
        ] {
            fake.expect("GetUnit", &[text(unit)]);
            fake.reply(&[path("/unit/1")]);
            let get = fake.expect("Get", &[text(interface), text("ControlGroup")]);
            assert_eq!(get.text(dbus::PATH), "/unit/1");
            assert_eq!(get.text(dbus::INTERFACE), PROPERTIES);
            fake.reply(&variant("/system.slice/x"));
        }
        fake.expect("Get", &[text(MANAGER), text("ControlGroup")]);
        fake.reply(&variant("/"));
        fake.expect("Get", &[text(MANAGER), text("Version")]);
        fake.reply(&variant("252.38-1~deb12u1"));
    };
    let answers = Fake::answer(true, script, |bus| {
        assert_eq!(bus.unit_cgroup("cais-web.scope")?, "/system.slice/x");
        assert_eq!(bus.unit_cgroup("a-b.slice")?, "/system.slice/x");
        Ok((bus.manager_cgroup()?, bus.version()?))
    });
    assert_eq!(answers, Ok((String::new(), 252)));
}

#[test]
fn processes_are_moved() {
    let script = |fake: &mut Fake| {
        for below in ["", "/a/b"] {
            let pids = Value::Array("u".into(), vec![Value::U32(9)]);
            fake.expect(
                "AttachProcessesToUnit",
                &[text("cais-web.scope"), text(below), pids],
            );
            fake.reply(&[]);
        }
    };
    let moved = Fake::answer(true, script, |bus| {
        bus.add_process_to_unit("cais-web.scope", "/", 9)?;
        bus.add_process_to_unit("cais-web.scope", "a/b", 9)
    });
    assert_eq!(moved, Ok(()));
}

#[test]
fn versions_of_distributions() {
    for (version, want) in [
        ("252", 252),
        ("252.38-1~deb12u1", 252),
        ("v245.4-1.fc32", 245),
        ("257~rc1", 257),
        ("", 0),
        ("main", 0),
    ] {
        assert_eq!(parse_version(version), want, "{version}");
    }
}

/// A process that does nothing.
struct Sleeper(std::process::Child);

impl Sleeper {
    fn start() -> Self {
        let command = std::process::Command::new("sleep").arg("1000").spawn();
        Self(command.unwrap())
    }

    /// The lines of `/proc/PID/cgroup`.
    fn groups(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).unwrap()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Everything that [`plan_properties`] may say.
fn all_limits(version2: bool) -> Vec<Property> {
    use crate::cgroups::resources::{BlockIo, Cpu, DeviceKind, DeviceRule};
    let deny = DeviceRule {
        allow: false,
        kind: DeviceKind::All,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    };
    let allow = |kind, major, minor| DeviceRule {
        allow: true,
        kind,
        major,
        minor,
        ..deny
    };
    let resources = Resources {
        cpu: Cpu {
            shares: Some(512),
            quota: Some(33_333),
            period: Some(100_000),
            cpus: Some("0".into()),
            mems: Some("0".into()),
            ..Cpu::default()
        },
        memory: Memory {
            limit: Some(64 << 20),
            swap: Some(96 << 20),
            reservation: Some(32 << 20),
            ..Memory::default()
        },
        pids: Some(10),
        block_io: BlockIo {
            weight: Some(500),
            ..BlockIo::default()
        },
        devices: vec![
            deny,
            allow(DeviceKind::Character, Some(1), Some(3)),
            allow(DeviceKind::Character, Some(136), None),
            allow(DeviceKind::Block, None, None),
        ],
        ..Resources::default()
    };
    plan_properties(&resources, version2)
}

/// The whole life of a scope. `CAIS_TEST_SYSTEMD` is `system` or `user`.
#[test]
#[ignore = "needs a running systemd, such as that in the machine of vm-test"]
fn a_real_systemd() {
    let user = std::env::var("CAIS_TEST_SYSTEMD").unwrap() == "user";
    let connect = if user {
        Bus::connect_user
    } else {
        Bus::connect_system
    };
    let mut bus = connect().unwrap();
    assert!(bus.version().unwrap() >= 242);
    let version2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let unit = UnitName {
        slice: "cais-test.slice".into(),
        unit: "cais-1.scope".into(),
    };
    let sleeper = Sleeper::start();
    let start = |bus: &mut Bus| {
        let limits = all_limits(version2);
        bus.start_transient_unit(&unit, "A test", sleeper.0.id(), true, &limits)
    };
    start(&mut bus).unwrap();
    let group = bus.unit_cgroup(&unit.unit).unwrap();
    let want = format!("{}/{}", bus.manager_cgroup().unwrap(), unit.cgroup().unwrap());
    assert_eq!(group, want);
    assert!(sleeper.groups().contains(&group), "{}", sleeper.groups());
    let file = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{group}/{name}"));
        text.unwrap().trim().to_owned()
    };
    if version2 {
        assert_eq!(file("pids.max"), "10");
        assert_eq!(file("memory.max"), (64 << 20).to_string());
        assert_eq!(file("memory.low"), (32 << 20).to_string());
        assert_eq!(file("memory.swap.max"), (32 << 20).to_string());
    }
    if version2 && !user {
        assert_eq!(file("cpu.max"), "34000 100000");
        assert_eq!(file("cpu.weight"), "59");
        assert_eq!(file("cpuset.cpus"), "0");
    }
    // The same name again, by a connection of its own.
    let error = start(&mut connect().unwrap()).unwrap_err();
    assert!(error.is_unit_exists(), "{error}");
    let more = Property::new("MemoryMax", PropertyValue::U64(128 << 20));
    bus.set_unit_properties(&unit.unit, &[more]).unwrap();
    if version2 {
        assert_eq!(file("memory.max"), (128 << 20).to_string());
    }
    let second = Sleeper::start();
    bus.add_process_to_unit(&unit.unit, "", second.0.id()).unwrap();
    assert!(second.groups().contains(&group), "{}", second.groups());
    bus.stop_unit(&unit.unit).unwrap();
    assert!(bus.unit_cgroup(&unit.unit).unwrap_err().is_no_such_unit());
    bus.stop_unit(&unit.unit).unwrap();
    real_slice(&mut bus);
}

fn real_slice(bus: &mut Bus) {
    let slice = UnitName {
        slice: "cais-test.slice".into(),
        unit: "cais-test-pod.slice".into(),
    };
    let limits = limits();
    bus.start_transient_unit(&slice, "A pod", 0, true, &limits[1..])
        .unwrap();
    let group = bus.unit_cgroup(&slice.unit).unwrap();
    let want = format!("{}/{}", bus.manager_cgroup().unwrap(), slice.cgroup().unwrap());
    assert_eq!(group, want);
    bus.stop_unit(&slice.unit).unwrap();
    // A value that systemd does not take.
    let nobody = bus.start_transient_unit(&scope(), "Nobody", u32::MAX, true, &[]);
    assert!(matches!(nobody, Err(SystemdError::Refused { .. })), "{nobody:?}");
}
