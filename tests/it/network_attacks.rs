//! What somebody who means ill tries, and what other firewalls do.

use crate::network_support::{HOST4, Lan, Namespace, OUTSIDE4, Site, ask, tcp_echo};
use crate::support::{Done, TestEnv, eventually, patience};
use std::process::Command;

/// A container with a published and an unpublished port.
fn with_server() -> Site {
    let site = Site::new();
    let script = format!("{} & exec {}", tcp_echo(81), tcp_echo(80));
    site.start("server", &["--network", "bridge", "-p", "8080:80"], &script);
    eventually("the server listens", || {
        ask(&site.lan.host, "tcp", HOST4, 8080).is_some()
            && site
                .exec("server", "socat -t1 - TCP:127.0.0.1:81 </dev/null")
                .code
                == 0
    });
    site
}

#[test]
fn nobody_reaches_a_container_by_its_own_address() {
    let site = with_server();
    let address = site.address("server", 4);
    let address6 = site.address("server", 6);
    // The attacker routes the container's addresses by way of the host.
    site.lan
        .outside
        .sh(&format!("ip route add {address}/32 via {HOST4}"));
    site.lan
        .outside
        .sh(&format!("ip -6 route add {address6}/128 via 2001:db8::1"));
    for port in [80, 81] {
        assert_eq!(ask(&site.lan.outside, "tcp", &address, port), None, "{port}");
        assert_eq!(ask(&site.lan.outside, "tcp", &address6, port), None, "{port}");
    }
    assert_eq!(
        ask(&site.lan.outside, "tcp", HOST4, 8080).as_deref(),
        Some(OUTSIDE4)
    );
    assert_eq!(ask(&site.lan.outside, "tcp", HOST4, 81), None);
}

/// CVE-2020-8558: a neighbour, or a container that may change its routes, speaks to 127.0.0.1
/// of the host.
#[test]
fn the_hosts_own_loopback_address_is_not_reached() {
    let site = Site::new();
    let _private = site
        .lan
        .host
        .spawn("socat TCP-LISTEN:7777,bind=127.0.0.1,fork,reuseaddr SYSTEM:'echo secret'");
    let flags = [
        "--network",
        "bridge",
        "--cap-add",
        "NET_ADMIN",
        "--cap-add",
        "NET_RAW",
        "-p",
        "127.0.0.1:8081:80",
    ];
    site.start("attacker", &flags, &format!("exec {}", tcp_echo(80)));
    eventually("somebody listens", || {
        site.lan
            .host
            .try_sh("socat -t1 - TCP:127.0.0.1:7777 </dev/null")
            .stdout
            .contains("secret")
    });
    let gateway = site.prints("attacker", "ip route show default | cut -d' ' -f3");
    // 127.0.0.1 is taken off the loopback interface and routed to the host.
    site.prints(
        "attacker",
        &format!(
            "ip addr del 127.0.0.1/8 dev lo; ip route del local 127.0.0.0/8 table local; ip route del local 127.0.0.1 table local; ip route add 127.0.0.1/32 via {gateway} dev eth0 src $(ip -4 -o addr show dev eth0 | awk '{{print $4}}' | cut -d/ -f1); true"
        ),
    );
    let attack = "socat -t1 -T2 - TCP:127.0.0.1:7777,connect-timeout=2 </dev/null";
    assert!(!site.exec("attacker", attack).stdout.contains("secret"));
    // The same from the local network.
    site.lan.outside.sh(&format!(
        "ip addr del 127.0.0.1/8 dev lo; ip route flush table local 127.0.0.0/8; ip route add 127.0.0.1/32 via {HOST4} dev lan0 src {OUTSIDE4}; true"
    ));
    assert!(!site.lan.outside.try_sh(attack).stdout.contains("secret"));
    assert_eq!(ask(&site.lan.outside, "tcp", "127.0.0.1", 8081), None);
    assert_eq!(ask(&site.lan.outside, "tcp", HOST4, 8081), None);
}

