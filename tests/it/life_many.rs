//! A thousand containers that run: they are listed, and `rm -f` of all of them leaves nothing.

use crate::support::{TestEnv, eventually};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const MANY: usize = 1000;
const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// The namespaces of a process: kind and number.
fn namespaces(process: &str) -> impl Iterator<Item = String> {
    KINDS
        .into_iter()
        .filter_map(move |kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok())
        .map(|link| link.to_string_lossy().into_owned())
}

/// All processes that there are now.
fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .collect()
}

/// When a process began, in ticks (proc_pid_stat(5)); `None` where it is gone.
fn began(process: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

/// Starts so many, several at once, some of them with a volume.
fn start(env: &TestEnv) {
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for number in (part..MANY).step_by(4) {
                    let name = format!("many{number}");
                    let volume: &[&str] = if number % 50 == 0 { &["-v", "/own"] } else { &[] };
                    let words = [
                        &["run", "-d", "--name", &name],
                        volume,
                        &["host", "sleep", "100000"],
                    ];
                    env.ok(&words.concat());
                }
            });
        }
    });
}

#[test]
#[ignore = "needs memory for a thousand containers: `cargo xtask test` runs this"]
fn a_thousand_are_removed_without_a_trace() {
    let env = TestEnv::new();
    start(&env);
    let listed = env.ok(&["ps", "-q", "--no-trunc"]);
    let ids: Vec<&str> = listed.lines().collect();
    assert_eq!(ids.len(), MANY);
    let described = env.ok(&[&["inspect"][..], &ids].concat());
    let described: Value = serde_json::from_str(&described).unwrap();
    let mut held = BTreeSet::new();
    let mut inits = Vec::new();
    for container in described.as_array().unwrap() {
        for pid in [&container["State"]["Pid"], &container["Cais"]["MonitorPid"]] {
            let pid = pid.to_string();
            let since = began(&pid).expect("it runs");
            inits.push((pid, since));
        }
        held.extend(namespaces(&container["State"]["Pid"].to_string()));
    }
    for own in namespaces("self") {
        held.remove(&own);
    }
    assert!(held.len() >= 6 * MANY, "{} namespaces", held.len());
    let removed = env.ok(&[&["rm", "-f", "-v"][..], &ids].concat());
    assert_eq!(removed.lines().count(), MANY);
    // The monitors end after the last of them has told that it is done.
    eventually("no process is left", || {
        inits
            .iter()
            .all(|(pid, since)| began(pid).as_ref() != Some(since))
    });
    eventually("nothing is left", || env.leftovers().is_empty());
    let still: Vec<String> = processes()
        .iter()
        .flat_map(|process| namespaces(process))
        .filter(|namespace| held.contains(namespace))
        .collect();
    assert!(still.is_empty(), "{still:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!held.iter().any(|namespace| mounts.contains(namespace.as_str())));
    files_are_gone(&env);
}

/// No file of a container is left, wherever.
fn files_are_gone(env: &TestEnv) {
    let found = Command::new("find")
        .args([env.path("data"), env.path("run")])
        .args([
            "-mindepth",
            "2",
            "-not",
            "-path",
            "*/seccomp/*",
            "-not",
            "-name",
            ".anonymous",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
