//! A full disk at every write: the command fails and says so, and everything is as before.

use crate::support::{Done, TestEnv, eventually};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system below the test's directory, unmounted at the end.
pub(crate) struct Small(PathBuf);

impl Small {
    fn mount(env: &TestEnv) -> Self {
        let path = env.path("small");
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=700", "cais-test"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(path)
    }

    /// An ext4 in a file of so many MiB, by way of a loop device.
    pub(crate) fn mount_loop(env: &TestEnv, size: u64) -> Self {
        let (path, file) = (env.path("small"), env.path("small.img"));
        fs::create_dir_all(&path).unwrap();
        fs::File::create(&file).unwrap().set_len(size << 20).unwrap();
        let script = "mkfs.ext4 -q -b 1024 -m 0 \"$1\" && mount -o loop \"$1\" \"$2\"";
        let mounted = Command::new("sh")
            .args(["-c", script, "sh"])
            .args([&file, &path])
            .status()
            .unwrap();
        assert!(mounted.success());
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves only so many pages free.
    pub(crate) fn fill(&self, pages: u64) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        let mut before = None;
        loop {
            // What was removed comes free, and what was written takes its room, when that is on
            // the disk.
            rustix::fs::syncfs(&file).unwrap();
            let status = rustix::fs::statvfs(&self.0).unwrap();
            let free = status.f_bavail.saturating_sub(pages) * status.f_frsize;
            if free == 0 || before == Some(free) {
                return;
            }
            before = Some(free);
            match file.write_all(&vec![0u8; usize::try_from(free).unwrap()]) {
                Err(error) if error.kind() != std::io::ErrorKind::StorageFull => panic!("{error}"),
                _ => {}
            }
        }
    }

    pub(crate) fn empty(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }

    fn cais(&self, env: &TestEnv, words: &[&str]) -> Done {
        let mut command = env.command(words);
        command
            .env("CAIS_DATA", self.0.join("data"))
            .env("CAIS_RUN", self.0.join("run"));
        Done::of(command)
    }

    /// With the data here and what runs on another disk, as on every machine where `/run` is a
    /// tmpfs.
    fn cais_with_data(&self, env: &TestEnv, words: &[&str]) -> Done {
        let mut command = env.command(words);
        command.env("CAIS_DATA", self.0.join("data"));
        Done::of(command)
    }

    fn ok_with_data(&self, env: &TestEnv, words: &[&str]) -> String {
        let done = self.cais_with_data(env, words);
        assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
        done.stdout
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().unwrap();
    }
}

/// A tmpfs shows its files under other ids since Linux 6.3. Before, the error names this flag.
fn users_on_a_tmpfs() -> &'static [&'static str] {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = release
        .split('.')
        .take(2)
        .map_while(|word| word.parse().ok())
        .collect();
    if numbers.as_slice() < [6, 3].as_slice() {
        &["--userns=host"]
    } else {
        &[]
    }
}

