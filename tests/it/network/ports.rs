//! Published ports that are changed.

use super::*;

#[test]
fn ports_of_a_running_container_are_changed() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    serve(&lan, &env, "web", &["--network", "bridge"]);
    assert_eq!(
        host.cais(&env, &["port", "add", "web", "8080:80"]),
        "80/tcp -> 8080\n"
    );
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
    // The monitor keeps it and serves it by the time the command returns.
    let taken = host.try_sh("socat -u TCP-LISTEN:8080,accept-timeout=5 /dev/null");
    assert!(taken.stderr.contains("in use"), "{taken:?}");
    assert!(ask(host, "tcp", "::1", 8080).is_some());
    assert_sound(host, &env);
    host.cais(&env, &["port", "rm", "web", "8080:80"]);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080), None);
    let none = host.try_cais(&env, &["port", "rm", "web", "8080:80"]);
    assert!(none.stderr.contains("publishes no such port"), "{}", none.stderr);
    assert_sound(host, &env);
}

/// SCTP is led on by the kernel alone: where the monitor is to do it, that is an error.
#[test]
fn sctp_is_not_published_by_the_monitor() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    let words = ["run", "--rm", "--network", "bridge", "-p", "8080:80/sctp"];
    host.cais(&env, &[&words[..], &["host", "true"]].concat());
    for more in [
        &["--publish-mode", "proxy"][..],
        &["--publish-mode", "proxy", "--expose", "9/sctp", "-P"],
    ] {
        let done = host.try_cais(&env, &[&words[..], more, &["host", "true"]].concat());
        assert_eq!(done.code, 125, "{more:?}");
        assert!(
            done.stderr
                .contains("SCTP is not published with --publish-mode proxy"),
            "{}",
            done.stderr
        );
    }
    assert_sound(host, &env);
}

/// A container `web` with servers at the ports 80 and 81.
fn serve_two(host: &Namespace, env: &TestEnv) {
    let script = format!("{} & exec {}", tcp_echo(80), tcp_echo(81));
    let flags = ["run", "-d", "--name", "web", "--network", "bridge", "host"];
    host.cais(env, &[&flags[..], &["sh", "-c", &script]].concat());
    let listens = [
        "exec",
        "web",
        "sh",
        "-c",
        "test $(ss -Hltn | grep -c ':8[01] ') = 2",
    ];
    eventually("the servers listen", || host.try_cais(env, &listens).code == 0);
}

/// What a port was led to counts no more when the command has ended, though the kernel
/// forgets it a tick later.
#[test]
fn a_port_leads_elsewhere_at_once() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    serve_two(host, &env);
    let elements = || {
        let text = host.sh("nft list map inet $(nft list tables | grep -o 'cais.*') pub_any4");
        text.lines()
            .filter(|line| line.contains(" 8080 "))
            .map(str::trim)
            .collect::<String>()
    };
    let publish = |mapping: &str| host.cais(&env, &["port", "add", "web", mapping]);
    for round in 0..20 {
        for inside in ["80", "81"] {
            let mapping = format!("8080:{inside}");
            publish(&mapping);
            let found = elements();
            assert!(
                found.contains(&format!(" . {inside}")) && !found.contains("expires"),
                "{round}: {found}"
            );
            host.cais(&env, &["port", "rm", "web", &mapping]);
        }
        // The same again, and by another container.
        let flags = [
            "run",
            "--rm",
            "--network",
            "bridge",
            "-p",
            "8080:80",
            "host",
            "true",
        ];
        host.cais(&env, &flags);
    }
    publish("8080:81");
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080).as_deref(), Some(OUTSIDE4));
    assert_sound(host, &env);
    host.cais(&env, &["port", "rm", "web", "8080:81"]);
    assert_eq!(ask(&lan.outside, "tcp", HOST4, 8080), None);
    // In a table of an earlier version elements get no end: they are removed.
    publish("8080:81");
    let file = env.path("table").display().to_string();
    host.sh(&format!(
        "T=$(nft list tables | grep -o 'cais.*'); (echo delete table inet $T; nft list table inet $T | grep -v 'flags timeout\\|gc-interval') > {file} && nft -f {file}"
    ));
    assert!(!elements().is_empty());
    host.cais(&env, &["port", "rm", "web", "8080:81"]);
    assert_eq!(elements(), "");
    assert_sound(host, &env);
}

/// Connections that the monitor has passed on linger for a minute: the port is free all the
/// same.
#[test]
fn a_port_that_the_monitor_served_is_free_again() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let flags = ["-p", "8080:80", "--network", "bridge"];
    serve(&lan, &env, "web", &flags);
    // The server closes first, and so the monitor.
    lan.host.sh("socat -u -T10 TCP6:[::1]:8080 - | grep -q .");
    let lingers = "ss -Htan state time-wait 'sport = 8080' | grep -q .";
    eventually("the connection lingers", || lan.host.try_sh(lingers).code == 0);
    lan.host.cais(&env, &["restart", "-t", "0", "web"]);
    eventually("it answers again", || {
        ask(&lan.host, "tcp", "::1", 8080).is_some()
    });
    lan.host.cais(&env, &["rm", "-f", "web"]);
    serve(&lan, &env, "next", &flags);
    assert!(ask(&lan.host, "tcp", "::1", 8080).is_some());
}

/// Whoever takes over from a killed monitor keeps the ports and serves them.
#[test]
fn a_monitor_is_killed_and_its_ports_are_kept() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    serve(&lan, &env, "web", &["-p", "8080:80", "--network", "bridge"]);
    let id = env.field("web", "Id");
    let path = env.path("run").join("containers").join(id);
    let text = std::fs::read_to_string(&path).unwrap();
    let pid = text.split("\"pid\":").nth(1).unwrap();
    let pid: i32 = pid
        .split(|it: char| !it.is_ascii_digit())
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let monitor = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    assert_eq!(ask(host, "tcp", "::1", 8080), None);
    host.cais(&env, &["ps"]);
    assert!(ask(host, "tcp", "::1", 8080).is_some());
    let taken = host.try_cais(&env, &["run", "--rm", "-p", "8080:80", "host", "true"]);
    assert!(taken.stderr.contains("taken by container web"), "{taken:?}");
    assert_sound(host, &env);
}
