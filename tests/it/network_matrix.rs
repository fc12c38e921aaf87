//! The whole matrix of published ports: how it was published, from where it is asked, by
//! which protocol and family, and whose address the container sees.

use crate::network_support::{
    HOST4, HOST6, OUTSIDE4, OUTSIDE6, Site, ask, question, seen, tcp_echo, udp_echo,
};
use crate::support::eventually;

/// From where somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Host,
    Outside,
    /// A container in the same network.
    Sibling,
    /// A container in another network.
    Stranger,
    /// The container itself.
    Own,
}

const ORIGINS: [Origin; 5] = [
    Origin::Host,
    Origin::Outside,
    Origin::Sibling,
    Origin::Stranger,
    Origin::Own,
];

fn asked(site: &Site, origin: Origin, protocol: &str, address: &str, port: u16) -> Option<String> {
    let container = match origin {
        Origin::Host => return ask(&site.lan.host, protocol, address, port),
        Origin::Outside => return ask(&site.lan.outside, protocol, address, port),
        Origin::Sibling => "sibling",
        Origin::Stranger => "stranger",
        Origin::Own => "server",
    };
    let script = question(protocol, address, port);
    seen(&site.exec(container, &script).stdout)
}

/// A server with ports published in every way, and containers around it.
fn prepare() -> Site {
    let site = Site::new();
    site.ok(&["network", "create", "net"]);
    site.ok(&["network", "create", "other"]);
    let mut flags = vec!["--network".to_owned(), "net".to_owned()];
    for (host, port) in [
        ("", 8080),
        ("127.0.0.1:", 8081),
        ("192.0.2.1:", 8082),
        ("[::1]:", 8083),
        ("[2001:db8::1]:", 8084),
    ] {
        for protocol in ["tcp", "udp"] {
            flags.extend(["-p".to_owned(), format!("{host}{port}:80/{protocol}")]);
        }
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let script = format!("{} & exec {}", udp_echo(80), tcp_echo(80));
    site.start("server", &flags, &script);
    site.start("sibling", &["--network", "net"], "sleep 1000");
    site.start("stranger", &["--network", "other"], "sleep 1000");
    let server = site.address("server", 4);
    eventually("the server listens", || {
        seen(
            &site
                .exec("sibling", &format!("socat -t1 - TCP:{server}:80 </dev/null"))
                .stdout,
        )
        .is_some()
            && seen(
                &site
                    .exec("sibling", &format!("echo x | socat -t1 -T1 - UDP:{server}:80"))
                    .stdout,
            )
            .is_some()
    });
    site
}

/// Whether a port that is published so answers there, over which family.
struct Way {
    port: u16,
    address: &'static str,
    /// Who reaches it.
    by: &'static [Origin],
}

const LOCAL: &[Origin] = &[Origin::Host];
const NOBODY: &[Origin] = &[];

const WAYS: &[Way] = &[
    Way {
        port: 8080,
        address: "127.0.0.1",
        by: LOCAL,
    },
    Way {
        port: 8080,
        address: "::1",
        by: LOCAL,
    },
    Way {
        port: 8080,
        address: HOST4,
        by: &ORIGINS,
    },
    Way {
        port: 8080,
        address: HOST6,
        by: &ORIGINS,
    },
    Way {
        port: 8081,
        address: "127.0.0.1",
        by: LOCAL,
    },
    Way {
        port: 8081,
        address: HOST4,
        by: NOBODY,
    },
    Way {
        port: 8082,
        address: HOST4,
        by: &ORIGINS,
    },
    Way {
        port: 8082,
        address: "127.0.0.1",
        by: NOBODY,
    },
    Way {
        port: 8083,
        address: "::1",
        by: LOCAL,
    },
    Way {
        port: 8083,
        address: HOST6,
        by: NOBODY,
    },
    Way {
        port: 8084,
        address: HOST6,
        by: &ORIGINS,
    },
    Way {
        port: 8084,
        address: "::1",
        by: NOBODY,
    },
];

fn check_all(site: &Site, with: &str) {
    let mut wrong = Vec::new();
    for way in WAYS {
        for protocol in ["tcp", "udp"] {
            for origin in ORIGINS {
                let expected = way.by.contains(&origin);
                let source = asked(site, origin, protocol, way.address, way.port);
                let here = format!(
                    "{with}: {origin:?} {protocol} {} {}: {source:?}",
                    way.address, way.port
                );
                if expected != source.is_some() {
                    wrong.push(here.clone());
                }
                // From outside the real address, never the host's.
                let outside = [OUTSIDE4, OUTSIDE6];
                if origin == Origin::Outside
                    && source.as_deref().is_some_and(|source| !outside.contains(&source))
                {
                    wrong.push(here);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn published_ports_from_everywhere() {
    let site = prepare();
    check_all(&site, "br_netfilter as it is");
    // With and without bridged packets going through the filter, where that can be set.
    for value in ["0", "1"] {
        let set = format!(
            "for f in iptables ip6tables; do echo {value} > /proc/sys/net/bridge/bridge-nf-call-$f; done"
        );
        if site.lan.host.try_sh(&set).code == 0 {
            check_all(&site, &format!("br_netfilter {value}"));
        }
    }
}

#[test]
fn what_is_published_twice_is_refused_with_a_name() {
    let site = Site::new();
    site.start("first", &["--network", "bridge", "-p", "8080:80"], "sleep 1000");
    let publish = |mapping: &str| {
        let words = [
            "run",
            "--rm",
            "--network",
            "bridge",
            "-p",
            mapping,
            "host",
            "true",
        ];
        site.cais(&words)
    };
    let is_refused = |port: &str, holder: &str| {
        let done = publish(&format!("{port}:80"));
        assert_eq!(done.code, 125);
        let told = done.stderr;
        assert!(told.contains(port) && told.contains(holder), "{told}");
    };
    is_refused("8080", "first");
    let _busy = site
        .lan
        .host
        .spawn("socat TCP-LISTEN:8090,fork,reuseaddr SYSTEM:true");
    eventually("somebody listens", || {
        site.lan.host.sh("ss -ltn").contains(":8090")
    });
    is_refused("8090", "socat");
    site.ok(&["rm", "-f", "first"]);
    let done = publish("8080:80");
    assert_eq!(done.code, 0, "{}", done.stderr);
}

#[test]
fn real_software_behind_a_published_port() {
    let site = Site::new();
    let script = "printf 'daemon off; error_log /dev/stderr; pid /tmp/pid; events {} http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 80; listen [::]:80; location / { return 200 $remote_addr; } } }' > /tmp/nginx.conf; exec nginx -c /tmp/nginx.conf";
    site.start("nginx", &["--network", "bridge", "-p", "8080:80"], script);
    eventually("nginx answers", || {
        site.lan.host.try_sh("curl -sm2 http://127.0.0.1:8080").code == 0
    });
    assert_eq!(
        site.lan.outside.sh(&format!("curl -sm2 http://{HOST4}:8080")),
        OUTSIDE4
    );
    // The first packets of IPv6 may find an address that is not yet known to be the only one.
    let six = format!("curl -gsm2 http://[{HOST6}]:8080");
    eventually("IPv6 answers", || site.lan.outside.try_sh(&six).code == 0);
    assert_eq!(site.lan.outside.sh(&six), OUTSIDE6);
    site.lan.host.sh("curl -gsm5 http://[::1]:8080");
    // Out, by way of the host's address.
    let _echo = site.lan.outside.spawn(&tcp_echo(8000));
    eventually("the echo listens", || {
        ask(&site.lan.host, "tcp", OUTSIDE4, 8000).is_some()
    });
    let text = site.prints("nginx", &format!("socat -t1 - TCP:{OUTSIDE4}:8000 </dev/null"));
    assert_eq!(seen(&text).as_deref(), Some(HOST4));
    let text = site.prints("nginx", &format!("socat -t1 - TCP:[{OUTSIDE6}]:8000 </dev/null"));
    assert_eq!(seen(&text).as_deref(), Some(HOST6));
}
