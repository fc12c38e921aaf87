//! `examples/three-tier`: built, brought up, used by a browser, killed part by part, taken down.

use crate::network_support::Namespace;
use crate::support::{Done, TestEnv, executable};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const PARTS: [&str; 3] = ["three-tier-front", "three-tier-back", "three-tier-database"];

/// As `eventually`, for what takes longer: a database makes its files, or recovers.
#[track_caller]
fn in_time(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed().as_secs() < 90, "not so after 90 seconds: {what}");
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        rustix::event::poll(&mut [], Some(&pause)).unwrap();
    }
}

struct Harbour {
    env: TestEnv,
    /// The host's network: what is published is seen in it.
    host: Namespace,
}

impl Harbour {
    fn new() -> Self {
        Self {
            env: TestEnv::new(),
            host: Namespace::new(),
        }
    }

    fn script(&self, name: &str, words: &[&str]) -> Done {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/three-tier");
        let mut command = self.env.command(&[]);
        command
            .env("CAIS", executable())
            .env("STATE", self.state())
            .env("PUBLISH", "127.0.0.1:8080");
        let mut script = Command::new("sh");
        script.arg(examples.join(name)).args(words);
        for (key, value) in command.get_envs() {
            script.env(key, value.unwrap_or_default());
        }
        Done::of(self.host.inside(&script))
    }

    #[track_caller]
    fn run(&self, name: &str, words: &[&str]) -> String {
        let done = self.script(name, words);
        assert_eq!(done.code, 0, "{name}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    fn cais(&self, words: &[&str]) -> String {
        self.host.cais(&self.env, words)
    }

    fn state(&self) -> PathBuf {
        self.env.path("state")
    }

    /// The page as a browser on the host has it after its scripts have run.
    fn browse(&self, query: &str) -> String {
        let profile = self.env.path("browser");
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
            --disable-background-networking --disable-component-update --disable-sync --virtual-time-budget=5000 \
            --timeout=20000 --dump-dom";
        let script = format!(
            "chromium {flags} --user-data-dir={} 'http://127.0.0.1:8080/{query}' 2> /dev/null",
            profile.display()
        );
        self.host.sh(&script)
    }

    /// What the back end has, by way of the front end.
    fn entries(&self) -> Done {
        self.host
            .try_sh("curl -sf -m 5 http://127.0.0.1:8080/api/entries")
    }

    fn write(&self, text: &str) -> bool {
        let body = format!("{{\"text\": \"{text}\"}}");
        let call = format!("curl -sf -m 5 -d '{body}' http://127.0.0.1:8080/api/entries");
        self.host.try_sh(&call).code == 0
    }

    fn pid(&self, part: &str) -> String {
        let described = self.cais(&["inspect", part]);
        let value: serde_json::Value = serde_json::from_str(&described).unwrap();
        value[0]["State"]["Pid"].to_string()
    }

    /// Whether a part can connect to a port of an address.
    fn reaches(&self, part: &str, address: &str, port: u16) -> bool {
        let pid = self.pid(part);
        let script = format!("timeout 2 bash -c '< /dev/tcp/{address}/{port}'");
        let mut command = Command::new("nsenter");
        command.args(["-n", "-t", &pid, "sh", "-c", &script]);
        command.output().unwrap().status.success()
    }

    /// The first address of a part in a network.
    fn address(&self, part: &str, network: &str) -> String {
        let described = self.cais(&["inspect", part]);
        let value: serde_json::Value = serde_json::from_str(&described).unwrap();
        let address = &value[0]["NetworkSettings"]["Networks"][network]["IPAddress"];
        address
            .as_str()
            .unwrap_or_else(|| panic!("no address of {part} in {network}: {described}"))
            .to_owned()
    }
}

#[test]
#[ignore = "needs Debian's nginx-light, python3-psycopg2, postgresql, chromium: `cargo xtask test` installs them and runs this"]
fn a_page_a_program_and_a_database() {
    let harbour = Harbour::new();
    harbour.run("build.sh", &[]);
    assert!(harbour.run("up.sh", &[]).contains("http://127.0.0.1:8080/"));
    in_time("the page has its entries", || harbour.entries().code == 0);

    // A browser writes to the database and reads back.
    let page = harbour.browse("?write=first%20ship%20in");
    assert!(page.contains("<li>first ship in</li>"), "{page}");
    assert!(harbour.browse("").contains("<li>first ship in</li>"));

    // The front end and the database have no way to each other; the back end has.
    let database = harbour.address("three-tier-database", "three-tier-inner");
    assert!(harbour.reaches("three-tier-back", &database, 5432));
    assert!(!harbour.reaches("three-tier-front", &database, 5432));
    let front = harbour.address("three-tier-front", "three-tier-outer");
    assert!(!harbour.reaches("three-tier-database", &front, 8080));

    // Each part is killed and comes back; what was written is there.
    for part in PARTS {
        let before = harbour.pid(part);
        fs::read_to_string(format!("/proc/{before}/comm")).unwrap();
        harbour.host.sh(&format!("kill -9 {before}"));
        in_time(&format!("{part} is back"), || {
            let now = harbour.pid(part);
            now != before && now != "0"
        });
        in_time(&format!("the page works after {part} was killed"), || {
            harbour.write(&format!("after {part}"))
        });
    }
    let page = harbour.browse("");
    assert!(page.contains("<li>first ship in</li>"), "{page}");
    for part in PARTS {
        assert!(page.contains(&format!("<li>after {part}</li>")), "{page}");
    }

    // Down and up again: the data outlives the containers.
    harbour.run("down.sh", &[]);
    assert_eq!(harbour.cais(&["ps", "-aq"]), "");
    assert!(harbour.state().join("database/data/PG_VERSION").exists());
    harbour.run("up.sh", &[]);
    harbour.run("up.sh", &[]);
    in_time("the entries are there again", || {
        harbour.entries().stdout.contains("first ship in")
    });

    // And away with everything.
    harbour.run("down.sh", &["--all"]);
    harbour.run("down.sh", &["--all"]);
    assert!(!harbour.state().exists());
    assert_eq!(harbour.cais(&["images", "-q"]), "");
    in_time("no interface is left", || harbour.host.interfaces() == ["lo"]);
}
