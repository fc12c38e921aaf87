//! Stores as each release wrote them: a later cais reads all of it, and goes on with it.
//!
//! `releases/VERSION.tar.gz` is the directory of data after: `import` of an image with two
//! names, a volume, a network, a container that was only made, with many flags, one that ended
//! with 3 and one with a log of the driver cri.

use crate::support::TestEnv;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

const RELEASES: [(&str, &[u8]); 1] = [("0.1.0", include_bytes!("releases/0.1.0.tar.gz"))];

fn extract(env: &TestEnv, archive: &[u8]) {
    let data = env.path("data");
    fs::create_dir(&data).unwrap();
    let mut tar = Command::new("tar")
        .args([
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-xzpf",
            "-",
            "-C",
        ])
        .arg(&data)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    tar.stdin.take().unwrap().write_all(archive).unwrap();
    assert!(tar.wait().unwrap().success());
}

/// What `inspect` says of the container that was made and never started.
const MADE: [(&str, &str); 12] = [
    (
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}",
        "67108864 500000000",
    ),
    ("{{.HostConfig.RestartPolicy.Name}}", "on-failure"),
    ("{{.HostConfig.RestartPolicy.MaximumRetryCount}}", "3"),
    ("{{json .HostConfig.Binds}}", r#"["keep:/d"]"#),
    ("{{json .HostConfig.Tmpfs}}", r#"{"/t":"size=1m"}"#),
    (
        "{{json .HostConfig.Ulimits}}",
        r#"[{"Name":"nofile","Hard":64,"Soft":64}]"#,
    ),
    ("{{json .HostConfig.CapAdd}}", r#"["CAP_NET_ADMIN"]"#),
    (
        "{{json .HostConfig.PortBindings}}",
        r#"{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"8080"}]}"#,
    ),
    ("{{.HostConfig.NetworkMode}} {{len .Mounts}}", "fixed 3"),
    ("{{json .Config.Healthcheck.Test}}", r#"["CMD-SHELL","true"]"#),
    (
        "{{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}}",
        "1000:1000 /tmp INT",
    ),
    (
        "{{.Config.Hostname}} {{json .Config.Labels}}",
        r#"web {"app":"web"}"#,
    ),
];

#[test]
fn every_release_so_far_is_read() {
    for (version, archive) in RELEASES {
        let env = TestEnv::new();
        extract(&env, archive);
        let shows = |words: &[&str], wanted: &str| {
            assert_eq!(env.ok(words), wanted, "{version}: {words:?}");
        };
        shows(
            &["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Image}}"],
            "cri exited host\ndone exited host\nmade created host\n",
        );
        for (format, wanted) in MADE {
            shows(&["inspect", "-f", format, "made"], &format!("{wanted}\n"));
        }
        shows(&["inspect", "-f", "{{.State.ExitCode}}", "done"], "3\n");
        let logs = env.cais(&["logs", "done"]);
        assert_eq!(
            (logs.stdout.as_str(), logs.stderr.as_str()),
            ("out\n", "err\n"),
            "{version}"
        );
        shows(&["logs", "cri"], "line\n");
        shows(
            &["images", "--format", "{{.Repository}}:{{.Tag}}"],
            "fixture/image:1\nfixture/other:2\n",
        );
        shows(
            &[
                "image",
                "inspect",
                "-f",
                "{{json .Config.Env}}",
                "fixture/image:1",
            ],
            "[\"A=1\"]\n",
        );
        shows(
            &["volume", "inspect", "-f", "{{json .Labels}}", "keep"],
            "{\"a\":\"b\"}\n",
        );
        shows(
            &[
                "network",
                "inspect",
                "-f",
                "{{(index .IPAM.Config 0).Subnet}}",
                "fixed",
            ],
            "10.99.7.0/24\n",
        );
        shows(&["system", "check"], "");
        // And it goes on from there: an archive is made again, and what ended runs again.
        let saved = env.path("saved.tar");
        env.ok(&["save", "-o", saved.to_str().unwrap(), "fixture/image:1"]);
        assert_eq!(env.cais(&["start", "-a", "done"]).code, 3, "{version}");
        env.ok(&["update", "-m", "32m", "--memory-swap", "64m", "made"]);
        shows(
            &["run", "--rm", "-v", "keep:/d", "host", "cat", "/d/file"],
            "kept\n",
        );
        env.ok(&["rm", "-v", "made", "done", "cri"]);
        env.ok(&["network", "rm", "fixed"]);
        env.ok(&["volume", "rm", "keep"]);
        env.ok(&["rmi", "fixture/image:1", "fixture/other:2"]);
        shows(&["system", "check"], "");
    }
}
