//! The peers: each is prepared in a directory of the bench's own and taken down after it.
//! One that is absent, or cannot run on this machine, is left out with the reason.

use super::start::Work;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A command to measure.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) command: Vec<String>,
    /// Whether it must run without the cgroup2 mount (crun refuses a hybrid one).
    pub(crate) without_cgroup2: bool,
}

impl Contender {
    pub(crate) fn new(name: &'static str, command: &[&str]) -> Self {
        Self {
            name,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            without_cgroup2: false,
        }
    }
}

/// Prepares all peers that can run; the others come back as name and reason.
pub(crate) fn prepare(work: &mut Work) -> (Vec<Contender>, Vec<(&'static str, String)>) {
    let mut ready = vec![Contender::new(
        "bwrap",
        &[
            "bwrap",
            "--unshare-all",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "/bin/true",
        ],
    )];
    let mut absent = Vec::new();
    let bundle = make_bundle(&work.directory);
    for (name, prepared) in [
        (
            "runc",
            bundle
                .clone()
                .map(|bundle| runtime("runc", &work.directory, &bundle)),
        ),
        (
            "crun",
            bundle
                .clone()
                .map(|bundle| runtime("crun", &work.directory, &bundle)),
        ),
        (
            "podman",
            bundle.clone().and_then(|bundle| podman(&work.directory, &bundle)),
        ),
    ] {
        match prepared {
            Ok(contender) => ready.push(contender),
            Err(reason) => absent.push((name, reason)),
        }
    }
    match bundle.and_then(|bundle| docker(work, &bundle)) {
        Ok(contenders) => ready.extend(contenders),
        Err(reason) => absent.push(("docker", reason)),
    }
    let (mut working, mut broken): (Vec<_>, Vec<_>) = (Vec::new(), absent);
    for contender in ready {
        match try_once(&contender, work) {
            Ok(()) => working.push(contender),
            Err(reason) => broken.push((contender.name, reason)),
        }
    }
    (working, broken)
}

fn try_once(contender: &Contender, work: &Work) -> Result<(), String> {
    work.time(contender).map(drop)
}

/// A bundle with busybox as its root file system.
pub(crate) fn make_bundle(directory: &Path) -> Result<PathBuf, String> {
    let bundle = directory.join("bundle");
    let root = bundle.join("rootfs");
    let text = |error: std::io::Error| error.to_string();
    for name in ["bin", "proc", "dev", "sys", "etc", "tmp"] {
        fs::create_dir_all(root.join(name)).map_err(text)?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))
        .map_err(|_absent| "no /bin/busybox (busybox-static)".to_owned())?;
    for name in ["sh", "true", "sleep"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).map_err(text)?;
    }
    output(Command::new("runc").arg("spec").arg("--bundle").arg(&bundle))?;
    let config = bundle.join("config.json");
    let mut spec: serde_json::Value =
        serde_json::from_slice(&fs::read(&config).map_err(text)?).map_err(|error| error.to_string())?;
    spec["ociVersion"] = "1.0.2".into();
    spec["process"]["args"] = serde_json::json!(["/bin/true"]);
    spec["process"]["terminal"] = false.into();
    // This machine may lack CAP_SYS_RESOURCE, and then no limit can be raised.
    if let Some(process) = spec["process"].as_object_mut() {
        process.remove("rlimits");
    }
    fs::write(&config, spec.to_string()).map_err(text)?;
    Ok(bundle)
}

fn runtime(name: &'static str, directory: &Path, bundle: &Path) -> Contender {
    let root = run_of(directory).join(name);
    let command = [
        name,
        "--root",
        &root.to_string_lossy(),
        "run",
        "--bundle",
        &bundle.to_string_lossy(),
        "bench",
    ];
    Contender {
        without_cgroup2: name == "crun",
        ..Contender::new(name, &command)
    }
}

/// The root file system of the bundle as an archive.
fn archive(directory: &Path, bundle: &Path) -> Result<String, String> {
    let archive = directory.join("image.tar").to_string_lossy().into_owned();
    output(
        Command::new("tar")
            .arg("-C")
            .arg(bundle.join("rootfs"))
            .args(["-cf", &archive, "."]),
    )?;
    Ok(archive)
}

/// Where everybody has what other hosts have below `/run`.
pub(crate) fn run_of(directory: &Path) -> PathBuf {
    directory.join("run")
}

/// Has it in memory, as `/run` of every host that systemd starts, and of most others. Where
/// this machine's own lies on its disk, the runtimes would be measured with a file system that
/// they do not have elsewhere.
pub(crate) fn mount_run(directory: &Path) -> Result<(), String> {
    let place = run_of(directory);
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
    rustix::mount::mount("tmpfs", &place, "tmpfs", flags, Some(c"mode=755"))
        .map_err(|error| format!("mount a tmpfs at {}: {error}", place.display()))
}

