//! Bad input gets one line that names it, the right exit code, and leaves nothing behind.

use crate::support::TestEnv;

/// A command line, its exit code, and what its message must name.
const MISTAKES: &[(&[&str], i32, &str)] = &[
    (
        &["run", "--rm", "host", "no-such-program"],
        127,
        "no-such-program",
    ),
    (&["run", "--rm", "host", "/etc"], 126, "/etc"),
    (&["run", "--rm", "host", "/etc/passwd"], 126, "/etc/passwd"),
    (
        &["run", "--rm", "--pull", "never", "nosuchimage", "true"],
        125,
        "nosuchimage",
    ),
    (&["run", "--rm", "host"], 125, "COMMAND"),
    (
        &["run", "--rm", "--rootfs", "/no/such/root", "true"],
        125,
        "/no/such/root",
    ),
    (&["run", "--rm", "-m", "0", "host", "true"], 125, "0"),
    (&["run", "--rm", "-m", "10000p", "host", "true"], 125, "10000p"),
    (&["run", "--rm", "-m", "12q", "host", "true"], 125, "12q"),
    (&["run", "--rm", "--cpus", "x", "host", "true"], 125, "x"),
    (
        &[
            "run",
            "--rm",
            "--cpus",
            "1",
            "--cpu-quota",
            "5000",
            "host",
            "true",
        ],
        125,
        "--cpu-quota",
    ),
    (
        &["run", "--rm", "--cpuset-cpus", "999", "host", "true"],
        125,
        "999",
    ),
    (
        &["run", "--rm", "--uts", "host", "--hostname", "x", "host", "true"],
        125,
        "--hostname",
    ),
    (&["run", "--rm", "--pid", "host", "host", "true"], 125, "--userns"),
    (
        &["run", "--rm", "-u", "nosuchuser", "host", "true"],
        125,
        "nosuchuser",
    ),
    (
        &[
            "run",
            "--rm",
            "--mount",
            "type=bind,source=/no/such,target=/x",
            "host",
            "true",
        ],
        125,
        "/no/such",
    ),
    (
        &["run", "--rm", "--network", "no-such-net", "host", "true"],
        125,
        "network no-such-net not found",
    ),
    (
        &[
            "run",
            "--rm",
            "--security-opt",
            "seccomp=/etc/passwd",
            "host",
            "true",
        ],
        125,
        "/etc/passwd",
    ),
    (
        &["run", "--rm", "--security-opt", "bogus", "host", "true"],
        125,
        "bogus",
    ),
    (&["run", "--rm", "--cap-add", "MOON", "host", "true"], 125, "MOON"),
    (
        &["run", "--rm", "--device", "/etc/passwd", "host", "true"],
        125,
        "/etc/passwd",
    ),
    (&["run", "--rm", "--name", ".x", "host", "true"], 125, ".x"),
    (
        &["run", "--rm", "--sysctl", "vm.swappiness=1", "host", "true"],
        125,
        "vm.swappiness",
    ),
    (
        &["run", "--rm", "--ulimit", "nofile=9:1", "host", "true"],
        125,
        "nofile=9:1",
    ),
    (
        &["run", "--rm", "--stop-signal", "MOON", "host", "true"],
        125,
        "MOON",
    ),
    (&["exec", "nobody", "true"], 1, "nobody"),
    (&["stop", "nobody"], 1, "nobody"),
    (&["kill", "-s", "MOON", "nobody"], 1, "MOON"),
    (&["rm", "nobody"], 1, "nobody"),
    (&["logs", "../../etc"], 1, "../../etc"),
];

#[test]
fn each_mistake_has_its_line() {
    let env = TestEnv::new();
    for (words, code, about) in MISTAKES {
        let done = env.cais(words);
        assert_eq!(done.code, *code, "{words:?}: {}", done.stderr);
        assert!(done.stderr.contains(about), "{words:?}: {}", done.stderr);
        let lines: Vec<&str> = done
            .stderr
            .lines()
            .filter(|line| !line.starts_with("hint:"))
            .collect();
        assert_eq!(lines.len(), 1, "{words:?}: {}", done.stderr);
        assert!(
            lines.iter().all(|line| line.starts_with("cais: ")),
            "{}",
            done.stderr
        );
        assert_eq!(env.leftovers(), Vec::<String>::new(), "{words:?}");
    }
}

#[test]
fn a_mistake_in_a_flag_is_explained() {
    let env = TestEnv::new();
    let done = env.cais(&["run", "--no-such-flag", "host", "true"]);
    assert!(
        done.code == 125 && done.stderr.contains("--no-such-flag"),
        "{}",
        done.stderr
    );
}
