//! A store of its own for each test, the executable, and the check that nothing is left.

use crate::within;
use std::borrow::BorrowMut;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);
static SWEPT: Once = Once::new();
/// How the names of what belongs to a test begin; then come the process and a number.
const MARK: &str = "cais-test-";

/// Where a test's containers live.
#[derive(Debug)]
pub(crate) struct TestEnv {
    base: PathBuf,
    cgroup: String,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl TestEnv {
    /// A store below /var/tmp: an overlay's upper directory cannot lie on every file system.
    pub(crate) fn new() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make containers: run them as root"
        );
        SWEPT.call_once(sweep_aborted);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{MARK}{}-{number}", std::process::id());
        let base = PathBuf::from("/var/tmp").join(&name);
        fs::create_dir_all(&base).unwrap();
        Self { base, cgroup: name }
    }

    /// A directory for the test's own files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The executable, with this test's store.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command
            .env("CAIS_DATA", self.base.join("data"))
            .env("CAIS_RUN", self.base.join("run"))
            .env("CAIS_CONFIG", "");
        let verb = usize::from(words.first() == Some(&"container"));
        command
            .args(words.get(..=verb).unwrap_or(words))
            .stdin(Stdio::null());
        if matches!(words.get(verb), Some(&("run" | "create"))) {
            command.args(["--cgroup-parent", &self.cgroup]);
            // Networks change the host: tests of them say so, and have one of their own.
            let chooses = |word: &&str| ["-p", "-P", "--publish"].contains(word) || word.starts_with("--net");
            if !words.iter().any(chooses) {
                command.args(["--network", "none"]);
            }
        }
        command.args(words.get(verb + 1..).unwrap_or(&[]));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn cais(&self, words: &[&str]) -> Done {
        Done::of(self.command(words))
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let done = self.cais(words);
        assert_eq!(done.code, 0, "cais {words:?}: {}", done.stderr);
        done.stdout
    }

    /// Runs a shell script in a new container of the image `host`.
    pub(crate) fn sh(&self, flags: &[&str], script: &str) -> Done {
        let words = [&["run", "--rm"], flags, &["host", "sh", "-c", script]].concat();
        self.cais(&words)
    }

    /// The first value of this key in what `inspect` says, as text.
    pub(crate) fn field(&self, container: &str, key: &str) -> String {
        let text = self.ok(&["inspect", container]);
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("\"{key}\": ")));
        let value = line.unwrap_or_else(|| panic!("no {key} in {text}"));
        value.trim_end_matches(',').trim_matches('"').to_owned()
    }

    /// The cgroup directories of this test that are still there.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let parent = hierarchy.join(&self.cgroup);
            let groups = fs::read_dir(&parent)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            found.extend(groups.filter(|path| path.is_dir()));
        }
        found
    }

    /// What is left of containers: files, leases, states, names, cgroups, processes.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .cgroups()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        for name in ["data/containers", "data/names", "run/containers", "run/userns"] {
            let entries = fs::read_dir(self.base.join(name)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        let base = self.base.display().to_string();
        left.extend(
            fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .lines()
                .filter(|line| line.contains(&base))
                .map(str::to_owned),
        );
        left.extend(self.processes());
        left.extend(self.bridges());
        left
    }

    /// Bridges of this test's networks in the machine's own network namespace: a test that
    /// makes some has a namespace of its own.
    fn bridges(&self) -> Vec<String> {
        let networks = fs::read_dir(self.base.join("data/networks"));
        let texts = networks
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let names = texts.filter_map(|text| {
            let rest = text.split_once("\"interface\"")?.1;
            rest.split('"').nth(1).map(str::to_owned)
        });
        names
            .filter(|name| name.starts_with("cais") && Path::new("/sys/class/net").join(name).exists())
            .collect()
    }

    /// Processes of ours that have this test's store in their environment.
    fn processes(&self) -> Vec<String> {
        let mark = format!("CAIS_DATA={}", self.base.join("data").display());
        let processes = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        let ours = processes.filter(|entry| {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        });
        ours.map(|entry| format!("process {}", entry.path().display()))
            .collect()
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let all = self.cais(&["ps", "-aq", "--no-trunc"]).stdout;
        for id in all.lines() {
            self.cais(&["rm", "-f", id]);
        }
        let checked = std::thread::panicking() || is_soon(|| self.leftovers().is_empty());
        let left = if checked { Vec::new() } else { self.leftovers() };
        for bridge in self.bridges() {
            Command::new("ip")
                .args(["link", "del", &bridge])
                .status()
                .map(drop)
                .unwrap_or_default();
        }
        remove_cgroups(&self.cgroup);
        remove_tree(&self.base);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// Removes a directory with what is in it and mounted there.
fn remove_tree(path: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| Path::new(place).starts_with(path)) {
        Command::new("umount")
            .args(["-l", place])
            .status()
            .map(drop)
            .unwrap_or_default();
    }
    fs::remove_dir_all(path).unwrap_or_default();
}

