//! `cargo xtask bench engine`: what a user of an engine waits for, against podman and
//! docker in one run: run, run -d, exec, ps, logs, stop, starts a second with many
//! containers present, and the memory of many idle ones.
//!
//! Each part's figures are kept in `target/bench-engine.json` as it ends; with `--resume`
//! the parts that are there are not measured again. No part begins after five minutes.
//! `--bin` measures an executable that is there instead of building one.

mod lines;
mod measure;
mod parts;

use super::peers;
use super::start::Work;
use super::tables;
use crate::{Outcome, workspace};
use measure::{Engine, Sides};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After so long no part begins any more.
const BUDGET: Duration = Duration::from_secs(300);

/// One part: its name, and what measures it.
type Part = (&'static str, fn(&Sides) -> Result<Value, String>);

const PARTS: [Part; 8] = [
    ("run", parts::run),
    ("run -d", parts::run_detached),
    ("exec", parts::exec),
    ("stop", parts::stop),
    ("logs", parts::logs),
    ("ps", parts::ps),
    ("idle", parts::idle),
    ("starts", parts::starts),
];

fn kept() -> PathBuf {
    workspace::root().join("target/bench-engine.json")
}

fn read_kept() -> Map<String, Value> {
    let text = fs::read_to_string(kept()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let (resume, binary) = match arguments {
        [] => (false, None),
        ["--resume"] => (true, None),
        ["--bin", path] => (false, Some(PathBuf::from(path))),
        ["--resume", "--bin", path] => (true, Some(PathBuf::from(path))),
        _ => return Err("cargo xtask bench engine [--resume] [--bin FILE]".to_owned()),
    };
    let mut figures = if resume { read_kept() } else { Map::new() };
    workspace::ensure_packages(&["runc", "podman", "docker.io", "busybox-static"])?;
    let binary = match binary {
        Some(binary) => binary,
        None => {
            workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
            workspace::built("release").join("cais")
        }
    };
    let mut work = Work::new()?;
    let sides = prepare(&mut work, &binary)?;
    for (name, reason) in &sides.absent {
        println!("{name}: not measured: {reason}");
    }
    let began = Instant::now();
    for (name, measure) in PARTS {
        if figures.contains_key(name) {
            println!("{name}: measured before");
            continue;
        }
        if began.elapsed() > BUDGET {
            println!("{name}: left out, the time is up: run it again with --resume");
            continue;
        }
        let part = Instant::now();
        let measured = measure(&sides);
        sides.clear();
        match measured {
            Ok(value) => {
                println!("{name} ({:.0} s): {value}", part.elapsed().as_secs_f64());
                figures.insert(name.to_owned(), value);
                let text = Value::Object(figures.clone()).to_string();
                fs::write(kept(), text).map_err(|error| error.to_string())?;
            }
            Err(error) => println!("{name}: failed: {error}"),
        }
    }
    let absent: Vec<Value> = sides
        .absent
        .iter()
        .map(|(name, reason)| json!({ "name": name, "reason": reason }))
        .collect();
    figures.insert("absent".to_owned(), absent.into());
    write_files(&figures)
}

/// The engines that can run, each with the image.
fn prepare(work: &mut Work, binary: &Path) -> Result<Sides, String> {
    let cais = Engine::cais(binary, &work.directory);
    let mut sides = Sides {
        engines: vec![cais],
        absent: Vec::new(),
    };
    let bundle = peers::make_bundle(&work.directory)?;
    match peers::podman_engine(&work.directory, &bundle) {
        Ok(words) => sides.engines.push(Engine::podman(words)),
        Err(reason) => sides.absent.push(("podman", reason)),
    }
    match peers::docker_engine(work, &bundle) {
        Ok(words) => sides.engines.push(Engine::docker(words)),
        Err(reason) => sides.absent.push(("docker", reason)),
    }
    // The same image for cais: as docker saves it, or out of podman's store.
    let saved = work.directory.join("saved.tar").to_string_lossy().into_owned();
    let Some(peer) = sides.engines.last().filter(|engine| engine.name != "cais") else {
        return Err("neither podman nor docker can run here: there is nothing to compare with".to_owned());
    };
    peer.ok(&["save", "-o", &saved, "bench"])?;
    let name = if peer.name == "podman" {
        "localhost/bench"
    } else {
        "bench"
    };
    let ours = sides.engines.first_mut().ok_or("no engine")?;
    ours.ok(&["load", "-i", &saved])?;
    ours.image = name.to_owned();
    Ok(sides)
}

/// The figure of a part for an engine.
fn figure(figures: &Map<String, Value>, part: &str, engine: &str, key: &str) -> Option<f64> {
    figures.get(part)?.get(engine)?.get(key)?.as_f64()
}

/// What the table says: the job, the part, the figure's key, its unit.
const ROWS: [(&str, &str, &str, &str); 7] = [
    ("`run --rm --network none IMG true`", "run", "median", "ms"),
    ("`run -d --network none IMG sleep`", "run -d", "median", "ms"),
    ("`exec C true`", "exec", "median", "ms"),
    ("`ps` with 100 containers", "ps", "median", "ms"),
    ("`ps -a` with 1,000 containers", "ps", "thousand", "ms"),
    ("`stop` of a `sleep` that does not hear", "stop", "median", "ms"),
    ("`logs` of long output", "logs", "megabytes", "MB/s"),
];

fn write_files(figures: &Map<String, Value>) -> Outcome {
    let directory = workspace::root().join("docs/benchmarks");
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let data = Value::Object(figures.clone());
    let text = serde_json::to_string_pretty(&data).map_err(|error| error.to_string())?;
    fs::write(directory.join("engine.json"), text + "\n").map_err(|error| error.to_string())?;
    if let Some(starts) = figures.get("starts") {
        fs::write(directory.join("engine.svg"), lines::plot(starts)).map_err(|error| error.to_string())?;
    }
    let rows: Vec<Vec<String>> = ROWS
        .iter()
        .map(|(label, part, key, unit)| {
            let mut row = vec![(*label).to_owned()];
            let ours = figure(figures, part, "cais", key);
            for engine in ["cais", "podman", "docker"] {
                row.push(match figure(figures, part, engine, key) {
                    Some(value) => cell(value, unit, ours.filter(|_| engine != "cais")),
                    None => "–".to_owned(),
                });
            }
            row
        })
        .collect();
    let mut table = tables::markdown(&["", "cais", "podman", "docker"], &rows);
    if let Some(idle) = figures.get("idle") {
        table.push_str(&format!(
            "\n{} idle detached containers: {:.0} MB PSS of ours together, {:.0} KiB each.\n",
            idle["containers"],
            idle["megabytes"].as_f64().unwrap_or(f64::NAN),
            idle["kib_each"].as_f64().unwrap_or(f64::NAN)
        ));
    }
    tables::fill("docs/benchmarks.md", "engine", &table)?;
    println!("written: docs/benchmarks/engine.json and engine.svg, the table in docs/benchmarks.md");
    Ok(())
}

/// A figure, and how ours stands to it.
fn cell(value: f64, unit: &str, ours: Option<f64>) -> String {
    let shown = if value < 100.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    };
    match ours {
        Some(ours) if unit == "ms" => format!("{shown} (cais 1/{:.0})", value / ours),
        Some(ours) => format!("{shown} (cais {:.0} ×)", ours / value),
        None => shown,
    }
}
