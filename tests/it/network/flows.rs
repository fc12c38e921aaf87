//! What outlives a container in the kernel: connections.

use super::*;

/// A server whose last bytes nobody takes, and is killed: the kernel keeps the connection,
/// and with it the namespace.
#[test]
fn an_orphaned_connection_keeps_no_interface() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    let server = "exec socat TCP6-LISTEN:80,ipv6only=0,fork,sndbuf=65536 SYSTEM:'yes'";
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "bridge",
        "-p",
        "8080:80",
    ];
    host.cais(&env, &[&words[..], &["host", "sh", "-c", server]].concat());
    eventually("the server listens", || {
        host.try_cais(
            &env,
            &["exec", "web", "sh", "-c", "ss -Hltn 'sport = 80' | grep -q ."],
        )
        .code
            == 0
    });
    // It connects and reads nothing: its window is full soon.
    let client = lan.outside.spawn(&format!(
        "python3 -c 'import socket,time; s=socket.create_connection((\"{HOST4}\",8080)); time.sleep(1000)'"
    ));
    let unsent = "ss -Htn state established 'sport = 80' | awk '$2 > 0' | grep -q .";
    eventually("there is something left to send", || {
        host.try_cais(&env, &["exec", "web", "sh", "-c", unsent]).code == 0
    });
    host.cais(&env, &["rm", "-f", "web"]);
    assert_nothing_left(host, &env);
    // Its address is another's now, who is reached there.
    let address = "172.17.0.2";
    serve(&lan, &env, "next", &["--network", "bridge", "--ip", address]);
    assert!(ask(host, "tcp", address, 80).is_some());
    drop(client);
}

/// The kernel leads the packets of a flow where its first one went, as long as it remembers
/// it: a client that goes on sending must find the container when its port is published, and
/// the host's own program again when it is not.
#[test]
fn flows_of_udp_follow_what_is_published() {
    let (lan, env) = (Lan::new(), TestEnv::new());
    let host = &lan.host;
    // Every packet of this client comes from one port: one flow, and each packet renews it. So
    // asking again finds no other way by itself.
    let asked = || {
        let script = format!("echo hello | socat -t1 -T1 - UDP4:{HOST4}:9000,sourceport=40000,reuseaddr");
        lan.outside.try_sh(&script).stdout.trim().to_owned()
    };
    let ours = host.spawn("socat UDP4-RECVFROM:9001,fork SYSTEM:'read x; echo host'");
    // The host listens elsewhere, and a rule of its own leads the port there: so port 9000
    // itself is free to be published, and the flow is remembered.
    host.sh("nft add table ip own; nft add chain ip own pre '{ type nat hook prerouting priority -90; }'; nft add rule ip own pre udp dport 9000 redirect to 9001");
    eventually("the host answers", || asked() == "host");
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "bridge",
        "host",
        "sleep",
        "1000",
    ];
    host.cais(&env, &words);
    host.cais(
        &env,
        &[
            "exec",
            "-d",
            "box",
            "socat",
            "UDP4-RECVFROM:80,fork",
            "SYSTEM:read x; echo box",
        ],
    );
    eventually("the container's server listens", || {
        host.try_cais(
            &env,
            &["exec", "box", "sh", "-c", "ss -Hlun 'sport = 80' | grep -q ."],
        )
        .code
            == 0
    });
    eventually("the host still answers", || asked() == "host");
    host.cais(&env, &["port", "add", "box", "9000:80/udp"]);
    eventually("the flow of before is forgotten", || asked() == "box");
    host.cais(&env, &["port", "rm", "box", "9000:80/udp"]);
    eventually("the flow to the container is forgotten", || asked() == "host");
    // The same when it ends.
    host.cais(&env, &["rm", "-f", "box"]);
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "bridge",
        "-p",
        "9000:80/udp",
    ];
    let server = "exec socat UDP4-RECVFROM:80,fork SYSTEM:'read x; echo box'";
    host.cais(&env, &[&words[..], &["host", "sh", "-c", server]].concat());
    eventually("the container answers", || asked() == "box");
    host.cais(&env, &["rm", "-f", "box"]);
    eventually("the flow to the container is forgotten", || asked() == "host");
    drop(ours);
}
