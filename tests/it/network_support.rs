//! Network namespaces of a test's own: a host on which cais runs, and others around it.
//!
//! A namespace lives as long as one process in it, which waits for its standard input to
//! end: when the test is killed, everything goes.

use crate::support::{Done, TestEnv, eventually};
use std::fs;
use std::process::{Child, Command, Stdio};

/// A network namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A new one, with its loopback interface up.
    pub(crate) fn new() -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("util-linux is installed");
        let new = Self { holder };
        let ours = fs::read_link("/proc/self/ns/net").unwrap();
        eventually("the namespace is made", || {
            let is_cat = fs::read_to_string(format!("/proc/{}/comm", new.holder.id()))
                .is_ok_and(|name| name.trim() == "cat");
            is_cat && fs::read_link(new.path()).is_ok_and(|theirs| theirs != ours)
        });
        new.sh("ip link set lo up");
        new
    }

    /// A process in it.
    pub(crate) fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// The file by which it is entered.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// This command, run in the namespace.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("nsenter");
        wrapped.arg(format!("--net={}", self.path())).arg("--");
        wrapped.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(key, value),
                None => wrapped.env_remove(key),
            };
        }
        wrapped.stdin(Stdio::null());
        wrapped
    }

    /// Runs a shell script in it; returns what came of it.
    pub(crate) fn try_sh(&self, script: &str) -> Done {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        Done::of(self.inside(&shell))
    }

    /// Runs a shell script that must succeed; returns what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let done = self.try_sh(script);
        assert_eq!(done.code, 0, "{script}: {}{}", done.stdout, done.stderr);
        done.stdout
    }

    /// Starts a program in it that runs until the value is dropped.
    pub(crate) fn spawn(&self, script: &str) -> Running {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("exec {script}")]);
        let child = self
            .inside(&shell)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Runs a cais command in it that must succeed.
    pub(crate) fn cais(&self, env: &TestEnv, words: &[&str]) -> String {
        let done = self.try_cais(env, words);
        assert_eq!(done.code, 0, "cais {words:?}: {}", done.stderr);
        done.stdout
    }

    /// Runs a cais command in it.
    pub(crate) fn try_cais(&self, env: &TestEnv, words: &[&str]) -> Done {
        Done::of(self.inside(&env.command(words)))
    }

    /// What is left in it of ours: interfaces, tables, elements.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let text = self.sh("ip -o link show");
        let names = text.lines().filter_map(|line| line.split(": ").nth(1));
        names
            .map(|name| name.split('@').next().unwrap_or(name).to_owned())
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().map(drop).unwrap_or_default();
    }
}

/// A program that ends with the value.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

/// A host on which cais runs, and somebody in the same local network:
/// 192.0.2.1 and 192.0.2.2, 2001:db8::1 and 2001:db8::2.
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) host: Namespace,
    pub(crate) outside: Namespace,
}

/// The addresses of the two.
pub(crate) const HOST4: &str = "192.0.2.1";
pub(crate) const OUTSIDE4: &str = "192.0.2.2";
pub(crate) const HOST6: &str = "2001:db8::1";
pub(crate) const OUTSIDE6: &str = "2001:db8::2";

impl Lan {
    pub(crate) fn new() -> Self {
        let (host, outside) = (Namespace::new(), Namespace::new());
        let holder = outside.holder.id();
        // Without duplicate address detection, which takes seconds on interfaces just made.
        let quick = "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.lan0.accept_dad=0";
        host.sh(&format!(
            "ip link add lan0 type veth peer name lan0 netns {holder}"
        ));
        host.sh(quick);
        outside.sh(quick);
        host.sh("ip link set lan0 up");
        host.sh(&format!(
            "ip addr add {HOST4}/24 dev lan0 && ip addr add {HOST6}/64 dev lan0 nodad"
        ));
        outside.sh(&format!("ip link set lan0 up && ip addr add {OUTSIDE4}/24 dev lan0 && ip addr add {OUTSIDE6}/64 dev lan0 nodad"));
        // The rest of the world is behind the other one.
        host.sh(&format!(
            "ip route add default via {OUTSIDE4} && ip -6 route add default via {OUTSIDE6}"
        ));
        Self { host, outside }
    }
}

/// A server for a container: each connection is told from which address it came.
pub(crate) fn tcp_echo(port: u16) -> String {
    format!("socat TCP6-LISTEN:{port},ipv6only=0,fork,reuseaddr,backlog=64 SYSTEM:'echo $SOCAT_PEERADDR'")
}

