//! Networks of an ordinary user: bridges in a namespace of the user's own, pasta as the way
//! out, ports by the monitors. The host is a network namespace with a neighbour outside.

use crate::rootless::Home;

/// Makes the host: an uplink, a neighbour with a server at port 80 that says who asks, and one
/// at port 81 that asks the host's port 8080 itself.
const HOST: &str = "\
    ip link set lo up; ip link add up0 type veth peer name peer0; \
    ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad; ip link set up0 up; \
    unshare -n sleep 1000 >/dev/null 2>&1 & peer=$!; \
    until [ \"$(readlink /proc/$peer/ns/net)\" != \"$(readlink /proc/self/ns/net)\" ]; do :; done; \
    ip link set peer0 netns $peer; in_peer=\"nsenter -t $peer -n\"; \
    $in_peer ip addr add 192.0.2.9/24 dev peer0; $in_peer ip addr add 2001:db8::9/64 dev peer0 nodad; \
    $in_peer ip link set peer0 up; $in_peer ip link set lo up; \
    ip route add default via 192.0.2.9; ip route add default via 2001:db8::9; \
    $in_peer socat TCP6-LISTEN:80,fork,reuseaddr,ipv6only=0 SYSTEM:'echo outside $SOCAT_PEERADDR' >/dev/null 2>&1 & servers=$!; \
    $in_peer socat TCP-LISTEN:81,fork,reuseaddr TCP:192.0.2.1:8080 >/dev/null 2>&1 & servers=\"$servers $!\"; \
    trap \"kill $servers $peer\" EXIT; ";

/// Lets the user open the device that pasta needs.
const TUN: &str = "mknod tun c 10 200 && chmod 666 tun && mount --bind tun /dev/net/tun && rm tun; ";

/// A server inside that says who asks, by TCP at port 80 and by UDP at port 81.
const SERVER: &str = r#"sh -c 'socat TCP-LISTEN:80,fork,reuseaddr SYSTEM:"echo from \$SOCAT_PEERADDR" &
    exec socat UDP-RECVFROM:81,fork SYSTEM:"read x; echo datagram from \$SOCAT_PEERADDR"'"#;

/// What the commands of a user with these further ids print on that host, line by line;
/// `device` is [`TUN`] or nothing. `ask` says what a server answers, `serve` starts one.
fn shows(ids: &'static str, device: &str, script: &str, wanted: &[&str]) {
    let home = Home::new(ids);
    let before = format!("cd {}; {HOST}{device}", home.base.display());
    let script = format!(
        "ask() {{ socat -T 5 -u \"$1\" - 2>&1 | grep -o 'from.*\\|outside.*\\|refused\\|rohibited\\|unreachable'; }}
         serve() {{ cais run -d --name web \"$@\" host {SERVER} >/dev/null
             until cais exec web socat -u TCP:127.0.0.1:80 - >/dev/null 2>&1; do :; done; }}
         {script}"
    );
    let done = home.sh_after(&["--mount", "--net"], &before, &script);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    let lines: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(lines, wanted, "{}", done.stderr);
}

