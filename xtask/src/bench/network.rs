//! `cargo xtask bench network`: starts, throughput, latency and names on bridges, beside
//! Docker's, in a network namespace of the bench's own.
//!
//! The bench runs itself again inside the namespace: the host's interfaces and rules stay
//! as they are. Another namespace stands for the rest of the world.

mod names;
mod site;
mod traffic;

use super::plot;
use super::stats::Samples;
use super::tables;
use crate::{Outcome, workspace};
use serde_json::json;
use site::Site;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Says that this process is the one inside.
const INSIDE: &str = "CAIS_BENCH_NETWORK";
/// Rounds of starts, ten times all orders, and every how manieth round Docker takes part. A
/// start varies by a tenth and more: with a hundred rounds, the medians of two ways that take
/// the same differ by a third of a millisecond.
const ROUNDS: usize = 240;
const DOCKER_EVERY: usize = 24;
/// Containers that are there in the second half.
const CROWD: usize = 500;

/// What was measured: what it is, median, p10 and p90 in milliseconds.
type Row = (String, f64, f64, f64);

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    match arguments {
        ["--answer-time", name] => return names::probe(name),
        [] => {}
        _ => return Err("cargo xtask bench network".to_owned()),
    }
    if std::env::var_os(INSIDE).is_some() {
        return measure();
    }
    workspace::ensure_packages(&[
        "docker.io",
        "iptables",
        "iproute2",
        "iperf3",
        "socat",
        "busybox-static",
    ])?;
    if given().is_none() {
        workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    }
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let this = this.to_string_lossy();
    workspace::run("unshare", &["--net", &this, "bench", "network"], &[(INSIDE, "1")])
}

/// Another executable than the one that is built, to try the benchmark itself: `CAIS_BIN`.
fn given() -> Option<PathBuf> {
    std::env::var_os("CAIS_BIN").map(PathBuf::from)
}

/// One way to start a container.
struct Way {
    name: &'static str,
    flags: &'static [&'static str],
}

const WAYS: [Way; 4] = [
    Way {
        name: "none",
        flags: &["--network", "none"],
    },
    Way {
        name: "bridge",
        flags: &["--network", "bridge"],
    },
    Way {
        name: "1 port",
        flags: &["--network", "bridge", "-p", "20000:80"],
    },
    Way {
        name: "1000 ports",
        flags: &["--network", "bridge", "-p", "21000-21999:21000-21999"],
    },
];

/// Milliseconds that a command takes.
fn time(command: &mut Command) -> Result<f64, String> {
    let began = Instant::now();
    super::peers::output(command)?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn row(name: impl Into<String>, samples: &Samples) -> Row {
    (
        name.into(),
        samples.median(),
        samples.percentile(10),
        samples.percentile(90),
    )
}

/// The ways in another order in each round, all 24 in turn: the kernel takes the network of
/// the one before apart while the next one starts, so each is to follow each as often.
fn order(round: usize) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..WAYS.len()).collect();
    let mut number = round;
    let mut order = Vec::new();
    while !rest.is_empty() {
        order.push(rest.remove(number % rest.len()));
        number /= rest.len() + 1;
    }
    order
}

/// Starts in turns: ours in every way, and Docker's now and then.
fn starts(site: &Site, with: &str, docker: bool) -> Result<Vec<Row>, String> {
    let mut ours = vec![Samples::default(); WAYS.len()];
    let mut theirs = vec![Samples::default(); 3];
    for round in 0..ROUNDS + 3 {
        for index in order(round) {
            let took = time(&mut site.cais_run(WAYS[index].flags, &["true"]))?;
            if round >= 3 {
                ours[index].push(took);
            }
        }
        if docker && round % DOCKER_EVERY == 0 {
            for (way, samples) in WAYS.iter().zip(&mut theirs) {
                samples.push(time(&mut site.docker_run(way.flags, &["/bin/true"]))?);
            }
        }
    }
    let mut rows: Vec<Row> = WAYS
        .iter()
        .zip(&ours)
        .map(|(way, samples)| row(format!("cais, {}{with}", way.name), samples))
        .collect();
    if docker {
        let theirs = WAYS.iter().zip(&theirs);
        rows.extend(theirs.map(|(way, samples)| row(format!("docker, {}", way.name), samples)));
    }
    Ok(rows)
}

/// 64 starts side by side, on a bridge and without a network: starts a second.
fn side_by_side(site: &Site, flags: &[&str]) -> Result<f64, String> {
    const STARTS: u32 = 64;
    let began = Instant::now();
    let failed = std::thread::scope(|scope| {
        let all: Vec<_> = (0..STARTS)
            .map(|_| scope.spawn(|| time(&mut site.cais_run(flags, &["true"]))))
            .collect();
        let done = all.into_iter().filter_map(|thread| thread.join().ok());
        done.filter_map(Result::err).next()
    });
    match failed {
        Some(error) => Err(format!("64 starts side by side: {error}")),
        None => Ok(f64::from(STARTS) / began.elapsed().as_secs_f64()),
    }
}

