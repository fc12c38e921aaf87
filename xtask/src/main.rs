//! Developer tasks: `cargo xtask …`. One file for each.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to developers")]

mod bench;
mod ci;
mod fuzz;
mod layers;
mod licences;
mod man;
mod order;
mod packages;
mod size;
mod tests;
mod unsafe_code;
mod vm_test;
mod watch;
mod workspace;

use std::process::ExitCode;

/// A task's outcome: an error is a text for the developer.
type Outcome = Result<(), String>;

const USAGE: &str = "\
cargo xtask layers            every crate uses only crates of lower layers
cargo xtask size              no long files and functions; executable and stub within their budgets
cargo xtask packages          Cargo.lock within its budget
cargo xtask unsafe            no unsafe code outside cais-sys
cargo xtask licences          no GPL among the dependencies
cargo xtask checks            all of the above
cargo xtask test [FILTER]     install what is needed, build, run unit and integration tests
cargo xtask vm-test [--all]   the integration tests in virtual machines with cgroup v2 (v1, hybrid); --on LAYOUT for one
cargo xtask bench images      images against the peers: docs/benchmarks/
cargo xtask fuzz N TARGET…    fuzz targets for N seconds each, with the stable compiler
cargo xtask bench start       starts against the peers: docs/benchmarks/
cargo xtask bench engine      run, exec, ps, logs, stop, many containers, against the peers
cargo xtask bench network     bridges, ports, throughput and names against Docker's
cargo xtask order             which functions a start uses, for the linker: crates/cais/start.txt
cargo xtask man DIR           man pages from the definition of the command line
cargo xtask completions DIR   shell completions from the same
cargo xtask ci                what .ci/run runs";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["layers"] => layers::check(),
        ["size"] => size::check(),
        ["packages"] => packages::check(),
        ["unsafe"] => unsafe_code::check(),
        ["licences"] => licences::check(),
        ["checks"] => ci::checks(),
        ["test", rest @ ..] => tests::run(rest),
        ["vm-test", rest @ ..] => vm_test::run(rest),
        ["bench", rest @ ..] => bench::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["order"] => order::make(),
        ["man", directory] => man::write_man_pages(directory),
        ["completions", directory] => man::write_completions(directory),
        ["ci"] => ci::run(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}
