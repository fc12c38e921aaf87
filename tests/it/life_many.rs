//! A thousand containers that run: they are listed, and `rm -f` of all of them leaves nothing.

use crate::support::{TestEnv, eventually, is_soon};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;

const MANY: usize = 1000;
const KINDS: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// A namespace: the kind and the inode's number, and the one that no other ever has (`None`
/// before Linux 6.18). The inode's is soon that of another: tests beside this one make some.
type Namespace = (String, Option<u64>);

/// The namespaces of a process.
fn namespaces(process: &str) -> Vec<Namespace> {
    let of = |kind| {
        let path = format!("/proc/{process}/ns/{kind}");
        let link = fs::read_link(&path).ok()?;
        Some((link.to_string_lossy().into_owned(), id(&path)))
    };
    KINDS.into_iter().filter_map(of).collect()
}

fn id(path: &str) -> Option<u64> {
    cais_sys::namespace::id(fs::File::open(path).ok()?.as_fd()).ok()
}

/// The namespaces that mounts keep (proc_pid_mountinfo(5): the fourth word and the fifth).
fn mounted() -> impl Iterator<Item = Namespace> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let lines: Vec<String> = mounts.lines().map(str::to_owned).collect();
    lines.into_iter().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        let root = words.next().filter(|root| root.contains(":["))?;
        Some((root.to_owned(), id(words.next()?)))
    })
}

/// Who is in one of these namespaces: its command, and which.
fn inside(held: &BTreeSet<Namespace>) -> Vec<(String, Namespace)> {
    let of = |process: &String| {
        let command = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let all = namespaces(process).into_iter();
        all.map(move |namespace| (command.clone(), namespace))
    };
    let mut all: Vec<_> = processes().iter().flat_map(of).collect();
    all.retain(|(_, namespace)| held.contains(namespace));
    all
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
    let gone = is_soon(|| inside(&held).is_empty());
    assert!(gone, "{:?}", inside(&held));
    let kept: Vec<Namespace> = mounted().filter(|namespace| held.contains(namespace)).collect();
    assert!(kept.is_empty(), "{kept:?}");
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
            // Of all images together, and empty.
            "-not",
            "-path",
            "*/mount-points/*",
            // The same; what is made in them is moved.
            "-not",
            "-path",
            "*/data/apart/?",
            "-not",
            "-name",
            ".anonymous",
        ])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
