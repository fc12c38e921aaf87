//! Names of containers: who finds whom, and what is asked elsewhere.

use crate::network_support::{OUTSIDE4, Site};
use crate::network_upstream::Upstream;

/// The status of an answer as dig shows it.
fn status(site: &Site, name: &str, question: &str) -> String {
    let text = site.prints(name, &format!("dig +time=3 +tries=1 {question}"));
    let status = text
        .split("status: ")
        .nth(1)
        .and_then(|rest| rest.split(',').next());
    status.unwrap_or("none").to_owned()
}

fn short(site: &Site, name: &str, question: &str) -> Vec<String> {
    let text = site.prints(name, &format!("dig +short +time=3 +tries=2 {question}"));
    // What dig says of itself begins with a semicolon.
    let answers = text.lines().filter(|line| !line.starts_with(';'));
    let mut lines: Vec<String> = answers.map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn containers_find_each_other() {
    let site = Site::new();
    site.ok(&["network", "create", "front"]);
    site.ok(&["network", "create", "back"]);
    let compose = [
        "--label",
        "com.docker.compose.service=api",
        "--label",
        "com.docker.compose.project=shop",
    ];
    let flags = [&["--network", "front:alias=www,alias=app"], &compose[..]].concat();
    site.start("web", &flags, "sleep 1000");
    site.start("db", &["--network", "back"], "sleep 1000");
    site.start(
        "both",
        &["--network", "front:alias=app", "--network", "back"],
        "sleep 1000",
    );
    let web = site.address("web", 4);
    let id = site.ok(&["ps", "-q", "--filter", "name=web"]);
    for name in ["web", "WeB", "www", "web.front", "api.shop", id.trim()] {
        assert_eq!(
            short(&site, "both", &format!("{name} A")),
            std::slice::from_ref(&web),
            "{name}"
        );
        assert_eq!(
            short(&site, "both", &format!("+tcp {name} A")),
            std::slice::from_ref(&web),
            "{name} over TCP"
        );
    }
    let web6 = site.address("web", 6);
    assert_eq!(short(&site, "both", "web AAAA"), std::slice::from_ref(&web6));
    assert_eq!(short(&site, "both", &format!("-x {web}")), ["web.front."]);
    assert_eq!(short(&site, "both", &format!("-x {web6}")), ["web.front."]);
    assert_eq!(site.prints("both", "getent hosts db | wc -l"), "1");
    // Only whoever is in a network hears its names.
    assert!(short(&site, "web", "db A").is_empty());
    assert!(short(&site, "db", "web A").is_empty());
    // Two behind one name; both are given, and take turns.
    assert_eq!(short(&site, "web", "app A").len(), 2);
    let firsts = site.prints(
        "web",
        "for i in $(seq 40); do dig +short app A | grep -v '^;' | head -1; done | sort | uniq | wc -l",
    );
    assert_eq!(firsts, "2");
    // No such record is not the same as no such name.
    assert_eq!(status(&site, "both", "web MX"), "NOERROR");
    assert_eq!(status(&site, "both", "web CH TXT"), "REFUSED");
    // Gone is gone.
    site.ok(&["rm", "-f", "web"]);
    assert!(short(&site, "both", "web A").is_empty());
}

#[test]
fn a_name_is_there_when_the_command_returns() {
    let site = Site::new();
    // Who is asked for a name that is gone.
    let _upstream = Upstream::start(&site.lan.outside, OUTSIDE4);
    site.ok(&["network", "create", "net"]);
    site.start("looker", &["--network", "net", "--dns", OUTSIDE4], "sleep 1000");
    for round in 0..15 {
        let name = format!("none{round}");
        site.start(&name, &["--network", "net"], "sleep 1000");
        assert_eq!(short(&site, "looker", &format!("{name} A")).len(), 1, "{name}");
        site.ok(&["rm", "-f", &name]);
        assert!(short(&site, "looker", &format!("{name} A")).is_empty(), "{name}");
    }
}

#[test]
fn other_names_are_asked_for_elsewhere() {
    let site = Site::new();
    let upstream = Upstream::start(&site.lan.outside, OUTSIDE4);
    site.ok(&["network", "create", "net"]);
    site.ok(&["network", "create", "--internal", "closed"]);
    let dns = ["--dns", OUTSIDE4];
    site.start("open", &[&["--network", "net"], &dns[..]].concat(), "sleep 1000");
    site.start(
        "shut",
        &[&["--network", "closed"], &dns[..]].concat(),
        "sleep 1000",
    );
    assert_eq!(short(&site, "open", "a7.example A"), ["203.0.113.7"]);
    assert_eq!(status(&site, "open", "none.example"), "NXDOMAIN");
    assert_eq!(status(&site, "open", "a7.example AAAA"), "NOERROR");
    let before = upstream.count();
    assert_eq!(short(&site, "open", "A7.Example A"), ["203.0.113.7"]);
    assert_eq!(upstream.count(), before, "it was kept");
    // What does not fit: the C library, and dig, come over TCP.
    assert_eq!(short(&site, "open", "big.example A").len(), 200);
    assert_eq!(
        site.prints("open", "getent ahostsv4 big.example | grep -c STREAM"),
        "200"
    );
    // From an internal network nothing goes out, not even a question.
    let before = upstream.count();
    assert_eq!(status(&site, "shut", "a8.example"), "NXDOMAIN");
    assert_eq!(upstream.count(), before);
    // A server that is not there, before one that is: the C library does not wait long.
    let both = ["--network", "net", "--dns", "192.0.2.77", "--dns", OUTSIDE4];
    site.start("failover", &both, "sleep 1000");
    assert_eq!(short(&site, "failover", "a9.example A"), ["203.0.113.9"]);
}

#[test]
fn a_hostile_server_and_hostile_clients() {
    let site = Site::new();
    let _upstream = Upstream::start(&site.lan.outside, OUTSIDE4);
    site.ok(&["network", "create", "net"]);
    site.start("target", &["--network", "net"], "sleep 1000");
    site.start("client", &["--network", "net", "--dns", OUTSIDE4], "sleep 1000");
    // Damaged replies, by the hundred; each is thrown away or is the right one.
    site.prints(
        "client",
        "for i in $(seq 60); do echo mad.$i.example; done > /tmp/names; dig +short +time=1 +tries=1 -f /tmp/names > /tmp/out 2>&1 & \
         for i in $(seq 200); do head -c $((RANDOM % 600 + 1)) /dev/urandom | socat -u - UDP:127.0.0.11:53; done; \
         for i in $(seq 20); do head -c 2000 /dev/urandom | socat -t0.1 -u - TCP:127.0.0.11:53; done; wait",
    );
    assert_eq!(short(&site, "client", "target A").len(), 1);
    assert_eq!(short(&site, "client", "a5.example A"), ["203.0.113.5"]);
}

#[test]
fn what_a_container_is_told_to_ask() {
    let site = Site::new();
    site.ok(&["network", "create", "net"]);
    let told = |flags: &[&str]| {
        let words = [&["run", "--rm"], flags, &["host", "cat", "/etc/resolv.conf"]].concat();
        site.ok(&words)
    };
    let flags = [
        "--network",
        "net",
        "--dns-search",
        "corp.example",
        "--dns-option",
        "ndots:2",
    ];
    assert_eq!(
        told(&flags),
        "nameserver 127.0.0.11\nsearch corp.example\noptions ndots:2\n"
    );
    let flags = ["--network", "none", "--dns", "192.0.2.53", "--dns-search", "."];
    assert!(told(&flags).starts_with("nameserver 192.0.2.53\n"));
    assert!(told(&["--network", "bridge"]).starts_with("nameserver 127.0.0.11\n"));
    // Who shares a namespace shares its names.
    site.start("web", &["--network", "net"], "sleep 1000");
    let words = [
        "run",
        "--rm",
        "--network",
        "container:web",
        "host",
        "dig",
        "+short",
        "web",
    ];
    assert_eq!(site.ok(&words).trim(), site.address("web", 4));
    let words = [
        "run",
        "--rm",
        "--network",
        "net",
        "host",
        "getent",
        "hosts",
        "host.docker.internal",
    ];
    assert!(site.ok(&words).contains("host.docker.internal"));
}

#[test]
fn two_hundred_containers_and_a_name_that_changes_under_load() {
    let site = Site::new();
    site.ok(&["network", "create", "--subnet", "10.77.0.0/16", "net"]);
    for number in 0..200 {
        site.start(
            &format!("c{number}"),
            &["--network", "net:alias=all"],
            "sleep 1000",
        );
    }
    let names = "for i in $(seq 0 199); do echo c$i A; done > /tmp/names";
    let found = site.prints(
        "c0",
        &format!("{names}; dig +short +time=3 -f /tmp/names | sort | uniq | wc -l"),
    );
    assert_eq!(found, "200");
    assert_eq!(short(&site, "c7", "+tcp all A").len(), 200);
    // Somebody asks all the time; others come and go.
    let asker = {
        let words = [
            "exec",
            "c0",
            "sh",
            "-c",
            "for i in $(seq 2000); do echo c1 A; done > /tmp/many; dig +short +time=3 +tries=1 -f /tmp/many | sort | uniq -c",
        ];
        let mut command = site.lan.host.inside(&site.env.command(&words));
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    };
    for round in 0..20 {
        site.start("guest", &["--network", "net:alias=all"], "sleep 1000");
        assert_eq!(short(&site, "c2", "guest A").len(), 1, "round {round}");
        site.ok(&["rm", "-f", "guest"]);
    }
    let out = asker.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(
        text.split_whitespace().collect::<Vec<_>>(),
        ["2000", &site.address("c1", 4)]
    );
}

#[test]
fn a_container_that_serves_names_itself() {
    let site = Site::new();
    site.ok(&["network", "create", "net"]);
    let serve = "socat UDP4-RECVFROM:53,fork SYSTEM:'read x; echo mine' & exec socat TCP4-LISTEN:53,fork SYSTEM:'echo mine'";
    site.start(
        "server",
        &["--network", "net", "-p", "53:53/udp", "-p", "53:53"],
        serve,
    );
    crate::support::eventually("it listens", || {
        site.lan
            .outside
            .try_sh("echo x | socat -t1 -T1 - UDP:192.0.2.1:53")
            .stdout
            .contains("mine")
    });
    assert!(
        site.lan
            .outside
            .sh("socat -T1 - TCP:192.0.2.1:53 </dev/null")
            .contains("mine")
    );
    // Its own questions go to our resolver all the same.
    let own = site.address("server", 4);
    assert_eq!(short(&site, "server", "server A"), std::slice::from_ref(&own));
    assert_eq!(short(&site, "server", "+tcp server A"), [own]);
}
