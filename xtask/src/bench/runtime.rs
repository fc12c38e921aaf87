//! `cargo xtask bench runtime`: the OCI runtimes on one bundle, in one run.

use super::peers;
use super::start::{Work, field};
use super::stats::Samples;
use super::{plot, tables};
use crate::{Outcome, workspace};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const WARM_UP: usize = 5;
const ROUNDS: usize = 60;
/// The default profile as Debian's package `golang-github-containers-common` has it.
const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// One thing that is measured: commands in a row.
struct Job {
    name: String,
    commands: Vec<Vec<String>>,
    without_cgroup2: bool,
}

/// A runtime and how it is called.
struct Runtime {
    name: &'static str,
    /// What its containers are called by: two runtimes must not meet in one cgroup.
    id: &'static str,
    program: String,
    without_cgroup2: bool,
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let rounds = match arguments {
        [] => ROUNDS,
        ["--rounds", count] => count
            .parse()
            .map_err(|_bad| format!("--rounds {count}: not a number"))?,
        _ => return Err("cargo xtask bench runtime [--rounds N]".to_owned()),
    };
    workspace::ensure_packages(&[
        "bubblewrap",
        "runc",
        "crun",
        "busybox-static",
        "golang-github-containers-common",
        "gcc",
        "libc6-dev",
    ])?;
    workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    let work = Work::new()?;
    let ours = work.directory.join("cais-runtime");
    let built = workspace::built("release").join("cais");
    std::os::unix::fs::symlink(&built, &ours).map_err(|error| error.to_string())?;
    let bundle = peers::make_bundle(&work.directory)?;
    add_seccomp(&bundle)?;
    let runtimes = [
        runtime("cais", "a", &ours.to_string_lossy(), false),
        runtime(
            "cais, without the cgroup2 mount",
            "b",
            &ours.to_string_lossy(),
            true,
        ),
        runtime("crun, without the cgroup2 mount", "c", "crun", true),
        runtime("runc", "d", "runc", false),
    ];
    let outcome = compare(&work, &runtimes, &bundle, rounds);
    for runtime in &runtimes {
        // What the jobs left running goes with the run, however it went.
        for id in ["kept", "bench"] {
            let id = format!("{id}-{}", runtime.id);
            let delete = call(&work, runtime, &["delete", "--force", &id]);
            work.time_command(&delete, runtime.without_cgroup2)
                .map(drop)
                .unwrap_or_default();
        }
    }
    outcome
}

fn compare(work: &Work, runtimes: &[Runtime], bundle: &Path, rounds: usize) -> Outcome {
    let mut jobs = floor_and_bwrap(work)?;
    for runtime in runtimes {
        jobs.extend(jobs_of(work, runtime, bundle)?);
    }
    let samples = measure(work, &jobs, rounds)?;
    let peaks = runtimes
        .iter()
        .map(|runtime| peak(work, runtime, bundle))
        .collect::<Result<Vec<_>, _>>()?;
    let small: Vec<bool> = runtimes
        .iter()
        .map(|runtime| starts_with_little(work, runtime, bundle))
        .collect();
    report(&jobs, &samples, runtimes, &peaks, &small)
}

fn runtime(name: &'static str, id: &'static str, program: &str, without_cgroup2: bool) -> Runtime {
    Runtime {
        name,
        id,
        program: program.to_owned(),
        without_cgroup2,
    }
}

/// A call of a runtime with a directory of states of its own.
fn call(work: &Work, runtime: &Runtime, words: &[&str]) -> Vec<String> {
    let root = peers::run_of(&work.directory).join(format!("states of {}", runtime.name));
    let mut command = vec![
        runtime.program.clone(),
        "--root".to_owned(),
        root.to_string_lossy().into_owned(),
    ];
    command.extend(words.iter().map(|word| (*word).to_owned()));
    command
}