#[test]
fn containers_find_each_other_and_the_world() {
    shows(
        "65534:3000000:65536\n",
        TUN,
        "cais network create front >/dev/null; cais network create back --internal >/dev/null
             serve --network front
             asks() { cais run --rm \"$@\"; }
             asks --network front host socat -T 5 -u TCP4:web:80 -
             asks --network front --userns keep-id host socat -T 5 -u TCP4:192.0.2.9:80 -
             asks --network front -u 7 host socat -T 5 -u TCP6:[2001:db8::9]:80 -
             asks --network back host socat -T 5 -u TCP4:192.0.2.9:80 - 2>&1 | grep -o unreachable
             asks --network front --egress-allow web host socat -T 5 -u TCP4:192.0.2.9:80 - 2>&1 | grep -o 'No route'
             socat TCP-LISTEN:7000,bind=192.0.2.1,reuseaddr SYSTEM:'echo the host' 2>/dev/null & listener=$!
             until grep -q :1B58 /proc/self/net/tcp; do :; done
             asks --network front host socat -T 5 -u TCP4:host.docker.internal:7000 -
             kill $listener 2>/dev/null
             cais network connect back web; cais exec web sh -c 'ls /sys/class/net' | tr '\\n' ' '
             cais network disconnect front web; cais exec web sh -c 'ls /sys/class/net'
             cais network check; cais stop -t 0 web; cais start web; cais rm -f web; cais network rm front back",
        &[
            "from 172.18.0.3",
            "outside [0000:0000:0000:0000:0000:ffff:c000:0201]",
            "outside [2001:0db8:0000:0000:0000:0000:0000:0001]",
            "unreachable",
            "No route",
            "the host",
            "eth0 eth1 lo eth1",
            "lo",
            "web",
            "web",
            "web",
            "front",
            "back"
        ],
    );
}

#[test]
fn ports_are_published() {
    shows(
        "",
        TUN,
        "serve -p 8080:80 -p 8080:81/udp
             for a in 127.0.0.1 192.0.2.1 [::1] 192.0.2.9:81; do ask TCP:$(echo $a:8080 | sed s/:81:8080/:81/); done
             until echo x | socat -t 1 - UDP:127.0.0.1:8080 | grep datagram; do :; done
             cais run --rm -p 8080:80 host true 2>&1 | grep -o 'taken by container web'
             cais run --rm -p 80:80 host true 2>&1 | grep -o 'are for root'
             cais run --rm -p 8082:80/sctp host true 2>&1 | grep -o 'SCTP is not published without root'
             cais port add web 8082:80/sctp 2>&1 | grep -o 'SCTP is not published without root'
             cais port add web 8081:80 >/dev/null; ask TCP:127.0.0.1:8081
             cais port rm web 8081:80 >/dev/null; ask TCP:127.0.0.1:8081
             cais port web 80; cais rm -f web",
        &[
            "from 172.17.0.1",
            "from 192.0.2.1",
            "from 172.17.0.1",
            "from 192.0.2.9",
            "datagram from 172.17.0.1",
            "taken by container web",
            "are for root",
            "SCTP is not published without root",
            "SCTP is not published without root",
            "from 172.17.0.1",
            "refused",
            "0.0.0.0:8080",
            "[::]:8080",
            "web"
        ],
    );
}

#[test]
fn without_pasta_containers_reach_each_other() {
    shows(
        "",
        "",
        "cais run -d --name one --network bridge host sleep 1000 2>&1 >/dev/null | grep -o 'nothing outside'
         cais run --rm --network bridge host sh -c 'ip -4 route' 2>/dev/null | cut -d ' ' -f 1-3 | head -1; cais rm -f one",
        &["nothing outside", "default via 172.17.0.1", "one"],
    );
}

/// Killed at any step, nothing is left after the next command, though the namespace stays for
/// another container; and without one the keeper is gone (the home's own check).
#[test]
fn a_start_is_killed_at_every_step() {
    shows(
        "",
        "",
        "cais network create --ipv6=false front >/dev/null
         hold=$(cais run -d --name hold --network front --ip 172.18.9.9 host sleep 1000)
         left() { ls run/cais/networks/front run/cais/endpoints run/cais/containers run/cais/resolvers | grep '[0-9a-f]$' | grep -v \"$hold\\|172.18.9.9\"; }
         for victim in caller stub; do
            step=0
            until CAIS_TEST_KILL=$victim:$step cais run --rm --network front -p 8080:80 --name vic --rootfs rootfs true 2>/dev/null; do
                tries=0
                while cais ps -aq >/dev/null; ! cais network check >/dev/null || left >/dev/null; do
                    tries=$((tries + 1)); [ $tries -lt 200 ] || { echo $victim $step; left; exit 1; }
                done
                step=$((step + 1)); [ $step -lt 200 ] || exit 2
            done
            [ $step -gt 20 ] || exit 3
         done
         cais rm -f hold; cais network rm front",
        &["hold", "front"],
    );
}

/// The keeper is killed: what runs goes on, and what is started afterwards finds it.
#[test]
fn the_keeper_is_killed() {
    shows(
        "",
        TUN,
        "cais network create front >/dev/null
             serve --network front
             kill -9 $(cut -d ' ' -f 1 run/cais/networks/.home-keeper)
             cais run --rm --network front host socat -T 5 -u TCP4:web:80 -
             cais run --rm --network front host socat -T 5 -u TCP4:192.0.2.9:80 - | cut -d ' ' -f 1
             cais network check; cais rm -f web; cais network rm front",
        &["from 172.18.0.3", "outside", "web", "front"],
    );
}

/// Until the stub is executed, it shares the memory of the command, which becoming another id
/// makes undumpable: nobody may look for its namespaces then. Here that takes long.
#[test]
#[ignore = "needs Debian's strace: `cargo xtask test` installs it and runs this"]
fn a_stub_of_another_id_is_executed_late() {
    shows(
        "65534:3000000:65536\n",
        "setpriv() { strace -f -qq -o /dev/null -e trace=execveat -e inject=execveat:delay_enter=300000 setpriv \"$@\"; }; ",
        "cais network create front >/dev/null 2>&1
         cais run -d --name $$.seen --userns keep-id --network front host sleep 1000 2>/dev/null >&2
         stat -c %u /proc/$(pgrep -f -- \"--name $$.seen\" | head -1)/environ
         cais rm -f $$.seen >/dev/null; cais network rm front",
        &["65534", "front"],
    );
}
