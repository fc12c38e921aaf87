//! A bundle of its own for each test of the OCI runtime, the runtime under its own name, and
//! the check that nothing is left.

use crate::support::{Done, eventually, executable, make_rootfs};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A bundle, the directory of states, and whatever a test puts beside them.
#[derive(Debug)]
pub(crate) struct Bundle {
    base: PathBuf,
    id: String,
    /// What becomes `config.json`: as `spec` writes it, without a terminal, with a root that
    /// can be written.
    pub(crate) config: Value,
}

impl Bundle {
    /// A bundle with busybox. Containers get ids that begin with the bundle's.
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "run these tests as root");
        let id = format!(
            "cais-oci-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let base = PathBuf::from("/var/tmp").join(&id);
        make_rootfs(&base.join("bundle/rootfs"));
        for name in ["grep", "mount", "tty", "sh2"] {
            symlink("busybox", base.join("bundle/rootfs/bin").join(name)).unwrap();
        }
        symlink(executable(), base.join("cais-runtime")).unwrap();
        let mut bundle = Self {
            base,
            id,
            config: Value::Null,
        };
        bundle.ok(&["spec", "-b", bundle.path("bundle").to_str().unwrap()]);
        let text = fs::read(bundle.path("bundle/config.json")).unwrap();
        bundle.config = serde_json::from_slice(&text).unwrap();
        bundle.config["process"]["terminal"] = json!(false);
        bundle.config["root"]["readonly"] = json!(false);
        bundle.sh("true");
        bundle
    }

    /// Gives the test an executable of its own, for attacks that would rewrite it. cp(1) makes
    /// it: a descriptor of this process could be open in a child of another test, and a file
    /// that is open for writing is not executed.
    pub(crate) fn copy_executable(&self) -> PathBuf {
        let copy = self.path("cais-runtime");
        fs::remove_file(&copy).unwrap();
        let made = Command::new("cp").arg(executable()).arg(&copy).status().unwrap();
        assert!(made.success());
        copy
    }

    /// Something in the test's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// Something in the root file system, from outside.
    pub(crate) fn rootfs(&self, name: &str) -> PathBuf {
        self.base.join("bundle/rootfs").join(name)
    }

    /// The id of the bundle's container.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The id of a further container.
    pub(crate) fn id_of(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    /// Makes the program a line of shell.
    pub(crate) fn sh(&mut self, script: &str) {
        self.config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    }

    /// Appends a mount.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Appends a bind mount of a directory of the test.
    pub(crate) fn volume(&mut self, source: &Path, destination: &str) {
        self.mount(json!({
            "destination": destination, "type": "bind", "source": source, "options": ["rbind"]
        }));
    }

    /// Takes a mount away.
    pub(crate) fn unmount(&mut self, destination: &str) {
        let mounts = self.config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != destination);
    }

    /// Writes `config.json`.
    pub(crate) fn save(&self) {
        fs::write(self.path("bundle/config.json"), self.config.to_string()).unwrap();
    }

    /// The runtime, with this test's states.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("cais-runtime"));
        command
            .arg("--root")
            .arg(self.path("states"))
            .args(words)
            .env("CAIS_OCI_TEST", &self.id)
            .current_dir(self.path("bundle"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end. What it writes goes to files: a container that stays would
    /// hold the other end of a pipe.
    pub(crate) fn oci(&self, words: &[&str]) -> Done {
        self.finish(self.command(words))
    }

    /// As [`Self::oci`], for a command that was changed.
    pub(crate) fn finish(&self, mut command: Command) -> Done {
        use std::os::unix::process::ExitStatusExt;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let files = ["out", "err"].map(|name| self.path(&format!("{name}-{number}")));
        let [out, err] = files.each_ref().map(|path| fs::File::create(path).unwrap());
        command.stdout(out).stderr(err);
        let status = loop {
            match command.status() {
                // Another test's fork(2) holds the copy of the executable open for a moment.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                other => break other.unwrap(),
            }
        };
        let [stdout, stderr] = files.map(|path| {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            fs::remove_file(path).unwrap();
            text
        });
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Done {
            code: code.unwrap_or(-1),
            stdout,
            stderr,
        }
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let done = self.oci(words);
        assert_eq!(done.code, 0, "{words:?}: {}", done.stderr);
        done.stdout
    }

    /// Runs the container to its end.
    pub(crate) fn run(&self) -> Done {
        self.save();
        self.oci(&["run", &self.id])
    }

    /// Starts the container and leaves it running.
    pub(crate) fn start(&self) {
        self.save();
        self.ok(&["run", "-d", &self.id]);
    }

    /// Runs a program in the running container.
    pub(crate) fn exec(&self, flags: &[&str], program: &[&str]) -> Done {
        self.oci(&[&["exec"], flags, &[&self.id], program].concat())
    }

    /// What `state` says, `None` where there is no such container.
    pub(crate) fn state(&self, id: &str) -> Option<Value> {
        let done = self.oci(&["state", id]);
        (done.code == 0).then(|| serde_json::from_str(&done.stdout).unwrap())
    }

    /// What `state` calls the container's state, or `absent`.
    pub(crate) fn status(&self, id: &str) -> String {
        let state = self.state(id);
        state.map_or("absent".to_owned(), |state| {
            state["status"].as_str().unwrap().to_owned()
        })
    }

    /// What is left of containers: states, cgroups, mounts, processes.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = entries(&self.path("states"));
        for hierarchy in hierarchies() {
            let groups = entries(&hierarchy).into_iter();
            left.extend(groups.filter(|path| path.contains(&self.id)));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = mounts.lines().filter(|line| line.contains(&self.id));
        left.extend(ours.map(str::to_owned));
        left.extend(self.processes());
        left
    }

    /// Processes with this test's mark in their environment, or with its root as their own.
    fn processes(&self) -> Vec<String> {
        let mark = format!("CAIS_OCI_TEST={}", self.id).into_bytes();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        let is_ours = |path: &str| {
            let process = Path::new(path);
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            let marked = environment.split(|byte| *byte == 0).any(|entry| entry == mark);
            let elsewhere = fs::read_link(process.join("ns/mnt")).is_ok_and(|other| other != own);
            let mounts = || fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
            marked || elsewhere && mounts().contains(&self.id)
        };
        let all = entries(Path::new("/proc")).into_iter();
        let processes = all.filter(|path| path.trim_start_matches("/proc/").parse::<u32>().is_ok());
        processes.filter(|path| is_ours(path)).collect()
    }

    /// Waits until nothing is left.
    pub(crate) fn assert_nothing_is_left(&self, of: &str) {
        if self.leftovers().is_empty() {
            return;
        }
        // A process that was killed is gone a moment later.
        eventually(&format!("nothing of {of} is left of {}", self.id), || {
            self.leftovers().is_empty()
        });
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Whatever became of the one under attack.
        let runtime = self.path("cais-runtime");
        fs::remove_file(&runtime).unwrap_or_default();
        symlink(executable(), &runtime).unwrap_or_default();
        for state in entries(&self.path("states")) {
            let id = state.rsplit('/').next().unwrap_or("").to_owned();
            self.oci(&["delete", "--force", &id]);
        }
        if !std::thread::panicking() {
            self.assert_nothing_is_left("the test");
        }
        fs::remove_dir_all(&self.base).unwrap_or_default();
    }
}

/// The paths in a directory.
fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().display().to_string()).collect()
}

/// The tops of the cgroup hierarchies.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let below = entries(&top).into_iter().map(PathBuf::from);
    let hierarchies = below.filter(|path| path.join("cgroup.procs").exists() && path != &top);
    [top.clone()].into_iter().chain(hierarchies).collect()
}

/// Something that a thread does over and over until this goes out of scope.
pub(crate) struct Racer {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Racer {
    pub(crate) fn new(mut act: impl FnMut() + Send + 'static) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                act();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}
