//! Stores as each release wrote them: a later cais reads all of it, and goes on with it.
//!
//! `releases/VERSION.tar.gz` is the directory of data after: `import` of an image with two
//! names, a volume, a network, a container that was only made, with many flags, one that ended
//! with 3 and one with a log of the driver cri.
//!
//! `releases/VERSION-running.tar.gz` has both directories while containers run: `web` in the
//! network `fixed`, with ports, an alias, egress rules and a probe, and `idle` in none.
//!
//! `releases/oci-VERSION.tar.gz` is the directory of the OCI runtime's states, by the version
//! of its files: `release-run` runs, `release-made` waits for its start, `release-ended` has ended.

use crate::network_support::Site;
use crate::oci_support::Bundle;
use crate::support::TestEnv;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const RELEASES: [(&str, &[u8]); 1] = [("0.1.0", include_bytes!("releases/0.1.0.tar.gz"))];
const RUNNING: [(&str, &[u8]); 1] = [("0.1.0", include_bytes!("releases/0.1.0-running.tar.gz"))];
const OCI: [(&str, &[u8]); 2] = [
    ("1", include_bytes!("releases/oci-1.tar.gz")),
    ("2", include_bytes!("releases/oci-2.tar.gz")),
];

fn extract(to: &Path, archive: &[u8]) {
    fs::create_dir_all(to).unwrap();
    let mut tar = Command::new("tar")
        .args([
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-xzpf",
            "-",
            "-C",
        ])
        .arg(to)
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
        extract(&env.path("data"), archive);
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

/// A process in place of one that ran when the files were written: its id and start time.
fn stand_in() -> (Child, [u64; 2]) {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let start = stat.split(' ').nth(21).unwrap().parse().unwrap();
    let pid = u64::from(child.id());
    (child, [pid, start])
}

/// Changes a JSON file.
fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// The files in a directory below the run directory.
fn notes(env: &TestEnv, name: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(env.path("run").join(name)).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Has the process run both containers, in this test's directories.
fn revive(env: &TestEnv, [pid, start]: [u64; 2]) {
    for state in notes(env, "containers") {
        change(&state, |state| {
            for name in ["monitor", "init"] {
                state[name] = json!({ "pid": pid, "start": start });
            }
        });
    }
    for endpoints in notes(env, "endpoints") {
        change(&endpoints, |endpoints| endpoints["process"] = json!([pid, start]));
    }
    for config in notes(env, "resolvers") {
        change(&config, |config| {
            config["networks"][0]["directory"] = json!(env.path("run/networks/fixed"));
        });
    }
}

#[test]
fn what_runs_since_an_earlier_release_is_looked_after() {
    for (version, archive) in RUNNING {
        let site = Site::new();
        let env = &site.env;
        extract(env.path("data").parent().unwrap(), archive);
        let (mut program, name) = stand_in();
        revive(env, name);
        let shows = |words: &[&str], wanted: &str| {
            assert_eq!(site.ok(words), wanted, "{version}: {words:?}");
        };
        shows(
            &["ps", "--format", "{{.Names}} {{.State}} {{.Ports}}"],
            "idle running \nweb running 127.0.0.1:8080->80/tcp, 0.0.0.0:8090->90/udp, [::]:8090->90/udp, 0.0.0.0:8091->91/udp, [::]:8091->91/udp\n",
        );
        shows(&["port", "web", "80"], "127.0.0.1:8080\n");
        let format = "{{with .NetworkSettings.Networks.fixed}}{{.IPAddress}} {{.GlobalIPv6Address}} {{index .Aliases 0}}{{end}}";
        shows(&["inspect", "-f", format, "web"], "10.99.7.9 fd99:7::9 pier\n");
        let format = "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}";
        shows(
            &["network", "inspect", "-f", format, "fixed"],
            "web 10.99.7.9/24\n",
        );
        shows(
            &["inspect", "-f", "{{.State.Health.Status}}", "web"],
            "starting\n",
        );
        // What it has nobody else gets, and others find it.
        let taken = site.cais(&["run", "--rm", "--network", "fixed:ip=10.99.7.9", "host", "true"]);
        assert!(
            taken.code == 125 && taken.stderr.contains("in use by container"),
            "{}",
            taken.stderr
        );
        let found = site.ok(&[
            "run",
            "--rm",
            "--network",
            "fixed",
            "host",
            "getent",
            "ahostsv4",
            "pier",
        ]);
        assert!(found.starts_with("10.99.7.9 "), "{version}: {found}");
        site.ok(&["rename", "web", "front"]);
        site.ok(&["kill", "front"]);
        program.wait().unwrap();
        // Nobody looked after them: all that they had is given back.
        site.ok(&["wait", "front"]);
        shows(&["ps", "-q"], "");
        shows(
            &["ps", "-a", "--format", "{{.Names}} {{.State}}"],
            "idle exited\nfront exited\n",
        );
        assert_eq!(site.leftovers(), Vec::<String>::new(), "{version}");
        for place in ["containers", "userns", "health"] {
            assert_eq!(notes(env, place), Vec::<std::path::PathBuf>::new(), "{version}");
        }
        site.ok(&["start", "front"]);
        shows(&["exec", "front", "hostname"], "web\n");
        site.ok(&["rm", "-f", "front", "idle"]);
        site.ok(&["network", "rm", "fixed"]);
    }
}

#[test]
fn containers_of_every_form_of_the_runtimes_files() {
    for (version, archive) in OCI {
        let bundle = Bundle::new();
        let states = bundle.path("states");
        extract(&states, archive);
        let status = |id: &str| {
            let state: Value = serde_json::from_str(&bundle.ok(&["state", id])).unwrap();
            state["status"].as_str().unwrap().to_owned()
        };
        let listed = bundle.ok(&["list", "-q"]);
        assert_eq!(listed, "release-ended\nrelease-made\nrelease-run\n", "{version}");
        let (mut program, [pid, start]) = stand_in();
        for id in ["release-run", "release-made", "release-ended"] {
            assert_eq!(status(id), "stopped", "{version}: after a boot");
            change(&states.join(id).join("state.json"), |state| {
                state["bundle"] = json!(bundle.path("bundle"));
                if id == "release-run" {
                    state["pid"] = json!(pid);
                    state["startTime"] = json!(start);
                }
            });
        }
        assert_eq!(
            (status("release-run"), status("release-ended")),
            ("running".into(), "stopped".into())
        );
        let state: Value = serde_json::from_str(&bundle.ok(&["state", "release-run"])).unwrap();
        assert_eq!(state["annotations"]["of"], "a release", "{version}");
        assert_eq!(state["pid"], json!(pid), "{version}");
        // Read with the whole configuration; the program is one of the host's.
        let seen = bundle.ok(&["exec", "release-run", "/bin/sh", "-c", "echo $$"]);
        assert!(seen.trim().parse::<u32>().is_ok(), "{version}: {seen}");
        let refused = bundle.oci(&["delete", "release-run"]);
        assert_eq!(refused.code, 1, "{version}");
        bundle.ok(&["kill", "release-run", "KILL"]);
        program.wait().unwrap();
        for id in ["release-run", "release-made", "release-ended"] {
            assert_eq!(status(id), "stopped", "{version}");
            bundle.ok(&["delete", id]);
            // The hook that the configuration names for this.
            let mark = bundle.path("bundle/deleted");
            fs::remove_file(mark).expect(version);
        }
        assert_eq!(bundle.ok(&["list", "-q"]), "", "{version}");
        assert_eq!(fs::read_dir(&states).unwrap().count(), 0, "{version}");
    }
}
