//! `linux.netDevices`: a network device of the caller becomes the container's, with another
//! name and its addresses. All of it in a network namespace of the test's own.

use crate::oci_support::Bundle;
use crate::support::Done;
use serde_json::json;
use std::process::{Command, Stdio};

/// The caller's namespace: a pair of devices, one with addresses; then the runtime. busybox has
/// no way to make a pair, so ip(8) does.
fn run_with_devices(bundle: &Bundle) -> Done {
    bundle.save();
    let script = "\
        ip link add cais0 type veth peer name cais1 && \
        ip addr add 10.9.0.5/24 brd + dev cais0 && \
        ip addr add fd00:9::5/64 dev cais0 nodad && \
        ip link set cais0 address 02:00:00:00:00:05 mtu 1400 up && \
        \"$0\" --root \"$1\" run \"$2\"; code=$?; ip -o link | grep -c 'cais[01]' >&2; exit $code";
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", script])
        .arg(bundle.path("cais-runtime"))
        .arg(bundle.path("states"))
        .arg(bundle.id())
        .current_dir(bundle.path("bundle"))
        .stdin(Stdio::null());
    bundle.finish(command)
}

#[test]
fn a_device_moves_in_with_its_addresses() {
    let mut bundle = Bundle::new();
    bundle.config["linux"]["netDevices"] = json!({ "cais0": { "name": "eth0" } });
    bundle.sh("busybox ip addr show dev eth0; busybox ip route");
    let done = run_with_devices(&bundle);
    assert_eq!(done.code, 0, "{}", done.stderr);
    for part in [
        "inet 10.9.0.5/24 brd 10.9.0.255",
        "inet6 fd00:9::5/64",
        "02:00:00:00:00:05",
        "mtu 1400",
        ",UP",
        "10.9.0.0/24 dev eth0",
    ] {
        assert!(done.stdout.contains(part), "{part}: {}", done.stdout);
    }
}

#[test]
fn without_a_new_name_it_keeps_its_own() {
    let mut bundle = Bundle::new();
    bundle.config["linux"]["netDevices"] = json!({ "cais1": {} });
    bundle.sh("busybox ip -o link");
    let done = run_with_devices(&bundle);
    assert!(
        done.stdout.contains("cais1@") && !done.stdout.contains("cais0@"),
        "{}",
        done.stdout
    );
}

#[test]
fn what_cannot_move_is_told() {
    for (devices, part) in [
        (json!({ "none0": {} }), "RTM_GETLINK(\"none0\"): no such device"),
        (json!({ "cais0": { "name": "lo" } }), "file exists"),
        (
            json!({ "cais0": { "name": "a/b" } }),
            "linux.netDevices[\"cais0\"]",
        ),
        (
            json!({ "cais0": { "name": "averylongdevicename" } }),
            "1 to 15 bytes",
        ),
        (
            json!({ "cais0": { "name": "x" }, "cais1": { "name": "x" } }),
            "same name",
        ),
    ] {
        let mut bundle = Bundle::new();
        bundle.config["linux"]["netDevices"] = devices;
        let done = run_with_devices(&bundle);
        assert!(
            done.code == 1 && done.stderr.contains(part),
            "{part}: {}",
            done.stderr
        );
        // The device is where it was.
        assert!(done.stderr.trim_end().ends_with('2'), "{}", done.stderr);
    }
    let mut bundle = Bundle::new();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|entry| entry["type"] != "network");
    bundle.unmount("/sys");
    bundle.config["linux"]["netDevices"] = json!({ "cais0": {} });
    let done = run_with_devices(&bundle);
    assert!(
        done.stderr.contains("needs a network namespace"),
        "{}",
        done.stderr
    );
}
