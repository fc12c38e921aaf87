//! What a container may reach, and how fast.

use crate::network_support::{HOST4, OUTSIDE4, OUTSIDE6, Site, tcp_echo};
use crate::network_upstream::Upstream;

/// Whether the container reaches a TCP server.
fn reaches(site: &Site, name: &str, target: &str) -> bool {
    let script = format!("socat -t1 -T2 - TCP:{target},connect-timeout=2 </dev/null");
    let done = site.exec(name, &script);
    done.code == 0 && !done.stdout.is_empty()
}

#[test]
fn only_what_is_allowed_is_reached() {
    let site = Site::new();
    let upstream = Upstream::start(&site.lan.outside, OUTSIDE4);
    let _open = site.lan.outside.spawn(&tcp_echo(8000));
    let _other = site.lan.outside.spawn(&tcp_echo(9000));
    let _host = site.lan.host.spawn(&tcp_echo(7000));
    site.ok(&["network", "create", "net"]);
    site.start(
        "neighbour",
        &["--network", "net"],
        &format!("exec {}", tcp_echo(80)),
    );
    let allow = "here.example:8000/tcp,*.wide.example";
    let flags = [
        "--network",
        "net",
        "--dns",
        OUTSIDE4,
        "--egress",
        "deny",
        "--egress-allow",
        allow,
    ];
    site.start("held", &flags, "sleep 1000");
    site.start("free", &["--network", "net", "--dns", OUTSIDE4], "sleep 1000");
    crate::support::eventually("the servers listen", || {
        reaches(&site, "free", &format!("{OUTSIDE4}:8000")) && reaches(&site, "free", "neighbour:80")
    });
    let direct = format!("{OUTSIDE4}:8000");
    assert!(
        !reaches(&site, "held", &direct),
        "its address is not allowed before its name was asked for"
    );
    assert!(reaches(&site, "held", "here.example:8000"));
    assert!(reaches(&site, "held", &direct), "and is now");
    assert!(
        !reaches(&site, "held", &format!("{OUTSIDE4}:9000")),
        "another port"
    );
    assert!(reaches(&site, "held", "neighbour:80"));
    let gateway = site.prints("held", "ip route show default | cut -d' ' -f3");
    for target in [
        format!("{gateway}:7000"),
        format!("{HOST4}:7000"),
        format!("[{OUTSIDE6}]:8000"),
    ] {
        assert!(reaches(&site, "free", &target), "{target}");
        assert!(!reaches(&site, "held", &target), "{target}");
    }
    // A name that is not allowed is not even asked for.
    let before = upstream.count();
    let dig = site.prints("held", "dig secret.evil.example");
    assert!(dig.contains("NXDOMAIN") && dig.contains("egress policy"), "{dig}");
    assert_eq!(upstream.count(), before);
    assert_eq!(site.prints("held", "dig +short a9.wide.example"), "203.0.113.9");
    // Nor does it speak to a server behind our back.
    assert_ne!(
        site.exec("held", &format!("dig +time=1 +tries=1 @{OUTSIDE4} x.example"))
            .code,
        0
    );
    // The host's rule set has no say in it.
    site.lan.host.sh("nft flush ruleset");
    assert!(!reaches(&site, "held", &format!("{OUTSIDE4}:9000")));
    let told = site.ok(&["network", "egress", "held"]);
    for part in ["here.example:8000/tcp", "secret.evil.example", OUTSIDE4, "9000"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn subnets_networks_and_mistakes() {
    let site = Site::new();
    let _open = site.lan.outside.spawn(&tcp_echo(8000));
    let allow = format!("egress-allow={OUTSIDE4}:8000,10.0.0.0/8,[2001:db8::/32]:8000");
    site.ok(&["network", "create", "-o", "egress=deny", "-o", &allow, "strict"]);
    site.start("held", &["--network", "strict"], "sleep 1000");
    crate::support::eventually("the server listens", || {
        reaches(&site, "held", &format!("{OUTSIDE4}:8000"))
    });
    assert!(reaches(&site, "held", &format!("[{OUTSIDE6}]:8000")));
    assert!(!reaches(&site, "held", &format!("{OUTSIDE4}:22")));
    for (flags, part) in [
        (&["--egress", "deny", "--privileged"][..], "lift"),
        (&["--egress", "deny", "--cap-add", "NET_ADMIN"], "lift"),
        (&["--egress", "deny", "--network", "host"], "no interface"),
        (
            &["--egress", "allow", "--egress-allow", "a.org"],
            "allowed already",
        ),
        (&["--egress-allow", "http://a.org"], "not a destination"),
        (&["--egress", "maybe"], "deny or allow"),
        (&["--network", "strict", "--cap-add", "all"], "lift"),
        (&["--network-rate", "fast"], "100mbit"),
    ] {
        let words = [&["run", "--rm", "--network", "bridge"], flags, &["host", "true"]].concat();
        let words: Vec<&str> = if flags.contains(&"--network") {
            words
                .iter()
                .enumerate()
                .filter(|(at, _)| ![2, 3].contains(at))
                .map(|(_, word)| *word)
                .collect()
        } else {
            words
        };
        let done = site.cais(&words);
        assert_eq!(done.code, 125, "{words:?}");
        assert!(done.stderr.contains(part), "{words:?}: {}", done.stderr);
    }
    let done = site.cais(&["network", "create", "-o", "egress=perhaps", "x"]);
    assert!(
        done.code != 0 && done.stderr.contains("neither deny nor allow"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_rate_holds_in_both_directions() {
    let site = Site::new();
    let _server = site.lan.outside.spawn("iperf3 -s");
    let flags = ["--network", "bridge", "--network-rate", "40mbit"];
    site.start("slow", &flags, "sleep 1000");
    crate::support::eventually("the server listens", || {
        site.lan
            .outside
            .try_sh("socat -u /dev/null TCP:127.0.0.1:5201")
            .code
            == 0
    });
    for direction in ["", "-R"] {
        let text = site.prints("slow", &format!("iperf3 -J -t 2 -O 1 {direction} -c {OUTSIDE4}"));
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap();
        assert!((20e6..44e6).contains(&rate), "{direction}: {rate}");
    }
}

#[test]
fn latency_and_loss_or_an_honest_error() {
    let site = Site::new();
    let words = [
        "run",
        "--rm",
        "--network",
        "bridge",
        "--network-latency",
        "50ms",
        "--network-loss",
        "1%",
        "host",
        "true",
    ];
    let done = site.cais(&words);
    let has_netem = site
        .lan
        .host
        .try_sh("tc qdisc add dev lo root netem delay 1ms")
        .code
        == 0;
    if has_netem {
        assert_eq!(done.code, 0, "{}", done.stderr);
    } else {
        assert_eq!(done.code, 125);
        assert!(
            done.stderr.contains("netem") && done.stderr.contains("CONFIG_NET_SCH_NETEM"),
            "{}",
            done.stderr
        );
    }
}
