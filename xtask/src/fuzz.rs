//! `cargo xtask fuzz`: builds the fuzz targets with the stable compiler and runs some of
//! them. cargo-fuzz does the same with a nightly one, and with address sanitizing.
//!
//! Each run begins with what earlier ones found: `fuzz/corpora/TARGET.tar.gz`, the smallest set
//! of inputs that reaches the same code. `cargo xtask fuzz keep TARGET…` makes these archives
//! out of the corpora below `fuzz/corpus`, which are not kept.

use crate::{Outcome, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest input that is kept.
const LONGEST_KEPT: u32 = 1024;

/// What makes the compiler tell libFuzzer which code was reached.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions=yes --cfg fuzzing";

pub(crate) fn run(arguments: &[&str]) -> Outcome {
    let usage = || "cargo xtask fuzz SECONDS TARGET…, or cargo xtask fuzz keep TARGET…".to_owned();
    let (first, targets) = arguments.split_first().ok_or_else(usage)?;
    let seconds: Option<u32> = match *first {
        "keep" => None,
        seconds => Some(seconds.parse().map_err(|_bad| usage())?),
    };
    let directory = workspace::root().join("fuzz");
    let built = build(&directory, targets)?;
    let mut failed = Vec::new();
    for target in targets {
        let places = Places {
            program: built.join(target),
            archive: directory.join("corpora").join(format!("{target}.tar.gz")),
            corpus: directory.join("corpus").join(target),
            seeds: directory.join("seeds").join(target),
            artifacts: directory.join("artifacts").join(target),
        };
        for path in [&places.corpus, &places.artifacts] {
            fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let went_well = match seconds {
            Some(seconds) => {
                println!("+ {target} for {seconds} seconds");
                places.fuzz(seconds)?
            }
            None => places.keep()?,
        };
        if !went_well {
            failed.push(*target);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("findings in {}: see fuzz/artifacts", failed.join(", ")))
    }
}

/// Builds targets; returns where they are.
fn build(directory: &Path, targets: &[&str]) -> Result<PathBuf, String> {
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = Command::new("cargo")
        .args(["build", "--release", "--target", &triple])
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env("RUSTFLAGS", COVERAGE)
        .current_dir(directory)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if built.success() {
        Ok(directory.join("target").join(triple).join("release"))
    } else {
        Err("the fuzz targets were not built".to_owned())
    }
}

/// What belongs to a target.
struct Places {
    program: PathBuf,
    /// The corpus that is kept.
    archive: PathBuf,
    /// The corpus of this machine.
    corpus: PathBuf,
    /// Inputs that were written by hand.
    seeds: PathBuf,
    artifacts: PathBuf,
}

/// Runs a command; whether it succeeded.
fn succeeds(command: &mut Command) -> Result<bool, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().map_err(|error| format!("{program}: {error}"))?;
    Ok(status.success())
}

impl Places {
    /// Fuzzes; whether nothing was found.
    fn fuzz(&self, seconds: u32) -> Result<bool, String> {
        if self.archive.exists() {
            let tar = Command::new("tar")
                .args(["-xzf".as_ref(), self.archive.as_os_str()])
                .arg("-C")
                .arg(&self.corpus)
                .status();
            tar.map_err(|error| format!("tar: {error}"))?;
        }
        let mut command = Command::new(&self.program);
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()))
            .args(["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1"])
            .arg(&self.corpus);
        if self.seeds.is_dir() {
            command.arg(&self.seeds);
        }
        succeeds(&mut command)
    }

    /// Makes the archive of the corpus; whether that went well.
    fn keep(&self) -> Result<bool, String> {
        let smallest = self.corpus.with_extension("smallest");
        fs::remove_dir_all(&smallest).unwrap_or_default();
        for path in [Some(smallest.as_path()), self.archive.parent()]
            .into_iter()
            .flatten()
        {
            fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let mut merge = Command::new(&self.program);
        merge
            .arg("-set_cover_merge=1")
            .arg(format!("-max_len={LONGEST_KEPT}"))
            .args([&smallest, &self.corpus]);
        // The same files give the same archive.
        let mut tar = Command::new("tar");
        tar.args([
            "--sort=name",
            "--mtime=@0",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .args([
            "-I".as_ref(),
            "gzip -9n".as_ref(),
            "-cf".as_ref(),
            self.archive.as_os_str(),
        ])
        .args(["-C".as_ref(), smallest.as_os_str(), ".".as_ref()]);
        let kept = succeeds(&mut merge)? && succeeds(&mut tar)?;
        fs::remove_dir_all(&smallest).unwrap_or_default();
        Ok(kept)
    }
}
