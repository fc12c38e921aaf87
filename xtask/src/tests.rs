//! `cargo xtask test`: everything that a fresh Debian machine needs to run the tests, and
//! the tests.

use crate::{Outcome, workspace};

/// Debian packages that the integration tests use.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "bsdutils",
    "util-linux",
    "procps",
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
    "openssl",
    // What checkpoint and restore drive.
    "criu",
    // Networks: who looks on from outside.
    "curl",
    "bind9-dnsutils",
    "iperf3",
    "iproute2",
    "nftables",
    "nginx-light",
    "socat",
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
        "cais-linux",
        "cais-net",
        "cais-runtime",
        "cais-sys",
    ];
    let mut unit = vec!["test", "--locked", "--quiet"];
    unit.extend(crates.iter().flat_map(|name| ["-p", name]));
    unit.push("--");
    unit.extend(filter);
    workspace::run("cargo", &unit, &[])?;
    let executable = workspace::built("release").join("cais");
    let executable = executable.to_string_lossy();
    let mut integration = vec!["test", "--locked", "-p", "cais-tests", "--test", "it", "--"];
    // Those that need engines of others are left out where there are none, as in the virtual
    // machine.
    integration.push("--include-ignored");
    integration.extend(filter);
    workspace::run("cargo", &integration, &[("CAIS_BIN", &executable)])
}
