//! Networks of IPv6 alone.

use super::*;

#[test]
fn a_network_of_ipv6_alone() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    host.cais(
        &env,
        &["network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six"],
    );
    let subnets = host.cais(
        &env,
        &["network", "inspect", "-f", "{{json .IPAM.Config}}", "six"],
    );
    assert!(
        subnets.contains("fd00:77::1") && !subnets.contains("172."),
        "{subnets}"
    );
    serve(&lan, &env, "web", &["--network", "six", "-p", "8080:80"]);
    let addresses = host.cais(&env, &["exec", "web", "ip", "-br", "addr", "show", "eth0"]);
    assert!(
        addresses.contains("fd00:77::2/64") && !addresses.contains("172."),
        "{addresses}"
    );
    // By name, from the first question on: each container has a resolver of its own, which is
    // there before its loopback interface.
    for round in 0..10 {
        let script = "dig +short +tries=1 +timeout=3 web AAAA; dig +short +tries=1 +timeout=3 +tcp web AAAA; \
                      dig +tries=1 +timeout=3 web A | grep -o 'status: [A-Z]*'; socat -T2 - TCP6:web:80 </dev/null";
        let words = ["run", "--rm", "--network", "six", "host", "sh", "-c", script];
        let lines = host.cais(&env, &words);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines.get(..3),
            Some(&["fd00:77::2", "fd00:77::2", "status: NOERROR"][..]),
            "{round}"
        );
        assert!(
            lines.get(3).is_some_and(|seen| seen.contains("fd00")),
            "{round}: {lines:?}"
        );
    }
    // From everywhere; what comes by IPv4 the monitor passes on.
    assert_eq!(ask(&lan.outside, "tcp", HOST6, 8080).as_deref(), Some(OUTSIDE6));
    for protocol in ["::1", "127.0.0.1", HOST6, HOST4] {
        assert!(ask(host, "tcp", protocol, 8080).is_some(), "{protocol}");
    }
    assert!(ask(&lan.outside, "tcp", HOST4, 8080).is_some());
    assert_eq!(
        ask(&lan.outside, "tcp", "fd00:77::2", 80),
        None,
        "not routed directly"
    );
    // And out, with the host's address.
    let server = lan.outside.spawn(&tcp_echo(7000));
    eventually("the server listens", || {
        lan.outside.try_sh("ss -Hltn 'sport = 7000' | grep -q .").code == 0
    });
    let script = format!("socat -t2 -T2 - TCP6:[{OUTSIDE6}]:7000 </dev/null");
    let words = ["run", "--rm", "--network", "six", "host", "sh", "-c", &script];
    assert_eq!(seen(&host.cais(&env, &words)).as_deref(), Some(HOST6));
    drop(server);
    assert_sound(host, &env);
    host.cais(&env, &["rm", "-f", "web"]);
    assert_nothing_left(host, &env);
    host.cais(&env, &["network", "rm", "six"]);
}

/// The end of an interface at the bridge has no address of its own, whatever the kernel gives to
/// those that come up; with an MTU that IPv6 cannot have there is nothing to turn off.
#[test]
fn the_end_at_the_bridge_has_no_address() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    host.cais(&env, &["network", "create", "--ipv6", "wide"]);
    let mtu = "com.docker.network.driver.mtu=1000";
    host.cais(&env, &["network", "create", "--ipv6=false", "-o", mtu, "narrow"]);
    for network in ["wide", "narrow"] {
        let words = [
            "run",
            "-d",
            "--name",
            network,
            "--network",
            network,
            "host",
            "sleep",
            "1000",
        ];
        host.cais(&env, &words);
    }
    let ends: Vec<String> = host
        .interfaces()
        .into_iter()
        .filter(|name| name.starts_with("cv"))
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let addresses = host.sh("cat /proc/net/if_inet6");
    let theirs = addresses
        .lines()
        .filter(|line| ends.iter().any(|end| line.ends_with(end)));
    assert_eq!(theirs.collect::<Vec<_>>(), Vec::<&str>::new());
    let inside = host.cais(&env, &["exec", "wide", "cat", "/proc/net/if_inet6"]);
    assert!(inside.contains("eth0"), "{inside}");
    env.ok(&["rm", "-f", "wide", "narrow"]);
}

#[test]
fn ipv6_that_is_turned_off_later() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    let turn = |off: u8| host.sh(&format!("echo {off} > /proc/sys/net/ipv6/conf/all/disable_ipv6"));
    let addresses = |network: &str| {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            "host",
            "ip",
            "-br",
            "addr",
            "show",
            "eth0",
        ];
        host.cais(&env, &words)
    };
    host.cais(&env, &["network", "create", "used"]);
    host.cais(
        &env,
        &["network", "create", "--ipv6", "--subnet", "fd00:78::/64", "six"],
    );
    assert!(addresses("used").contains(" fd") && addresses("six").contains(" fd"));
    // The table is there by then, without this one.
    host.cais(&env, &["network", "create", "late"]);
    turn(1);
    // One whose bridge is there, and one that is used for the first time.
    for (network, port) in [("used", "8080"), ("late", "8081")] {
        assert!(!addresses(network).contains(" fd"), "{network}");
        let mapping = format!("{port}:80");
        serve(&lan, &env, network, &["--network", network, "-p", &mapping]);
        let asked = ask(&lan.outside, "tcp", HOST4, port.parse().unwrap());
        assert_eq!(asked.as_deref(), Some(OUTSIDE4), "{network}");
    }
    let refused = host.try_cais(
        &env,
        &["run", "--rm", "--network", "used:ip6=fd00::9", "host", "true"],
    );
    assert!(
        refused.code == 125 && refused.stderr.contains("turned off"),
        "{}",
        refused.stderr
    );
    let refused = host.try_cais(&env, &["run", "--rm", "--network", "six", "host", "true"]);
    assert!(
        refused.code == 125 && refused.stderr.contains("turned off"),
        "{}",
        refused.stderr
    );
    let check = host.try_cais(&env, &["network", "check"]);
    assert!(
        check.code != 0 && check.stdout.contains("IPv4 alone"),
        "{}",
        check.stdout
    );
    let mut others = check
        .stdout
        .lines()
        .filter(|line| !line.contains("IPv6 is turned off"));
    assert!(
        others.all(|line| line.trim_start().starts_with("remedy:")),
        "{}",
        check.stdout
    );
    // The others are repaired without it.
    host.sh("for name in $(ip -br link | grep -o '^br-[0-9a-f]*'); do ip addr flush dev $name; done");
    host.cais(&env, &["network", "repair"]);
    let check = host.try_cais(&env, &["network", "check"]);
    assert!(!check.stdout.contains("lost its address"), "{}", check.stdout);
    turn(0);
    host.cais(&env, &["network", "repair"]);
    assert_sound(host, &env);
    for network in ["used", "late", "six"] {
        assert!(addresses(network).contains(" fd"), "{network}");
    }
    host.cais(&env, &["rm", "-f", "used", "late"]);
}