#[test]
fn every_command_fails_whole_or_succeeds() {
    let env = TestEnv::new();
    let small = Small::mount(&env);
    let cais = |words: &[&str]| {
        let makes = ["create", "run"].contains(&words[0]);
        let flags = if makes { users_on_a_tmpfs() } else { &[] };
        small.cais(&env, &[&words[..1], flags, &words[1..]].concat())
    };
    let list = || {
        let done = cais(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        done.stdout
    };
    let commands: [&[&str]; 6] = [
        &["create", "--name", "second", "host", "true"],
        &["rename", "first", "second"],
        &["update", "--label-add", "a=b", "first"],
        &["start", "first"],
        &["run", "-d", "--name", "second", "host", "sleep", "1000"],
        &["run", "--rm", "host", "true"],
    ];
    for words in commands {
        let mut succeeded = false;
        for pages in 0..40 {
            let made = cais(&["create", "--name", "first", "host", "sleep", "1000"]);
            assert_eq!(made.code, 0, "{}", made.stderr);
            let before = list();
            small.fill(pages);
            let done = cais(words);
            small.empty();
            succeeded = done.code == 0;
            let after = list();
            if !succeeded {
                assert!(
                    done.stderr.contains("o space left") || done.stderr.contains("disk is full"),
                    "{words:?} with {pages} pages: {}",
                    done.stderr
                );
                let exited = before.replace("first created", "first exited");
                assert!(
                    after == before || after == exited,
                    "{words:?} with {pages} pages: {before} became {after}"
                );
            }
            for name in ["first", "second"] {
                cais(&["rm", "-f", name]);
            }
            eventually("all are gone", || {
                cais(&["ps", "-a"]);
                list().is_empty()
            });
            if succeeded {
                break;
            }
        }
        assert!(succeeded, "{words:?} must succeed with 40 pages");
        let left = fs::read_dir(small.0.join("data/containers")).unwrap().count();
        assert_eq!(left, 0, "{words:?}");
    }
}

/// Commands on containers that are there, on a file system of a disk. What runs is noted on
/// another one, as on every machine where `/run` is a tmpfs.
#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn what_runs_is_looked_after_on_a_full_disk() {
    let env = TestEnv::new();
    let small = Small::mount_loop(&env, 16);
    let cais = |words: &[&str]| small.cais_with_data(&env, words);
    let ok = |words: &[&str]| small.ok_with_data(&env, words);
    // What ends something works without any room at all.
    let commands: [(&[&str], bool); 10] = [
        (&["stop", "live"], true),
        (&["kill", "live"], true),
        (&["rm", "done"], true),
        (&["rm", "-f", "live"], true),
        (&["exec", "live", "true"], true),
        (&["pause", "live"], false),
        (&["update", "-m", "64m", "live"], false),
        (&["update", "--restart", "always", "live"], false),
        (&["rename", "live", "other"], false),
        (&["restart", "live"], false),
    ];
    for (words, always) in commands {
        for blocks in 0.. {
            ok(&["run", "-d", "--name", "live", "host", "sleep", "1000"]);
            ok(&["run", "--name", "done", "host", "true"]);
            let list = || ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
            let before = list();
            small.fill(blocks);
            let done = cais(words);
            small.empty();
            let what = format!("{words:?} with {blocks} blocks: {}", done.stderr);
            if done.code != 0 {
                assert!(!always && done.stderr.contains("o space left"), "{what}");
                let after = list();
                // What was stopped to be started again stays stopped.
                let stopped = before.replace("live running", "live exited");
                assert!(
                    after == before || words[0] == "restart" && after == stopped,
                    "{what}: {before} became {after}"
                );
            }
            for id in ok(&["ps", "-aq"]).lines() {
                ok(&["rm", "-f", id]);
            }
            for path in ["containers", "names"].map(|name| small.0.join("data").join(name)) {
                assert_eq!(fs::read_dir(path).unwrap().count(), 0, "{what}");
            }
            for path in ["run/containers", "run/userns"].map(|name| env.path(name)) {
                assert_eq!(fs::read_dir(path).unwrap().count(), 0, "{what}");
            }
            if done.code == 0 {
                break;
            }
            assert!(blocks < 60, "{what}");
        }
    }
}

/// How a container ended is known though it cannot be recorded, and is recorded later.
#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn an_end_on_a_full_disk() {
    let env = TestEnv::new();
    let small = Small::mount_loop(&env, 16);
    let cais = |words: &[&str]| small.cais_with_data(&env, words);
    let ok = |words: &[&str]| small.ok_with_data(&env, words);
    let exit = || ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "live"]);
    ok(&["run", "-d", "--name", "live", "host", "sleep", "1000"]);
    for words in [["stop", "live"], ["kill", "live"]] {
        small.fill(0);
        ok(&words);
        assert_eq!(ok(&["wait", "live"]), "137\n");
        assert_eq!(exit(), "exited 137\n");
        let started = cais(&["start", "live"]);
        assert!(
            started.code == 1 && started.stderr.contains("o space left"),
            "{}",
            started.stderr
        );
        small.empty();
        assert_eq!(exit(), "exited 137\n");
        ok(&["start", "live"]);
        assert_eq!(exit(), "running 0\n");
    }
    small.fill(0);
    ok(&["rm", "-f", "live"]);
    small.empty();
    assert_eq!(ok(&["ps", "-aq"]), "");
}

