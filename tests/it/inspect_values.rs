//! Values of `inspect` and of lists that programs read: as Docker 20.10 gives them for the same
//! flags.

use crate::support::{TestEnv, eventually};
use serde_json::{Value, json};

fn inspect(env: &TestEnv, name: &str) -> Value {
    let all: Value = serde_json::from_str(&env.ok(&["inspect", name])).unwrap();
    all[0].clone()
}

#[test]
fn mounts_as_they_were_written() {
    let env = TestEnv::new();
    let flags = [
        "-v",
        "named:/a:nocopy",
        "-v",
        "/tmp:/b:ro,z",
        "-v",
        "/own",
        "--mount",
        "type=volume,source=second,target=/c,volume-nocopy,readonly",
        "--mount",
        "type=bind,source=/usr/share,target=/d,readonly,bind-propagation=rslave",
        "--mount",
        "type=tmpfs,target=/e,tmpfs-size=1m,tmpfs-mode=1770",
        "--tmpfs",
        "/f:size=1m,mode=700",
        "--tmpfs",
        "/g",
    ];
    env.ok(&[&["create", "--name", "made"][..], &flags, &["host", "true"]].concat());
    let made = inspect(&env, "made");
    let config = &made["HostConfig"];
    assert_eq!(config["Binds"], json!(["named:/a:nocopy", "/tmp:/b:ro,z"]));
    assert_eq!(
        config["Mounts"],
        json!([
            {
                "Type": "volume", "Source": "second", "Target": "/c", "ReadOnly": true,
                "VolumeOptions": { "NoCopy": true },
            },
            {
                "Type": "bind", "Source": "/usr/share", "Target": "/d", "ReadOnly": true,
                "BindOptions": { "Propagation": "rslave" },
            },
            {
                "Type": "tmpfs", "Target": "/e",
                "TmpfsOptions": { "SizeBytes": 1_048_576, "Mode": 0o1770 },
            },
        ])
    );
    assert_eq!(config["Tmpfs"], json!({ "/f": "size=1m,mode=700", "/g": "" }));
    let modes: Vec<String> = made["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {}",
                text("Type"),
                text("Destination"),
                text("Mode"),
                mount["RW"]
            )
        })
        .collect();
    assert_eq!(
        modes,
        [
            "volume /a nocopy true",
            "bind /b ro,z false",
            "volume /own  true",
            "volume /c  false",
            "bind /d  false",
            "tmpfs /e  true",
        ]
    );
    env.ok(&["rm", "-v", "made"]);
}

#[test]
fn limits_health_and_ports() {
    let env = TestEnv::new();
    let device = fs_device();
    let weight = format!("{device}:200");
    let flags = [
        "--blkio-weight-device",
        weight.as_str(),
        "--cpu-rt-period",
        "1000000",
        "--cpu-rt-runtime",
        "950",
        "--health-cmd",
        "true",
        "--expose",
        "80",
    ];
    env.ok(&[
        &["create", "--name", "made"][..],
        &flags,
        &["host", "sleep", "1000"],
    ]
    .concat());
    let made = inspect(&env, "made");
    let config = &made["HostConfig"];
    assert_eq!(
        config["BlkioWeightDevice"],
        json!([{ "Path": device, "Weight": 200 }])
    );
    assert_eq!(config["CpuRealtimePeriod"], 1_000_000);
    assert_eq!(config["CpuRealtimeRuntime"], 950);
    assert_eq!(made["Driver"], "overlay2");
    assert_eq!(made["GraphDriver"]["Name"], "overlay2");
    assert_eq!(made["Config"]["Env"], Value::Null);
    // What was never started has neither health nor ports.
    assert_eq!(made["State"].get("Health"), None);
    assert_eq!(made["NetworkSettings"]["Ports"], json!({}));
    env.ok(&[
        "run",
        "-d",
        "--name",
        "well",
        "--health-cmd",
        "true",
        "host",
        "sleep",
        "1000",
    ]);
    assert!(inspect(&env, "well")["State"]["Health"]["Status"].is_string());
    env.ok(&["kill", "well"]);
    env.ok(&["wait", "well"]);
    eventually("it is not well any more", || {
        inspect(&env, "well")["State"]["Health"]["Status"] == "unhealthy"
    });
    env.ok(&[
        "run",
        "--name",
        "bold",
        "--privileged",
        "--userns",
        "host",
        "host",
        "true",
    ]);
    assert_eq!(inspect(&env, "bold")["HostConfig"]["ReadonlyPaths"], Value::Null);
    env.ok(&["rm", "made", "well", "bold"]);
}

