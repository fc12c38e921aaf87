//! `cais run` and its kin for an ordinary user: a user namespace of its own, an overlay made in
//! it, everything below the user's directories, and nothing left behind.

use crate::support::{Done, executable, make_rootfs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The user: nobody, who owns nothing else.
const USER: &str = "65534";

/// A home, with an executable that the user can reach.
pub(crate) struct Home {
    pub(crate) base: PathBuf,
    /// What /etc/subuid and /etc/subgid say, for this user's commands alone.
    ranges: &'static str,
}

impl Home {
    pub(crate) fn new(ranges: &'static str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "run these tests as root");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = PathBuf::from(format!("/var/tmp/cais-home-{}-{number}", std::process::id()));
        fs::create_dir_all(base.join("run")).unwrap();
        make_rootfs(&base.join("rootfs"));
        fs::write(base.join("subids"), ranges).unwrap();
        for words in [
            vec![
                "cp",
                executable().to_str().unwrap(),
                base.join("cais").to_str().unwrap(),
            ],
            vec!["chown", "-R", &format!("{USER}:{USER}"), base.to_str().unwrap()],
        ] {
            assert!(
                Command::new(words[0])
                    .args(&words[1..])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        Self { base, ranges }
    }

    /// Runs a script as the user; `cais` is the executable. Its mounts are its own, so that the
    /// ranges of ids are seen by nobody else.
    fn sh(&self, script: &str) -> Done {
        self.sh_after(&["--mount"], "", script)
    }

    /// The same, in a cgroup.
    fn sh_in(&self, group: &Path, script: &str) -> Done {
        let join = format!("echo $$ > {}/cgroup.procs; ", group.display());
        self.sh_after(&["--mount"], &join, script)
    }

    /// The same, in new namespaces and after something that root does there.
    pub(crate) fn sh_after(&self, namespaces: &[&str], before: &str, script: &str) -> Done {
        let base = self.base.display();
        let prepare = format!(
            "mount --make-rprivate / && {before} for f in subuid subgid; do touch /etc/$f; mount --bind {base}/subids /etc/$f; done; \
             setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all sh -c '. {base}/script'"
        );
        let script = format!(
            "cd {base}; export HOME={base} XDG_RUNTIME_DIR={base}/run PATH={base}:$PATH; unset CAIS_DATA CAIS_RUN\n{script}\n"
        );
        fs::write(self.base.join("script"), script).unwrap();
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c", &prepare])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The same, for a script that must go well.
    fn ok(&self, script: &str) -> String {
        let done = self.sh(script);
        assert_eq!(done.code, 0, "{script}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Containers, and states of those that run.
    fn left(&self) -> Vec<String> {
        let places = [
            ".local/share/cais/containers",
            ".local/share/cais/names",
            "run/cais/containers",
        ];
        let entries = |place: &&str| {
            fs::read_dir(self.base.join(place))
                .into_iter()
                .flatten()
                .flatten()
        };
        let all = places.iter().flat_map(entries);
        all.map(|entry| entry.path().display().to_string()).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.left(), Vec::<String>::new());
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(!mounts.contains(self.base.to_str().unwrap()));
            // Who keeps the networks hears by itself that nobody uses them any more.
            for process in processes_with(&self.base) {
                await_end(&process);
            }
            let processes = processes_with(&self.base);
            assert!(processes.is_empty(), "{processes:?}");
        }
        fs::remove_dir_all(&self.base).unwrap_or_default();
    }
}

/// Waits for the end of a process, for ten seconds at most.
fn await_end(process: &str) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let pid = process.rsplit('/').next().and_then(|pid| pid.parse().ok());
    let Some(Ok(pidfd)) = pid
        .and_then(rustix::process::Pid::from_raw)
        .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()))
    else {
        return;
    };
    let limit = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap();
}

/// Processes with this home in their environment: monitors and programs.
fn processes_with(home: &Path) -> Vec<String> {
    let mark = format!("HOME={}", home.display()).into_bytes();
    let all = fs::read_dir("/proc").unwrap().flatten();
    let is_ours = |path: &PathBuf| {
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark)
    };
    let ours = all.map(|entry| entry.path()).filter(is_ours);
    ours.map(|path| path.display().to_string()).collect()
}

#[test]
fn a_program_runs_and_the_host_is_untouched() {
    let home = Home::new("");
    let text = home.ok(
        "cais run --rm host sh -c 'id -u; cat /proc/self/uid_map; rm -r /var/tmp/*/rootfs; touch /usr/new /new; \
         ls -d /usr/new /new; ls /sys/class/net; echo $$'",
    );
    let lines: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(lines, ["0", "0", USER, "1", "/new", "/usr/new", "lo", "1"]);
    assert!(home.base.join("rootfs/bin/busybox").exists());
    assert!(!Path::new("/usr/new").exists() && !Path::new("/new").exists());
}

