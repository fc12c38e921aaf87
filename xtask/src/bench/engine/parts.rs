//! The parts of the benchmark.

use super::super::start::field;
use super::measure::{Engine, Sides};
use serde_json::{Map, Value, json};
use std::thread;
use std::time::Instant;

/// Rounds of short commands.
const ROUNDS: usize = 15;

pub(super) fn run(sides: &Sides) -> Result<Value, String> {
    Ok(sides.in_turn(ROUNDS, |engine, _| {
        engine.time(&engine.run_words("run", &["--rm"], &["/bin/true"]))
    }))
}

pub(super) fn run_detached(sides: &Sides) -> Result<Value, String> {
    Ok(sides.in_turn(ROUNDS, |engine, _| {
        let took =
            engine.time(&engine.run_words("run", &["-d", "--name", "bench-d"], &["/bin/sleep", "1000"]));
        engine.remove(&["bench-d"])?;
        took
    }))
}

pub(super) fn exec(sides: &Sides) -> Result<Value, String> {
    for engine in &sides.engines {
        engine.ok(&engine.run_words("run", &["-d", "--name", "bench-e"], &["/bin/sleep", "1000"]))?;
    }
    Ok(sides.in_turn(ROUNDS, |engine, _| engine.time(&["exec", "bench-e", "/bin/true"])))
}

/// A first process that does not handle SIGTERM: the peers wait ten seconds for it, so they
/// do it once and cais more often.
pub(super) fn stop(sides: &Sides) -> Result<Value, String> {
    let mut all = Map::new();
    for engine in &sides.engines {
        let rounds = if engine.name == "cais" { 10 } else { 1 };
        let mut times = Vec::new();
        for _ in 0..rounds {
            engine.ok(&engine.run_words("run", &["-d", "--name", "bench-s"], &["/bin/sleep", "1000"]))?;
            times.push(engine.time(&["stop", "bench-s"])?);
            engine.remove(&["bench-s"])?;
        }
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied();
        all.insert(
            engine.name.to_owned(),
            json!({ "median": median, "rounds": rounds }),
        );
    }
    Ok(Value::Object(all))
}

/// Lines of 100 bytes; a gigabyte for cais, a tenth of it for the peers, which are slower.
pub(super) fn logs(sides: &Sides) -> Result<Value, String> {
    let mut all = Map::new();
    for engine in &sides.engines {
        let megabytes = if engine.name == "cais" { 1000 } else { 100 };
        let line = "x".repeat(99);
        let script = format!("yes {line} | head -c {megabytes}000000");
        let options: &[&str] = match engine.name {
            "cais" => &["--log-opt", "max-size=4g"],
            "podman" => &["--log-driver", "k8s-file"],
            _ => &[],
        };
        let flags = [&["-d", "--name", "bench-l"], options].concat();
        engine.ok(&engine.run_words("run", &flags, &["/bin/busybox", "sh", "-c", &script]))?;
        engine.ok(&["wait", "bench-l"])?;
        let took = engine.time(&["logs", "bench-l"])?;
        let rate = f64::from(megabytes) / (took / 1e3);
        all.insert(
            engine.name.to_owned(),
            json!({ "megabytes": rate, "read": megabytes }),
        );
        engine.remove(&["bench-l"])?;
    }
    Ok(Value::Object(all))
}

/// `ps` with 100 containers that run, and of ours with 1,000 that do not.
pub(super) fn ps(sides: &Sides) -> Result<Value, String> {
    for engine in &sides.engines {
        for _ in 0..100 {
            engine.ok(&engine.run_words("run", &["-d"], &["/bin/sleep", "1000"]))?;
        }
    }
    let mut all = sides.in_turn(10, |engine, _| engine.time(&["ps"]));
    let ours = sides.engines.first().ok_or("no engine")?;
    ours.clear();
    fill(ours, 0, 1000)?;
    let mut times: Vec<f64> = (0..10)
        .map(|_| ours.time(&["ps", "-a"]))
        .collect::<Result<_, _>>()?;
    times.sort_by(f64::total_cmp);
    all["cais"]["thousand"] = json!(times.get(times.len() / 2));
    Ok(all)
}

/// Makes containers until there are so many.
fn fill(engine: &Engine, from: usize, to: usize) -> Result<(), String> {
    for _ in from..to {
        engine.ok(&engine.run_words("run", &[], &["/bin/true"]))?;
    }
    Ok(())
}

/// The memory of our processes beside 500 idle containers.
pub(super) fn idle(sides: &Sides) -> Result<Value, String> {
    let ours = sides.engines.first().ok_or("no engine")?;
    let count = 500u32;
    let began = Instant::now();
    for _ in 0..count {
        ours.ok(&ours.run_words("run", &["-d"], &["/bin/sleep", "10000"]))?;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    let ids = ours.ok(&["ps", "-q"])?;
    let mut words = vec!["inspect", "-f", "{{.Cais.MonitorPid}}"];
    words.extend(ids.lines());
    let monitors = ours.ok(&words)?;
    let kib: u64 = monitors
        .lines()
        .map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:"))
        .sum();
    let found = u32::try_from(monitors.lines().count()).unwrap_or(0);
    let kib = u32::try_from(kib).map_or(f64::NAN, f64::from);
    Ok(json!({
        "containers": found,
        "megabytes": kib / 1024.0,
        "kib_each": kib / f64::from(found.max(1)),
        "starts_per_second": rate,
    }))
}

/// Starts a second, one by one and 16 at a time, with more and more containers present that
/// do not run. The peers, which need minutes to make a thousand, go on to a hundred.
pub(super) fn starts(sides: &Sides) -> Result<Value, String> {
    let mut all = Map::new();
    for engine in &sides.engines {
        let ours = engine.name == "cais";
        let levels: &[usize] = if ours { &[0, 100, 500, 1000] } else { &[0, 100] };
        let starts = if ours { 64 } else { 16 };
        let mut points = Vec::new();
        let mut present = 0;
        for &level in levels {
            fill(engine, present, level)?;
            present = level;
            let words = engine.run_words("run", &["--rm"], &["/bin/true"]);
            let began = Instant::now();
            for _ in 0..starts {
                engine.time(&words)?;
            }
            let one_by_one = f64::from(starts) / began.elapsed().as_secs_f64();
            let began = Instant::now();
            at_a_time(engine, &words, starts)?;
            let at_a_time = f64::from(starts) / began.elapsed().as_secs_f64();
            points.push(json!({ "present": level, "one_by_one": one_by_one, "sixteen": at_a_time }));
        }
        engine.clear();
        all.insert(engine.name.to_owned(), points.into());
    }
    Ok(Value::Object(all))
}

/// So many starts, 16 at a time.
fn at_a_time(engine: &Engine, words: &[&str], starts: u32) -> Result<(), String> {
    let each = starts.div_ceil(16);
    thread::scope(|scope| {
        let all: Vec<_> = (0..16.min(starts))
            .map(|_| scope.spawn(|| (0..each).try_for_each(|_| engine.time(words).map(drop))))
            .collect();
        all.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_panic| Err("a thread panicked".to_owned()))
        })
    })
}
