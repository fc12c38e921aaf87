//! SIGKILL at a hundred moments under load: commands and monitors, while containers come,
//! go and change their ports. After the next command nothing is left.

use crate::network_support::Site;
use crate::support::is_soon;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn pause(microseconds: u64) {
    let time = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: i64::try_from(microseconds * 1000).unwrap(),
    };
    rustix::event::poll(&mut [], Some(&time))
        .map(drop)
        .unwrap_or_default();
}

/// The processes of cais that belong to this test: commands and monitors.
fn processes(site: &Site) -> Vec<Pid> {
    let mark = format!("CAIS_DATA={}", site.env.path("data").display());
    let all = fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = numbers.filter(|number| {
        let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        name.starts_with("cais")
            && environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
    });
    ours.filter_map(Pid::from_raw).collect()
}

#[test]
fn a_hundred_kills_under_load() {
    let site = Site::new();
    site.ok(&["network", "create", "net"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3u64 {
            let (site, over) = (&site, &over);
            scope.spawn(move || {
                let mut numbers = Numbers(0x1234_5678_9abc_def1 + worker);
                while !over.load(Ordering::SeqCst) {
                    let name = format!("w{worker}");
                    let port = format!("{}:80", 9000 + worker);
                    let words = [
                        "run",
                        "-d",
                        "--name",
                        &name,
                        "--network",
                        "net:alias=all",
                        "-p",
                        &port,
                        "host",
                        "sleep",
                        "1000",
                    ];
                    site.cais(&words);
                    pause(numbers.below(20_000));
                    site.cais(&["port", "add", &name, &format!("{}:81/udp", 9100 + worker)]);
                    site.cais(&["network", "disconnect", "net", &name]);
                    site.cais(&["network", "connect", "net", &name]);
                    site.cais(&["rm", "-f", &name]);
                }
            });
        }
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut killed = 0;
        while killed < 100 {
            pause(3_000 + numbers.below(25_000));
            let ours = processes(&site);
            let Some(victim) = usize::try_from(numbers.below(1 << 20))
                .ok()
                .and_then(|number| ours.get(number % ours.len().max(1)))
            else {
                continue;
            };
            if kill_process(*victim, Signal::KILL).is_ok() {
                killed += 1;
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    site.clear();
    let left = || [site.leftovers(), site.env.leftovers()].concat();
    let leaves_nothing = is_soon(|| {
        let mut sweep = site.lan.host.inside(&site.env.command(&["ps", "-a"]));
        sweep.stdout(Stdio::null()).status().unwrap();
        site.clear();
        left().is_empty()
    });
    assert!(leaves_nothing, "the next command leaves nothing: {:#?}", left());
    let check = site.cais(&["network", "check"]);
    assert_eq!((check.code, check.stdout.as_str()), (0, ""), "{}", check.stderr);
    site.ok(&["run", "--rm", "--network", "net", "-p", "9000:80", "host", "true"]);
}

#[test]
fn names_of_nobody_are_taken_back() {
    let site = Site::new();
    site.ok(&["network", "create", "net"]);
    site.start("web", &["--network", "net"], "sleep 1000");
    let known = site.env.path("run/resolvers");
    let file = std::fs::read_dir(&known)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    // As a command leaves it that was killed while it changed the networks of a container that
    // has ended, and beside it a file that was never renamed.
    let other = known.join("0123456789abcdef".repeat(4));
    std::fs::copy(&file, &other).unwrap();
    let beside = known.join(format!("{}.4194304", file.file_name().unwrap().to_string_lossy()));
    std::fs::copy(&file, &beside).unwrap();
    site.ok(&["ps", "-a"]);
    assert!(file.exists() && !other.exists() && !beside.exists());
    site.ok(&["rm", "-f", "web"]);
    site.ok(&["network", "rm", "net"]);
}