/// Removes what is left of these cgroups.
fn remove_cgroups(name: &str) {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let roots = hierarchies.map(|entry| entry.path());
    for group in roots
        .chain([PathBuf::from("/sys/fs/cgroup")])
        .map(|root| root.join(name))
    {
        for inner in fs::read_dir(&group).into_iter().flatten().flatten() {
            fs::remove_dir(inner.path()).unwrap_or_default();
        }
        fs::remove_dir(&group).unwrap_or_default();
    }
}

/// Removes what runs of these tests left that were killed: stores below /var/tmp with their
/// containers, and cgroups.
fn sweep_aborted() {
    let is_aborted = |name: &str| {
        let process = name.strip_prefix(MARK).and_then(|rest| rest.split('-').next());
        // Another program may have the number by now; ours is called after the test binary.
        process.is_some_and(|id| {
            !fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.starts_with("it"))
        })
    };
    let names = |directory: &Path| -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_aborted(name)).collect()
    };
    let stores = Path::new("/var/tmp");
    for name in names(stores) {
        // Not dropped as others are: nobody is told of what it finds.
        let base = stores.join(&name);
        let env = std::mem::ManuallyDrop::new(TestEnv { base, cgroup: name });
        for id in env.cais(&["ps", "-aq", "--no-trunc"]).stdout.lines() {
            env.cais(&["rm", "-f", id]);
        }
        remove_tree(&env.base);
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for name in names(&hierarchy.path()) {
            remove_cgroups(&name);
        }
    }
}

impl Done {
    /// Runs a command without input to its end, which comes or the test fails.
    pub(crate) fn of(mut command: impl BorrowMut<Command>) -> Self {
        Self::from(within::output(command.borrow_mut()))
    }

    /// Of one that was started before: the same.
    pub(crate) fn end_of(child: Child) -> Self {
        Self::from(within::end(child))
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output
            .status
            .code()
            .or(output.status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code,
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// The executable under test: `CAIS_BIN`, or the newest that was built.
pub(crate) fn executable() -> PathBuf {
    if let Some(path) = std::env::var_os("CAIS_BIN") {
        return PathBuf::from(path);
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/x86_64-unknown-linux-gnu");
    let built = ["release", "quick", "debug"].map(|profile| target.join(profile).join("cais"));
    let newest = built
        .into_iter()
        .filter(|path| path.exists())
        .max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
    newest.expect("build cais first, or set CAIS_BIN")
}

/// How many times as long as here everything may take: `vm-test` says it, whose processor is
/// emulated.
pub(crate) fn patience() -> u32 {
    let told = std::env::var("CAIS_TEST_PATIENCE").ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(1)
}

/// A command as its caller is a shell that does something to itself first.
pub(crate) fn after(script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{script}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null());
    shell
}

/// Waits for something that has no event to wait for, looking again after short polls.
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(
        is_soon(is_so),
        "not so after ten seconds ({} times): {what}",
        patience()
    );
}

/// The same; tells whether it became so within ten seconds.
pub(crate) fn is_soon(mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10) * patience();
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        rustix::event::poll(&mut [], Some(&pause)).unwrap();
    }
    true
}

/// A small root file system with busybox as its programs.
pub(crate) fn make_rootfs(path: &Path) {
    for name in ["bin", "proc", "dev", "sys", "etc", "tmp"] {
        fs::create_dir_all(path.join(name)).unwrap();
    }
    fs::copy("/bin/busybox", path.join("bin/busybox")).expect("busybox-static is installed");
    for name in [
        "sh", "true", "cat", "ls", "id", "sleep", "echo", "touch", "rm", "mkdir", "stat", "readlink", "pwd",
    ] {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(name)).unwrap();
    }
    fs::write(
        path.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n",
    )
    .unwrap();
    fs::write(path.join("etc/group"), "root:x:0:\nana:x:1000:\nextra:x:77:ana\n").unwrap();
}
