//! Integration tests: real containers, as root, leaving no trace.
#![allow(
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "it is all tests"
)]

mod bad_input;
mod basic;
mod compatibility;
mod criu;
mod disk_usage;
mod engines;
mod engines_support;
mod events;
mod flags;
mod flags_docker;
mod hanging;
mod host_untouched;
mod images;
mod images_faults;
mod images_full;
mod images_kills;
mod images_layers;
mod images_peers;
mod images_registries;
mod images_trees;
mod inspect;
mod inspect_values;
mod kill_calls;
mod kill_steps;
mod life;
mod life_full;
mod life_many;
mod life_model;
mod life_whole;
mod limits;
mod mock_registry;
mod namespaces;
mod network;
mod network_attacks;
mod network_docker;
mod network_egress;
mod network_kills;
mod network_matrix;
mod network_names;
mod network_support;
mod network_upstream;
mod oci_attacks;
mod oci_bad_input;
mod oci_kills;
mod oci_naive;
mod oci_netdevices;
mod oci_races;
mod oci_spec;
mod oci_support;
mod oci_systemd;
mod pack;
mod pack_peers;
mod parallel;
mod registry_faults;
mod releases;
mod rootless;
mod rootless_network;
mod security;
mod service;
mod stats;
mod support;
mod systemd;
mod terminal;
mod three_tier;
mod views;
mod within;

/// A file that is not named above would never run.
#[test]
fn no_test_file_is_forgotten() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("it");
    let text = include_str!("main.rs");
    let Ok(entries) = std::fs::read_dir(directory) else {
        // In a virtual machine the sources are not there.
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A directory holds what tests compare with.
        let Some(name) = name.strip_suffix(".rs") else {
            continue;
        };
        assert!(
            name == "main" || text.contains(&format!("mod {name};")),
            "tests/it/{name}.rs"
        );
    }
}
