//! Networks of CNI (the Container Network Interface, containernetworking.dev, version 1.1 of
//! its specification): programs of others that make a container's interfaces. A configuration
//! names several in a row; each hears what the one before it has done.
//!
//! These are the only programs that a start executes, and only where `--network cni:NAME`
//! asks for them.

use crate::dns::resolv_conf::ResolvConf;
use crate::error::{NetError, Result};
use crate::publish::PublishedPort;
use cais_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where configurations are, unless `NETCONFPATH` says otherwise (as for cnitool).
const CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Where the programs are, unless `CNI_PATH` says otherwise.
const PROGRAMS: &str = "/opt/cni/bin:/usr/lib/cni:/usr/libexec/cni";
/// The version of configurations that name none.
const OLDEST: &str = "0.1.0";

/// A configuration: name, version, and the programs with what each is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    value: Value,
}

/// For whom the programs are called.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The file of its network namespace; none where it is gone.
    pub namespace: Option<&'a str>,
    /// The name of the interface.
    pub interface: &'a str,
    /// What is published.
    pub ports: &'a [PublishedPort],
}

/// What the programs gave a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Its address of IPv4, with the bits of the network, and the gateway.
    pub ipv4: Option<(Ipv4Addr, u8, Option<IpAddr>)>,
    /// The same of IPv6.
    pub ipv6: Option<(Ipv6Addr, u8, Option<IpAddr>)>,
    /// The interface's hardware address.
    pub mac: Option<String>,
    /// Whom to ask for names, and how; what is empty was not said.
    pub names: ResolvConf,
}

fn invalid(text: String) -> NetError {
    NetError::Invalid(text)
}

/// Finds the configuration of this name: files `.conflist`, `.conf` and `.json`, in the order
/// of their names.
///
/// # Errors
/// Where there is none, or it cannot be understood.
pub fn find(name: &str) -> Result<List> {
    let directory = std::env::var("NETCONFPATH").unwrap_or_else(|_| CONFIGURATIONS.to_owned());
    find_in(Path::new(&directory), name)
}

fn find_in(directory: &Path, name: &str) -> Result<List> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let is_configuration = |path: &&PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("conflist" | "conf" | "json"))
    };
    let mut damaged = None;
    for path in paths.iter().filter(is_configuration) {
        let text = fs::read(path).map_err(NetError::file(format!("read {}", path.display())))?;
        match cais_json::from_slice::<Value>(&text) {
            Ok(value) if value.get("name").and_then(Value::as_str) == Some(name) => {
                return List::new(value)
                    .map_err(|error| invalid(format!("CNI configuration {}: {error}", path.display())));
            }
            Ok(_) => {}
            Err(error) => damaged = Some(format!("; {} is damaged: {error}", path.display())),
        }
    }
    Err(invalid(format!(
        "there is no CNI configuration named {name:?} in {}{}",
        directory.display(),
        damaged.unwrap_or_default()
    )))
}

impl List {
    /// A configuration; one of a single program becomes a list of one.
    ///
    /// # Errors
    /// Where it names no programs, or one by a path.
    pub fn new(value: Value) -> Result<Self> {
        let value = if value.get("plugins").is_some() {
            value
        } else {
            json!({
                "name": value.get("name").cloned(),
                "cniVersion": value.get("cniVersion").cloned().unwrap_or_else(|| OLDEST.into()),
                "plugins": [value],
            })
        };
        let list = Self { value };
        let kinds: Vec<Option<&str>> = list.plugins().map(kind).collect();
        // It becomes the name of a file that root executes.
        let is_wrong = |kind: &Option<&str>| kind.is_none_or(|kind| kind.is_empty() || kind.contains('/'));
        if kinds.is_empty() || kinds.iter().any(is_wrong) {
            return Err(invalid(
                "\"plugins\" is a list of objects, each with a \"type\"".to_owned(),
            ));
        }
        Ok(list)
    }

