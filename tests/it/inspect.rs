//! What `inspect`, `info` and `version` say, key for key as Docker: the keys of Docker
//! 20.10 were recorded, and a test with the daemon from Debian sees to it that the record is
//! right.

use crate::engines_support::{Bench, Engine};
use crate::support::{TestEnv, make_rootfs};
use serde_json::Value;
use std::collections::BTreeSet;

const CONTAINER: &str = include_str!("inspect/container.keys");
const IMAGE: &str = include_str!("inspect/image.keys");
const INFO: &str = include_str!("inspect/info.keys");
const VERSION: &str = include_str!("inspect/version.keys");

/// Objects whose keys are data.
const MAPS: [&str; 11] = [
    "/Config/Labels",
    "/Config/ExposedPorts",
    "/HostConfig/PortBindings",
    "/HostConfig/Sysctls",
    "/HostConfig/Tmpfs",
    "/HostConfig/LogConfig/Config",
    "/NetworkSettings/Networks",
    "/NetworkSettings/Ports",
    "/ContainerConfig/Labels",
    "/Runtimes",
    "/RegistryConfig/IndexConfigs",
];

fn collect(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let own = format!("{path}/{key}");
                if MAPS.contains(&own.as_str()) {
                    for value in value.as_object().into_iter().flat_map(serde_json::Map::values) {
                        collect(value, &format!("{own}/*"), keys);
                    }
                } else {
                    collect(value, &own, keys);
                }
                keys.insert(own);
            }
        }
        Value::Array(list) => {
            for value in list {
                collect(value, &format!("{path}/[]"), keys);
            }
        }
        _ => {}
    }
}

fn keys_of(text: &str) -> BTreeSet<String> {
    let value: Value = serde_json::from_str(text).unwrap();
    let mut keys = BTreeSet::new();
    match &value {
        Value::Array(list) => list.iter().for_each(|value| collect(value, "", &mut keys)),
        other => collect(other, "", &mut keys),
    }
    keys
}

