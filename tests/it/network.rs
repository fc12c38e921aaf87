//! Networks: addresses, ways in and out, `cais network`, and what is left after a kill.

use crate::network_support::{
    HOST4, HOST6, Lan, Namespace, OUTSIDE4, OUTSIDE6, ask, seen, tcp_echo, udp_echo,
};
use crate::support::{Done, TestEnv, after, eventually};
use std::fs;

mod cni;
mod flags;

mod flows;
mod kills;
mod many;
mod ports;
mod six;

/// Starts a container that answers at port 80 with the address of whoever asks.
fn serve(lan: &Lan, env: &TestEnv, name: &str, flags: &[&str]) {
    let script = format!("{} & exec {}", udp_echo(80), tcp_echo(80));
    let words = [
        &["run", "-d", "--name", name][..],
        flags,
        &["host", "sh", "-c", &script],
    ]
    .concat();
    lan.host.cais(env, &words);
    eventually("the server listens", || {
        let script = "ss -Hltn 'sport = 80' | grep -q . && ss -Hlun 'sport = 80' | grep -q .";
        lan.host.try_cais(env, &["exec", name, "sh", "-c", script]).code == 0
    });
}

/// What `network check` finds must be nothing.
fn assert_sound(host: &Namespace, env: &TestEnv) {
    let done = host.try_cais(env, &["network", "check"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, ""), "{}", done.stderr);
}

/// The files of leases and endpoints, and the ports of bridges, that are there.
fn left(host: &Namespace, env: &TestEnv) -> Vec<String> {
    let mut left = Vec::new();
    let networks = fs::read_dir(env.path("run/networks"))
        .into_iter()
        .flatten()
        .flatten();
    let directories = networks
        .map(|entry| entry.path())
        .chain([env.path("run/endpoints")]);
    for directory in directories {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let files = names.filter(|name| !name.starts_with(".next") && !name.starts_with("names"));
        left.extend(files.map(|name| format!("{}/{name}", directory.display())));
    }
    left.extend(
        host.interfaces()
            .into_iter()
            .filter(|name| name.starts_with("cv")),
    );
    left
}

/// The kernel takes interfaces away with their namespace, a little later.
fn assert_nothing_left(host: &Namespace, env: &TestEnv) {
    eventually("nothing is left", || left(host, env).is_empty());
}

#[test]
fn a_container_has_addresses_and_a_way_out() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let script = "ip -br addr show eth0; ip route; ip -6 route show default; cat /etc/hosts";
    let flags = ["run", "--rm", "--network", "bridge", "--hostname", "box"];
    let text = lan
        .host
        .cais(&env, &[&flags[..], &["host", "sh", "-c", script]].concat());
    for expected in [
        "UP",
        "172.17.0.2/16",
        "fd",
        "default via 172.17.0.1 dev eth0",
        "172.17.0.2\tbox",
        "172.17.0.1\thost.docker.internal",
        "172.17.0.1\thost.containers.internal",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // Outside sees the host.
    let servers = [
        lan.outside.spawn(&tcp_echo(7000)),
        lan.outside.spawn(&udp_echo(7000)),
    ];
    eventually("the servers listen", || {
        lan.outside
            .try_sh("ss -Hltn 'sport = 7000' | grep -q . && ss -Hlun 'sport = 7000' | grep -q .")
            .code
            == 0
    });
    for (address, expected) in [(OUTSIDE4, HOST4), (OUTSIDE6, HOST6)] {
        let target = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let script = format!("socat -t2 -T2 - TCP:{target}:7000 </dev/null");
        let words = ["run", "--rm", "--network", "bridge", "host", "sh", "-c", &script];
        assert_eq!(seen(&lan.host.cais(&env, &words)).as_deref(), Some(expected));
    }
    drop(servers);
    assert_nothing_left(&lan.host, &env);
    assert_sound(&lan.host, &env);
}

/// Who has a port is named.
fn taken_ports_are_named(lan: &Lan, env: &TestEnv) {
    let taken = lan.host.try_cais(
        env,
        &[
            "run",
            "--rm",
            "-p",
            "8080:80",
            "--network",
            "bridge",
            "host",
            "true",
        ],
    );
    assert_eq!(taken.code, 125);
    assert!(
        taken.stderr.contains("taken by container web"),
        "{}",
        taken.stderr
    );
    let server = lan.host.spawn(&tcp_echo(9000));
    eventually("the host's server listens", || {
        lan.host.try_sh("ss -Hltn 'sport = 9000' | grep -q .").code == 0
    });
    let taken = lan.host.try_cais(
        env,
        &[
            "run",
            "--rm",
            "-p",
            "9000:80",
            "--network",
            "bridge",
            "host",
            "true",
        ],
    );
    assert!(taken.stderr.contains("(socat)"), "{}", taken.stderr);
    drop(server);
}