    /// The configuration as JSON.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn plugins(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.value
            .get("plugins")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }

    fn name(&self) -> &str {
        self.value.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// What a program reads: its part of the configuration, the name and version of the whole,
    /// what it can do with ports, and what was done before it.
    fn plan_input(&self, plugin: &Value, target: &Target<'_>, before: Option<&Value>) -> Value {
        let mut input = plugin.as_object().cloned().unwrap_or_default();
        for key in ["name", "cniVersion"] {
            if let Some(value) = self.value.get(key) {
                input.insert(key.to_owned(), value.clone());
            }
        }
        if takes_ports(plugin) && !target.ports.is_empty() {
            let ports: Vec<Value> = target.ports.iter().map(describe_port).collect();
            input.insert("runtimeConfig".to_owned(), json!({ "portMappings": ports }));
        }
        if let Some(before) = before {
            input.insert("prevResult".to_owned(), before.clone());
        }
        Value::Object(input)
    }

    /// Gives the container its interface. What the last program said.
    ///
    /// # Errors
    /// Where a program is not there or fails; [`Self::delete`] undoes the others.
    pub fn add(&self, target: &Target<'_>) -> Result<Value> {
        let mut result = None;
        for plugin in self.plugins() {
            let input = self.plan_input(plugin, target, result.as_ref());
            result = Some(self.execute("ADD", plugin, target, &input)?);
        }
        Ok(result.unwrap_or_default())
    }

    /// Takes the interface away, in reverse. `result` is what [`Self::add`] gave; none where
    /// it did not come to its end. Doing it again is no error.
    ///
    /// # Errors
    /// The first one; the other programs were called all the same.
    pub fn delete(&self, target: &Target<'_>, result: Option<&Value>) -> Result<()> {
        let mut first = Ok(());
        let directories = directories();
        for plugin in self.plugins().rev() {
            // One that was not there when it was wanted has done nothing.
            let is_there = find_program(&directories, kind(plugin).unwrap_or_default()).is_some();
            if result.is_none() && !is_there {
                continue;
            }
            let input = self.plan_input(plugin, target, result);
            first = first.and(self.execute("DEL", plugin, target, &input).map(drop));
        }
        first
    }

    fn execute(&self, command: &str, plugin: &Value, target: &Target<'_>, input: &Value) -> Result<Value> {
        let kind = kind(plugin).unwrap_or_default();
        let directories = directories();
        let program = find_program(&directories, kind).ok_or_else(|| {
            invalid(format!(
                "network cni:{}: there is no CNI plugin {kind} in {directories} (Debian's package: containernetworking-plugins)",
                self.name()
            ))
        })?;
        let mut process = Command::new(&program);
        process
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", target.container)
            .env("CNI_NETNS", target.namespace.unwrap_or_default())
            .env("CNI_IFNAME", target.interface)
            .env("CNI_PATH", &directories)
            .env("CNI_ARGS", "IgnoreUnknown=1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = || NetError::file(format!("execute {}", program.display()));
        let mut child = process.spawn().map_err(failed())?;
        if let Some(mut pipe) = child.stdin.take() {
            // One that reads nothing says by its status whether that was right.
            pipe.write_all(input.to_string().as_bytes()).unwrap_or_default();
        }
        let output = child.wait_with_output().map_err(failed())?;
        let said = cais_json::from_slice::<Value>(&output.stdout).ok();
        if output.status.success() {
            return Ok(said.unwrap_or_default());
        }
        let told = said.as_ref().map(explain).filter(|text| !text.is_empty());
        let text = told.unwrap_or_else(|| {
            let error = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, error.trim())
        });
        Err(invalid(format!(
            "network cni:{}: the CNI plugin {kind} failed to {command}: {text}",
            self.name()
        )))
    }
}

fn directories() -> String {
    std::env::var("CNI_PATH").unwrap_or_else(|_| PROGRAMS.to_owned())
}