#[test]
fn networks_are_apart() {
    let site = Site::new();
    site.ok(&["network", "create", "one"]);
    site.ok(&["network", "create", "two"]);
    site.ok(&["network", "create", "--internal", "inner"]);
    site.start("first", &["--network", "one"], &format!("exec {}", tcp_echo(80)));
    site.start("second", &["--network", "two"], "sleep 1000");
    site.start("third", &["--network", "inner"], "sleep 1000");
    site.start("fourth", &["--network", "one"], "sleep 1000");
    let _echo = site.lan.outside.spawn(&tcp_echo(8000));
    let reaches = |name: &str, target: &str| {
        let script = format!("socat -t1 -T2 - TCP:{target},connect-timeout=1 </dev/null");
        !site.exec(name, &script).stdout.is_empty()
    };
    let (four, six) = (site.address("first", 4), site.address("first", 6));
    eventually("the server listens", || reaches("fourth", &format!("{four}:80")));
    assert!(reaches("fourth", &format!("[{six}]:80")));
    for name in ["second", "third"] {
        assert!(!reaches(name, &format!("{four}:80")), "{name}");
        assert!(!reaches(name, &format!("[{six}]:80")), "{name}");
    }
    eventually("the echo listens", || {
        reaches("second", &format!("{OUTSIDE4}:8000"))
    });
    assert!(!reaches("third", &format!("{OUTSIDE4}:8000")));
    // Not by pretending to have another's address either.
    let spoof = site.exec(
        "third",
        &format!("socat -t1 -T2 - TCP:{OUTSIDE4}:8000,connect-timeout=1,bind={four} </dev/null"),
    );
    assert!(spoof.stdout.is_empty());
}

#[test]
fn a_flushed_rule_set_is_there_again_within_a_second() {
    let site = with_server();
    site.lan.host.sh("nft flush ruleset");
    let began = std::time::Instant::now();
    eventually("the table is there", || {
        site.lan
            .host
            .try_sh("nft list chain inet $(nft list tables | grep -o 'cais.*') guard")
            .code
            == 0
    });
    assert!(
        began.elapsed() < std::time::Duration::from_secs(1) * patience(),
        "{:?}",
        began.elapsed()
    );
    eventually("the port answers", || {
        ask(&site.lan.outside, "tcp", HOST4, 8080).as_deref() == Some(OUTSIDE4)
    });
    site.ok(&["network", "check"]);
}

#[test]
fn foreign_firewalls_are_named() {
    // As ufw and firewalld do, and a policy of iptables.
    for (kind, rules) in [
        (
            "ufw",
            "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }; add chain ip filter ufw-before-forward",
        ),
        (
            "firewalld",
            "add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; policy accept ; }; add rule inet firewalld filter_FORWARD ct state established,related accept; add rule inet firewalld filter_FORWARD reject",
        ),
    ] {
        let site = with_server();
        site.lan.host.sh(&format!("nft '{rules}'"));
        let check = site.cais(&["network", "check"]);
        let text = format!("{}{}", check.stdout, check.stderr);
        assert!(text.contains(kind), "{kind}: {text}");
    }
}

/// Somebody at an interface of the host, which may be a port of a bridge: 10.0.NUMBER.2.
fn neighbour(lan: &Lan, number: u8, bridge: Option<&str>) -> Namespace {
    let it = Namespace::new();
    let (end, pid) = (format!("end{number}"), it.pid());
    lan.host.sh(&format!(
        "ip link add {end} type veth peer name lan0 netns {pid} && ip link set {end} up"
    ));
    let interface = bridge.map_or(end.clone(), |bridge| {
        lan.host.sh(&format!(
            "ip link add {bridge} type bridge && ip link set {end} master {bridge} && ip link set {bridge} up"
        ));
        bridge.to_owned()
    });
    lan.host
        .sh(&format!("ip addr add 10.0.{number}.1/24 dev {interface}"));
    it.sh(&format!(
        "ip addr add 10.0.{number}.2/24 dev lan0 && ip link set lan0 up && ip route add default via 10.0.{number}.1"
    ));
    it
}

/// Routing is turned on for containers, and the host is no router between the interfaces that it
/// has. Bridges that other engines make later have rules of their own (Docker's, libvirt's).
#[test]
fn a_host_that_did_not_route_is_no_router_now() {
    let env = TestEnv::new();
    let lan = Lan::new();
    lan.host.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
    let device = neighbour(&lan, 1, None);
    let early = neighbour(&lan, 2, Some("br0"));
    // The host's own store, which lies elsewhere in this mount namespace.
    let start = env.command(&["run", "--rm", "--network", "bridge", "host", "true"]);
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs t /var/lib && mount -t tmpfs t /run && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(start.get_program()).args(start.get_args());
    command
        .env_remove("CAIS_DATA")
        .env_remove("CAIS_RUN")
        .env("CAIS_CONFIG", "");
    let done = Done::of(lan.host.inside(&command));
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(lan.host.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    let later = neighbour(&lan, 3, Some("docker0"));
    lan.outside.sh(&format!("ip route add 10.0.0.0/16 via {HOST4}"));
    let reaches = |from: &Namespace| from.try_sh(&format!("busybox ping -c 1 -W 2 {OUTSIDE4}")).code == 0;
    assert!(!reaches(&device));
    assert!(!reaches(&early));
    assert!(reaches(&later));
}
