//! `cais stats`: that the values are true, with the cgroups of whichever version is here.

use crate::support::{TestEnv, eventually};
use serde_json::Value;

fn stats(env: &TestEnv, name: &str) -> Value {
    let text = env.ok(&["stats", "--no-stream", "--format", "json", name]);
    serde_json::from_str(&text).unwrap()
}

/// A size as Docker writes it, in bytes.
fn bytes(text: &str) -> f64 {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap();
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("{other} in {text}"),
    };
    number.parse::<f64>().unwrap() * unit
}

/// The two values of `A / B`.
fn pair(value: &Value, key: &str) -> (f64, f64) {
    let (first, second) = value[key].as_str().unwrap().split_once(" / ").unwrap();
    (bytes(first), bytes(second))
}

fn percent(value: &Value, key: &str) -> f64 {
    let text = value[key].as_str().unwrap();
    text.strip_suffix('%').unwrap().parse().unwrap()
}

#[test]
fn the_values_are_true() {
    let env = TestEnv::new();
    let script = "head -c 50M /dev/zero > /m/file; for i in 1 2 3 4; do sleep 1000 & done; \
        touch /m/ready; wait";
    let flags = ["-d", "--name", "web", "-m", "100m", "--tmpfs", "/m:size=80m"];
    env.ok(&[&["run"][..], &flags, &["host", "sh", "-c", script]].concat());
    eventually("it has what it wants", || {
        env.cais(&["exec", "web", "test", "-e", "/m/ready"]).code == 0
    });
    let mib = 1024.0 * 1024.0;
    let value = stats(&env, "web");
    let (used, limit) = pair(&value, "MemUsage");
    assert!((50.0 * mib..62.0 * mib).contains(&used), "{value}");
    assert!((limit - 100.0 * mib).abs() < mib, "{value}");
    assert!(
        (percent(&value, "MemPerc") - used / limit * 100.0).abs() < 0.5,
        "{value}"
    );
    assert_eq!(value["PIDs"], "5", "{value}");
    assert_eq!(value["Name"], "web");
    assert!(percent(&value, "CPUPerc") < 20.0, "{value}");
    // Nothing goes over a network that is not there.
    assert_eq!(value["NetIO"], "0B / 0B", "{value}");
    env.ok(&["rm", "-f", "web"]);
}

/// Half a processor, whatever else the machine does: never more than that.
#[test]
fn the_processor_is_shown_as_it_is_used() {
    let env = TestEnv::new();
    let words = ["run", "-d", "--name", "busy", "--cpus", "0.5", "host", "sh", "-c"];
    env.ok(&[&words[..], &["while :; do :; done"]].concat());
    let seen = || percent(&stats(&env, "busy"), "CPUPerc");
    eventually("it is busy", || (15.0..=75.0).contains(&seen()));
    env.ok(&["rm", "-f", "busy"]);
}

/// What goes to a disk, past the cache; the file lies where the store does.
#[test]
fn what_is_written_is_counted() {
    let env = TestEnv::new();
    let directory = env.path("written");
    std::fs::create_dir(&directory).unwrap();
    let volume = format!("{}:/written", directory.display());
    let script =
        "dd if=/dev/zero of=/written/file bs=1M count=8 oflag=direct && touch /written/ready; sleep 1000";
    let words = [
        "run", "-d", "--name", "disk", "--userns", "host", "-v", &volume, "host", "sh", "-c", script,
    ];
    env.ok(&words);
    eventually("it has written", || directory.join("ready").exists());
    let (read, written) = pair(&stats(&env, "disk"), "BlockIO");
    // Version 1 of older kernels counts only where something is limited.
    let kernel = "cat /sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes_recursive";
    let kernel = env.cais(&["exec", "disk", "sh", "-c", kernel]).stdout;
    match kernel.lines().last() {
        Some("Total 0") => assert_eq!((read, written), (0.0, 0.0)),
        _ => assert!((8e6..40e6).contains(&written), "{read} read, {written} written"),
    }
    env.ok(&["rm", "-f", "disk"]);
}
