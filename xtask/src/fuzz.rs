//! `cargo xtask fuzz`: builds the fuzz targets with the stable compiler and runs some of
//! them. cargo-fuzz does the same with a nightly one, and with address sanitizing.

use crate::{Outcome, workspace};
use std::fs;
use std::process::Command;

/// What makes the compiler tell libFuzzer which code was reached.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=yes --cfg fuzzing";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let usage = || "cargo xtask fuzz SECONDS TARGET…".to_owned();
    let (seconds, targets) = arguments.split_first().ok_or_else(usage)?;
    let seconds: u32 = seconds.parse().map_err(|_bad| usage())?;
    let directory = workspace::root().join("fuzz");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", &triple])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env("RUSTFLAGS", COVERAGE)
        .current_dir(&directory)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.success() {
        return Err("the fuzz targets were not built".to_owned());
    }
    let mut failed = Vec::new();
    for target in targets {
        let (corpus, seeds) = (
            directory.join("corpus").join(target),
            directory.join("seeds").join(target),
        );
        let artifacts = directory.join("artifacts").join(target);
        for path in [&corpus, &artifacts] {
            fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        println!("+ {target} for {seconds} seconds");
        let mut command = Command::new(
            directory
                .join("target")
                .join(&triple)
                .join("release")
                .join(target),
        );
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"])
            .arg(&corpus);
        if seeds.is_dir() {
            command.arg(&seeds);
        }
        let status = command.status().map_err(|error| format!("{target}: {error}"))?;
        if !status.success() {
            failed.push(*target);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("findings in {}: see fuzz/artifacts", failed.join(", ")))
    }
}
