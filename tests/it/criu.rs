//! `checkpoint` and `restore`. Where CRIU runs (in the virtual machine of `cargo xtask
//! vm-test`: CRIU 3.17 knows nothing of the vDSO of Linux 6.16 and later) a container goes
//! through it for real; everywhere a stand-in shows what CRIU is asked, and what becomes of its
//! answers.

use crate::oci_support::Bundle;
use crate::support::eventually;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether CRIU is there and works on this kernel.
fn criu_runs() -> bool {
    let check = Command::new("/usr/sbin/criu").arg("check").output();
    check.is_ok_and(|output| output.status.success())
}

/// Runs a command whose container stays, with standard streams that are not this test's files:
/// CRIU writes down only what lies in the container, and pipes.
fn quietly(bundle: &Bundle, words: &[&str]) {
    let log = bundle.path("log");
    let words = [&["--log", log.to_str().unwrap()], words].concat();
    let mut command = bundle.command(&words);
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let status = command.status().unwrap();
    assert!(
        status.success(),
        "{}",
        fs::read_to_string(&log).unwrap_or_default()
    );
}

#[test]
fn a_container_goes_on_where_it_was() {
    let mut bundle = Bundle::new();
    let (id, images) = (bundle.id().to_owned(), bundle.path("images"));
    let images = images.to_str().unwrap().to_owned();
    bundle.sh("count=0; while :; do count=$((count + 1)); echo $count > /count; sleep 0.05; done");
    bundle.save();
    quietly(&bundle, &["run", "-d", &id]);
    let count = || -> u64 {
        let text = fs::read_to_string(bundle.rootfs("count")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    eventually("the container counts", || count() > 2);
    let done = bundle.oci(&["checkpoint", "--image-path", &images, &id]);
    if !criu_runs() {
        // Plainly, and the container is none the worse.
        assert_eq!(done.code, 1, "{}", done.stderr);
        assert!(
            done.stderr.contains("criu failed: type DUMP") || done.stderr.contains("CRIU is not installed"),
            "{}",
            done.stderr
        );
        assert_eq!(bundle.status(&id), "running");
        return;
    }
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(bundle.status(&id), "stopped");
    bundle.ok(&["delete", &id]);
    bundle.assert_nothing_is_left("the container that was written down");
    let before = count();
    fs::remove_file(bundle.rootfs("count")).unwrap();
    let pid_file = bundle.path("pid");
    quietly(
        &bundle,
        &[
            "restore",
            "-d",
            "--image-path",
            &images,
            "--pid-file",
            pid_file.to_str().unwrap(),
            &id,
        ],
    );
    assert_eq!(bundle.status(&id), "running");
    let pid = bundle.state(&id).unwrap()["pid"].to_string();
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid);
    eventually("it goes on counting", || count() > before);
    assert_eq!(bundle.exec(&[], &["/bin/echo", "here"]).stdout.trim(), "here");
    bundle.ok(&["delete", "--force", &id]);
}

/// CRIU's part in the tests below: not a test. The executable of the tests is called in its
/// place by a script that says so, with the socket's number and the directory of the play.
#[test]
fn stand_in() {
    let (Ok(number), Ok(place)) = (std::env::var("CAIS_FAKE_CRIU"), std::env::var("CAIS_FAKE_PLACE")) else {
        return;
    };
    let place = PathBuf::from(place);
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{number}"));
    // A socket cannot be opened anew: the number itself is taken.
    assert!(file.is_err());
    let socket = inherited(number.parse().unwrap());
    let mut buffer = vec![0; 256 * 1024];
    let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
    let fields = decode(&buffer[..length]);
    fs::write(place.join("request.json"), json!(fields).to_string()).unwrap();
    let kind = fields[0][1].as_u64().unwrap();
    if let Ok(script) = std::env::var("CAIS_FAKE_NOTICE") {
        let own = u64::from(std::process::id());
        let notice = message(&[(1, Part::Text(&script)), (2, Part::Number(own))]);
        let answer = message(&[
            (1, Part::Number(6)),
            (2, Part::Number(1)),
            (5, Part::Bytes(&notice)),
        ]);
        send(&socket, &answer, SendFlags::empty()).unwrap();
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        fs::write(
            place.join("word.json"),
            json!(decode(&buffer[..length])).to_string(),
        )
        .unwrap();
    }
    fs::write(
        place.join("images/dump.log"),
        "(00.1) Error (x.c:1): it is Monday\n(00.2) fine\n",
    )
    .unwrap();
    let answer = match fs::read_to_string(place.join("answer")).unwrap().as_str() {
        "yes" => message(&[(1, Part::Number(kind)), (2, Part::Number(1))]),
        "no" => message(&[
            (1, Part::Number(kind)),
            (2, Part::Number(0)),
            (7, Part::Number(52)),
        ]),
        _ => return,
    };
    send(&socket, &answer, SendFlags::empty()).unwrap();
}

/// A descriptor that this process was started with.
fn inherited(number: i32) -> rustix::fd::OwnedFd {
    let own =
        rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_getfd(&own, number, rustix::process::PidfdGetfdFlags::empty()).unwrap()
}

enum Part<'a> {
    Number(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
}

fn message(parts: &[(u64, Part<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (field, part) in parts {
        match part {
            Part::Number(value) => {
                varint(&mut bytes, field << 3);
                varint(&mut bytes, *value);
            }
            Part::Text(text) => {
                varint(&mut bytes, field << 3 | 2);
                varint(&mut bytes, text.len() as u64);
                bytes.extend(text.as_bytes());
            }
            Part::Bytes(part) => {
                varint(&mut bytes, field << 3 | 2);
                varint(&mut bytes, part.len() as u64);
                bytes.extend(*part);
            }
        }
    }
    bytes
}

/// Field and value in turn; what is a message itself is decoded too.
fn decode(mut bytes: &[u8]) -> Vec<Value> {
    fn take(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
    let mut fields = Vec::new();
    while let Some(key) = take(&mut bytes) {
        let Some(value) = take(&mut bytes) else { break };
        if key & 7 == 0 {
            fields.push(json!([key >> 3, value]));
            continue;
        }
        let Some((part, rest)) = bytes.split_at_checked(usize::try_from(value).unwrap()) else {
            break;
        };
        bytes = rest;
        let text = std::str::from_utf8(part)
            .ok()
            .filter(|text| text.chars().all(|c| c >= ' '));
        fields.push(match text {
            Some(text) => json!([key >> 3, text]),
            None => json!([key >> 3, decode(part)]),
        });
    }
    fields
}

/// The stand-in as an executable, and what it answers.
fn play(bundle: &Bundle, answer: &str, notice: Option<&str>) -> String {
    let place = bundle.path("");
    let place = place.to_str().unwrap().trim_end_matches('/').to_owned();
    fs::create_dir_all(bundle.path("images")).unwrap();
    fs::write(bundle.path("answer"), answer).unwrap();
    let tests = std::env::current_exe().unwrap();
    let notice = notice.map_or(String::new(), |notice| format!("CAIS_FAKE_NOTICE={notice}"));
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = swrk ] || exit 9\nexec env CAIS_FAKE_CRIU=$2 CAIS_FAKE_PLACE={place} {notice} {} criu::stand_in --exact --test-threads 1 >/dev/null\n",
        tests.display()
    );
    let program = bundle.path("criu");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.to_str().unwrap().to_owned()
}

/// The values of a field in what CRIU was asked: the options.
fn asked(bundle: &Bundle, field: u64) -> Vec<Value> {
    let request: Value = serde_json::from_slice(&fs::read(bundle.path("request.json")).unwrap()).unwrap();
    let options = request[1][1].as_array().unwrap().clone();
    options
        .into_iter()
        .filter(|entry| entry[0] == field)
        .map(|entry| entry[1].clone())
        .collect()
}

fn pair(key: &str, value: &str) -> Value {
    json!([[1, key], [2, value]])
}

#[test]
fn what_criu_is_asked_for_a_dump() {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 100");
    let volume = bundle.path("volume");
    fs::create_dir(&volume).unwrap();
    bundle.volume(&volume, "/data");
    bundle.start();
    let criu = play(&bundle, "yes", None);
    let (id, images) = (bundle.id().to_owned(), bundle.path("images"));
    let images = images.to_str().unwrap();
    fs::create_dir(bundle.path("images/before")).unwrap();
    bundle.ok(&[
        "--criu",
        &criu,
        "checkpoint",
        "--image-path",
        images,
        "--leave-running",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--manage-cgroups-mode",
        "full",
        "--empty-ns",
        "network",
        "--tcp-skip-in-flight",
        "--link-remap",
        "--auto-dedup",
        "--lazy-pages",
        "--status-fd",
        "2",
        "--parent-path",
        "before",
        "--page-server",
        "[::1]:4711",
        &id,
    ]);
    let pid = bundle.state(&id).unwrap()["pid"].clone();
    for (field, want) in [
        (2, pid),
        (3, json!(1)),
        (4, json!(1)),
        (5, json!(1)),
        (7, json!(1)),
        (8, json!(1)),
        (10, json!("dump.log")),
        (11, json!([[1, "::1"], [2, 4711]])),
        (
            13,
            json!(bundle.rootfs("").to_str().unwrap().trim_end_matches('/')),
        ),
        (14, json!("before")),
        (15, json!(1)),
        (16, json!(1)),
        (18, json!(1)),
        (34, json!(4)),
        (38, json!(0x4000_0000)),
        (46, json!(1)),
        (48, json!(1)),
        (49, json!(2)),
    ] {
        assert_eq!(asked(&bundle, field), [want], "field {field}");
    }
    let mounts = asked(&bundle, 23);
    for (place, name) in [("/data", "/data"), ("/proc/keys", "/dev/null")] {
        assert!(mounts.contains(&pair(place, name)), "{place}: {mounts:?}");
    }
    let freezer = asked(&bundle, 44);
    assert!(Path::new(freezer[0].as_str().unwrap()).is_dir(), "{freezer:?}");
    let streams: Vec<String> =
        serde_json::from_slice(&fs::read(bundle.path("images/descriptors.json")).unwrap()).unwrap();
    assert_eq!(streams[0], "/dev/null");
    bundle.ok(&["delete", "--force", &id]);
}

#[test]
fn what_criu_says_is_told() {
    let mut bundle = Bundle::new();
    bundle.sh("exec sleep 100");
    bundle.start();
    let (id, images) = (bundle.id().to_owned(), bundle.path("images"));
    let images = images.to_str().unwrap();
    let criu = play(&bundle, "no", None);
    let done = bundle.oci(&["--criu", &criu, "checkpoint", "--image-path", images, &id]);
    for part in [
        "criu failed: type DUMP errno 52",
        "Error (x.c:1): it is Monday",
        "images/dump.log",
    ] {
        assert!(
            done.code == 1 && done.stderr.contains(part),
            "{part}: {}",
            done.stderr
        );
    }
    let criu = play(&bundle, "silence", None);
    let done = bundle.oci(&["--criu", &criu, "checkpoint", "--image-path", images, &id]);
    assert!(done.stderr.contains("without an answer"), "{}", done.stderr);
    let done = bundle.oci(&[
        "--criu",
        "/nowhere/criu",
        "checkpoint",
        "--image-path",
        images,
        &id,
    ]);
    assert!(done.stderr.contains("CRIU is not installed"), "{}", done.stderr);
    for (flags, part) in [
        (&["--manage-cgroups-mode", "hard"][..], "manage-cgroups-mode"),
        (&["--empty-ns", "pid"], "pid"),
        (&["--page-server", "here"], "page-server"),
        (&["--parent-path", "/abs"], "relative"),
        (&["--parent-path", "none"], "no directory"),
        (&["--status-fd", "77"], "--status-fd 77"),
    ] {
        let words = [&["checkpoint", "--image-path", images], flags, &[&id]].concat();
        let done = bundle.oci(&words);
        assert!(
            done.code == 1 && done.stderr.contains(part),
            "{flags:?}: {}",
            done.stderr
        );
    }
    // What Podman asks to find out what a runtime can do.
    assert_eq!(bundle.oci(&["checkpoint", "--help"]).code, 0);
    let done = bundle.oci(&["restore", "--lsm-mount-context"]);
    assert!(done.stderr.contains("flag needs an argument"), "{}", done.stderr);
    assert_eq!(bundle.status(&id), "running");
}

#[test]
fn what_criu_is_asked_for_a_restore() {
    let mut bundle = Bundle::new();
    let volume = bundle.path("volume");
    fs::create_dir(&volume).unwrap();
    bundle.volume(&volume, "/not/there/yet");
    bundle.config["hooks"] = json!({ "createRuntime": [
        { "path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}/hook.json", bundle.path("").display())] }
    ]});
    bundle.save();
    let (id, images) = (bundle.id().to_owned(), bundle.path("images"));
    let images = images.to_str().unwrap();
    let criu = play(&bundle, "yes", Some("setup-namespaces"));
    fs::write(
        bundle.path("images/descriptors.json"),
        r#"["/dev/null","pipe:[11]","pipe:[12]"]"#,
    )
    .unwrap();
    let done = bundle.oci(&[
        "--criu",
        &criu,
        "restore",
        "--image-path",
        images,
        "--lsm-profile",
        "apparmor:x",
        &id,
    ]);
    // The stand-in makes no process: that is told, and nothing is left.
    assert!(
        done.code == 1 && done.stderr.contains("no process"),
        "{}",
        done.stderr
    );
    assert_eq!(bundle.status(&id), "absent");
    bundle.assert_nothing_is_left("the restore");
    for (field, want) in [
        (10, json!("restore.log")),
        (26, json!(1)),
        (34, json!(3)),
        (53, json!("apparmor:x")),
    ] {
        assert_eq!(asked(&bundle, field), [want], "field {field}");
    }
    assert_eq!(
        asked(&bundle, 27),
        [
            json!([[1, "pipe:[11]"], [2, 1]]),
            json!([[1, "pipe:[12]"], [2, 2]])
        ]
    );
    let mounts = asked(&bundle, 23);
    for (name, path) in [
        ("/not/there/yet", volume.to_str().unwrap()),
        ("/dev/null", "/dev/null"),
    ] {
        assert!(mounts.contains(&pair(name, path)), "{name}: {mounts:?}");
    }
    assert!(!asked(&bundle, 25).is_empty());
    assert!(bundle.rootfs("not/there/yet").is_dir());
    // The hook ran at CRIU's word, and CRIU was told that it may go on.
    let hook: Value = serde_json::from_slice(&fs::read(bundle.path("hook.json")).unwrap()).unwrap();
    assert_eq!(hook["status"], "creating");
    let word: Value = serde_json::from_slice(&fs::read(bundle.path("word.json")).unwrap()).unwrap();
    assert_eq!(word, json!([[1, 6], [3, 1]]));
    // Without a directory of images there is nothing to be asked.
    let done = bundle.oci(&["restore", "--image-path", "/nowhere", &id]);
    assert!(
        done.code == 1 && done.stderr.contains("/nowhere"),
        "{}",
        done.stderr
    );
}
