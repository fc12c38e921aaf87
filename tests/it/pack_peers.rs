//! `cais pack`: software of Debian, packed and run, here and by podman.

use crate::engines_support::{Bench, Engine, run};
use crate::support::{TestEnv, eventually};
use std::fs;
use std::path::PathBuf;

/// Podman with a store of its own.
fn podman(bench: &Bench) -> Vec<String> {
    let limits = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
    fs::write(bench.path("containers.conf"), limits).unwrap();
    let config = format!("CONTAINERS_CONF={}", bench.path("containers.conf"));
    let (root, run) = (bench.path("root"), bench.path("run"));
    let words = ["env", &config, "podman", "--root", &root, "--runroot", &run];
    let rest = [
        "--cgroup-manager",
        "cgroupfs",
        "--storage-driver",
        "vfs",
        "--runtime",
        "/usr/sbin/runc",
    ];
    words.iter().chain(&rest).map(|word| (*word).to_owned()).collect()
}

fn postgres() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed");
    let newest = versions.flatten().map(|entry| entry.path()).max().unwrap();
    newest.join("bin")
}

#[test]
#[ignore = "needs Debian's python3: `cargo xtask test` installs it and runs this"]
fn whole_packages_where_nobody_wants_to_trace() {
    let env = TestEnv::new();
    let stdlib = fs::read_dir("/usr/share/doc").unwrap().flatten();
    let stdlib = stdlib.map(|entry| entry.file_name().into_string().unwrap());
    let stdlib = stdlib
        .filter(|name| name.starts_with("libpython3.") && name.ends_with("-stdlib"))
        .max();
    env.ok(&[
        "pack",
        "-q",
        "-t",
        "whole",
        "--deb",
        "--package",
        &stdlib.unwrap(),
        "/usr/bin/python3",
    ]);
    let code = "import json, sqlite3, asyncio, xml.dom; print(json.dumps([1]))";
    assert_eq!(env.ok(&["run", "--rm", "whole", "python3", "-c", code]), "[1]\n");
    let done = env.cais(&["pack", "--package", "no-such-package", "true"]);
    assert!(
        done.code == 1 && done.stderr.contains("not installed"),
        "{}",
        done.stderr
    );
}

#[test]
#[ignore = "needs Debian's podman, postgresql, python3-psycopg2, git and perl: `cargo xtask test` installs them and runs this"]
fn software_of_debian_runs_here_and_in_podman() {
    const PYTHON: &str = "import ssl, json, psycopg2; print(json.dumps(ssl.create_default_context().cert_store_stats()['x509_ca'] > 0))";
    let env = TestEnv::new();
    let bench = Bench::new("pack");
    let words = podman(&bench);
    let podman = Engine {
        words: words.iter().map(String::as_str).collect(),
    };
    let bin = postgres();
    let bin = |name: &str| bin.join(name).to_str().unwrap().to_owned();
    let (server, initdb, psql) = (bin("postgres"), bin("initdb"), bin("psql"));
    let database = "cd /tmp && initdb -D /tmp/d > /dev/null 2>&1 && \
        (postgres -D /tmp/d -k /tmp -h '' > /dev/null 2>&1 & server=$!; \
        until psql -qh /tmp -d postgres -c '' 2> /dev/null; do :; done; \
        psql -qAth /tmp -d postgres -c \"create table t (n int); insert into t values (40), (2); select sum(n) from t\"; \
        kill $server; wait)";
    let python = format!("/usr/bin/python3 -c \"{PYTHON}\"");
    let git = "cd /tmp && git init -q x && cd x && echo 1 > f && git add f && \
        git -c user.name=n -c user.email=e commit -qm message && git clone -q . ../y && git -C ../y log --format=%s";
    let perl = "perl -MPOSIX -MJSON::PP -e 'print encode_json([floor(1.5)]), qq(\\n)'";
    for (name, flags, trace, words, want) in [
        (
            "python",
            &["/usr/bin/python3"][..],
            python.as_str(),
            &["python3", "-c", PYTHON][..],
            "true",
        ),
        (
            "postgres",
            &["-u", "postgres", &server, &initdb, &psql],
            database,
            &["sh", "-c", database],
            "42",
        ),
        (
            "git",
            &["git", "sh"],
            git,
            &["sh", "-c", git.trim_start_matches("cd /tmp && ")],
            "message",
        ),
        (
            "perl",
            &["perl"],
            perl,
            &[
                "perl",
                "-MPOSIX",
                "-MJSON::PP",
                "-e",
                "print encode_json([floor(1.5)])",
            ],
            "[1]",
        ),
        (
            "curl",
            &["curl"],
            "curl -s file:///etc/debian_version",
            &["curl", "-sI", "file:///etc/passwd", "-o", "/dev/null", "-w", "ok"],
            "ok",
        ),
    ] {
        env.ok(&[&["pack", "-q", "-t", name, "--trace", trace], flags].concat());
        let output = env.ok(&[&["run", "--rm", "-w", "/tmp", name], words].concat());
        assert_eq!(output.trim(), want, "{name}");
        let archive = bench.path(name);
        env.ok(&["save", "-o", &archive, name]);
        podman.ok(&["load", "-q", "-i", &archive]);
        let image = format!("docker.io/library/{name}");
        let flags = ["run", "--rm", "--network", "none", "-w", "/tmp", &image];
        assert_eq!(podman.ok(&[&flags[..], words].concat()), want, "{name} in podman");
    }
}

#[test]
#[ignore = "needs Debian's podman and nginx: `cargo xtask test` installs them and runs this"]
fn a_web_server_answers_here_and_in_podman() {
    let env = TestEnv::new();
    let bench = Bench::new("pack-web");
    let words = podman(&bench);
    let podman = Engine {
        words: words.iter().map(String::as_str).collect(),
    };
    // Without a trace it starts and finds its configuration.
    env.ok(&["pack", "-q", "-t", "plain", "/usr/sbin/nginx"]);
    env.ok(&["run", "--rm", "plain", "nginx", "-t"]);
    let site = env.path("site");
    fs::create_dir_all(&site).unwrap();
    fs::write(site.join("index.html"), "from the quay\n").unwrap();
    let conf = "events {}\nhttp { server { listen 127.0.0.1:8099; root /srv; } }\n";
    fs::write(env.path("nginx.conf"), conf).unwrap();
    let (page, conf) = (
        format!("{}:/srv", site.display()),
        format!("{}:/etc/nginx/nginx.conf", env.path("nginx.conf").display()),
    );
    let trace = "nginx && nginx -s quit";
    let flags = [
        "pack", "-q", "-t", "web", "--file", &page, "--file", &conf, "--trace", trace,
    ];
    env.ok(&[&flags[..], &["/usr/sbin/nginx", "--", "-g", "daemon off;"]].concat());
    env.ok(&["run", "-d", "--name", "web", "web"]);
    let pid = env.field("web", "Pid");
    let ask = |pid: &str| run(&["nsenter", "-n", "-t", pid, "curl", "-s", "http://127.0.0.1:8099/"]).stdout;
    eventually("it answers here", || ask(&pid) == "from the quay\n");
    env.ok(&["rm", "-f", "web"]);
    env.ok(&["save", "-o", &bench.path("web"), "web"]);
    podman.ok(&["load", "-q", "-i", &bench.path("web")]);
    podman.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "none",
        "docker.io/library/web",
    ]);
    let pid = podman.ok(&["inspect", "-f", "{{.State.Pid}}", "web"]);
    eventually("it answers in podman", || ask(&pid) == "from the quay\n");
    podman.ok(&["rm", "-f", "-t", "0", "web"]);
}
