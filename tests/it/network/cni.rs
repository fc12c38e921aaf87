//! `--network cni:NAME`, with the plugins of Debian's containernetworking-plugins.

use super::*;
use std::process::Command;

/// A host with a CNI configuration of a bridge and published ports.
struct Harbour {
    lan: Lan,
    env: TestEnv,
}

impl Harbour {
    fn new() -> Self {
        let (lan, env) = (Lan::new(), TestEnv::new());
        let addresses = env.path("ipam").display().to_string();
        let list = serde_json::json!({
            "cniVersion": "1.0.0",
            "name": "mine",
            "plugins": [
                {
                    "type": "bridge", "bridge": "cnibr0", "isGateway": true, "ipMasq": true,
                    "ipam": {
                        "type": "host-local", "dataDir": addresses,
                        "ranges": [[{ "subnet": "10.88.5.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        let directory = env.path("cni");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("10-mine.conflist"), list.to_string()).unwrap();
        let broken = serde_json::json!({ "cniVersion": "1.0.0", "name": "broken", "type": "no-such-plugin" });
        fs::write(directory.join("20-broken.conf"), broken.to_string()).unwrap();
        Self { lan, env }
    }

    fn try_cais(&self, words: &[&str], kill: Option<&str>) -> Done {
        let mut command: Command = self.env.command(words);
        command.env("NETCONFPATH", self.env.path("cni"));
        if let Some(kill) = kill {
            command.env("CAIS_TEST_KILL", kill);
        }
        Done::of(self.lan.host.inside(&command))
    }

    fn cais(&self, words: &[&str]) -> String {
        let done = self.try_cais(words, None);
        assert_eq!(done.code, 0, "cais {words:?}: {}", done.stderr);
        done.stdout
    }

    /// Addresses, rules, namespaces and files that are held for containers.
    fn held(&self) -> Vec<String> {
        let mut held = Vec::new();
        for directory in ["ipam/mine", "run/cni", "run/endpoints"] {
            let entries = fs::read_dir(self.env.path(directory))
                .into_iter()
                .flatten()
                .flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            held.extend(names.filter(|name| name != "lock" && !name.starts_with("last_reserved")));
        }
        let rules = self.lan.host.sh("iptables-save; ip -o link show type veth");
        let ours = rules
            .lines()
            .filter(|line| line.contains("10.88.5.") || line.contains("cnibr0"));
        held.extend(ours.map(str::to_owned));
        held
    }
}

#[test]
fn a_container_in_a_network_of_cni() {
    let harbour = Harbour::new();
    let (lan, host) = (&harbour.lan, &harbour.lan.host);
    let script = tcp_echo(80);
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "cni:mine",
        "-p",
        "8080:80",
        "host",
        "sh",
        "-c",
    ];
    harbour.cais(&[&words[..], &[&script]].concat());
    eventually("it answers outside, which is seen", || {
        ask(&lan.outside, "tcp", HOST4, 8080).as_deref() == Some(OUTSIDE4)
    });
    for address in ["127.0.0.1", "::1", HOST4] {
        assert!(ask(host, "tcp", address, 8080).is_some(), "{address}");
    }
    let shown = harbour.cais(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"]);
    assert!(shown.contains("\"IPAddress\":\"10.88.5.2\""), "{shown}");
    assert!(harbour.cais(&["ps"]).contains("0.0.0.0:8080->80/tcp"));
    let routes = harbour.cais(&["exec", "web", "ip", "route"]);
    assert!(routes.contains("default via 10.88.5.1 dev eth0"), "{routes}");
    harbour.cais(&["restart", "-t", "0", "web"]);
    eventually("it answers again", || {
        ask(&lan.outside, "tcp", HOST4, 8080).is_some()
    });
    harbour.cais(&["rm", "-f", "web"]);
    assert_eq!(harbour.held(), Vec::<String>::new());
}

/// Whom the plugins say to ask for names; `--dns` and its kin count for more.
#[test]
fn names_as_cni_says() {
    let harbour = Harbour::new();
    let path = harbour.env.path("cni/10-mine.conflist");
    let mut list: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    list["plugins"][0]["dns"] = serde_json::json!({
        "nameservers": ["10.88.5.53", "fd00::53"], "search": ["pier.example"], "options": ["ndots:3"],
    });
    fs::write(&path, list.to_string()).unwrap();
    let shows = |flags: &[&str]| {
        let words = [
            &["run", "--rm", "--network", "cni:mine"],
            flags,
            &["host", "cat", "/etc/resolv.conf"],
        ];
        harbour.cais(&words.concat())
    };
    assert_eq!(
        shows(&[]),
        "nameserver 10.88.5.53\nnameserver fd00::53\nsearch pier.example\noptions ndots:3\n"
    );
    assert_eq!(
        shows(&["--dns", "10.9.9.9"]),
        "nameserver 10.9.9.9\nsearch pier.example\noptions ndots:3\n"
    );
    assert_eq!(
        shows(&["--dns-search", "own.example", "--dns-option", "rotate"]),
        "nameserver 10.88.5.53\nnameserver fd00::53\nsearch own.example\noptions rotate\n"
    );
    assert_eq!(harbour.held(), Vec::<String>::new());
}

/// Neither terminal nor descriptors of the command that began it.
#[test]
fn a_plugin_has_nothing_of_the_caller() {
    use std::os::unix::fs::PermissionsExt;
    let harbour = Harbour::new();
    let (plugin, seen) = (harbour.env.path("plugins/spy"), harbour.env.path("seen"));
    fs::create_dir(harbour.env.path("plugins")).unwrap();
    // What it refused is not left to be removed by the next command, whose descriptors it has.
    let script = "#!/bin/sh\n[ $CNI_COMMAND = ADD ] || exit 0\nls -l /proc/$$/fd >";
    let script = format!("{script}{}\nexit 1\n", seen.display());
    fs::write(&plugin, script).unwrap();
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755)).unwrap();
    let spied = serde_json::json!({ "cniVersion": "1.0.0", "name": "spied", "type": "spy" });
    fs::write(harbour.env.path("cni/30-spied.conf"), spied.to_string()).unwrap();
    let mut command = harbour
        .env
        .command(&["run", "-d", "--network", "cni:spied", "host", "true"]);
    command
        .env("NETCONFPATH", harbour.env.path("cni"))
        .env("CNI_PATH", harbour.env.path("plugins"));
    let caller = after("exec 7</dev/null", &harbour.lan.host.inside(&command));
    let done = Done::of(caller);
    assert_ne!(done.code, 0);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains(" 0 -> ") && !seen.contains(" 7 -> "), "{seen}");
}

#[test]
fn what_cni_plugins_refuse_is_told() {
    let harbour = Harbour::new();
    for (network, expected) in [
        ("cni:nosuch", "there is no CNI configuration named \"nosuch\""),
        ("cni:broken", "there is no CNI plugin no-such-plugin"),
        ("cni:", "cni:NAME"),
    ] {
        let done = harbour.try_cais(&["run", "--rm", "--network", network, "host", "true"], None);
        assert!(
            done.code == 125 && done.stderr.contains(expected),
            "{network}: {done:?}"
        );
    }
    // An address that is taken for all others.
    let full = fs::read_to_string(harbour.env.path("cni/10-mine.conflist")).unwrap();
    fs::write(
        harbour.env.path("cni/10-mine.conflist"),
        full.replace("10.88.5.0/24", "10.88.5.0/30"),
    )
    .unwrap();
    harbour.cais(&[
        "run",
        "-d",
        "--name",
        "only",
        "--network",
        "cni:mine",
        "host",
        "sleep",
        "1000",
    ]);
    let done = harbour.try_cais(&["run", "--rm", "--network", "cni:mine", "host", "true"], None);
    assert!(
        done.stderr.contains("the CNI plugin bridge failed to ADD"),
        "{}",
        done.stderr
    );
    harbour.cais(&["rm", "-f", "only"]);
    assert_eq!(harbour.held(), Vec::<String>::new());
}

/// Whatever step cais is killed at, the next command has the plugins take everything back.
#[test]
fn a_start_with_cni_killed_at_every_step() {
    let harbour = Harbour::new();
    for step in 0..80 {
        let words = [
            "run",
            "--rm",
            "--network",
            "cni:mine",
            "-p",
            "8080:80",
            "host",
            "true",
        ];
        let done = harbour.try_cais(&words, Some(&format!("caller:{step}")));
        eventually(&format!("everything is given back after step {step}"), || {
            harbour.cais(&["ps", "-a"]);
            harbour.held().is_empty()
        });
        if done.code == 0 {
            return;
        }
    }
    panic!("it is still killed");
}