/// No room anywhere, for what runs neither: what ends something works, and how it ended is
/// known and recorded later.
fn an_end_without_any_room(small: &Small, env: &TestEnv, flags: &[&str]) {
    let cais = |words: &[&str]| small.cais(env, words);
    let ok = |words: &[&str]| {
        let done = cais(words);
        assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
        done.stdout
    };
    let exit = || ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "live"]);
    let script = "trap 'exit 7' TERM; while :; do sleep 0.05; done";
    let start = || {
        let words = ["-d", "--name", "live", "host", "sh", "-c", script];
        ok(&[&["run"], flags, &words[..]].concat());
        eventually("the program listens", || {
            let caught = ok(&["exec", "live", "grep", "SigCgt", "/proc/1/status"]);
            caught.trim().ends_with("4000") || caught.trim().ends_with("4002")
        });
        small.fill(0);
    };
    for (words, code) in [(["stop", "live"], 7), (["kill", "live"], 137)] {
        start();
        ok(&words);
        assert_eq!(ok(&["wait", "live"]), format!("{code}\n"));
        assert_eq!(exit(), format!("exited {code}\n"));
        small.empty();
        assert_eq!(exit(), format!("exited {code}\n"));
        ok(&["rm", "live"]);
    }
    for words in [&["rm", "live"][..], &["rm", "-f", "live"]] {
        start();
        if words.len() == 2 {
            ok(&["stop", "live"]);
        }
        ok(words);
        assert_eq!(ok(&["ps", "-aq"]), "");
        small.empty();
        let left = ["data/containers", "data/names", "run/containers", "run/userns"]
            .map(|name| fs::read_dir(small.0.join(name)).unwrap().count());
        assert_eq!(left, [0; 4], "{words:?}");
    }
}

#[test]
fn an_end_without_any_room_in_memory() {
    let env = TestEnv::new();
    an_end_without_any_room(&Small::mount(&env), &env, users_on_a_tmpfs());
}

#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn an_end_without_any_room_on_a_disk() {
    let env = TestEnv::new();
    an_end_without_any_room(&Small::mount_loop(&env, 16), &env, &[]);
}

/// A log that cannot be written for a while: the program goes on, what was lost is told, and
/// how it ended is known.
#[test]
#[ignore = "needs a loop device and Debian's e2fsprogs: `cargo xtask test` installs them and runs this"]
fn a_log_on_a_full_disk() {
    let env = TestEnv::new();
    let small = Small::mount_loop(&env, 16);
    let cais = |words: &[&str]| small.ok_with_data(&env, words);
    let script = "trap 'echo last; exit 7' TERM; echo first; while :; do echo more >>/tmp/x; \
        head -c 3000 /dev/zero | tr '\\0' y; echo; sleep 0.01; done";
    cais(&[
        "run", "-d", "--tmpfs", "/tmp", "--name", "talk", "host", "sh", "-c", script,
    ]);
    eventually("it talks", || cais(&["logs", "talk"]).contains("yyy"));
    small.fill(0);
    let length = || cais(&["logs", "talk"]).len();
    let said = || cais(&["exec", "talk", "wc", "-l", "/tmp/x"]);
    let said = || {
        said()
            .split(' ')
            .next()
            .and_then(|count| count.parse::<usize>().ok())
    };
    // More than a pipe holds was said, and none of it was kept.
    let is_full = || {
        let (kept, lines) = (length(), said().unwrap());
        eventually("it goes on talking", || {
            said().is_some_and(|now| now > lines + 40)
        });
        length() == kept
    };
    eventually("nothing more is kept", is_full);
    small.empty();
    eventually("the log goes on", || {
        let done = small_logs(&env, &small);
        done.stderr.contains("bytes of output were lost")
    });
    // And at the end: nothing can be written at all.
    small.fill(0);
    eventually("nothing more is kept", is_full);
    env.command(&["kill", "-s", "TERM", "talk"])
        .env("CAIS_DATA", small.0.join("data"))
        .status()
        .unwrap();
    let exit = || cais(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "talk"]);
    eventually("it has ended", || exit() == "exited 7\n");
    small.empty();
    assert_eq!(exit(), "exited 7\n");
    cais(&["rm", "talk"]);
}

fn small_logs(env: &TestEnv, small: &Small) -> Done {
    let mut command = env.command(&["logs", "talk"]);
    command.env("CAIS_DATA", small.0.join("data"));
    Done::of(command)
}