/// The default profile of containers, as an engine would hand it to a runtime.
pub(crate) fn add_seccomp(bundle: &Path) -> Outcome {
    let text = fs::read(PROFILE).map_err(|error| format!("{PROFILE}: {error}"))?;
    let mut profile: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let Some(rules) = profile.get_mut("syscalls").and_then(Value::as_array_mut) else {
        return Err(format!("{PROFILE}: no syscalls"));
    };
    // Rules with conditions are the engine's to decide: those for capabilities that the
    // bundle lacks, and for other machines, fall out.
    let fits = |condition: &serde_json::Map<String, Value>| {
        condition.iter().all(|(key, values)| {
            key == "arches" && values.as_array().is_some_and(|all| all.contains(&json!("amd64")))
        })
    };
    rules.retain(|rule| {
        let condition = |key: &str| rule.get(key).and_then(Value::as_object);
        condition("includes").is_none_or(fits) && condition("excludes").is_none_or(serde_json::Map::is_empty)
    });
    for rule in rules {
        if let Some(rule) = rule.as_object_mut() {
            rule.retain(|key, _| matches!(key.as_str(), "names" | "action" | "args" | "errnoRet"));
        }
    }
    let seccomp = json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": profile["syscalls"],
    });
    change(bundle, |spec| spec["linux"]["seccomp"] = seccomp)
}

fn change(bundle: &Path, edit: impl FnOnce(&mut Value)) -> Outcome {
    let file = bundle.join("config.json");
    let bytes = fs::read(&file).map_err(|error| error.to_string())?;
    let mut spec: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    edit(&mut spec);
    fs::write(&file, spec.to_string()).map_err(|error| error.to_string())
}

/// A copy of the bundle with another configuration.
fn variant(bundle: &Path, name: &str, edit: impl FnOnce(&mut Value)) -> Result<PathBuf, String> {
    let copy = bundle.with_file_name(format!("bundle-{name}"));
    fs::create_dir_all(&copy).map_err(|error| error.to_string())?;
    fs::copy(bundle.join("config.json"), copy.join("config.json")).map_err(|error| error.to_string())?;
    let root = bundle.join("rootfs").to_string_lossy().into_owned();
    change(&copy, |spec| {
        spec["root"]["path"] = root.into();
        edit(spec);
    })?;
    Ok(copy)
}

fn floor_and_bwrap(work: &Work) -> Result<Vec<Job>, String> {
    let floor = work.directory.join("floor").to_string_lossy().into_owned();
    let source = workspace::root()
        .join("xtask/bench/floor.c")
        .to_string_lossy()
        .into_owned();
    workspace::run("gcc", &["-O2", "-static", "-o", &floor, &source], &[])?;
    let bwrap = [
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
    ];
    let job = |name: &str, command: Vec<String>| Job {
        name: name.to_owned(),
        commands: vec![command],
        without_cgroup2: false,
    };
    Ok(vec![
        job("floor", vec![floor]),
        job("bwrap", bwrap.map(str::to_owned).to_vec()),
    ])
}

fn jobs_of(work: &Work, runtime: &Runtime, bundle: &Path) -> Result<Vec<Job>, String> {
    let sleeping = variant(bundle, "sleep", |spec| {
        spec["process"]["args"] = json!(["/bin/sleep", "10000"]);
    })?;
    let path = |bundle: &Path| bundle.to_string_lossy().into_owned();
    let without_cgroup2 = runtime.without_cgroup2;
    let (kept_id, bench_id) = (format!("kept-{}", runtime.id), format!("bench-{}", runtime.id));
    let kept = ["run", "--detach", "--bundle", &path(&sleeping), &kept_id];
    work.time_command(&call(work, runtime, &kept), without_cgroup2)?;
    let job = |what: &str, commands: &[&[&str]]| Job {
        name: format!("{what}: {}", runtime.name),
        commands: commands.iter().map(|words| call(work, runtime, words)).collect(),
        without_cgroup2,
    };
    Ok(vec![
        job("run", &[&["run", "--bundle", &path(bundle), &bench_id]]),
        job(
            "create, start, delete",
            &[
                &["create", "--bundle", &path(&sleeping), &bench_id],
                &["start", &bench_id],
                &["delete", "--force", &bench_id],
            ],
        ),
        job("exec", &[&["exec", &kept_id, "/bin/true"]]),
        job("state", &[&["state", &kept_id]]),
    ])
}

fn measure(work: &Work, jobs: &[Job], rounds: usize) -> Result<Vec<Samples>, String> {
    let mut samples = vec![Samples::default(); jobs.len()];
    for round in 0..rounds + WARM_UP {
        for (job, samples) in jobs.iter().zip(&mut samples) {
            let mut took = 0.0;
            for command in &job.commands {
                took += work
                    .time_command(command, job.without_cgroup2)
                    .map_err(|error| format!("{}: {error}", job.name))?;
            }
            if round >= WARM_UP {
                samples.push(took);
            }
        }
    }
    Ok(samples)
}

