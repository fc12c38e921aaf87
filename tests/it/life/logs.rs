//! Logs and events.

use super::*;

#[test]
fn a_log_is_followed_through_its_files() {
    let env = TestEnv::new();
    let script = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo line $i; done; echo err >&2";
    for driver in ["json-file", "cri"] {
        env.ok(&[
            "create",
            "--name",
            "talker",
            "--log-driver",
            driver,
            "--log-opt",
            "max-size=100k",
            "--log-opt",
            "max-file=20",
            "host",
            "sh",
            "-c",
            script,
        ]);
        env.ok(&["start", "talker"]);
        let followed = env.cais(&["logs", "-f", "talker"]);
        let want: String = (1..=5000).fold(String::new(), |text, number| format!("{text}line {number}\n"));
        assert!(
            followed.stdout == want,
            "{} bytes of {}",
            followed.stdout.len(),
            want.len()
        );
        assert_eq!(followed.stderr, "err\n");
        env.ok(&["wait", "talker"]);
        assert!(env.ok(&["logs", "talker"]) == want);
        let tail = env.cais(&["logs", "-n", "3", "talker"]);
        assert_eq!(
            (tail.stdout.as_str(), tail.stderr.as_str()),
            ("line 4999\nline 5000\n", "err\n")
        );
        assert_eq!(env.ok(&["logs", "--until", "1h", "talker"]), "");
        env.ok(&["rm", "talker"]);
    }
}

#[test]
fn several_logs_and_what_is_noted_with_each_line() {
    let env = TestEnv::new();
    for name in ["one", "two"] {
        env.ok(&[
            "run",
            "--name",
            name,
            "--label",
            "tier=front",
            "--log-opt",
            "labels=tier",
            "--log-opt",
            "tag={{.Name}}",
            "host",
            "echo",
            "hello",
        ]);
    }
    assert_eq!(env.ok(&["logs", "one", "two"]), "one | hello\ntwo | hello\n");
    assert_eq!(
        env.ok(&["logs", "--details", "one"]),
        "tag=one,tier=front hello\n"
    );
    for (flag, value) in [
        ("--log-driver", "gelf"),
        ("--log-opt", "bogus=1"),
        ("--log-driver", "journald"),
    ] {
        let done = env.cais(&["run", "--rm", flag, value, "host", "true"]);
        if !(value == "journald" && std::path::Path::new("/run/systemd/journal/socket").exists()) {
            assert_eq!(done.code, 125, "{flag} {value}: {}", done.stderr);
        }
    }
    let none = env.cais(&[
        "run",
        "--name",
        "none",
        "--log-driver",
        "none",
        "host",
        "echo",
        "x",
    ]);
    assert_eq!(none.stdout, "x\n");
    assert_eq!(env.cais(&["logs", "none"]).code, 1);
    env.ok(&["rm", "one", "two", "none"]);
}

#[test]
fn events_tell_what_happened() {
    let env = TestEnv::new();
    let run = [
        "run", "--name", "told", "--label", "a=b", "host", "sh", "-c", "exit 3",
    ];
    assert_eq!(env.cais(&run).code, 3);
    env.ok(&["rename", "told", "retold"]);
    env.ok(&["rm", "retold"]);
    let shown = env.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--format",
        "{{.Action}}",
    ]);
    assert_eq!(shown, "create\nattach\nstart\ndie\nrename\ndestroy\n");
    let died = env.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=die",
        "--filter",
        "label=a=b",
        "--format",
        "json",
    ]);
    let event: serde_json::Value = serde_json::from_str(&died).unwrap();
    assert_eq!(event["Actor"]["Attributes"]["exitCode"], "3");
    assert_eq!(event["Type"], "container");
    assert_eq!(
        env.cais(&["events", "--filter", "bogus=1", "--until", "0s"]).code,
        1
    );
}
