//! `cargo xtask order`: which functions a start uses, in the order of their first use, for
//! `crates/cais/start.txt`. The linker puts them beside each other (`crates/cais/build.rs`), so
//! that a start touches a tenth of the executable's pages.
//!
//! The list is for the compiler that made it: of another one only those functions are found
//! that are no instances of generic ones. It needs to be made again when starts have grown
//! much; a name that is not there any more does no harm.

use crate::bench::namespace::Namespace;
use crate::bench::peers::{self, output};
use crate::bench::runtime::add_seccomp;
use crate::bench::start::Work;
use crate::{Outcome, workspace};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) fn make() -> Outcome {
    workspace::ensure_packages(&[
        "busybox-static",
        "runc",
        "golang-github-containers-common",
        "gcc",
        "libc6-dev",
        "binutils",
        "iproute2",
    ])?;
    let target = workspace::root().join("target/order");
    let place = target.to_string_lossy().into_owned();
    // With its names, but else what is delivered: another profile would have other hashes.
    let build = [
        "rustc",
        "--release",
        "--locked",
        "-p",
        "cais",
        "--bin",
        "cais",
        "--target-dir",
        &place,
        "--",
        "-C",
        "strip=none",
    ];
    workspace::run("cargo", &build, &[])?;
    let work = Work::new()?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cais = target.join(triple).join("release/cais");
    let symbols = output(Command::new("nm").arg("--numeric-sort").arg(&cais))?;
    fs::write(work.directory.join("symbols"), &symbols).map_err(|error| error.to_string())?;
    let source = workspace::root().join("xtask/bench/first_use.c");
    let tracer = work.directory.join("first_use");
    let compile = ["-O2", "-o", &tracer.to_string_lossy(), &source.to_string_lossy()];
    workspace::run("gcc", &compile, &[])?;
    let used = trace_all(&work, &cais)?;
    let lines = plan_lines(&symbols, &used);
    println!("{} names", lines.len());
    let list = workspace::root().join("crates/cais/start.txt");
    fs::write(&list, lines.join("\n") + "\n").map_err(|error| format!("{}: {error}", list.display()))
}

/// Traces the commands that are to be fast; the names in the order of their first use.
fn trace_all(work: &Work, cais: &Path) -> Result<Vec<String>, String> {
    let runtime = work.directory.join("cais-runtime");
    std::os::unix::fs::symlink(cais, &runtime).map_err(|error| error.to_string())?;
    let bundle = peers::make_bundle(&work.directory)?;
    add_seccomp(&bundle)?;
    let bundle = bundle.to_string_lossy();
    let root = work.directory.join("runtime");
    let root = root.to_string_lossy();
    let asks = ["host", "getent", "hosts", "order-peer"];
    let connected = [
        &["run", "--rm", "--network", "order", "-p", "20000:80"][..],
        &asks,
    ]
    .concat();
    let engine: [&[&str]; 6] = [
        &["run", "--rm", "--network", "none", "host", "true"],
        // With a bridge that is there, a port and a name.
        &connected,
        // Traced until its monitor ends.
        &["run", "-d", "--name", "over", "--network", "none", "host", "true"],
        &["exec", "order", "true"],
        &["ps"],
        &["rm", "-f", "order", "order-peer", "over"],
    ];
    let commands: [&[&str]; 7] = [
        &["run", "--bundle", &bundle, "order-a"],
        &["create", "--bundle", &bundle, "order-b"],
        &["start", "order-b"],
        &["state", "order-b"],
        &["delete", "--force", "order-b"],
        &["list"],
        &["--version"],
    ];
    let mut used = Vec::new();
    // Their bridges are made there.
    let network = Namespace::new()?;
    output(network.inside("ip").args(["link", "set", "lo", "up"]))?;
    let before: [&[&str]; 3] = [
        &["network", "create", "order"],
        &[
            "run",
            "-d",
            "--name",
            "order",
            "--network",
            "none",
            "host",
            "sleep",
            "10000",
        ],
        &[
            "run",
            "-d",
            "--name",
            "order-peer",
            "--network",
            "order",
            "host",
            "sleep",
            "10000",
        ],
    ];
    for arguments in before {
        output(on_own_store(network.inside(cais).args(arguments), work))?;
    }
    for arguments in engine {
        trace((work, &network), cais, arguments, &mut used)?;
    }
    for arguments in commands {
        let all = [&["--root", &root], arguments].concat();
        trace((work, &network), &runtime, &all, &mut used)?;
    }
    Ok(used)
}