/// The same over UDP. The program reads the datagram: were it to end before socat has written
/// to it, socat would end of EPIPE without an answer.
pub(crate) fn udp_echo(port: u16) -> String {
    format!("socat UDP6-RECVFROM:{port},ipv6only=0,fork,reuseaddr SYSTEM:'read x; echo $SOCAT_PEERADDR'")
}

/// A shell script that asks such a server, and ends with its answer.
pub(crate) fn question(protocol: &str, address: &str, port: u16) -> String {
    if protocol == "udp" {
        return format!(
            "bash -c 'exec 3<>/dev/udp/{address}/{port} && echo x >&3 && exec timeout 3 head -n1 <&3'"
        );
    }
    let target = if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    };
    // It sends nothing, not even an end: after one the server would wait half a second only.
    format!("socat -u -T3 TCP:{target}:{port},connect-timeout=2 -")
}

/// Asks such a server; returns the address that it saw, without brackets, or nothing.
pub(crate) fn ask(from: &Namespace, protocol: &str, address: &str, port: u16) -> Option<String> {
    let script = question(protocol, address, port);
    seen(&from.try_sh(&script).stdout)
}

/// The address in what such a server said, in its shortest form.
pub(crate) fn seen(text: &str) -> Option<String> {
    let bare = text.trim().trim_matches(['[', ']']);
    let address: std::net::IpAddr = bare.parse().ok()?;
    Some(address.to_canonical().to_string())
}

/// A host with cais and a neighbour. What is left in them at the end is an error.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) env: TestEnv,
    pub(crate) lan: Lan,
}

impl Site {
    pub(crate) fn new() -> Self {
        let lan = Lan::new();
        Self {
            env: TestEnv::new(),
            lan,
        }
    }

    /// Runs a cais command on the host that must succeed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        self.lan.host.cais(&self.env, words)
    }

    /// Runs a cais command on the host.
    pub(crate) fn cais(&self, words: &[&str]) -> Done {
        self.lan.host.try_cais(&self.env, words)
    }

    /// Starts a detached container of the image `host`.
    pub(crate) fn start(&self, name: &str, flags: &[&str], script: &str) {
        let words = [
            &["run", "-d", "--name", name],
            flags,
            &["host", "sh", "-c", script],
        ]
        .concat();
        self.ok(&words);
    }

    /// Runs a script in a container that runs; returns what came of it.
    pub(crate) fn exec(&self, name: &str, script: &str) -> Done {
        self.cais(&["exec", name, "sh", "-c", script])
    }

    /// What a script in a container that runs prints, without the end of its last line.
    pub(crate) fn prints(&self, name: &str, script: &str) -> String {
        let done = self.exec(name, script);
        assert_eq!(done.code, 0, "{name}: {script}: {}{}", done.stdout, done.stderr);
        done.stdout.trim_end().to_owned()
    }

    /// The address of a container that runs.
    pub(crate) fn address(&self, name: &str, family: u8) -> String {
        let script = format!("ip -{family} -o addr show dev eth0 scope global");
        let text = self.prints(name, &script);
        let address = text.split_whitespace().nth(3).unwrap_or_default();
        address.split('/').next().unwrap_or_default().to_owned()
    }

    /// Removes all containers.
    pub(crate) fn clear(&self) {
        let all = self.cais(&["ps", "-aq", "--no-trunc"]).stdout;
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(all.lines()).collect();
        if words.len() > 2 {
            self.cais(&words);
        }
    }

    /// What is left of containers in networks: interfaces, files, elements of ports.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.lan.host.interfaces();
        left.retain(|name| name.starts_with("cv"));
        for place in ["endpoints", "resolvers"] {
            let entries = fs::read_dir(self.env.path("run").join(place));
            left.extend(
                entries
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path().display().to_string()),
            );
        }
        let networks = fs::read_dir(self.env.path("run/networks"))
            .into_iter()
            .flatten()
            .flatten();
        for network in networks.filter(|entry| entry.path().is_dir()) {
            let inside = fs::read_dir(network.path()).into_iter().flatten().flatten();
            // Where the next search for a free address begins.
            let held = inside.filter(|entry| !entry.file_name().to_string_lossy().starts_with(".next"));
            left.extend(held.map(|entry| entry.path().display().to_string()));
        }
        for map in ["pub_any4", "pub_ip4", "pub_any6", "pub_ip6"] {
            let listed = self.lan.host.try_sh(&format!(
                "nft list map inet $(nft list tables | grep -o 'cais.*') {map}"
            ));
            if listed.stdout.contains("elements") {
                left.push(listed.stdout);
            }
        }
        left
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.clear();
        if !std::thread::panicking() {
            eventually(&format!("nothing is left: {:?}", self.leftovers()), || {
                self.leftovers().is_empty()
            });
        }
    }
}
