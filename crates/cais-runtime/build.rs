//! Builds the init stub for the same machine and puts it where `stub.rs` embeds it.
//!
//! The stub is a crate of this workspace without a C library; Cargo cannot yet make
//! one executable the input of another crate on a stable toolchain, so this script
//! runs Cargo once more with a target directory of its own.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../..");
    for path in ["Cargo.toml", "Cargo.lock", "crates/cais-init", "crates/cais-sys"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR").unwrap_or_default());
    let target = env::var("TARGET").unwrap_or_default();
    let target_dir = out.join("stub");
    let status = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .current_dir(&workspace)
        .args([
            "build",
            "--quiet",
            "--package",
            "cais-init",
            "--bin",
            "cais-init",
            "--features",
            "stub",
        ])
        .args(["--profile", "stub", "--target", &target, "--target-dir"])
        .arg(&target_dir)
        // What the outer Cargo says to this script is not meant for the inner one.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(
            "RUSTFLAGS",
            "-C target-feature=+crt-static -C relocation-model=static",
        )
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the init stub could not be built"
    );
    let built = target_dir.join(&target).join("stub/cais-init");
    let copied = std::fs::copy(&built, out.join("cais-init"));
    assert!(
        copied.is_ok(),
        "{} could not be copied: {copied:?}",
        built.display()
    );
}