/// The most memory that `run` itself uses, in KiB.
fn peak(work: &Work, runtime: &Runtime, bundle: &Path) -> Result<u64, String> {
    if runtime.without_cgroup2 {
        return Ok(0);
    }
    let waiting = variant(bundle, "wait", |spec| {
        spec["process"]["args"] = json!(["/bin/sh", "-c", "echo ready; read line"]);
    })?;
    let command = call(
        work,
        runtime,
        &["run", "--bundle", &waiting.to_string_lossy(), "peak"],
    );
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut ready = [0u8; 6];
    if let Some(stdout) = &mut child.stdout {
        std::io::Read::read_exact(stdout, &mut ready).unwrap_or_default();
    }
    let peak = field(&format!("/proc/{}/status", child.id()), "VmHWM:");
    drop(child.stdin.take());
    child.wait().map_err(|error| error.to_string())?;
    Ok(peak)
}

/// Whether a container with 512 KiB starts.
fn starts_with_little(work: &Work, runtime: &Runtime, bundle: &Path) -> bool {
    let little = variant(bundle, "little", |spec| {
        spec["linux"]["resources"]["memory"] = json!({ "limit": 512 * 1024 });
    });
    let Ok(little) = little else { return false };
    let command = call(
        work,
        runtime,
        &["run", "--bundle", &little.to_string_lossy(), "little"],
    );
    work.time_command(&command, runtime.without_cgroup2).is_ok()
}

fn report(jobs: &[Job], samples: &[Samples], runtimes: &[Runtime], peaks: &[u64], small: &[bool]) -> Outcome {
    let rows: Vec<(String, f64, f64, f64)> = jobs
        .iter()
        .zip(samples)
        .map(|(job, samples)| {
            let (p10, p90) = (samples.percentile(10), samples.percentile(90));
            (job.name.clone(), samples.median(), p10, p90)
        })
        .collect();
    let of = |name: &str| {
        rows.iter()
            .find(|row| row.0 == name)
            .map_or(f64::NAN, |row| row.1)
    };
    println!("\n{:<56}{:>9}{:>9}{:>9}", "", "median", "p10", "p90");
    for (name, median, p10, p90) in &rows {
        println!("{name:<56}{median:>7.2}ms{p10:>7.2}ms{p90:>7.2}ms");
    }
    println!(
        "\nrun: {:.2} x the floor, {:.2} x bwrap, {:.2} x crun",
        of("run: cais") / of("floor"),
        of("run: cais") / of("bwrap"),
        of("run: cais, without the cgroup2 mount") / of("run: crun, without the cgroup2 mount"),
    );
    for what in ["create, start, delete", "exec", "state"] {
        println!(
            "{what}: {:.2} x crun, {:.2} x runc",
            of(&format!("{what}: cais, without the cgroup2 mount"))
                / of(&format!("{what}: crun, without the cgroup2 mount")),
            of(&format!("{what}: cais")) / of(&format!("{what}: runc")),
        );
    }
    for ((runtime, peak), small) in runtimes.iter().zip(peaks).zip(small) {
        let peak = if *peak == 0 {
            String::new()
        } else {
            format!("peak {peak} KiB, ")
        };
        let starts = if *small { "starts" } else { "does not start" };
        println!("{}: {peak}with a limit of 512 KiB it {starts}", runtime.name);
    }
    let directory = workspace::root().join("docs/benchmarks");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let data = json!({
        "rounds": samples.first().map(Samples::count),
        "milliseconds": rows.iter().map(|(name, median, p10, p90)| json!({ "name": name, "median": median, "p10": p10, "p90": p90 })).collect::<Vec<_>>(),
        "runtimes": runtimes.iter().zip(peaks).zip(small).map(|((runtime, peak), small)| json!({ "name": runtime.name, "peak_kib": peak, "starts_with_512k": small })).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&data).map_err(|error| error.to_string())?;
    fs::write(directory.join("runtime.json"), text + "\n").map_err(|error| error.to_string())?;
    let drawn = plot::bars("OCI runtimes: milliseconds (median; line: p10 to p90)", &rows);
    fs::write(directory.join("runtime.svg"), drawn).map_err(|error| error.to_string())?;
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, median, p10, p90)| vec![name.clone(), format!("{median:.2} ms ({p10:.2} to {p90:.2})")])
        .collect();
    tables::fill(
        "docs/benchmarks.md",
        "runtime",
        &tables::markdown(&["", "median (p10 to p90)"], &lines),
    )?;
    println!("written: docs/benchmarks/runtime.json and runtime.svg, the table in docs/benchmarks.md");
    Ok(())
}