#[test]
fn published_ports_from_everywhere() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    serve(
        &lan,
        &env,
        "web",
        &[
            "-p",
            "8080:80",
            "-p",
            "8080:80/udp",
            "-p",
            "127.0.0.1:8081:80",
            "--network",
            "bridge",
        ],
    );
    for protocol in ["tcp", "udp"] {
        for (from, address, expected) in [
            (&lan.outside, HOST4, OUTSIDE4),
            (&lan.outside, HOST6, OUTSIDE6),
            (&lan.host, HOST4, HOST4),
            (&lan.host, "127.0.0.1", "172.17.0.1"),
        ] {
            let mut saw = None;
            eventually(&format!("{protocol} {address} answers"), || {
                saw = ask(from, protocol, address, 8080);
                saw.is_some()
            });
            assert_eq!(saw.as_deref(), Some(expected), "{protocol} {address}");
        }
        // By way of the monitor: a packet from ::1 cannot leave the host.
        eventually(&format!("{protocol} ::1 answers"), || {
            ask(&lan.host, protocol, "::1", 8080).is_some()
        });
    }
    assert!(ask(&lan.host, "tcp", "127.0.0.1", 8081).is_some());
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8081), None);
    // From another container, and from the container itself.
    let script = format!("socat -t2 -T2 - TCP:{HOST4}:8080 </dev/null");
    let other = lan.host.cais(
        &env,
        &["run", "--rm", "--network", "bridge", "host", "sh", "-c", &script],
    );
    assert!(seen(&other).is_some(), "{other}");
    assert!(seen(&lan.host.cais(&env, &["exec", "web", "sh", "-c", &script])).is_some());
    taken_ports_are_named(&lan, &env);
    assert_sound(&lan.host, &env);
    lan.host.cais(&env, &["rm", "-f", "web"]);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080), None);
    assert_sound(&lan.host, &env);
}

#[test]
fn nobody_outside_reaches_what_is_not_published() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    serve(&lan, &env, "web", &["--network", "bridge"]);
    serve(
        &lan,
        &env,
        "local",
        &["-p", "127.0.0.1:8080:80", "--network", "bridge"],
    );
    let address = |name: &str| {
        let script = "ip -4 -o addr show eth0 | tr / ' ' | cut -d' ' -f7";
        lan.host
            .cais(&env, &["exec", name, "sh", "-c", script])
            .trim()
            .to_owned()
    };
    // A neighbour that sends packets for the container to the host.
    lan.outside.sh(&format!("ip route add 172.16.0.0/12 via {HOST4}"));
    for name in ["web", "local"] {
        let address = address(name);
        assert!(
            ask(&lan.host, "tcp", &address, 80).is_some(),
            "the host reaches {name}"
        );
        assert_eq!(ask(&lan.outside, "tcp", &address, 80), None, "{name}");
        assert_eq!(ask(&lan.outside, "udp", &address, 80), None, "{name}");
    }
    // CVE-2020-8558, CVE-2025-54388: a neighbour that sends packets for 127.0.0.1 to the host.
    let service = lan
        .host
        .spawn("socat TCP4-LISTEN:7777,bind=127.0.0.1,fork SYSTEM:'echo 10.0.0.1'");
    eventually("the service listens", || {
        ask(&lan.host, "tcp", "127.0.0.1", 7777).is_some()
    });
    lan.outside
        .sh("sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.lan0.route_localnet=1");
    lan.outside.sh(&format!(
        "ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1/32 via {HOST4} src {OUTSIDE4}"
    ));
    for port in [7777, 8080] {
        assert_eq!(ask(&lan.outside, "tcp", "127.0.0.1", port), None, "{port}");
    }
    // The same from inside a container that may change its routes.
    let script = "ip addr del 127.0.0.1/8 dev lo; sysctl -qw net.ipv4.conf.all.route_localnet=1; \
                  ip route add 127.0.0.1/32 via 172.17.0.1; socat -T2 - TCP:127.0.0.1:7777,connect-timeout=1 </dev/null";
    let words = [
        "run",
        "--rm",
        "--privileged",
        "--network",
        "bridge",
        "host",
        "sh",
        "-c",
        script,
    ];
    let done = lan.host.try_cais(&env, &words);
    assert!(!done.stdout.contains("10.0.0.1"), "{}", done.stdout);
    drop(service);
}