/// A block device, for its weight.
fn fs_device() -> String {
    let names = std::fs::read_dir("/sys/block").unwrap().flatten();
    let mut names = names.map(|entry| format!("/dev/{}", entry.file_name().to_string_lossy()));
    names
        .find(|path| std::path::Path::new(path).exists())
        .expect("there is a block device")
}

#[test]
fn a_variable_without_a_value_is_taken_away() {
    let env = TestEnv::new();
    let run = |flags: &[&str]| {
        let words = [
            &["run", "--rm"],
            flags,
            &["host", "sh", "-c", "echo ${HOSTNAME-none}"],
        ]
        .concat();
        let mut command = env.command(&words);
        command.env_remove("HOSTNAME");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(run(&["-h", "here"]), "here\n");
    assert_eq!(run(&["-h", "here", "-e", "HOSTNAME"]), "none\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_to_tell() {
    let env = TestEnv::new();
    env.ok(&["run", "--name", "talk", "host", "seq", "100000"]);
    for words in [
        &["logs", "talk"][..],
        &["events", "--since", "1h", "--until", "0s"],
        &["help"],
    ] {
        let mut command = env.command(words);
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdout(writer).stderr(std::process::Stdio::piped());
        drop(reader);
        let done = command.output().unwrap();
        drop(command);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(said, "", "{words:?}");
    }
    // Nor is it a reason to stop that nobody can be told of a mistake.
    let mut command = env.command(&["rm", "nosuch"]);
    command.stderr(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    assert_eq!(command.status().unwrap().code(), Some(1));
    // What is no text stays what it is, on both streams.
    env.ok(&[
        "run",
        "--name",
        "raw",
        "--log-driver",
        "cri",
        "host",
        "sh",
        "-c",
        r"printf '\377\n'; printf '\376\n' >&2",
    ]);
    let done = env.command(&["logs", "raw"]).output().unwrap();
    assert_eq!(
        (done.stdout.as_slice(), done.stderr.as_slice()),
        (&b"\xff\n"[..], &b"\xfe\n"[..])
    );
}

#[test]
fn images_in_lists_and_by_all_names() {
    let env = TestEnv::new();
    let archive = env.path("empty.tar");
    std::fs::write(&archive, [0_u8; 1024]).unwrap();
    env.ok(&["import", archive.to_str().unwrap(), "box"]);
    for words in [
        &["images", "--format", "json"][..],
        &["history", "--format", "json", "box"],
        &["system", "df", "--format", "json"],
    ] {
        let text = env.ok(words);
        let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        let sorted: std::collections::BTreeMap<_, _> = row.as_object().unwrap().clone().into_iter().collect();
        assert_eq!(
            text.lines().next().unwrap(),
            serde_json::to_string(&sorted).unwrap()
        );
    }
    // An image has all its names, whichever it is asked for by.
    env.ok(&["tag", "box", "team/further:2"]);
    for name in ["box", "team/further:2"] {
        let tags = env.ok(&["image", "inspect", "-f", "{{json .RepoTags}}", name]);
        assert_eq!(tags, "[\"box:latest\",\"team/further:2\"]\n");
    }
    env.ok(&["rmi", "--no-prune", "box", "team/further:2"]);
}
