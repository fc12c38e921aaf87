//! What the tests with engines of others share: a directory with our runtime in it, daemons
//! that end with the test, command lines.

use crate::support::{Done, eventually, executable, is_soon, make_rootfs};
use crate::within;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A directory for an engine, our runtime in it, and a root file system.
pub(crate) struct Bench {
    pub(crate) base: PathBuf,
    daemons: Vec<Child>,
}

impl Bench {
    pub(crate) fn new(name: &str) -> Self {
        let base = PathBuf::from(format!("/var/tmp/cais-engine-{name}-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        // A copy: an ordinary user may not reach the place where it was built.
        fs::copy(executable(), base.join("cais-runtime")).unwrap();
        make_rootfs(&base.join("rootfs"));
        Self {
            base,
            daemons: Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.base.join(name).to_string_lossy().into_owned()
    }

    /// The root file system as an archive.
    pub(crate) fn archive(&self) -> String {
        let archive = self.path("rootfs.tar");
        let root = self.path("rootfs");
        ok(&["tar", "-C", &root, "-cf", &archive, "."]);
        archive
    }

    pub(crate) fn start(&mut self, command: &[&str]) {
        let log = fs::File::create(self.path(&format!("{}.log", command[0]))).unwrap();
        let child = Command::new(command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: is its Debian package installed?", command[0]));
        self.daemons.push(child);
    }

    /// Starts dockerd with everything in this directory, without bridge and firewall; `around`
    /// stands before its name, `more` behind its flags. Where it listens, once it answers.
    pub(crate) fn start_docker(&mut self, around: &[&str], more: &[&str]) -> String {
        let host = format!("unix://{}", self.path("docker.sock"));
        let (data, exec, pid) = (self.path("data"), self.path("exec"), self.path("pid"));
        let own = [
            "--data-root",
            &data,
            "--exec-root",
            &exec,
            "-H",
            &host,
            "-p",
            &pid,
        ];
        let quiet = [
            "--iptables=false",
            "--bridge=none",
            "--ip-forward=false",
            "--ip-masq=false",
        ];
        self.start(&[around, &["dockerd"], &own, &quiet, more].concat());
        eventually("dockerd answers", || {
            run(&["/usr/bin/docker", "-H", &host, "version"]).code == 0
        });
        host
    }

    /// The paths of the runtimes that a script is run with.
    pub(crate) fn runtimes(&self) -> [(&'static str, String); 2] {
        [
            ("cais", self.path("cais-runtime")),
            ("runc", "/usr/sbin/runc".to_owned()),
        ]
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let mut stubborn = Vec::new();
        for daemon in self.daemons.iter_mut().rev() {
            let pid = rustix::process::Pid::from_child(daemon);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap_or_default();
            // Docker's gives its containers up to fifteen seconds.
            let mut has_ended = || is_soon(|| matches!(daemon.try_wait(), Ok(Some(_))));
            if !(0..6).any(|_| has_ended()) {
                daemon.kill().unwrap_or_default();
                drop(daemon.wait());
                stubborn.push(pid);
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev() {
            let path = mount.split(' ').nth(1).unwrap_or("");
            if path.starts_with(&*self.base.to_string_lossy()) {
                rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap_or_default();
            }
        }
        fs::remove_dir_all(&self.base).unwrap_or_default();
        assert!(
            stubborn.is_empty() || std::thread::panicking(),
            "daemons did not end when asked: {stubborn:?}"
        );
    }
}

pub(crate) fn run(command: &[&str]) -> Done {
    Done::of(Command::new(command[0]).args(&command[1..]))
}

pub(crate) fn ok(command: &[&str]) -> String {
    let done = run(command);
    assert_eq!(done.code, 0, "{command:?}: {}{}", done.stdout, done.stderr);
    done.stdout.trim().to_owned()
}

/// A command line of an engine: the words that all calls share, and one call.
pub(crate) struct Engine<'a> {
    pub(crate) words: Vec<&'a str>,
}

impl Engine<'_> {
    pub(crate) fn call(&self, words: &[&str]) -> Done {
        run(&[&self.words[..], words].concat())
    }

    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let done = self.call(words);
        assert_eq!(
            done.code, 0,
            "{:?} {words:?}: {}{}",
            self.words, done.stdout, done.stderr
        );
        done.stdout.trim().to_owned()
    }

    /// With a terminal around it.
    pub(crate) fn at_terminal(&self, words: &[&str]) -> String {
        let quoted: Vec<String> = [&self.words[..], words]
            .concat()
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        // Its input stays open: at an end script(1) sends one to the terminal at once.
        let mut child = Command::new("script")
            .args(["-qec", &quoted.join(" "), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = within::end(child);
        drop(input);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
