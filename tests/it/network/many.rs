//! macvlan; many ports and many containers.

use super::*;

#[test]
fn macvlan_is_in_the_parents_network() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    lan.host.cais(
        &env,
        &[
            "network",
            "create",
            "-d",
            "macvlan",
            "--subnet",
            "192.0.2.0/24",
            "--gateway",
            OUTSIDE4,
            "-o",
            "parent=lan0",
            "m",
        ],
    );
    serve(&lan, &env, "box", &["--network", "m", "--ip", "192.0.2.77"]);
    assert_eq!(
        ask(&lan.outside, "tcp", "192.0.2.77", 80).as_deref(),
        Some(OUTSIDE4)
    );
    let bad = lan.host.try_cais(
        &env,
        &[
            "network",
            "create",
            "-d",
            "macvlan",
            "--subnet",
            "10.0.0.0/24",
            "x",
        ],
    );
    assert!(bad.stderr.contains("parent"), "{}", bad.stderr);
}

#[test]
fn many_ports_and_many_containers() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    serve(
        &lan,
        &env,
        "web",
        &[
            "-p",
            "20000-20999:20000-20999",
            "-p",
            "21000:80",
            "--network",
            "bridge",
        ],
    );
    assert!(ask(&lan.outside, "tcp", HOST4, 21000).is_some());
    assert_sound(&lan.host, &env);
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                lan.host
                    .cais(&env, &["run", "--rm", "--network", "bridge", "host", "true"])
            });
        }
    });
    lan.host.cais(&env, &["rm", "-f", "web"]);
    assert_nothing_left(&lan.host, &env);
    assert_sound(&lan.host, &env);
}

/// A caller with few descriptors, as every shell has, keeps many ports; its program gets no
/// more descriptors for that.
#[test]
fn more_ports_than_descriptors() {
    let (host, env) = (Namespace::new(), TestEnv::new());
    let words = [
        "run",
        "--rm",
        "-p",
        "20000-20999:20000-20999",
        "host",
        "sh",
        "-c",
        "ulimit -Sn; ulimit -Hn",
    ];
    let cais = host.inside(&env.command(&words));
    let mut limited = std::process::Command::new("prlimit");
    limited
        .arg("--nofile=300:4096")
        .arg(cais.get_program())
        .args(cais.get_args());
    limited.envs(cais.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let done = Done::of(limited);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "300\n4096\n"),
        "{}",
        done.stderr
    );
}

/// Threads keep many ports and let them go: the next run of the container has them again, and
/// all of them are served where the kernel leads nothing.
#[test]
fn many_ports_are_there_after_a_restart() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let script = format!(
        "{} & socat TCP6-LISTEN:20199,ipv6only=0,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR'",
        tcp_echo(20007)
    );
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "always",
        "--network",
        "bridge",
        "-p",
        "20000-20199:20000-20199",
        "host",
        "sh",
        "-c",
        &script,
    ];
    lan.host.cais(&env, &words);
    for run in 0..3 {
        eventually(&format!("it answers in run {run}"), || {
            ask(&lan.host, "tcp", "::1", 20007).is_some()
        });
        eventually(&format!("it was asked to end run {run}"), || {
            ask(&lan.host, "tcp", "::1", 20199).is_some()
        });
        eventually("it runs again", || {
            env.field("web", "Status") == "running"
                && env.ok(&["inspect", "-f", "{{.RestartCount}}", "web"]).trim() == (run + 1).to_string()
        });
    }
    // Its program runs when everything is in the table.
    eventually("it answers after the last end", || {
        ask(&lan.host, "tcp", "::1", 20007).is_some()
    });
    assert_sound(&lan.host, &env);
    lan.host.cais(&env, &["rm", "-f", "web"]);
    assert_nothing_left(&lan.host, &env);
}