fn trace(
    (work, network): (&Work, &Namespace),
    program: &Path,
    arguments: &[&str],
    used: &mut Vec<String>,
) -> Outcome {
    println!("+ {} {}", program.display(), arguments.join(" "));
    let names = work.directory.join("names");
    // The shell opens descriptor 3.
    let status = on_own_store(&mut network.inside("sh"), work)
        .arg("-c")
        .arg("names=$1; shift; exec \"$@\" 3>\"$names\"")
        .arg("sh")
        .arg(&names)
        .arg(work.directory.join("first_use"))
        .arg(work.directory.join("symbols"))
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run the tracer: {error}"))?;
    if !status.success() {
        return Err(format!("{} {}: {status}", program.display(), arguments.join(" ")));
    }
    let text = fs::read_to_string(&names).map_err(|error| error.to_string())?;
    used.extend(text.lines().map(str::to_owned));
    Ok(())
}

fn on_own_store<'a>(command: &'a mut Command, work: &Work) -> &'a mut Command {
    command
        .env("CAIS_DATA", work.directory.join("data"))
        .env("CAIS_RUN", work.directory.join("run"))
}

/// The lines of the list: a pattern that stands for one function only, or its very name.
fn plan_lines(symbols: &str, used: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in symbols.lines().filter_map(|line| line.split(' ').nth(2)) {
        if let Some(pattern) = pattern_of(name) {
            *counts.entry(pattern).or_default() += 1;
        }
    }
    let mut seen = BTreeSet::new();
    let mut lines = Vec::new();
    for name in used {
        let Some(pattern) = pattern_of(name) else { continue };
        let line = if counts.get(&pattern) == Some(&1) {
            pattern
        } else {
            name.clone()
        };
        if seen.insert(line.clone()) {
            lines.push(line);
        }
    }
    lines
}

/// A Rust function's name with `*` where the compiler's hashes stand; `None` for one of C,
/// which lies in a section with others.
fn pattern_of(name: &str) -> Option<String> {
    if name.starts_with("_ZN") {
        let (path, _hash) = name.rsplit_once("17h")?;
        return Some(format!("{path}17h*"));
    }
    let rest = name.strip_prefix("_R")?;
    let mut pattern = "_R".to_owned();
    let mut parts = rest.split("Cs");
    pattern.push_str(parts.next()?);
    for part in parts {
        // A crate's hash ends with an underscore.
        let end = part.find('_')?;
        pattern.push_str("Cs*");
        pattern.push_str(part.get(end..)?);
    }
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_become_stars_where_no_other_function_is_meant() {
        let symbols = "0 t _ZN4cais3run17h0123456789abcdefE\n1 t _ZN4core3fmt17h1111111111111111E\n\
                       2 t _ZN4core3fmt17h2222222222222222E\n3 t _RNvCs1a2B_3std3run\n4 t malloc\n";
        let used = [
            "_ZN4core3fmt17h2222222222222222E",
            "_ZN4cais3run17h0123456789abcdefE",
            "malloc",
            "_RNvCs1a2B_3std3run",
        ]
        .map(str::to_owned);
        assert_eq!(
            plan_lines(symbols, &used),
            [
                "_ZN4core3fmt17h2222222222222222E",
                "_ZN4cais3run17h*",
                "_RNvCs*_3std3run"
            ]
        );
    }
}
