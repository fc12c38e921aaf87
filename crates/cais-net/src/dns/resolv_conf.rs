//! resolv.conf(5): the host's, and the one that a container gets.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Where a container's resolver listens, as Docker's does.
pub const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11));
/// The port of DNS.
pub const PORT: u16 = 53;
/// More servers, search domains or options are not read.
const MOST: usize = 16;

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The interface of a link-local address, by name or number.
    pub scope: Option<String>,
}

impl Server {
    /// Parses an address, with `%interface` behind a link-local one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, scope) = match text.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text, None),
        };
        let address = address.parse().ok()?;
        Some(Self { address, scope })
    }

    /// Where to send a query. `find` gives the number of an interface by its name.
    #[must_use]
    pub fn socket_address(&self, find: impl FnOnce(&str) -> Option<u32>) -> Option<SocketAddr> {
        let IpAddr::V6(address) = self.address else {
            return Some(SocketAddr::new(self.address, PORT));
        };
        let scope = match &self.scope {
            None => 0,
            Some(scope) => scope.parse().ok().or_else(|| find(scope))?,
        };
        Some(SocketAddrV6::new(address, PORT, 0, scope).into())
    }

    /// Whether it can be reached from this machine only.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.is_loopback() || self.address.is_unspecified()
    }

    fn text(&self) -> String {
        match &self.scope {
            None => self.address.to_string(),
            Some(scope) => format!("{}%{scope}", self.address),
        }
    }
}

/// What such a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The name servers in their order.
    pub servers: Vec<Server>,
    /// The domains that are tried behind a short name.
    pub search: Vec<String>,
    /// The options as written.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Parses a file. As the C library does, lines that mean nothing are passed over.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => read.servers.extend(words.next().and_then(Server::parse)),
                // The last line of the two kinds holds.
                Some("search" | "domain") => read.search = words.take(MOST).map(str::to_owned).collect(),
                Some("options") => read.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        read.servers.truncate(MOST);
        read.options.truncate(MOST);
        read
    }

    /// How long to wait for a server, and how often to ask each: `timeout:` and
    /// `attempts:`, within the limits of the C library.
    ///
    /// Without them we are done before a C library's five seconds are over, so that its
    /// program hears of a failure instead of asking again.
    #[must_use]
    pub fn patience(&self) -> (Duration, u32) {
        let number = |name: &str| {
            let values = self.options.iter().filter_map(|option| option.strip_prefix(name));
            values.filter_map(|value| value.parse::<u32>().ok()).next_back()
        };
        let timeout = number("timeout:").map_or(Duration::from_secs(2), |seconds| {
            Duration::from_secs(u64::from(seconds.clamp(1, 30)))
        });
        (timeout, number("attempts:").unwrap_or(2).clamp(1, 5))
    }
}

/// What a user asked of a container's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// `--dns`.
    pub servers: &'a [String],
    /// `--dns-search`; a single `.` means none.
    pub search: &'a [String],
    /// `--dns-option`.
    pub options: &'a [String],
}

/// The file of a container that asks these servers itself.
#[must_use]
pub fn plan_direct(host: &ResolvConf, wishes: &Wishes<'_>) -> String {
    let mut text = String::new();
    if wishes.servers.is_empty() {
        for server in &host.servers {
            push_line(&mut text, "nameserver", &[server.text()]);
        }
    }
    for server in wishes.servers {
        push_line(&mut text, "nameserver", std::slice::from_ref(server));
    }
    finish(text, host, wishes, None)
}

/// The file of a container that asks our resolver. A short name is tried as it is before
/// the search list, as with Docker: the names of containers have no dot.
#[must_use]
pub fn plan_ours(host: &ResolvConf, wishes: &Wishes<'_>) -> String {
    let mut text = String::new();
    push_line(&mut text, "nameserver", &[OURS.to_string()]);
    finish(text, host, wishes, Some("ndots:0"))
}

fn finish(mut text: String, host: &ResolvConf, wishes: &Wishes<'_>, option: Option<&str>) -> String {
    let search = if wishes.search.is_empty() {
        &host.search
    } else {
        wishes.search
    };
    if search != ["."] {
        push_line(&mut text, "search", search);
    }
    let mut options = if wishes.options.is_empty() {
        host.options.clone()
    } else {
        wishes.options.to_vec()
    };
    if let Some(option) = option
        && !options.iter().any(|known| known.starts_with("ndots:"))
    {
        options.push(option.to_owned());
    }
    push_line(&mut text, "options", &options);
    text
}

fn push_line(text: &mut String, keyword: &str, words: &[String]) {
    if !words.is_empty() {
        // Writing to a string does not fail.
        writeln!(text, "{keyword} {}", words.join(" ")).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver nonsense\ndomain old.example\nsearch corp.example  example.org\noptions timeout:1 attempts:9\noptions rotate\nsortlist 1.2.3.4\n;nameserver 1.1.1.1\n";

    #[test]
    fn what_the_host_says() {
        let host = ResolvConf::parse(HOST);
        assert_eq!(host.servers.len(), 2);
        assert_eq!(host.servers[1].scope.as_deref(), Some("eth0"));
        assert_eq!(host.search, ["corp.example", "example.org"]);
        assert_eq!(host.options, ["timeout:1", "attempts:9", "rotate"]);
        assert_eq!(host.patience(), (Duration::from_secs(1), 5));
        assert_eq!(ResolvConf::default().patience(), (Duration::from_secs(2), 2));
        let address = host.servers[1].socket_address(|name| (name == "eth0").then_some(7));
        assert_eq!(address.unwrap().to_string(), "[fe80::1%7]:53");
        assert_eq!(host.servers[1].socket_address(|_| None), None);
    }

    #[test]
    fn what_a_container_gets() {
        let host = ResolvConf::parse(HOST);
        let none = Wishes::default();
        assert_eq!(
            plan_ours(&host, &none),
            "nameserver 127.0.0.11\nsearch corp.example example.org\noptions timeout:1 attempts:9 rotate ndots:0\n"
        );
        assert_eq!(
            plan_direct(&host, &none),
            "nameserver 10.0.0.53\nnameserver fe80::1%eth0\nsearch corp.example example.org\noptions timeout:1 attempts:9 rotate\n"
        );
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (servers, search, options) = (words(&["9.9.9.9"]), words(&["."]), words(&["ndots:2"]));
        let wishes = Wishes {
            servers: &servers,
            search: &search,
            options: &options,
        };
        assert_eq!(
            plan_ours(&host, &wishes),
            "nameserver 127.0.0.11\noptions ndots:2\n"
        );
        assert_eq!(
            plan_direct(&host, &wishes),
            "nameserver 9.9.9.9\noptions ndots:2\n"
        );
    }
}
