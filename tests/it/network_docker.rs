//! The same application of three containers under cais and under Docker: who reaches whom.

use crate::engines_support::Bench;
use crate::network_support::{HOST4, HOST6, Lan, Namespace};
use crate::support::{Done, TestEnv, eventually};
use std::collections::BTreeMap;
use std::process::Command;

/// Who reaches whom: `from -> to`, and whether it does.
type Matrix = BTreeMap<String, bool>;

/// Where cais differs from Docker 20.10, and Docker's answer. Each stands with its reason in
/// docs/compatibility.md.
const DIFFERENT: &[(&str, bool)] = &[
    // Docker 20.10 gives containers IPv6 only where the daemon's configuration has it.
    ("alone -> published 6", false),
    ("api -> published 6", false),
    ("db -> published 6", false),
    ("web -> published 6", false),
    // Docker before 28 lets in who routes a container's own address by way of the host.
    ("outside -> address of alone", true),
    ("outside -> address of api", true),
    ("outside -> address of db", true),
    ("outside -> address of web", true),
];

/// A command of an engine.
type Call<'a> = dyn Fn(&[&str]) -> Done + 'a;

/// An engine with the application in it.
struct Application<'a> {
    lan: &'a Lan,
    call: Box<Call<'a>>,
}

impl Application<'_> {
    fn ok(&self, words: &[&str]) -> String {
        let done = (self.call)(words);
        assert_eq!(done.code, 0, "{words:?}: {}{}", done.stdout, done.stderr);
        done.stdout.trim().to_owned()
    }

    /// Starts the application. `image` is what stands for it on the command line.
    fn start(&self, image: &[&str]) {
        self.ok(&["network", "create", "front"]);
        self.ok(&["network", "create", "back"]);
        let serve = ["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/srv"];
        let run = |name: &str, flags: &[&str]| {
            let words = [&["run", "-d", "--name", name], flags, image, &serve].concat();
            self.ok(&words);
        };
        run("web", &["--network", "front", "-p", "8080:80"]);
        run("db", &["--network", "back", "-p", "127.0.0.1:8081:80"]);
        run("api", &["--network", "front"]);
        self.ok(&["network", "connect", "back", "api"]);
        run("alone", &[]);
    }

    fn address(&self, name: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let all = self.ok(&["inspect", "-f", format, name]);
        all.split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Whether somebody gets the page of what is at this place: address or name, and port.
    fn fetches(&self, from: &str, place: &str) -> bool {
        let script = format!("printf 'GET /x HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 2 {place}");
        let done = match from {
            "host" => by(&self.lan.host, &script),
            "outside" => by(&self.lan.outside, &script),
            container => (self.call)(&["exec", container, "/bin/sh", "-c", &script]),
        };
        done.code == 0 && done.stdout.contains("harbour")
    }

    fn matrix(&self) -> Matrix {
        let mut matrix = Matrix::new();
        let containers = ["web", "api", "db", "alone"];
        let addresses: Vec<(&str, String)> = containers
            .iter()
            .map(|name| (*name, self.address(name)))
            .collect();
        // Somebody outside routes the containers' addresses by way of the host.
        for (_, address) in &addresses {
            self.lan
                .outside
                .sh(&format!("ip route add {address}/32 via {HOST4}"));
        }
        for from in ["host", "outside", "web", "api", "db", "alone"] {
            let mut targets: Vec<(String, String)> = vec![
                ("published".to_owned(), format!("{HOST4} 8080")),
                ("published 6".to_owned(), format!("{HOST6} 8080")),
                ("published locally".to_owned(), format!("{HOST4} 8081")),
            ];
            if from == "host" {
                targets.push(("published at 127.0.0.1".to_owned(), "127.0.0.1 8080".to_owned()));
                targets.push(("published at ::1".to_owned(), "::1 8080".to_owned()));
                targets.push((
                    "published locally at 127.0.0.1".to_owned(),
                    "127.0.0.1 8081".to_owned(),
                ));
            }
            for (name, address) in &addresses {
                targets.push((format!("address of {name}"), format!("{address} 80")));
                if !["host", "outside"].contains(&from) {
                    targets.push((format!("name {name}"), format!("{name} 80")));
                }
            }
            for (target, place) in targets {
                matrix.insert(format!("{from} -> {target}"), self.fetches(from, &place));
            }
        }
        matrix
    }
}

fn by(namespace: &Namespace, script: &str) -> Done {
    namespace.try_sh(script)
}

#[test]
#[ignore = "needs Debian's docker.io: `cargo xtask test` installs it and runs this"]
fn the_same_application_under_docker() {
    let mut bench = Bench::new("network");
    let root = bench.path("rootfs");
    std::fs::create_dir_all(format!("{root}/srv")).unwrap();
    std::fs::write(format!("{root}/srv/x"), "harbour\n").unwrap();
    let ours = {
        let (lan, env) = (Lan::new(), TestEnv::new());
        let call = |words: &[&str]| lan.host.try_cais(&env, words);
        let application = Application {
            lan: &lan,
            call: Box::new(call),
        };
        application.start(&["--rootfs", &root]);
        // The first packets of IPv6 may find addresses that are not yet known to be the only ones.
        eventually("IPv6 answers", || {
            application.fetches("host", &format!("{HOST6} 8080"))
                && application.fetches("api", &format!("{HOST6} 8080"))
        });
        let matrix = application.matrix();
        call(&["rm", "-f", "web", "db", "api", "alone"]);
        matrix
    };
    let lan = Lan::new();
    // A new namespace has the machine's setting. Only where dockerd itself turns routing on does
    // it drop what is routed to containers, and many a host routes already.
    lan.host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward");
    let archive = bench.archive();
    let socket = format!("unix://{}", bench.path("docker.sock"));
    let nsenter = format!("--net={}", lan.host.path());
    let (data, exec, pid) = (bench.path("data"), bench.path("exec"), bench.path("pid"));
    bench.start(&[
        "nsenter",
        &nsenter,
        "dockerd",
        "--data-root",
        &data,
        "--exec-root",
        &exec,
        "-p",
        &pid,
        "-H",
        &socket,
    ]);
    let call = |words: &[&str]| {
        let mut command = Command::new("docker");
        command.args(["-H", &socket]).args(words);
        Done::of(command)
    };
    eventually("dockerd answers", || call(&["version"]).code == 0);
    let application = Application {
        lan: &lan,
        call: Box::new(call),
    };
    application.ok(&["import", &archive, "app"]);
    application.start(&["app"]);
    let theirs = application.matrix();
    call(&["rm", "-f", "web", "db", "api", "alone"]);
    let mut different = Vec::new();
    for (cell, reaches) in &ours {
        let docker = theirs.get(cell).copied().unwrap_or_default();
        if *reaches != docker {
            different.push((cell.as_str(), docker));
        }
    }
    let mut expected = DIFFERENT.to_vec();
    expected.sort_unstable();
    assert_eq!(different, expected, "ours {ours:#?}");
}
