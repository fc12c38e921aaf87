//! `cargo xtask bench start`: how long a start takes, against the floor and the peers.

use super::peers::{self, Contender, Daemon, output};
use super::plot;
use super::stats::Samples;
use super::tables;
use crate::{Outcome, workspace};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

/// Rounds before anything counts, and the usual number of rounds that count.
const WARM_UP: usize = 5;
const ROUNDS: usize = 60;

/// What was run, as the tables call it.
const LABELS: [(&str, &str); 10] = [
    ("floor", "floor: a C program with the same clone, mounts and exec"),
    ("cais", "`cais run --rm --network none host true`"),
    ("floor join", "floor: joining the namespaces of a container"),
    ("cais exec", "`cais exec C true`"),
    ("bwrap", "`bwrap … true` (no cgroup, no seccomp)"),
    ("runc", "`runc run` of a prepared bundle"),
    (
        "crun",
        "`crun run` of a prepared bundle (1.8, without the cgroup2 mount)",
    ),
    ("podman", "`podman run --rm --network none`"),
    ("docker", "`docker run --rm --network none`"),
    ("docker exec", "`docker exec C true`"),
];

/// Commands to a thread, and how long they took.
type Apart = (Sender<Vec<String>>, Receiver<Result<f64, String>>);

/// The bench's own directory, and what runs in it.
pub(crate) struct Work {
    pub(crate) directory: PathBuf,
    pub(crate) daemon: Option<Daemon>,
    /// A thread in a mount namespace without the cgroup2 mount.
    apart: Apart,
}

impl Work {
    pub(crate) fn new() -> Result<Self, String> {
        let directory = PathBuf::from(format!("/var/tmp/cais-bench-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        peers::mount_run(&directory)?;
        let places = [
            ("CAIS_DATA", directory.join("cais")),
            ("CAIS_RUN", peers::run_of(&directory).join("cais")),
        ];
        OWN_PLACES.get_or_init(|| places);
        Ok(Self {
            directory,
            daemon: None,
            apart: start_apart(),
        })
    }

    /// Runs a contender once; milliseconds from before the fork to after the wait.
    pub(crate) fn time(&self, contender: &Contender) -> Result<f64, String> {
        self.time_command(&contender.command, contender.without_cgroup2)
    }

    /// The same for a command, which may have to run without the cgroup2 mount.
    pub(crate) fn time_command(&self, command: &[String], without_cgroup2: bool) -> Result<f64, String> {
        if !without_cgroup2 {
            return time_command(command);
        }
        let (sender, receiver) = &self.apart;
        sender.send(command.to_vec()).map_err(|error| error.to_string())?;
        receiver.recv().map_err(|error| error.to_string())?
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.daemon = None;
        peers::remove_cgroups_of_peers();
        for mount in fs::read_to_string("/proc/self/mounts")
            .unwrap_or_default()
            .lines()
            .rev()
        {
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

/// Where cais has its files in this bench: of the variables that it reads, name and value.
static OWN_PLACES: OnceLock<[(&str, PathBuf); 2]> = OnceLock::new();

/// A command that, where it is cais, has the bench's own store.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.envs(
        OWN_PLACES
            .get()
            .into_iter()
            .flatten()
            .map(|(name, place)| (name, place)),
    );
    command
}

pub(super) fn time_command(words: &[String]) -> Result<f64, String> {
    let (program, arguments) = words.split_first().ok_or("no command")?;
    let mut command = command(program);
    let began = Instant::now();
    let mut child = command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let status = child.wait().map_err(|error| error.to_string())?;
    let took = began.elapsed();
    if status.success() && took < peers::LIMIT {
        return Ok(took.as_secs_f64() * 1e3);
    }
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut text).map_err(|error| error.to_string())?;
    }
    Err(text
        .lines()
        .last()
        .unwrap_or("it failed without a word")
        .to_owned())
}

/// The thread for commands that must not see the cgroup2 mount.
fn start_apart() -> Apart {
    let (to, commands) = channel::<Vec<String>>();
    let (results, from) = channel();
    thread::spawn(move || {
        // A mount namespace of this thread's own (unshare(2) takes the thread's view of
        // the file system with it).
        let ready = cais_sys::namespace::leave(0x0002_0000).is_ok()
            && rustix::mount::mount_change(
                "/",
                rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
            )
            .is_ok();
        if ready {
            rustix::mount::unmount("/sys/fs/cgroup/unified", rustix::mount::UnmountFlags::DETACH)
                .unwrap_or_default();
        }
        for command in commands {
            let result = if ready {
                time_command(&command)
            } else {
                Err("no mount namespace of its own".to_owned())
            };
            if results.send(result).is_err() {
                return;
            }
        }
    });
    (to, from)
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let rounds = match arguments {
        [] => ROUNDS,
        ["--rounds", count] => count
            .parse()
            .map_err(|_bad| format!("--rounds {count}: not a number"))?,
        _ => return Err("cargo xtask bench start [--rounds N]".to_owned()),
    };
    workspace::ensure_packages(&[
        "bubblewrap",
        "runc",
        "crun",
        "podman",
        "docker.io",
        "busybox-static",
        "gcc",
        "libc6-dev",
    ])?;
    workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    let mut work = Work::new()?;
    let cais = workspace::built("release")
        .join("cais")
        .to_string_lossy()
        .into_owned();
    let floor = work.directory.join("floor").to_string_lossy().into_owned();
    let source = workspace::root()
        .join("xtask/bench/floor.c")
        .to_string_lossy()
        .into_owned();
    workspace::run("gcc", &["-O2", "-static", "-o", &floor, &source], &[])?;

    let name = format!("bench-{}", std::process::id());
    output(command(&cais).args([
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        &name,
        "host",
        "sleep",
        "10000",
    ]))?;
    let about = inspect(&cais, &name)?;
    let init = about["State"]["Pid"].to_string();
    let mut contenders = vec![
        Contender::new("floor", &[&floor]),
        Contender::new(
            "cais",
            &[&cais, "run", "--rm", "--network", "none", "host", "true"],
        ),
        Contender::new("floor join", &[&floor, "--join", &init]),
        Contender::new("cais exec", &[&cais, "exec", &name, "true"]),
    ];
    let (others, absent) = peers::prepare(&mut work);
    contenders.extend(others);
    let samples = measure(&work, &contenders, rounds);
    let extra = extra_figures(&cais, &about);
    output(command(&cais).args(["rm", "-f", &name]))?;
    report(&contenders, &samples?, &absent, &extra?)
}

fn measure(work: &Work, contenders: &[Contender], rounds: usize) -> Result<Vec<Samples>, String> {
    let mut samples = vec![Samples::default(); contenders.len()];
    for round in 0..rounds + WARM_UP {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let took = work
                .time(contender)
                .map_err(|error| format!("{}: {error}", contender.name))?;
            if round >= WARM_UP {
                samples.push(took);
            }
        }
    }
    Ok(samples)
}