fn find_program(directories: &str, kind: &str) -> Option<PathBuf> {
    directories
        .split(':')
        .map(|directory| Path::new(directory).join(kind))
        .find(|path| path.is_file())
}

fn kind(plugin: &Value) -> Option<&str> {
    plugin.get("type").and_then(Value::as_str)
}

fn takes_ports(plugin: &Value) -> bool {
    let able = plugin.get("capabilities").and_then(|all| all.get("portMappings"));
    able.and_then(Value::as_bool) == Some(true)
}

fn describe_port(port: &PublishedPort) -> Value {
    let mut all = Map::new();
    all.insert("hostPort".to_owned(), port.host_port.into());
    all.insert("containerPort".to_owned(), port.container_port.into());
    all.insert("protocol".to_owned(), port.protocol.name().into());
    if let Some(host) = port.host {
        all.insert("hostIP".to_owned(), host.to_string().into());
    }
    Value::Object(all)
}

/// The error that a program wrote: message and details.
fn explain(said: &Value) -> String {
    let texts = ["msg", "details"].map(|key| said.get(key).and_then(Value::as_str).unwrap_or_default());
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    texts.join(": ")
}

/// What a result says of the container's interface (versions 0.3 and later; earlier ones say
/// it elsewhere, and it stays unknown).
#[must_use]
pub fn parse_given(result: &Value, interface: &str) -> Given {
    let list = |key: &str| result.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut given = Given::default();
    for ip in list("ips") {
        let text = |key: &str| ip.get(key).and_then(Value::as_str);
        let Some((address, bits)) = text("address").and_then(|text| text.split_once('/')) else {
            continue;
        };
        let gateway = text("gateway").and_then(|text| text.parse().ok());
        match (address.parse(), bits.parse()) {
            (Ok(IpAddr::V4(address)), Ok(bits)) if bits <= 32 => {
                given.ipv4.get_or_insert((address, bits, gateway));
            }
            (Ok(IpAddr::V6(address)), Ok(bits)) if bits <= 128 => {
                given.ipv6.get_or_insert((address, bits, gateway));
            }
            _ => {}
        }
    }
    let ours = list("interfaces").find(|each| {
        each.get("name").and_then(Value::as_str) == Some(interface)
            && each
                .get("sandbox")
                .and_then(Value::as_str)
                .is_some_and(|path| !path.is_empty())
    });
    let mac = ours.and_then(|each| each.get("mac")).and_then(Value::as_str);
    given.mac = mac.map(str::to_owned);
    given.names = result.get("dns").map(parse_names).unwrap_or_default();
    given
}