#[test]
fn networks_are_apart() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    host.cais(&env, &["network", "create", "front"]);
    host.cais(
        &env,
        &[
            "network",
            "create",
            "--internal",
            "--subnet",
            "10.99.0.0/24",
            "back",
        ],
    );
    host.cais(&env, &["network", "create", "-o", "icc=false", "alone"]);
    serve(&lan, &env, "one", &["--network", "front"]);
    serve(&lan, &env, "two", &["--network", "back", "--ip", "10.99.0.7"]);
    serve(&lan, &env, "three", &["--network", "alone"]);
    let address = |name: &str| {
        let script = "ip -4 -o addr show eth0 | tr / ' ' | cut -d' ' -f7";
        host.cais(&env, &["exec", name, "sh", "-c", script])
            .trim()
            .to_owned()
    };
    assert_eq!(address("two"), "10.99.0.7");
    let reaches = |network: &str, target: &str| {
        let script = format!("socat -t2 -T2 - TCP:{target}:80,connect-timeout=1 </dev/null");
        let done = host.try_cais(
            &env,
            &["run", "--rm", "--network", network, "host", "sh", "-c", &script],
        );
        seen(&done.stdout).is_some()
    };
    for (network, name, expected) in [
        ("front", "one", true),
        ("back", "two", true),
        ("front", "two", false),
        ("back", "one", false),
        ("bridge", "one", false),
        ("alone", "three", false),
    ] {
        assert_eq!(reaches(network, &address(name)), expected, "{network} {name}");
    }
    let outside = lan.outside.spawn(&tcp_echo(7000));
    eventually("the server listens", || {
        lan.outside.try_sh("ss -Hltn 'sport = 7000' | grep -q .").code == 0
    });
    let script = format!("socat -t2 -T2 - TCP:{OUTSIDE4}:7000,connect-timeout=1 </dev/null");
    for (network, expected) in [("front", true), ("back", false)] {
        let done = host.try_cais(
            &env,
            &["run", "--rm", "--network", network, "host", "sh", "-c", &script],
        );
        assert_eq!(seen(&done.stdout).is_some(), expected, "{network}");
    }
    drop(outside);
    let done = host.try_cais(
        &env,
        &["run", "--rm", "--network", "back", "-p", "1:1", "host", "true"],
    );
    assert!(done.stderr.contains("internal"), "{}", done.stderr);
    assert_sound(host, &env);
}

/// `one` is there and has 10.98.0.0/24.
fn mistakes_of_network(host: &Namespace, env: &TestEnv) {
    for (words, expected) in [
        (&["create", "one"][..], "already exists"),
        (&["create", "--subnet", "10.98.0.0/16", "x"], "overlaps"),
        (&["create", "--subnet", "192.0.2.0/24", "x"], "overlaps"),
        (&["create", "--subnet", "10.0.0.0/33", "x"], "not a subnet"),
        (&["create", "-o", "bogus=1", "x"], "not an option"),
        (&["create", "host"], "predefined"),
        (&["create", "a/b"], "cannot be the name"),
        (&["rm", "no-such"], "not found"),
        (&["inspect", "no-such"], "not found"),
        (&["connect", "no-such", "box"], "No such container"),
    ] {
        let done = host.try_cais(env, &[&["network"], words].concat());
        assert!(
            done.code == 1 && done.stderr.contains(expected),
            "{words:?}: {done:?}"
        );
    }
}

