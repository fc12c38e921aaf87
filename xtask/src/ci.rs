//! What CI runs, so that a developer can run the same.

use crate::{Outcome, layers, licences, packages, size, tests, unsafe_code, vm_test, workspace};

/// The checks that need no build.
pub(crate) fn checks() -> Outcome {
    layers::check()?;
    packages::check()?;
    licences::check()?;
    unsafe_code::check()?;
    size::check()
}

/// Everything; the tests come last, so that the last line is their summary.
pub(crate) fn run() -> Outcome {
    workspace::run("cargo", &["fmt", "--all", "--check"], &[])?;
    workspace::run(
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )?;
    let stub = [
        "clippy",
        "-p",
        "cais-init",
        "--features",
        "stub",
        "--bin",
        "cais-init",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    workspace::run("cargo", &stub, &[])?;
    workspace::run(
        "cargo",
        &["doc", "--workspace", "--no-deps", "--locked"],
        &[("RUSTDOCFLAGS", "-Dwarnings")],
    )?;
    workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    checks()?;
    if std::env::var("CAIS_CI_VM").as_deref() != Ok("0") {
        vm_test::run(&[])?;
    }
    tests::run(&[])
}