fn recorded(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// Keys of Docker's that are not ours, and of ours that are not Docker's. What lies below a
/// key that is missing is not told again.
fn compare(docker: &BTreeSet<String>, ours: &BTreeSet<String>) -> Vec<String> {
    let only = |one: &BTreeSet<String>, other: &BTreeSet<String>, who: &str| -> Vec<String> {
        one.difference(other)
            .map(|key| format!("{who} alone: {key}"))
            .collect()
    };
    [only(docker, ours, "docker"), only(ours, docker, "cais")].concat()
}

/// Flags that fill as many keys as can be.
const FLAGS: [&str; 26] = [
    "-m",
    "64m",
    "-v",
    "/tmp:/t:ro",
    "-l",
    "a=b",
    "--ulimit",
    "nofile=64:64",
    "--tmpfs",
    "/x",
    "--device",
    "/dev/null",
    "--mount",
    "type=bind,source=/usr/share,target=/v",
    "--sysctl",
    "net.ipv4.ip_forward=1",
    "--restart",
    "on-failure:3",
    "--health-cmd",
    "true",
    "--log-opt",
    "max-size=1m",
    "--add-host",
    "a:1.2.3.4",
    "-p",
    "8080:80",
];
/// How many of them cais has by now.
const KNOWN_FLAGS: usize = 24;

/// Keys that are ours, or that Docker has only on machines of other kinds.
fn is_known_difference(line: &str) -> bool {
    [
        // What Docker has no key for.
        "cais alone: /Cais",
        "cais alone: /Client/APIVersion",
        "cais alone: /Server/APIVersion",
        // 20.10 does not show what stands in the image alone.
        "cais alone: /GraphDriver/Data/LowerDir",
        // Of flags that are still to come.
        "docker alone: /HostConfig/PortBindings/*",
        // One program: there are no others whose version could be told.
        "docker alone: /Server/Components/[]/Details/GitCommit",
    ]
    .iter()
    .any(|known| line.starts_with(known))
}

fn check(docker: &BTreeSet<String>, ours: &BTreeSet<String>) {
    let wrong: Vec<String> = compare(docker, ours)
        .into_iter()
        .filter(|line| !is_known_difference(line))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_container_key_for_key() {
    let env = TestEnv::new();
    let image = make_image(&env);
    env.ok(&[
        &["run", "-d", "--network", "none", "--name", "full"][..],
        &FLAGS[..KNOWN_FLAGS],
        &[&image, "sleep", "1000"],
    ]
    .concat());
    let mut keys = keys_of(&env.ok(&["inspect", "-s", "full"]));
    env.ok(&["run", "--network", "none", "--name", "plain", &image, "true"]);
    keys.extend(keys_of(&env.ok(&["inspect", "plain"])));
    check(&recorded(CONTAINER), &keys);
    // The values that programs look at.
    for (format, want) in [
        ("{{.State.Status}} {{.State.Running}}", "running true"),
        (
            "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}",
            "67108864 134217728",
        ),
        ("{{index .HostConfig.Binds 0}}", "/tmp:/t:ro"),
        (
            "{{range .Mounts}}{{.Destination}}={{.RW}} {{end}}",
            "/t=false /v=true ",
        ),
        ("{{.Config.Labels.a}}", "b"),
        ("{{.HostConfig.LogConfig.Type}}", "json-file"),
    ] {
        assert_eq!(
            env.ok(&["inspect", "-f", format, "full"]).trim_end_matches('\n'),
            want.trim_end_matches('\n'),
            "{format}"
        );
    }
}

#[test]
fn an_image_the_machine_and_the_version_key_for_key() {
    let env = TestEnv::new();
    let image = make_image(&env);
    check(&recorded(IMAGE), &keys_of(&env.ok(&["image", "inspect", &image])));
    check(&recorded(INFO), &keys_of(&env.ok(&["info", "--format", "json"])));
    check(
        &recorded(VERSION),
        &keys_of(&env.ok(&["version", "--format", "json"])),
    );
}

/// An image with labels, an environment and an exposed port, out of an archive as
/// `docker save` makes them.
fn make_image(env: &TestEnv) -> String {
    let root = env.path("rootfs");
    make_rootfs(&root);
    let build = env.path("image");
    std::fs::create_dir_all(&build).unwrap();
    let archive = build.join("layer.tar");
    let tar = |arguments: &[&str]| {
        let status = std::process::Command::new("tar")
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success(), "tar {arguments:?}");
    };
    tar(&[
        "-C",
        root.to_str().unwrap(),
        "-cf",
        archive.to_str().unwrap(),
        ".",
    ]);
    let sum = std::process::Command::new("sha256sum")
        .arg(&archive)
        .output()
        .unwrap();
    let sum = String::from_utf8_lossy(&sum.stdout)
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": { "Env": ["FROM=image"], "Cmd": ["sh"], "Labels": { "of": "image" }, "ExposedPorts": { "80/tcp": {} } },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{sum}")] },
        "history": [{ "created": "2026-01-01T00:00:00Z", "comment": "made by a test" }],
    });
    std::fs::write(build.join("config.json"), config.to_string()).unwrap();
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": ["box:latest"], "Layers": ["layer.tar"] }]);
    std::fs::write(build.join("manifest.json"), manifest.to_string()).unwrap();
    let image = env.path("box.tar");
    tar(&[
        "-C",
        build.to_str().unwrap(),
        "-cf",
        image.to_str().unwrap(),
        "manifest.json",
        "config.json",
        "layer.tar",
    ]);
    env.ok(&["load", "-i", image.to_str().unwrap()]);
    "box".to_owned()
}

/// The record is what the daemon from Debian says today.
#[test]
fn the_record_is_dockers() {
    let mut bench = Bench::new("inspect");
    let host = bench.start_docker(&["unshare", "--net", "--mount"], &[]);
    let engine = Engine {
        words: vec!["/usr/bin/docker", "-H", &host],
    };
    let archive = bench.archive();
    let changes = [
        "-c",
        "ENV FROM=image",
        "-c",
        "LABEL of=image",
        "-c",
        "EXPOSE 80",
        "-c",
        "CMD [\"sh\"]",
    ];
    engine.ok(&[&["import"][..], &changes, &[&archive, "box"]].concat());
    let run = ["run", "-d", "--network", "none", "--name", "full"];
    engine.ok(&[&run[..], &FLAGS, &["box", "sleep", "1000"]].concat());
    let mut keys = keys_of(&engine.ok(&["inspect", "-s", "full"]));
    engine.ok(&["create", "--network", "none", "--name", "plain", "box"]);
    keys.extend(keys_of(&engine.ok(&["inspect", "plain"])));
    assert_eq!(compare(&recorded(CONTAINER), &keys), Vec::<String>::new());
    let image = keys_of(&engine.ok(&["image", "inspect", "box"]));
    assert_eq!(compare(&recorded(IMAGE), &image), Vec::<String>::new());
    let info = keys_of(&engine.ok(&["info", "--format", "{{json .}}"]));
    assert_eq!(compare(&recorded(INFO), &info), Vec::<String>::new());
    let version = keys_of(&engine.ok(&["version", "--format", "{{json .}}"]));
    assert_eq!(compare(&recorded(VERSION), &version), Vec::<String>::new());
    engine.ok(&["rm", "-f", "full", "plain"]);
}