/// The `dns` of a result, read as the file that it becomes would be.
fn parse_names(dns: &Value) -> ResolvConf {
    let words = |key: &str| -> Vec<&str> {
        let list = dns.get(key).and_then(Value::as_array).into_iter().flatten();
        let texts = list.chain(dns.get(key)).filter_map(Value::as_str);
        texts.flat_map(str::split_ascii_whitespace).collect()
    };
    let mut text = String::new();
    for server in words("nameservers") {
        text += &format!("nameserver {server}\n");
    }
    // A search list takes the domain's place, as in the file.
    for key in ["domain", "search"] {
        let words = words(key);
        if !words.is_empty() {
            text += &format!("search {}\n", words.join(" "));
        }
    }
    ResolvConf::parse(&format!("{text}options {}\n", words("options").join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> List {
        List::new(json!({
            "name": "n", "cniVersion": "1.0.0",
            "plugins": [{ "type": "bridge" }, { "type": "portmap", "capabilities": { "portMappings": true } }],
        }))
        .unwrap()
    }

    #[test]
    fn whom_to_ask_for_names() {
        let given = |dns: Value| parse_given(&json!({ "dns": dns }), "eth0").names;
        let all = given(json!({
            "nameservers": ["10.1.0.1", "fd00::1", "nonsense"],
            "domain": "old.example", "search": ["a.example", "b.example"], "options": ["ndots:2"],
        }));
        let shown: Vec<String> = all.servers.iter().map(|one| one.address.to_string()).collect();
        assert_eq!(shown, ["10.1.0.1", "fd00::1"]);
        assert_eq!(all.search, ["a.example", "b.example"]);
        assert_eq!(all.options, ["ndots:2"]);
        assert_eq!(given(json!({ "domain": "old.example" })).search, ["old.example"]);
        for nothing in [json!({}), Value::Null, json!({ "nameservers": [] }), json!([1])] {
            assert_eq!(given(nothing.clone()), ResolvConf::default(), "{nothing}");
        }
    }

    #[test]
    fn what_a_program_reads() {
        let ports = [PublishedPort {
            host: None,
            host_port: 8080,
            container_port: 80,
            protocol: crate::publish::Protocol::Tcp,
        }];
        let target = Target {
            container: "c",
            namespace: None,
            interface: "eth0",
            ports: &ports,
        };
        let (list, before) = (list(), json!({ "ips": [] }));
        let plugins: Vec<&Value> = list.plugins().collect();
        assert_eq!(
            list.plan_input(plugins[0], &target, None),
            json!({ "type": "bridge", "name": "n", "cniVersion": "1.0.0" })
        );
        let input = list.plan_input(plugins[1], &target, Some(&before));
        assert_eq!(input["prevResult"], before);
        assert_eq!(
            input["runtimeConfig"]["portMappings"],
            json!([{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }])
        );
    }

    #[test]
    fn configurations() {
        let one = List::new(json!({ "name": "n", "type": "ptp" })).unwrap();
        assert_eq!(
            (one.plugins().count(), one.value["cniVersion"].as_str()),
            (1, Some(OLDEST))
        );
        for bad in [
            json!({ "name": "n" }),
            json!({ "name": "n", "plugins": [] }),
            json!({ "name": "n", "plugins": {} }),
            json!({ "name": "n", "plugins": [{ "type": "../../bin/sh" }] }),
            json!({ "name": "n", "plugins": [{ "type": "" }] }),
            json!({ "name": "n", "plugins": ["bridge"] }),
        ] {
            assert!(List::new(bad.clone()).is_err(), "{bad}");
        }
        let base = std::env::temp_dir().join(format!("cais-cni-{}", std::process::id()));
        fs::create_dir_all(&base).unwrap();
        fs::write(base.join("1.conf"), "{").unwrap();
        fs::write(base.join("2.conflist"), list().value.to_string()).unwrap();
        fs::write(base.join("3.txt"), r#"{"name":"text","type":"x"}"#).unwrap();
        assert_eq!(find_in(&base, "n").unwrap(), list());
        let error = find_in(&base, "text").unwrap_err().to_string();
        assert!(error.contains("1.conf is damaged"), "{error}");
        fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn results() {
        let result = json!({
            "interfaces": [{ "name": "eth0", "mac": "aa:aa:aa:aa:aa:aa" }, { "name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "/x" }],
            "ips": [
                { "address": "10.1.0.5/24", "gateway": "10.1.0.1" }, { "address": "10.1.0.6/24" },
                { "address": "fd00::5/64" }, { "address": "10.1.0.7/99" }, { "address": "x" }, 7,
            ],
        });
        let given = parse_given(&result, "eth0");
        assert_eq!(
            given.ipv4,
            Some((Ipv4Addr::new(10, 1, 0, 5), 24, "10.1.0.1".parse().ok()))
        );
        assert_eq!(given.ipv6, Some(("fd00::5".parse().unwrap(), 64, None)));
        assert_eq!(given.mac.as_deref(), Some("02:00:00:00:00:01"));
        for empty in [json!(null), json!({ "ips": {} }), json!([])] {
            assert_eq!(parse_given(&empty, "eth0"), Given::default());
        }
    }
}
