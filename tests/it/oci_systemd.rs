//! The systemd cgroup driver, where systemd runs: in the virtual machine of `cargo xtask
//! vm-test`. Elsewhere there is nobody to ask, and the runtime says so.

use crate::oci_support::Bundle;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// A property of a unit, as systemctl(1) shows it.
fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl")
        .args(["show", "--value", "--property", name, unit])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_container_is_a_unit_with_its_limits() {
    let mut bundle = Bundle::new();
    let name = bundle.id().to_owned();
    bundle.sh("cat /proc/self/cgroup; exec sleep 100");
    bundle.config["linux"]["cgroupsPath"] = json!(format!("system.slice:cais:{name}"));
    bundle.config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 33 });
    bundle.save();
    if !systemd_runs() {
        let done = bundle.oci(&["--systemd-cgroup", "create", &name]);
        assert!(
            done.code == 1 && done.stderr.contains("systemd"),
            "{}",
            done.stderr
        );
        return;
    }
    let unit = format!("cais-{name}.scope");
    bundle.ok(&["--systemd-cgroup", "create", &name]);
    assert_eq!(property(&unit, "ActiveState"), "active");
    // systemd.resource-control(5): each version of cgroups has its own name for it.
    let is_v1 = fs::exists("/sys/fs/cgroup/memory").unwrap();
    let limit = if is_v1 { "MemoryLimit" } else { "MemoryMax" };
    assert_eq!(property(&unit, limit), (64 << 20).to_string());
    assert_eq!(property(&unit, "TasksMax"), "33");
    let group = property(&unit, "ControlGroup");
    assert_eq!(group, format!("/system.slice/{unit}"));
    let limit = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"]
        .iter()
        .find_map(|mount| fs::read_to_string(format!("{mount}{group}/pids.max")).ok());
    assert_eq!(limit.as_deref(), Some("33\n"));
    bundle.ok(&["start", &name]);
    assert_eq!(bundle.ok(&["exec", &name, "/bin/echo", "here"]).trim(), "here");
    bundle.ok(&["update", "--pids-limit", "44", &name]);
    assert_eq!(property(&unit, "TasksMax"), "44");
    bundle.ok(&["pause", &name]);
    bundle.ok(&["resume", &name]);
    bundle.ok(&["delete", "--force", &name]);
    assert_ne!(property(&unit, "ActiveState"), "active");
}
