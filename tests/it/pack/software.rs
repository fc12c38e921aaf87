//! Software of Debian, packed, here and in podman.

use super::*;

/// Whole packages, where nobody wants to trace.
fn whole_packages(env: &TestEnv) {
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
    whole_packages(&env);
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

/// A tree with a C library, and a program that needs a library of a directory that only
/// `ld.so.conf` names.
fn tree_with_cache(root: &Path) {
    for directory in ["etc", "opt/lib", "bin", "lib64", "lib/x86_64-linux-gnu"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for (from, to) in [
        ("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        (
            "/lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libc.so.6",
        ),
    ] {
        fs::copy(from, root.join(to)).unwrap();
    }
    fs::write(root.join("etc/ld.so.conf"), "/opt/lib\n").unwrap();
    fs::write(root.join("one.c"), "int one(void) { return 1; }\n").unwrap();
    fs::write(
        root.join("main.c"),
        "int one(void); int main(void) { return one() + 40; }\n",
    )
    .unwrap();
    let script = "gcc -shared -fPIC -Wl,-soname,libone.so.1 -o opt/lib/libone.so.1.0 one.c && \
        gcc -o bin/x main.c opt/lib/libone.so.1.0 && /sbin/ldconfig -r .";
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(root)
        .status();
    assert!(status.unwrap().success());
}

#[test]
#[ignore = "needs Debian's gcc: `cargo xtask test` installs it and runs this"]
fn a_library_that_only_the_cache_knows_is_found() {
    let env = TestEnv::new();
    let root = env.path("tree");
    tree_with_cache(&root);
    let tree = root.to_str().unwrap();
    let report = env.ok(&[
        "pack", "--format", "json", "-t", "cached", "--root", tree, "/bin/x",
    ]);
    has(
        &files(&report),
        &[
            "/etc/ld.so.cache",
            "/opt/lib/libone.so.1",
            "/opt/lib/libone.so.1.0",
        ],
    );
    let done = env.cais(&["run", "--rm", "cached"]);
    assert_eq!(done.code, 41, "{}", done.stderr);
    let done = env.cais(&["pack", "--root", tree, "--trace", "true", "/bin/x"]);
    assert!(
        done.code == 125 && done.stderr.contains("--root"),
        "{}",
        done.stderr
    );
}