#[test]
fn networks_are_made_listed_and_removed() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    let made = host.cais(
        &env,
        &[
            "network",
            "create",
            "--subnet",
            "10.98.0.0/24",
            "--gateway",
            "10.98.0.9",
            "--ip-range",
            "10.98.0.128/25",
            "--aux-address",
            "router=10.98.0.129",
            "--label",
            "a=b",
            "-o",
            "mtu=1400",
            "one",
        ],
    );
    assert_eq!(made.trim().len(), 64);
    let shown = host.cais(&env, &["network", "inspect", "one"]);
    for expected in [
        "\"Subnet\": \"10.98.0.0/24\"",
        "\"Gateway\": \"10.98.0.9\"",
        "\"a\": \"b\"",
        "\"Scope\": \"local\"",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let script = "cat /sys/class/net/eth0/mtu; ip -4 -o addr show eth0; ip route show default";
    let text = host.cais(
        &env,
        &["run", "--rm", "--network", "one", "host", "sh", "-c", script],
    );
    for expected in ["1400", "10.98.0.128/24", "via 10.98.0.9"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    mistakes_of_network(host, &env);
    host.cais(
        &env,
        &[
            "run",
            "-d",
            "--name",
            "box",
            "--network",
            "one",
            "host",
            "sleep",
            "1000",
        ],
    );
    let busy = host.try_cais(&env, &["network", "rm", "one"]);
    assert!(busy.code == 1 && busy.stderr.contains("box"), "{busy:?}");
    host.cais(&env, &["network", "create", "two"]);
    let names = host.cais(&env, &["network", "ls", "--format", "{{.Name}}"]);
    assert_eq!(names, "bridge\nhost\nnone\none\ntwo\n");
    assert!(host.cais(&env, &["network", "prune", "-f"]).contains("two"));
    host.cais(&env, &["rm", "-f", "box"]);
    host.cais(&env, &["network", "rm", "one"]);
    let links = host.interfaces();
    assert!(links.iter().all(|name| !name.starts_with("br-")), "{links:?}");
    assert_sound(host, &env);
}

#[test]
fn containers_are_connected_while_they_run() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    for name in ["front", "back"] {
        host.cais(&env, &["network", "create", name]);
    }
    serve(&lan, &env, "box", &["--network", "front", "-p", "8080:80"]);
    host.cais(
        &env,
        &[
            "network",
            "connect",
            "--ip",
            "172.18.16.9",
            "--alias",
            "b",
            "back",
            "box",
        ],
    );
    assert!(ask(host, "tcp", "172.18.16.9", 80).is_some());
    let again = host.try_cais(&env, &["network", "connect", "back", "box"]);
    assert!(again.stderr.contains("already connected"), "{}", again.stderr);
    assert_sound(host, &env);
    // The port goes on by the other network.
    host.cais(&env, &["network", "disconnect", "front", "box"]);
    assert_eq!(
        ask(&lan.outside, "tcp", HOST4, 8080),
        None,
        "no way back: it has lost its default route"
    );
    host.cais(&env, &["network", "connect", "front", "box"]);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
    assert_sound(host, &env);
    // It is in both when it starts again.
    host.cais(&env, &["stop", "-t", "0", "box"]);
    assert_nothing_left(host, &env);
    host.cais(&env, &["start", "box"]);
    let links = host.cais(&env, &["exec", "box", "ls", "/sys/class/net"]);
    assert!(links.contains("eth0") && links.contains("eth1"), "{links}");
    host.cais(&env, &["rm", "-f", "box"]);
    assert_nothing_left(host, &env);
}

#[test]
fn a_flushed_table_is_restored() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    serve(&lan, &env, "web", &["-p", "8080:80", "--network", "bridge"]);
    for script in [
        "nft flush ruleset",
        "nft -a list tables | grep -q cais && nft flush table inet $(nft list tables | grep -o 'cais.*')",
    ] {
        lan.host.sh(script);
        eventually("the table is whole again", || {
            lan.host.try_cais(&env, &["network", "check"]).code == 0
        });
        assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
    }
    // What no monitor sees, a repair finds.
    lan.host
        .sh("nft flush map inet $(nft list tables | grep -o 'cais.*') pub_any4");
    assert_eq!(lan.host.try_cais(&env, &["network", "check"]).code, 1);
    lan.host.cais(&env, &["network", "repair"]);
    assert_sound(&lan.host, &env);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
    // A bridge that somebody removed is made again, with the containers at it.
    lan.host
        .sh("ip link del $(ip -o link show type bridge | sed 's/^[0-9]*: //; s/:.*//')");
    lan.host.cais(&env, &["network", "reload"]);
    assert_sound(&lan.host, &env);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
}

#[test]
fn firewalls_of_others_are_named() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    lan.host
        .cais(&env, &["run", "--rm", "--network", "bridge", "host", "true"]);
    lan.host.sh("nft add table ip filter; nft add chain ip filter FORWARD '{ type filter hook forward priority 0; policy drop; }'; nft add chain ip filter ufw-user-forward");
    let done = lan.host.try_cais(&env, &["network", "check"]);
    assert!(
        done.code == 1 && done.stdout.contains("ufw route allow"),
        "{done:?}"
    );
    // The host's own sockets go by the chain of incoming packets.
    serve(
        &lan,
        &env,
        "web",
        &[
            "-p",
            "8080:80",
            "-p",
            "8080:80/udp",
            "--publish-mode",
            "proxy",
            "--network",
            "bridge",
        ],
    );
    for protocol in ["tcp", "udp"] {
        for address in [HOST4, HOST6] {
            let answer = ask(&lan.outside, protocol, address, 8080);
            assert!(answer.is_some(), "{protocol} is not answered at {address}");
        }
    }
}
