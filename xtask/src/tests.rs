//! `cargo xtask test`: everything that a fresh Debian machine needs to run the tests, and
//! the tests.

use crate::{Outcome, watch, workspace};

/// Debian packages that the integration tests use.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "bsdutils",
    "util-linux",
    "procps",
    // Who kills commands at a system call.
    "strace",
    // A small file system that is full.
    "e2fsprogs",
    // The engines that run containers with this runtime in runc's place.
    "docker.io",
    "containerd",
    "podman",
    "buildah",
    "runc",
    "uidmap",
    // Where images come from and go to.
    "docker-registry",
    "skopeo",
    "umoci",
    "oci-image-tool",
    "openssl",
    // What checkpoint and restore drive.
    "criu",
    // Networks: who looks on from outside, and the plugins of CNI.
    "curl",
    "bind9-dnsutils",
    "iperf3",
    "iproute2",
    "nftables",
    "nginx-light",
    "containernetworking-plugins",
    "iptables",
    "socat",
    // The way out of an ordinary user's networks.
    "passt",
    // What is packed.
    "postgresql",
    "python3-psycopg2",
    "git",
    "perl",
    "gcc",
    // Who looks at the page of examples/three-tier.
    "chromium",
];

pub(crate) fn run(filter: &[&str]) -> Outcome {
    workspace::ensure_packages(PACKAGES)?;
    workspace::run("cargo", &["build", "--release", "--locked"], &[])?;
    let crates = [
        "cais",
        "cais-image",
        "cais-engine",
        "cais-init",
        "cais-json",
        "cais-linux",
        "cais-net",
        "cais-order",
        "cais-runtime",
        "cais-sys",
        "xtask",
    ];
    let mut unit = vec!["test", "--locked", "--quiet"];
    unit.extend(crates.iter().flat_map(|name| ["-p", name]));
    unit.push("--");
    unit.extend(filter);
    watch::run(&unit, &[])?;
    let executable = workspace::built("release").join("cais");
    let executable = executable.to_string_lossy();
    let mut integration = vec!["test", "--locked", "-p", "cais-tests", "--test", "it", "--"];
    // Those that need engines of others are left out where there are none, as in the virtual
    // machine.
    integration.push("--include-ignored");
    integration.extend(filter);
    let before = traces();
    let outcome = watch::run(&integration, &[("CAIS_BIN", &executable)]);
    let left: Vec<String> = traces()
        .into_iter()
        .filter(|name| !before.contains(name))
        .collect();
    outcome?;
    if left.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the tests left in this machine's network: {}",
        left.join(", ")
    ))
}

/// Bridges, interfaces and tables of ours in the machine's own network namespace.
fn traces() -> Vec<String> {
    let interfaces = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<String> = interfaces
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("cais") || name.starts_with("cv"))
        .collect();
    let tables = std::process::Command::new("nft")
        .args(["list", "tables"])
        .output();
    let text = tables.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    found.extend(
        text.unwrap_or_default()
            .lines()
            .filter(|line| line.contains(" cais"))
            .map(str::to_owned),
    );
    found
}
