//! In a release, leaves out the unwind tables: a panic aborts, and nothing else reads
//! them. The standard library is delivered with them; they were a tenth of the executable.
//!
//! And puts the functions that a start uses (`start.txt`, made by `cargo xtask order`) beside
//! each other: scattered over five megabytes they made nearly every page of it be mapped.

use std::process::Command;

/// The linker of this compiler is lld from here on (x86_64 with glibc); GNU ld refuses to
/// discard a section that the C library's start code names.
const FIRST_WITH_LLD: u32 = 90;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=start.txt");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let with_lld = of("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && of("CARGO_CFG_TARGET_ENV") == "gnu"
        && minor_version(&of("RUSTC")).is_some_and(|minor| minor >= FIRST_WITH_LLD)
        && !of("CARGO_ENCODED_RUSTFLAGS").contains("linker");
    if of("PROFILE") != "release" || !with_lld {
        return;
    }
    let script = format!("{}/sections.ld", of("OUT_DIR"));
    let names = std::fs::read_to_string("start.txt").unwrap_or_default();
    let first: String = names.lines().map(|name| format!("*(.text.{name})\n")).collect();
    let text = format!(
        "SECTIONS {{ .text.start : {{ {first} }} }} INSERT BEFORE .text;\n\
         SECTIONS {{ /DISCARD/ : {{ *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table*) }} }} INSERT AFTER .text;\n"
    );
    if std::fs::write(&script, text).is_ok() {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{script}");
    }
}

/// 95 of "rustc 1.95.0 (…)".
fn minor_version(rustc: &str) -> Option<u32> {
    let output = Command::new(rustc).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}
