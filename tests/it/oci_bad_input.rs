//! What is wrong in a configuration or on the command line gets one line that names it, and
//! leaves nothing behind.

use crate::oci_support::Bundle;
use serde_json::{Value, json};
use std::fs;

/// A place in the configuration (RFC 6901), the JSON that is put there (nothing: taken away), and
/// what the message must name.
const MISTAKES: &[(&str, &str, &str)] = &[
    // Missing.
    ("/ociVersion", "", "ociVersion"),
    ("/process", "", "process"),
    ("/process/args", "", "process.args"),
    ("/process/cwd", "", "process.cwd"),
    ("/root", "", "root"),
    ("/root/path", "", "root.path"),
    ("/linux/namespaces", "", "namespace"),
    ("/mounts/0/destination", "", "mounts[0].destination"),
    ("/linux/namespaces/0/type", "", "linux.namespaces[0]"),
    // Of the wrong type.
    ("/ociVersion", "1", "ociVersion"),
    ("/process", "[]", "process"),
    ("/process/args", r#""sh""#, "process.args"),
    ("/process/args/0", "1", "process.args[0]"),
    ("/process/env", r#"{ "A": "1" }"#, "process.env"),
    ("/process/terminal", r#""yes""#, "process.terminal"),
    ("/process/user/uid", r#""0""#, "process.user.uid"),
    ("/root/readonly", "1", "root.readonly"),
    ("/mounts", "{}", "mounts"),
    ("/mounts/1/options", r#""ro""#, "mounts[1].options"),
    ("/linux/maskedPaths", r#""/x""#, "linux.maskedPaths"),
    ("/hooks", r#""x""#, "hooks"),
    ("/annotations", r#"{ "a": 1 }"#, "annotations.a"),
    // Out of range.
    ("/process/user/uid", "-1", "process.user.uid"),
    ("/process/user/uid", "4294967295", "process.user.uid"),
    ("/process/user/gid", "4294967296", "process.user.gid"),
    ("/process/user/uid", "1.5", "process.user.uid"),
    (
        "/process/user/additionalGids",
        "[-1]",
        "process.user.additionalGids[0]",
    ),
    ("/process/oomScoreAdj", "5000000000", "process.oomScoreAdj"),
    ("/process/oomScoreAdj", "2000", "process.oomScoreAdj"),
    ("/process/rlimits/0/hard", "-1", "process.rlimits[0].hard"),
    (
        "/process/rlimits/0/soft",
        "18446744073709551615",
        "process.rlimits",
    ),
    (
        "/linux/resources/pids",
        r#"{ "limit": 1e30 }"#,
        "linux.resources.pids.limit",
    ),
    (
        "/linux/resources/memory",
        r#"{ "limit": "1g" }"#,
        "linux.resources.memory.limit",
    ),
    (
        "/linux/devices",
        r#"[{ "path": "/dev/x", "type": "c", "major": -5, "minor": 1 }]"#,
        "linux.devices",
    ),
    // Unknown words.
    ("/ociVersion", r#""2.0.0""#, "ociVersion"),
    ("/ociVersion", r#""one""#, "ociVersion"),
    (
        "/linux/namespaces/0/type",
        r#""moon""#,
        "linux.namespaces[0].type",
    ),
    ("/linux/namespaces/1/type", r#""pid""#, "linux.namespaces"),
    ("/linux/rootfsPropagation", r#""moon""#, "linux.rootfsPropagation"),
    ("/process/rlimits/0/type", r#""RLIMIT_MOON""#, "process.rlimits"),
    (
        "/process/scheduler",
        r#"{ "policy": "SCHED_MOON" }"#,
        "process.scheduler",
    ),
    (
        "/process/ioPriority",
        r#"{ "class": "MOON", "priority": 1 }"#,
        "process.ioPriority",
    ),
    (
        "/linux/personality",
        r#"{ "domain": "MOON" }"#,
        "linux.personality",
    ),
    (
        "/linux/devices",
        r#"[{ "path": "/dev/x", "type": "z", "major": 1, "minor": 1 }]"#,
        "linux.devices",
    ),
    (
        "/linux/seccomp",
        r#"{ "defaultAction": "SCMP_ACT_MOON" }"#,
        "linux.seccomp",
    ),
    (
        "/linux/timeOffsets",
        r#"{ "moon": { "secs": 1 } }"#,
        "linux.timeOffsets",
    ),
    ("/mounts/1/options", r#"["mooon"]"#, "mooon"),
    ("/mounts/1/type", r#""moonfs""#, "moonfs"),
    // Not what it must be.
    ("/process/args", "[]", "process.args"),
    ("/process/cwd", r#""tmp""#, "process.cwd"),
    ("/process/cwd", r#""""#, "process.cwd"),
    ("/process/args/0", r#""a\u0000b""#, "process"),
    ("/mounts/0/destination", r#""proc""#, "mounts[0].destination"),
    ("/mounts/1/destination", r#""/a\u0000b""#, "mounts[1].destination"),
    ("/root/path", r#""nosuch""#, "root.path"),
    ("/root/path", r#""config.json""#, "root.path"),
    (
        "/linux/uidMappings",
        r#"[{ "containerID": 0, "hostID": 0, "size": 1 }]"#,
        "linux.uidMappings",
    ),
    ("/linux/sysctl", r#"{ "vm.swappiness": "1" }"#, "linux.sysctl"),
    ("/linux/namespaces/0/path", r#""relative""#, "linux.namespaces"),
    (
        "/hooks",
        r#"{ "prestart": [{ "path": "bin/x" }] }"#,
        "hooks.prestart[0].path",
    ),
    (
        "/hooks",
        r#"{ "poststop": [{ "path": "/x", "timeout": 0 }] }"#,
        "hooks.poststop[0].timeout",
    ),
];

/// Puts `value` at `place`, or takes away what is there.
fn change(config: &mut Value, place: &str, value: Option<Value>) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(name.to_owned(), value)),
        (Value::Object(fields), None) => drop(fields.remove(name)),
        (Value::Array(items), Some(value)) => items[name.parse::<usize>().unwrap()] = value,
        (other, _) => panic!("{place}: {other}"),
    }
}

/// One line, the exit code, and no trace.
fn check(bundle: &Bundle, words: &[&str], code: i32, about: &[&str]) {
    let done = bundle.oci(words);
    assert_eq!(done.code, code, "{words:?} {about:?}: {done:?}");
    assert_eq!(done.stdout, "", "{words:?}");
    for about in about {
        assert!(done.stderr.contains(about), "{about}: {}", done.stderr);
    }
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("cais-runtime"), "{}", done.stderr);
    assert_eq!(bundle.leftovers(), Vec::<String>::new(), "{words:?} {about:?}");
}

#[test]
fn each_mistake_in_a_configuration_is_named() {
    let mut bundle = Bundle::new();
    let plain = bundle.config.clone();
    let mut wrong = Vec::new();
    for (place, text, about) in MISTAKES {
        bundle.config = plain.clone();
        let value = (!text.is_empty()).then(|| serde_json::from_str(text).unwrap());
        change(&mut bundle.config, place, value);
        bundle.save();
        for verb in ["create", "run"] {
            let done = bundle.oci(&[verb, bundle.id()]);
            let names = done.stderr.contains(about) && done.stderr.lines().count() == 1;
            let left = bundle.leftovers();
            if done.code != 1 || !done.stdout.is_empty() || !names || !left.is_empty() {
                wrong.push(format!("{verb} {place} {text}: {done:?} {left:?}"));
                bundle.oci(&["delete", "--force", bundle.id()]);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_file_that_cannot_be_read_is_named() {
    let bundle = Bundle::new();
    let file = bundle.path("bundle/config.json");
    let name = file.to_str().unwrap();
    for text in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "{\"ociVersion\":\"1.0.0\"",
        "{\"a\":1}}",
        "\u{feff}{}",
        "{\"ociVersion\":\"1.0.0\",}",
    ] {
        fs::write(&file, text).unwrap();
        check(&bundle, &["create", bundle.id()], 1, &[name]);
    }
    fs::write(&file, b"{\"ociVersion\":\"\xff\"}").unwrap();
    check(&bundle, &["create", bundle.id()], 1, &[name]);
    // Deeper than any configuration.
    fs::write(&file, "[".repeat(200_000)).unwrap();
    check(&bundle, &["create", bundle.id()], 1, &[name]);
    fs::write(&file, format!("{{\"annotations\":{}", "{\"a\":".repeat(100_000))).unwrap();
    check(&bundle, &["create", bundle.id()], 1, &[name]);
    fs::remove_file(&file).unwrap();
    check(&bundle, &["create", bundle.id()], 1, &[name]);
    fs::create_dir(&file).unwrap();
    check(&bundle, &["create", bundle.id()], 1, &[name]);
    check(
        &bundle,
        &["create", "-b", "/no/such", bundle.id()],
        1,
        &["/no/such"],
    );
    check(
        &bundle,
        &["create", "-b", "/etc/passwd", bundle.id()],
        1,
        &["/etc/passwd"],
    );
}

#[test]
fn each_mistake_on_the_command_line_is_named() {
    let mut bundle = Bundle::new();
    bundle.save();
    let long = "x".repeat(1025);
    for id in ["", ".", "..", "../x", "a/b", "/", "a b", "ä", "a\nb", &long] {
        for verb in ["create", "run", "state", "start", "kill", "delete", "pause", "ps"] {
            let done = bundle.oci(&[verb, id]);
            assert_eq!(done.code, 1, "{verb} {id:?}: {done:?}");
            assert!(
                done.stderr.contains("invalid container ID"),
                "{verb} {id:?}: {}",
                done.stderr
            );
        }
        let done = bundle.oci(&["delete", "--force", id]);
        assert_eq!(done.code, 1, "{id:?}: {done:?}");
    }
    assert_eq!(bundle.leftovers(), Vec::<String>::new());
    let id = bundle.id().to_owned();
    for (words, about) in [
        (&["create"][..], "container id"),
        (&["create", &id, "more"], "one argument"),
        (&["create", "--moon", &id], "moon"),
        (&["create", "--preserve-fds", "x", &id], "--preserve-fds"),
        (&["create", "--preserve-fds", "-1", &id], "--preserve-fds"),
        (&["create", "--bundle"], "needs an argument"),
        (&["moon"], "moon"),
        (&["start", &id], "does not exist"),
        (&["state", &id], "does not exist"),
        (&["kill", &id], "does not exist"),
        (&["kill", &id, "MOON"], "MOON"),
        (&["kill", &id, "0"], "\"0\""),
        (&["kill", &id, "65"], "\"65\""),
        (&["delete", &id], "does not exist"),
        (&["pause", &id], "does not exist"),
        (&["resume", &id], "does not exist"),
        (&["update", "--memory", "1q", &id], "memory"),
        (&["checkpoint", &id], "does not exist"),
        (&["list", "--format", "moon"], "moon"),
    ] {
        check(&bundle, words, 1, &[about]);
    }
    for words in [
        &["exec", &id, "true"][..],
        &["exec", &id],
        &["exec"],
        &["exec", "-p", "/no/such", &id],
    ] {
        check(&bundle, words, 255, &["exec"]);
    }
    // A terminal and its socket go together.
    check(
        &bundle,
        &["create", "--console-socket", "/no/such", &id],
        1,
        &["console"],
    );
    bundle.config["process"]["terminal"] = json!(true);
    bundle.save();
    check(&bundle, &["create", &id], 1, &["console"]);
    check(&bundle, &["run", "-d", &id], 1, &["console"]);
    check(
        &bundle,
        &["create", "--console-socket", "/no/such", &id],
        1,
        &["/no/such"],
    );
}

#[test]
fn an_id_is_given_once_and_each_state_has_its_commands() {
    let mut bundle = Bundle::new();
    bundle.sh("sleep 1000");
    bundle.save();
    let id = bundle.id().to_owned();
    let refused = |words: &[&str], about: &str| {
        let done = bundle.oci(words);
        assert!(
            done.code != 0 && done.stderr.contains(about),
            "{words:?}: {done:?}"
        );
    };
    bundle.ok(&["create", &id]);
    for words in [&["create", &id][..], &["run", &id], &["run", "-d", &id]] {
        refused(words, "already exists");
        assert_eq!(bundle.status(&id), "created");
    }
    refused(&["resume", &id], "created");
    bundle.ok(&["start", &id]);
    refused(&["start", &id], "already running");
    refused(&["create", &id], "already exists");
    refused(&["delete", &id], "not stopped");
    refused(&["resume", &id], "running");
    assert_eq!(bundle.status(&id), "running");
    bundle.ok(&["kill", &id, "KILL"]);
    crate::support::eventually("it has ended", || bundle.status(&id) == "stopped");
    refused(&["start", &id], "stopped");
    refused(&["kill", &id], "not running");
    refused(&["exec", &id, "true"], "stopped");
    refused(&["pause", &id], "stopped");
    refused(&["create", &id], "already exists");
    bundle.ok(&["delete", &id]);
    refused(&["delete", &id], "does not exist");
    bundle.ok(&["delete", "--force", &id]);
}

/// A create that fails takes back what it made, and nothing of another container's whose
/// cgroup it was pointed at.
#[test]
fn another_containers_cgroup_is_left_alone() {
    let mut bundle = Bundle::new();
    bundle.sh("sleep 1000");
    bundle.start();
    let path = bundle.config["linux"]["cgroupsPath"].take();
    assert_eq!(path, Value::Null);
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id()));
    bundle.save();
    let second = bundle.id_of("second");
    for words in [
        &["create", &second][..],
        &["run", &second],
        &["run", "-d", &second],
    ] {
        let done = bundle.oci(words);
        assert!(
            done.code == 1 && done.stderr.contains("already holds"),
            "{words:?}: {done:?}"
        );
        bundle.oci(&["delete", "--force", &second]);
        assert_eq!(bundle.status(bundle.id()), "running", "{words:?}");
    }
    // Killed on the way, too.
    for step in 0..4 {
        let mut command = bundle.command(&["create", &second]);
        command.env("CAIS_TEST_KILL", format!("caller:{step}"));
        bundle.finish(command);
        bundle.oci(&["delete", "--force", &second]);
        assert_eq!(bundle.status(bundle.id()), "running", "killed at {step}");
    }
    assert_eq!(bundle.exec(&[], &["true"]).code, 0);
}