/// Files of the host beside its mounts, which come and go while containers start.
#[test]
fn files_of_the_host_that_vanish() {
    let home = Home::new("");
    let parts = home.base.join("parts").display().to_string();
    let mount = format!("mkdir -p {parts}/m && mount -t tmpfs none {parts}/m && chown {USER} {parts} &&");
    let done = home.sh_after(
        &["--mount"],
        &mount,
        "(while [ ! -e done ]; do touch $(seq -f parts/f%g 40); rm -f parts/f*; done) &
         for round in $(seq 10); do cais run --rm host true || echo $round; done
         touch done; wait",
    );
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "", "")
    );
}

#[test]
fn the_life_of_a_container() {
    let home = Home::new("");
    let text = home.ok(
        "cais run -d --name one host sh -c 'echo out; echo err >&2; touch /usr/new; mkdir -p /top/deep; exec sleep 1000' >/dev/null
         until cais exec one test -e /top/deep; do :; done
         cais logs one 2>&1; cais ps --format '{{.Names}}' 2>/dev/null || cais ps | tail -1 | grep -o one
         cais exec one sh -c 'exit 7'; echo $?
         cais exec -e A=b -w /usr one sh -c 'echo $A; pwd'
         cais diff one | grep -v run
         cais stop one; cais start one; cais exec one ls /usr/new; cais rm -f one; cais ps -a | wc -l",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "out",
            "err",
            "one",
            "7",
            "b",
            "/usr",
            "A /top",
            "A /top/deep",
            "A /usr/new",
            "one",
            "one",
            "/usr/new",
            "one",
            "1"
        ]
    );
}

#[test]
fn a_directory_as_root() {
    let home = Home::new("");
    let text = home.ok(
        "cais run --rm --rootfs rootfs sh -c 'echo > /new; echo one'; ls rootfs | grep -c new
         cais run --rm --rootfs rootfs:rw sh -c 'echo > /new; echo two'; ls rootfs | grep new
         cais run --rm --rootfs rootfs -v $PWD/rootfs:/data -v $PWD/rootfs:/ro:ro --tmpfs /t --read-only \
            sh -c 'touch /data/there /t/y && echo three; touch /ro/x 2>/dev/null || touch /z 2>/dev/null || echo four'
         ls rootfs | grep there; true",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["one", "0", "two", "new", "three", "four", "there"]);
}

#[test]
fn images_and_volumes() {
    let home = Home::new("");
    let text = home.ok(
        "mkdir -p rootfs/data; echo mine > rootfs/data/file; tar -C rootfs -cf root.tar .
         cais import -c 'CMD cat /data/file' root.tar box >/dev/null; cais run --rm box
         cais run --rm -v kept:/data box sh -c 'echo more >> /data/file'
         cais run --rm -v kept:/data box; cais run --rm -v other:/elsewhere box sh -c 'echo $(ls /elsewhere)-'
         cais run --name changed box sh -c 'echo new > /data/new; rm /data/file'
         cais diff changed; cais export changed | tar -t | grep data/; cais export -o x.tar changed; tar -tf x.tar | grep -c data/file
         cais save -o box.tar box; cais rm changed; cais rmi box >/dev/null; cais load -q -i box.tar; cais run --rm box
         cais image mount box 2>&1 | grep -o 'only root'; cais volume rm kept other; cais rmi box >/dev/null
         cais system check; true",
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "mine",
            "mine",
            "more",
            "-",
            "C /data",
            "D /data/file",
            "A /data/new",
            "data/",
            "data/new",
            "0",
            "changed",
            "Loaded image: box:latest",
            "mine",
            "only root",
            "kept",
            "other",
        ]
    );
}

#[test]
fn streams_codes_and_flags() {
    let home = Home::new("");
    let text = home.ok(
        "echo in | cais run --rm -i host cat; cais run --rm host sh -c 'exit 3'; echo $?
         cais run --rm host nosuch 2>/dev/null; echo $?
         cais run --rm --hostname there --cap-drop all --init host sh -c 'hostname; grep CapEff /proc/self/status'
         cais run --rm --privileged host sh -c 'grep CapEff /proc/self/status | grep -vc 0000000000000000'
         cais run --rm --ulimit nofile=99:99 --shm-size 1m -e A=b host sh -c 'ulimit -n; echo $A'
         cais run --rm --sysctl net.ipv4.ip_default_ttl=9 host cat /proc/sys/net/ipv4/ip_default_ttl",
    );
    let lines: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        lines,
        [
            "in",
            "3",
            "127",
            "there",
            "CapEff:",
            "0000000000000000",
            "1",
            "99",
            "b",
            "9"
        ]
    );
}

