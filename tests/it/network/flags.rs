//! Flags of `run`.

use super::*;

/// `n` is there and has 10.97.0.0/24.
fn mistakes_of_run(host: &Namespace, env: &TestEnv) {
    for (flags, expected) in [
        (&["--network", "n", "--ip", "10.1.0.1"][..], "not within"),
        (&["--network", "n", "--ip", "10.97.0.1"], "gateway"),
        (&["--network", "none", "--ip", "10.97.0.9"], "--ip"),
        (&["--network", "none", "-p", "80:80"], "--publish"),
        (&["--network", "n", "--network", "n"], "once"),
        (&["--network", "n", "-p", "5-1:80"], "not a port"),
        (&["-p", "8080:80", "-p", "8080:81"], "another --publish"),
        (&["--network-alias", "x"], "user defined networks"),
        (&["--network", "container:aa", "--dns", "1.2.3.4"], "--dns"),
        (
            &["--network", "container:aa", "--add-host", "a:1.2.3.4"],
            "--add-host",
        ),
        (
            &["--network", "none", "--add-host", "a:host-gateway"],
            "host-gateway",
        ),
    ] {
        let done = host.try_cais(env, &[&["run", "--rm"], flags, &["host", "true"]].concat());
        assert!(
            done.code == 125 && done.stderr.contains(expected),
            "{flags:?}: {done:?}"
        );
    }
}

/// With the host's network its files hold, unless the user asks for something else; whoever
/// shares a network has the names of the other one.
fn files_below_etc(host: &Namespace, env: &TestEnv) {
    let read = |flags: &[&str]| {
        let words = [
            &["run", "--rm"],
            flags,
            &["host", "cat", "/etc/resolv.conf", "/etc/hosts"],
        ]
        .concat();
        host.cais(env, &words)
    };
    let own = ["resolv.conf", "hosts"].map(|name| std::fs::read_to_string(format!("/etc/{name}")).unwrap());
    assert_eq!(read(&["--network", "host"]), own.concat());
    let text = read(&[
        "--network",
        "host",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "a.test",
    ]);
    assert!(
        text.starts_with("nameserver 192.0.2.53\nsearch a.test\n") && text.ends_with(&own[1]),
        "{text}"
    );
    let text = read(&[
        "--network",
        "host",
        "--add-host",
        "x:192.0.2.7",
        "--add-host",
        "h:host-gateway",
    ]);
    assert!(text.starts_with(&own[0]), "{text}");
    assert!(
        text.contains("192.0.2.7\tx\n") && text.contains("127.0.0.1\th\n"),
        "{text}"
    );
    let text = read(&["--network", "container:aa"]);
    assert!(text.contains("10.97.0.5\t"), "{text}");
}

/// Another's namespace, by its name and by its file.
fn namespaces_of_others(lan: &Lan, env: &TestEnv) {
    let host = &lan.host;
    let shared = host.cais(
        env,
        &[
            "run",
            "--rm",
            "--network",
            "container:aa",
            "host",
            "ip",
            "-o",
            "addr",
        ],
    );
    assert!(shared.contains("10.97.0.5"), "{shared}");
    let path = format!("ns:{}", lan.outside.path());
    let joined = host.cais(
        env,
        &[
            "run",
            "--rm",
            "--userns",
            "host",
            "--network",
            &path,
            "host",
            "ip",
            "-o",
            "addr",
        ],
    );
    assert!(joined.contains(OUTSIDE4), "{joined}");
}

/// An address that another container has is refused.
fn a_taken_address(host: &Namespace, env: &TestEnv) {
    host.cais(
        env,
        &[
            "run",
            "-d",
            "--name",
            "aa",
            "--network",
            "n",
            "--ip",
            "10.97.0.5",
            "host",
            "sleep",
            "1000",
        ],
    );
    let taken = host.try_cais(
        env,
        &[
            "run",
            "--rm",
            "--network",
            "n",
            "--ip",
            "10.97.0.5",
            "host",
            "true",
        ],
    );
    assert!(taken.code == 125 && taken.stderr.contains("in use"), "{taken:?}");
}

#[test]
fn flags_of_run() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    host.cais(
        &env,
        &[
            "network",
            "create",
            "--subnet",
            "10.97.0.0/24",
            "--subnet",
            "fd00:97::/64",
            "n",
        ],
    );
    let script = "ip -o addr; cat /sys/class/net/*/address; cat /etc/hosts; ls /sys/class/net";
    let text = host.cais(
        &env,
        &[
            "run",
            "--rm",
            "--network",
            "n:ip=10.97.0.5,mac-address=02:42:00:00:00:05",
            "--ip6",
            "fd00:97::5",
            "--link-local-ip",
            "169.254.7.7",
            "--network",
            "bridge",
            "--add-host",
            "db:10.1.1.1",
            "--add-host",
            "gw=host-gateway",
            "host",
            "sh",
            "-c",
            script,
        ],
    );
    for expected in [
        "10.97.0.5/24",
        "fd00:97::5/64",
        "169.254.7.7/16",
        "02:42:00:00:00:05",
        "10.1.1.1\tdb",
        "10.97.0.1\tgw",
        "eth1",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    a_taken_address(host, &env);
    mistakes_of_run(host, &env);
    files_below_etc(host, &env);
    namespaces_of_others(&lan, &env);
    assert_sound(host, &env);
}

/// Docker's words for networks that are always there; and what is no network namespace is named
/// before anything is begun.
#[test]
fn what_is_always_there_and_what_is_no_network() {
    let (host, env) = (Namespace::new(), TestEnv::new());
    for name in ["bridge", "host", "none"] {
        let done = host.try_cais(&env, &["network", "rm", name]);
        let said = format!("{name} is a pre-defined network and cannot be removed");
        assert!(
            done.code == 1 && done.stderr.contains(&said),
            "{name}: {}",
            done.stderr
        );
    }
    let join = |path: &str| {
        let network = format!("ns:{path}");
        host.try_cais(
            &env,
            &[
                "run",
                "--rm",
                "--userns=host",
                "--network",
                &network,
                "host",
                "true",
            ],
        )
    };
    let file = env.path("file");
    std::fs::write(&file, "").unwrap();
    for (path, said) in [
        ("/proc/self/ns/uts", "it is no network namespace"),
        (file.to_str().unwrap(), "it is no network namespace"),
        ("/nosuch", "No such file"),
    ] {
        let done = join(path);
        assert!(
            done.code == 125 && done.stderr.contains(said),
            "{path}: {}",
            done.stderr
        );
    }
    let done = join("/proc/self/ns/net");
    assert_eq!(done.code, 0, "{}", done.stderr);
}
