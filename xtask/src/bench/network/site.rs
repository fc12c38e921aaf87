//! Where it is measured: a store of our own, a Docker daemon of our own, and a namespace for
//! the rest of the world.

use super::super::namespace::Namespace;
use super::super::peers::{self, Daemon, output};
use crate::workspace;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The rest of the world has this address.
pub(super) const WORLD: &str = "192.0.2.2";

/// The place.
pub(super) struct Site {
    pub(super) directory: PathBuf,
    cais: PathBuf,
    daemon: Option<Daemon>,
    world: Namespace,
}

impl Site {
    /// Prepares the namespaces and the store.
    pub(super) fn new() -> Result<Self, String> {
        let directory = PathBuf::from(format!("/var/tmp/cais-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        peers::mount_run(&directory)?;
        let world = Namespace::new()?;
        let site = Self {
            directory,
            cais: super::given().unwrap_or_else(|| workspace::built("release").join("cais")),
            daemon: None,
            world,
        };
        sh("ip link set lo up")?;
        // Where the daemon finds no routing it turns it on and lets nothing but its own through.
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        sh(&format!(
            "ip link add lan0 type veth peer name lan0 netns {}",
            site.world.pid()
        ))?;
        sh("ip addr add 192.0.2.1/24 dev lan0 && ip link set lan0 up && ip route add default via 192.0.2.2")?;
        output(
            &mut site.in_world("ip link set lo up; ip link set lan0 up; ip addr add 192.0.2.2/24 dev lan0"),
        )?;
        Ok(site)
    }

    /// Waits for something without an event of its own.
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
        for _ in 0..200 {
            if is_so() {
                return Ok(());
            }
            let pause = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            rustix::event::poll(&mut [], Some(&pause))
                .map(drop)
                .unwrap_or_default();
        }
        Err(format!("not so after ten seconds: {what}"))
    }

    /// A shell script in the rest of the world.
    pub(super) fn in_world(&self, script: &str) -> Command {
        let mut command = self.world.inside("sh");
        command.args(["-c", script]);
        command
    }

    /// A cais command with the bench's own store.
    pub(super) fn cais(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.cais);
        command
            .env("CAIS_DATA", self.directory.join("data"))
            .env("CAIS_RUN", peers::run_of(&self.directory).join("cais"))
            .args(words);
        command
    }

    /// `cais run --rm … host …`.
    pub(super) fn cais_run(&self, flags: &[&str], program: &[&str]) -> Command {
        self.cais(&[&["run", "--rm"], flags, &["host"], program].concat())
    }

    /// A docker command.
    pub(super) fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/docker");
        let socket = self.directory.join("docker.sock");
        command
            .arg("-H")
            .arg(format!("unix://{}", socket.display()))
            .args(words);
        command
    }

    /// `docker run --rm … bench …`.
    pub(super) fn docker_run(&self, flags: &[&str], program: &[&str]) -> Command {
        self.docker(&[&["run", "--rm"], flags, &["bench"], program].concat())
    }

    /// Starts the daemon, with an image of busybox and the directory of this executable.
    pub(super) fn start_docker(&mut self) -> Result<(), String> {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let log = fs::File::create(path("docker.log")).map_err(|error| error.to_string())?;
        let host = format!("unix://{}", path("docker.sock"));
        let daemon = Command::new("dockerd")
            .args([
                "--data-root",
                &path("docker"),
                "--exec-root",
                &path("run/docker"),
                "-H",
                &host,
            ])
            .args(["-p", &path("docker.pid"), "--bip", "172.31.0.1/16"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockerd: {error}"))?;
        self.daemon = Some(Daemon::new(daemon));
        self.until("dockerd answers", || {
            output(self.docker(&["version"]).stdin(Stdio::null())).is_ok()
        })?;
        let bundle = peers::make_bundle(&self.directory)?;
        let archive = path("image.tar");
        let root = bundle.join("rootfs");
        output(
            Command::new("tar")
                .arg("-C")
                .arg(root)
                .args(["-cf", &archive, "."]),
        )?;
        output(&mut self.docker(&["import", &archive, "bench"])).map(drop)
    }
}

/// A shell script in the bench's own namespace.
pub(super) fn sh(script: &str) -> Result<String, String> {
    output(Command::new("sh").args(["-c", script]))
}

impl Drop for Site {
    fn drop(&mut self) {
        let all = output(&mut self.cais(&["ps", "-aq", "--no-trunc"])).unwrap_or_default();
        let ids: Vec<&str> = ["rm", "-f"].into_iter().chain(all.lines()).collect();
        for some in ids.get(2..).unwrap_or_default().chunks(100) {
            output(&mut self.cais(&[&["rm", "-f"], some].concat()))
                .map(drop)
                .unwrap_or_default();
        }
        self.daemon = None;
        peers::remove_cgroups_of_peers();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev() {
            let path = mount.split(' ').nth(1).unwrap_or("");
            if path.starts_with(&*self.directory.to_string_lossy()) {
                rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).unwrap_or_default();
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("bench: {} stays behind: {error}", self.directory.display());
        }
    }
}