fn inspect(cais: &str, name: &str) -> Result<serde_json::Value, String> {
    let text = output(command(cais).args(["inspect", name]))?;
    let all: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(all[0].clone())
}

/// Figures beside times.
struct Extra {
    monitor_pss: u64,
    command_peak: u64,
    executable: u64,
    one_by_one: f64,
    in_parallel: f64,
    small_memory: bool,
}

fn extra_figures(cais: &str, about: &serde_json::Value) -> Result<Extra, String> {
    let monitor = about["Cais"]["MonitorPid"].to_string();
    let pss = field(&format!("/proc/{monitor}/smaps_rollup"), "Pss:");
    let mut child = command(cais)
        .args([
            "run",
            "--rm",
            "-i",
            "--network",
            "none",
            "host",
            "sh",
            "-c",
            "echo ready; read line",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut ready = [0u8; 6];
    if let Some(stdout) = &mut child.stdout {
        // The program runs now; the command has used what it uses.
        std::io::Read::read_exact(stdout, &mut ready).unwrap_or_default();
    }
    let peak = field(&format!("/proc/{}/status", child.id()), "VmHWM:");
    drop(child.stdin.take());
    child.wait().map_err(|error| error.to_string())?;
    let starts = 64;
    let run = || time_command(&[cais, "run", "--rm", "--network", "none", "host", "true"].map(str::to_owned));
    let began = Instant::now();
    for _ in 0..starts {
        run()?;
    }
    let one_by_one = f64::from(starts) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    let failed = thread::scope(|scope| {
        let all: Vec<_> = (0..starts).map(|_| scope.spawn(run)).collect();
        all.into_iter()
            .filter_map(|thread| thread.join().ok())
            .find_map(Result::err)
    });
    if let Some(error) = failed {
        return Err(format!("64 starts side by side: {error}"));
    }
    let in_parallel = f64::from(starts) / began.elapsed().as_secs_f64();
    let small = time_command(
        &[
            cais,
            "run",
            "--rm",
            "--network",
            "none",
            "-m",
            "1m",
            "host",
            "true",
        ]
        .map(str::to_owned),
    );
    Ok(Extra {
        monitor_pss: pss,
        command_peak: peak,
        executable: fs::metadata(cais).map(|data| data.len() / 1024).unwrap_or(0),
        one_by_one,
        in_parallel,
        small_memory: small.is_ok(),
    })
}

/// A number of KiB in a file of /proc.
pub(crate) fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn report(
    contenders: &[Contender],
    samples: &[Samples],
    absent: &[(&'static str, String)],
    extra: &Extra,
) -> Outcome {
    let median = |name: &str| {
        contenders
            .iter()
            .position(|known| known.name == name)
            .and_then(|at| samples.get(at))
            .map_or(f64::NAN, Samples::median)
    };
    println!(
        "\n{:<14}{:>9}{:>9}{:>9}  {:>10}",
        "", "median", "p10", "p90", "to floor"
    );
    for (contender, samples) in contenders.iter().zip(samples) {
        let floor = if contender.name.contains("exec") || contender.name.contains("join") {
            "floor join"
        } else {
            "floor"
        };
        println!(
            "{:<14}{:>7.2}ms{:>7.2}ms{:>7.2}ms  {:>9.2}x",
            contender.name,
            samples.median(),
            samples.percentile(10),
            samples.percentile(90),
            samples.median() / median(floor)
        );
    }
    for (name, reason) in absent {
        println!("{name:<14}not measured: {reason}");
    }
    println!(
        "\ncais run: 1/{:.0} of podman, 1/{:.0} of docker; cais exec: 1/{:.0} of docker exec",
        median("podman") / median("cais"),
        median("docker") / median("cais"),
        median("docker exec") / median("cais exec")
    );
    println!(
        "executable {} KiB, peak memory of the command {} KiB, idle monitor {} KiB PSS",
        extra.executable, extra.command_peak, extra.monitor_pss
    );
    println!(
        "64 starts: {:.0} a second one by one, {:.0} a second side by side ({:.2}x)",
        extra.one_by_one,
        extra.in_parallel,
        extra.in_parallel / extra.one_by_one
    );
    println!(
        "a container with -m 1m starts: {}",
        if extra.small_memory { "yes" } else { "no" }
    );
    write_files(contenders, samples, absent, extra)
}

/// Writes figures and plot to docs/benchmarks.
fn write_files(
    contenders: &[Contender],
    samples: &[Samples],
    absent: &[(&'static str, String)],
    extra: &Extra,
) -> Outcome {
    let rows: Vec<(String, f64, f64, f64)> = contenders
        .iter()
        .zip(samples)
        .map(|(contender, samples)| {
            (
                contender.name.to_owned(),
                samples.median(),
                samples.percentile(10),
                samples.percentile(90),
            )
        })
        .collect();
    let directory = workspace::root().join("docs/benchmarks");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let data = json!({
        "rounds": samples.first().map(Samples::count),
        "milliseconds": rows.iter().map(|(name, median, p10, p90)| json!({ "name": name, "median": median, "p10": p10, "p90": p90 })).collect::<Vec<_>>(),
        "absent": absent.iter().map(|(name, reason)| json!({ "name": name, "reason": reason })).collect::<Vec<_>>(),
        "executable_kib": extra.executable,
        "command_peak_kib": extra.command_peak,
        "monitor_pss_kib": extra.monitor_pss,
        "starts_per_second": { "one_by_one": extra.one_by_one, "side_by_side": extra.in_parallel },
        "starts_with_1m": extra.small_memory,
    });
    let text = serde_json::to_string_pretty(&data).map_err(|error| error.to_string())?;
    fs::write(directory.join("start.json"), text + "\n").map_err(|error| error.to_string())?;
    fs::write(
        directory.join("start.svg"),
        plot::bars(
            "Milliseconds from the command to its end (median; line: p10 to p90)",
            &rows,
        ),
    )
    .map_err(|error| error.to_string())?;
    fill_pages(&rows)?;
    println!("written: docs/benchmarks/start.json and start.svg, the tables in the pages");
    Ok(())
}

/// The tables of README in both languages and of docs/benchmarks.md.
fn fill_pages(rows: &[(String, f64, f64, f64)]) -> Outcome {
    let cais = |exec: bool| {
        let name = if exec { "cais exec" } else { "cais" };
        rows.iter()
            .find(|row| row.0 == name)
            .map_or(f64::NAN, |row| row.1)
    };
    let pages = [
        ("README.md", ["", "median", "cais needs"]),
        ("README.pt-BR.md", ["", "mediana", "o cais precisa de"]),
        ("docs/benchmarks.md", ["", "median (p10 to p90)", "cais needs"]),
    ];
    for (page, head) in pages {
        let lines: Vec<Vec<String>> = rows
            .iter()
            .map(|(name, median, p10, p90)| {
                let ours = cais(name.contains("exec") || name.contains("join"));
                let figure = if page.starts_with("docs") {
                    format!("{median:.2} ms ({p10:.2} to {p90:.2})")
                } else {
                    format!("{median:.1} ms")
                };
                vec![
                    LABELS
                        .iter()
                        .find(|label| label.0 == name)
                        .map_or(name.as_str(), |label| label.1)
                        .to_owned(),
                    figure,
                    format!("{:.2} ×", ours / median),
                ]
            })
            .collect();
        tables::fill(page, "start", &tables::markdown(&head, &lines))?;
    }
    Ok(())
}