#[test]
fn what_takes_root_is_told() {
    let home = Home::new("");
    for (flags, part) in [
        ("--userns host", "--userns=host"),
        ("--userns keep-id", "/etc/subuid"),
        ("-u 1", "user 1 does not exist"),
        ("-u 0:7", "group 7 does not exist"),
        ("--group-add 9", "group 9 does not exist"),
        ("--cgroup-parent x", "--cgroup-parent"),
        ("--device-cgroup-rule 'c 1:3 r'", "--device-cgroup-rule"),
    ] {
        let done = home.sh(&format!("cais run --rm {flags} host true"));
        assert!(
            done.code == 125 && done.stderr.to_lowercase().contains(part),
            "{flags}: {} {}",
            done.code,
            done.stderr
        );
    }
    // Without a group of the user's own; the virtual machine has one in the test below.
    let done = home.sh("cais run --rm -m 64m host true");
    assert!(
        done.code == 125 && done.stderr.contains("--memory: no cgroup is delegated"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_range_of_ids() {
    let home = Home::new("65534:3000000:65536\n");
    assert_eq!(home.ranges.trim(), "65534:3000000:65536");
    let done = home.sh(
        "cais run --rm host cat /proc/self/uid_map
         cais run --rm -u 7:8 --group-add 9 --rootfs rootfs sh -c 'id -u; id -g; id -G'
         cais run -d --name two --rootfs rootfs sh -c 'mkdir /mine; touch /mine/x; chown -R 5:6 /mine; chmod 700 /mine; touch /done; exec sleep 1000' >/dev/null
         until cais exec two ls /done >/dev/null 2>&1; do :; done
         cais exec -u 5 two ls -ln /mine | tail -1 | tr -s ' ' | cut -d ' ' -f 3,4
         cais diff two | grep mine; cais rm -f two
         cais run --rm --userns keep-id --rootfs rootfs sh -c 'id -u; cat /proc/self/uid_map'
         cais run --rm --userns keep-id -u 65534 -v $PWD/rootfs:/data --rootfs rootfs touch /data/own; stat -c %u rootfs/own",
    );
    let words: Vec<&str> = done.stdout.split_whitespace().collect();
    let want = "0 65534 1 1 3000000 65536 \
         7 8 8 9 \
         5 6 \
         A /mine A /mine/x two \
         0 0 3000000 65534 65534 65534 1 65535 3065534 2 \
         65534";
    assert_eq!(words, want.split_whitespace().collect::<Vec<_>>(), "{done:?}");
}

/// Whoever starts a container shares memory with its first process for a moment.
#[test]
fn many_that_keep_the_id() {
    let home = Home::new("65534:3000000:65536\n");
    let text = home.ok(
        "for side in 1 2 3 4 5 6; do
            (for i in $(seq 25); do cais run --rm --userns keep-id --rootfs rootfs id -u 2>&1; done) & done; wait",
    );
    let others: Vec<&str> = text.lines().filter(|line| *line != "0").collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(text.lines().count(), 150);
}

/// On cgroup v2 a group can be given to a user, and then limits hold.
#[test]
fn limits_in_a_delegated_group() {
    let top = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(top.join("cgroup.controllers")).unwrap_or_default();
    if !controllers.contains("memory") {
        // Version 1: there is nothing that could be given away safely.
        return;
    }
    let home = Home::new("");
    let group = top.join(format!("cais-home-{}", std::process::id()));
    let own = group.join("own");
    fs::write(top.join("cgroup.subtree_control"), "+memory +pids +cpu").unwrap();
    fs::create_dir_all(&own).unwrap();
    for path in [
        group.clone(),
        group.join("cgroup.procs"),
        group.join("cgroup.subtree_control"),
        own.clone(),
        own.join("cgroup.procs"),
    ] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    }
    let script = format!(
        "cais run --rm -m 64m --pids-limit 33 --cpus 0.5 host sh -c 'cat /proc/self/cgroup; cd /sys/fs/cgroup; cat memory.max pids.max cpu.max'
         cais run -d --name lim -m 64m host sleep 1000 >/dev/null; cais exec lim cat /proc/self/cgroup; cais rm -f lim; ls {} | grep -c cais-; true",
        group.display()
    );
    let done = home.sh_in(&own, &script);
    fs::remove_dir(&own).unwrap_or_default();
    fs::remove_dir(&group).unwrap_or_default();
    let words: Vec<&str> = done.stdout.split_whitespace().collect();
    assert_eq!(
        words,
        ["0::/", "67108864", "33", "50000", "100000", "0::/", "lim", "0"],
        "{}",
        done.stderr
    );
}