fn measure() -> Outcome {
    let mut site = Site::new()?;
    let docker = site.start_docker();
    if let Err(reason) = &docker {
        println!("docker is not measured: {reason}");
    }
    let docker = docker.is_ok();
    let mut rows = starts(&site, "", docker)?;
    let parallel = side_by_side(&site, WAYS[1].flags)?;
    let parallel_none = side_by_side(&site, WAYS[0].flags)?;
    let answers = names::measure(&site, docker)?;
    let traffic = traffic::measure(&site, docker)?;
    for number in 0..CROWD {
        let name = format!("crowd{number}");
        super::peers::output(&mut site.cais(&[
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            "bridge",
            "host",
            "sleep",
            "10000",
        ]))?;
    }
    rows.extend(starts(&site, " (500 there)", false)?);
    report(&rows, &answers, &traffic, [parallel, parallel_none])
}

fn report(rows: &[Row], answers: &[Row], traffic: &[traffic::Figure], parallel: [f64; 2]) -> Outcome {
    let median = |name: &str| {
        rows.iter()
            .find(|row| row.0 == name)
            .map_or(f64::NAN, |row| row.1)
    };
    println!("\n{:<32}{:>10}{:>10}{:>10}", "", "median", "p10", "p90");
    for (name, median, p10, p90) in rows.iter().chain(answers) {
        println!("{name:<32}{median:>8.3}ms{p10:>8.3}ms{p90:>8.3}ms");
    }
    for figure in traffic {
        println!("{:<48}{:>10.2} {}", figure.name, figure.value, figure.unit);
    }
    println!(
        "\nbridge: 1/{:.1} of docker, {:.2} ms over none; 1 port adds {:.2} ms, 1000 ports {:.2} ms",
        median("docker, bridge") / median("cais, bridge"),
        median("cais, bridge") - median("cais, none"),
        median("cais, 1 port") - median("cais, bridge"),
        median("cais, 1000 ports") - median("cais, bridge"),
    );
    println!(
        "with 500 there: 1 port adds {:.2} ms, 1000 ports {:.2} ms",
        median("cais, 1 port (500 there)") - median("cais, bridge (500 there)"),
        median("cais, 1000 ports (500 there)") - median("cais, bridge (500 there)"),
    );
    println!(
        "64 side by side: {:.0} a second on a bridge, {:.0} without a network",
        parallel[0], parallel[1]
    );
    write_files(rows, answers, traffic, parallel)
}

fn write_files(rows: &[Row], answers: &[Row], traffic: &[traffic::Figure], parallel: [f64; 2]) -> Outcome {
    let text = |error: std::io::Error| error.to_string();
    let directory = workspace::root().join("docs/benchmarks");
    fs::create_dir_all(&directory).map_err(text)?;
    let times = |rows: &[Row]| {
        let each = rows.iter();
        each.map(|(name, median, p10, p90)| json!({ "name": name, "median": median, "p10": p10, "p90": p90 }))
            .collect::<Vec<_>>()
    };
    let data = json!({
        "milliseconds": times(rows),
        "names_milliseconds": times(answers),
        "traffic": traffic.iter().map(|figure| json!({ "name": figure.name, "value": figure.value, "unit": figure.unit })).collect::<Vec<_>>(),
        "side_by_side_per_second": { "bridge": parallel[0], "none": parallel[1] },
    });
    let data = serde_json::to_string_pretty(&data).map_err(|error| error.to_string())?;
    fs::write(directory.join("network.json"), data + "\n").map_err(text)?;
    let title = "Milliseconds from the command to its end (median; line: p10 to p90)";
    fs::write(directory.join("network.svg"), plot::bars(title, rows)).map_err(text)?;
    let mut lines: Vec<Vec<String>> = rows
        .iter()
        .chain(answers)
        .map(|(name, median, p10, p90)| vec![name.clone(), format!("{median:.3} ms ({p10:.3} to {p90:.3})")])
        .collect();
    lines.extend(traffic.iter().map(|figure| {
        vec![
            figure.name.clone(),
            format!("{:.2} {}", figure.value, figure.unit),
        ]
    }));
    lines.push(vec![
        "64 starts side by side, bridge / none".to_owned(),
        format!("{:.0} / {:.0} a second", parallel[0], parallel[1]),
    ]);
    tables::fill(
        "docs/benchmarks.md",
        "network",
        &tables::markdown(&["", "median (p10 to p90)"], &lines),
    )?;
    println!("written: docs/benchmarks/network.json and network.svg, the table in docs/benchmarks.md");
    Ok(())
}