/// Podman with a store of the bench's own and the image `bench` in it: the words of its
/// command line before the command.
pub(crate) fn podman_engine(directory: &Path, bundle: &Path) -> Result<Vec<String>, String> {
    let (root, run) = (directory.join("podman"), run_of(directory).join("podman"));
    let libpod = run_of(directory).join("libpod").to_string_lossy().into_owned();
    let (root, run) = (root.to_string_lossy(), run.to_string_lossy());
    let base = [
        "podman",
        "--root",
        &root,
        "--runroot",
        &run,
        "--tmpdir",
        &libpod,
        "--cgroup-manager",
        "cgroupfs",
        "--runtime",
        "runc",
        "--storage-driver",
        "overlay",
    ];
    output(
        Command::new(base[0])
            .args(&base[1..])
            .args(["import", &archive(directory, bundle)?, "bench"]),
    )?;
    Ok(base.map(str::to_owned).to_vec())
}

fn podman(directory: &Path, bundle: &Path) -> Result<Contender, String> {
    let base = podman_engine(directory, bundle)?;
    let mut command: Vec<&str> = base.iter().map(String::as_str).collect();
    command.extend([
        "run",
        "--rm",
        "--network",
        "none",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "bench",
        "/bin/true",
    ]);
    Ok(Contender::new("podman", &command))
}

/// A Docker daemon of the bench's own; its client with the address, and the daemon.
pub(crate) fn start_docker(directory: &Path) -> Result<(Vec<String>, Daemon), String> {
    let path = |name: &str| directory.join(name).to_string_lossy().into_owned();
    let host = format!("unix://{}", path("docker.sock"));
    let log = fs::File::create(path("docker.log")).map_err(|error| error.to_string())?;
    let daemon = Command::new("dockerd")
        .args([
            "--data-root",
            &path("docker"),
            "--exec-root",
            &run_of(directory).join("docker").to_string_lossy(),
            "-H",
            &host,
            "-p",
            &path("docker.pid"),
        ])
        .args([
            "--iptables=false",
            "--bridge=none",
            "--ip-forward=false",
            "--ip-masq=false",
        ])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|error| format!("dockerd: {error}"))?;
    let daemon = Daemon(daemon);
    let client = if Path::new("/usr/bin/docker").exists() {
        "/usr/bin/docker"
    } else {
        "docker"
    };
    let answers = || output(Command::new(client).args(["-H", &host, "version"])).is_ok();
    if !(0..100).any(|_| answers() || pause()) {
        return Err("dockerd did not answer within ten seconds".to_owned());
    }
    Ok((vec![client.to_owned(), "-H".to_owned(), host], daemon))
}

/// A Docker daemon of the bench's own with the image `bench`: the words of the client's
/// command line before the command.
pub(crate) fn docker_engine(work: &mut Work, bundle: &Path) -> Result<Vec<String>, String> {
    let directory = work.directory.clone();
    let (docker, daemon) = start_docker(&directory)?;
    work.daemon = Some(daemon);
    output(Command::new(&docker[0]).args(&docker[1..]).args([
        "import",
        &archive(&directory, bundle)?,
        "bench",
    ]))?;
    Ok(docker)
}

/// A Docker daemon, and a container in it for `exec`.
fn docker(work: &mut Work, bundle: &Path) -> Result<Vec<Contender>, String> {
    let words = docker_engine(work, bundle)?;
    let docker: Vec<&str> = words.iter().map(String::as_str).collect();
    output(Command::new(docker[0]).args(&docker[1..]).args([
        "run",
        "-d",
        "--name",
        "bench",
        "--network",
        "none",
        "bench",
        "/bin/sleep",
        "10000",
    ]))?;
    let run = [
        &docker[..],
        &["run", "--rm", "--network", "none", "bench", "/bin/true"],
    ]
    .concat();
    let exec = [&docker[..], &["exec", "bench", "/bin/true"]].concat();
    Ok(vec![
        Contender::new("docker", &run),
        Contender::new("docker exec", &exec),
    ])
}

/// Waits a tenth of a second: for a daemon there is no event to wait for. Never true.
pub(crate) fn pause() -> bool {
    let timeout = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    rustix::event::poll(&mut [], Some(&timeout))
        .map(drop)
        .unwrap_or_default();
    false
}

/// A daemon that ends with the bench.
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// Runs a command and returns what it printed; what it complained of is the error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", text.lines().last().unwrap_or("failed")))
}

/// What peers leave in cgroups although they are gone.
pub(crate) fn remove_cgroups_of_peers() {
    let Ok(hierarchies) = fs::read_dir("/sys/fs/cgroup") else {
        return;
    };
    for hierarchy in hierarchies.flatten() {
        for name in ["docker", "libpod_parent", "bench"] {
            let path = hierarchy.path().join(name);
            for below in fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.path().is_dir())
            {
                fs::remove_dir(below.path()).unwrap_or_default();
            }
            fs::remove_dir(&path).unwrap_or_default();
        }
    }
}

/// The longest that one command may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
