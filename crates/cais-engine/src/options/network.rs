//! The flags of networks: `--network` in Docker's forms, names, addresses.

use super::error::OptionError;
use super::{Attachment, HostAddress, NetworkMode, PublishMode};
use cais_net::egress::{Allowance, parse_allowances};
use cais_net::publish::{ExposedPorts, PortMapping};
use cais_net::shape::{self, Shape};
use cais_order::InOrder;
use std::net::IpAddr;
use std::path::PathBuf;

const NETWORK: &str = "--network";

/// The name of the network that a container is in unless told otherwise.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Reads all `--network`, in the order given. None means the default network.
///
/// # Errors
/// For a mode that is not known, and for modes that exclude each other.
pub fn parse_networks(texts: &[String]) -> Result<NetworkMode, OptionError> {
    let mut attachments = Vec::new();
    for text in texts {
        match parse_network(text)? {
            NetworkMode::Networks(more) => attachments.extend(more),
            mode if texts.len() == 1 => return Ok(mode),
            _ => {
                return Err(OptionError::Conflict {
                    one: "--network",
                    other: "a second --network",
                    why: ": none, host, container:, ns: and cni: stand alone",
                });
            }
        }
    }
    if attachments.is_empty() {
        attachments.push(Attachment::to(DEFAULT_NETWORK));
    }
    let mut names: Vec<&str> = attachments.iter().map(|each| each.network.as_str()).collect();
    names.order();
    if let Some([twice, ..]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
        return Err(OptionError::form(NETWORK, twice, "each network once"));
    }
    Ok(NetworkMode::Networks(attachments))
}

/// Reads one `--network`.
fn parse_network(text: &str) -> Result<NetworkMode, OptionError> {
    match text {
        "none" => return Ok(NetworkMode::None),
        "host" => return Ok(NetworkMode::Host),
        "default" => return Ok(NetworkMode::Networks(vec![Attachment::to(DEFAULT_NETWORK)])),
        _ => {}
    }
    if let Some(name) = text.strip_prefix("container:") {
        if name.is_empty() {
            return Err(OptionError::form(NETWORK, text, "container:NAME"));
        }
        return Ok(NetworkMode::Container(name.to_owned()));
    }
    if let Some(name) = text.strip_prefix("cni:") {
        if name.is_empty() {
            return Err(OptionError::form(NETWORK, text, "cni:NAME"));
        }
        return Ok(NetworkMode::Cni(name.to_owned()));
    }
    if let Some(path) = text.strip_prefix("ns:") {
        if !path.starts_with('/') {
            return Err(OptionError::form(NETWORK, text, "ns:/PATH, an absolute path"));
        }
        return Ok(NetworkMode::Path(PathBuf::from(path)));
    }
    // Docker: name=NAME,ip=…; Podman: NAME:ip=…
    if text.split(',').any(|part| part.starts_with("name=")) {
        return parse_attachment(text, None, text).map(|attachment| NetworkMode::Networks(vec![attachment]));
    }
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    parse_attachment(text, Some(name), settings).map(|attachment| NetworkMode::Networks(vec![attachment]))
}

/// Reads the settings of an attachment, separated by commas.
fn parse_attachment(whole: &str, name: Option<&str>, settings: &str) -> Result<Attachment, OptionError> {
    let mut attachment = Attachment {
        network: name.unwrap_or_default().to_owned(),
        ..Attachment::default()
    };
    let form = |expected| OptionError::form(NETWORK, whole, expected);
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting.split_once('=').ok_or_else(|| form("KEY=VALUE,…"))?;
        match key {
            "name" => value.clone_into(&mut attachment.network),
            "ip" => attachment.ip = Some(value.parse().ok().ok_or_else(|| form("ip=an address of IPv4"))?),
            "ip6" => attachment.ip6 = Some(value.parse().ok().ok_or_else(|| form("ip6=an address of IPv6"))?),
            "mac" | "mac-address" => {
                attachment.mac = Some(
                    value
                        .parse()
                        .ok()
                        .ok_or_else(|| form("mac-address=02:42:ac:11:00:02"))?,
                );
            }
            "alias" => attachment.aliases.push(check_alias(value)?),
            "link-local-ip" => attachment.link_local.push(
                value
                    .parse()
                    .ok()
                    .ok_or_else(|| form("link-local-ip=an address"))?,
            ),
            "gw-priority" => {
                attachment.gateway_priority =
                    value.parse().ok().ok_or_else(|| form("gw-priority=a number"))?;
            }
            "interface_name" | "interface-name" => attachment.interface = Some(check_interface(value)?),
            _ => {
                return Err(form(
                    "NETWORK[:ip=,ip6=,alias=,mac-address=,link-local-ip=,gw-priority=,interface_name=]",
                ));
            }
        }
    }
    check_network_name(&attachment.network)?;
    Ok(attachment)
}

/// A name of a network: letters, digits, `_`, `.` and `-`, not beginning with one of these.
///
/// # Errors
/// For anything else.
pub fn check_network_name(name: &str) -> Result<(), OptionError> {
    if cais_net::network::is_name(name) {
        return Ok(());
    }
    Err(OptionError::form(
        NETWORK,
        name,
        "none, host, container:NAME, ns:/PATH or the name of a network",
    ))
}

/// A further name of a container in a network.
///
/// # Errors
/// For what cannot be a name in the DNS.
pub fn check_alias(text: &str) -> Result<String, OptionError> {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(OptionError::form(
        "--network-alias",
        text,
        "a host name: letters, digits, '-' and '_', parts of at most 63 separated by dots",
    ))
}

/// Reads `--dns-search`: a domain, or `.` for none.
///
/// # Errors
/// For anything else.
pub fn parse_dns_search(text: &str) -> Result<String, OptionError> {
    let text = text.trim_matches(' ');
    let domain = text.strip_suffix('.').unwrap_or(text);
    let hyphen = |label: &str| label.starts_with('-') || label.ends_with('-');
    if text == "." || (check_alias(domain).is_ok() && !domain.split('.').any(hyphen)) {
        return Ok(if domain.is_empty() { text } else { domain }.to_owned());
    }
    Err(OptionError::form("--dns-search", text, "a domain, or . for none"))
}

/// Reads `--dns-option`, words for resolv.conf(5); an empty one is none.
///
/// # Errors
/// For what would begin another line.
pub fn parse_dns_options(texts: &[String]) -> Result<Vec<String>, OptionError> {
    let words = texts.iter().map(|text| text.trim_matches(' '));
    let words: Vec<String> = words.filter(|text| !text.is_empty()).map(str::to_owned).collect();
    match words.iter().find(|text| text.contains(char::is_control)) {
        Some(bad) => Err(OptionError::form(
            "--dns-option",
            bad,
            "an option of resolv.conf(5)",
        )),
        None => Ok(words),
    }
}

fn check_interface(text: &str) -> Result<String, OptionError> {
    let fits = (1..16).contains(&text.len())
        && text != "lo"
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':' && byte != b'%');
    if fits {
        return Ok(text.to_owned());
    }
    Err(OptionError::form(
        NETWORK,
        text,
        "interface_name=at most 15 characters",
    ))
}

/// Puts what the flags for the first network say (`--ip`, `--network-alias` …) into it.
///
/// # Errors
/// Where there is no network for them to go to.
pub fn add_to_first(
    mode: &mut NetworkMode,
    flag: &'static str,
    add: impl FnOnce(&mut Attachment) -> Result<(), OptionError>,
) -> Result<(), OptionError> {
    match mode {
        NetworkMode::Networks(attachments) => attachments.first_mut().map_or(Ok(()), add),
        _ => Err(OptionError::Conflict {
            one: flag,
            other: "--network none, host, container: or ns:",
            why: ": there is no interface of cais's to set up",
        }),
    }
}

/// Reads a value of `--publish`, also in the form with keys:
/// `published=8080,target=80,protocol=udp`.
///
/// # Errors
/// For what is no port mapping.
pub fn parse_publish(text: &str) -> Result<PortMapping, OptionError> {
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    let mut short = text.to_owned();
    if text.contains('=') {
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("published", value)) => published = value,
                Some(("target", value)) => target = value,
                Some(("protocol", value)) => protocol = value,
                // The others are those of a swarm, where this one has them too.
                Some(("mode", "host" | "ingress")) => {}
                _ => {
                    let keys = "published=, target=, protocol= or mode=host";
                    return Err(OptionError::form("--publish", field, keys));
                }
            }
        }
        short = format!("{published}:{target}/{protocol}");
    }
    short
        .parse()
        .map_err(|error: cais_net::publish::PortError| invalid("--publish", text, &error))
}

/// Reads a value of `--expose`.
///
/// # Errors
/// For what is no port.
pub fn parse_expose(text: &str) -> Result<ExposedPorts, OptionError> {
    text.parse()
        .map_err(|error: cais_net::publish::PortError| invalid("--expose", text, &error))
}

fn invalid(flag: &'static str, text: &str, error: &dyn std::error::Error) -> OptionError {
    OptionError::File {
        flag,
        path: text.to_owned(),
        reason: error.to_string(),
    }
}

/// Reads a hardware address.
///
/// # Errors
/// For anything else.
pub fn parse_mac(text: &str) -> Result<cais_net::mac::Mac, OptionError> {
    text.parse()
        .ok()
        .ok_or_else(|| OptionError::form("--mac-address", text, "six bytes: 02:42:ac:11:00:02"))
}

/// Reads a value of `--publish-mode`.
///
/// # Errors
/// For a mode that is not known.
pub fn parse_publish_mode(text: &str) -> Result<PublishMode, OptionError> {
    match text {
        "nat" => Ok(PublishMode::Nat),
        "proxy" => Ok(PublishMode::Proxy),
        _ => Err(OptionError::form("--publish-mode", text, "nat or proxy")),
    }
}

/// Reads `--egress` and all `--egress-allow`; `None` where everything may be reached.
///
/// # Errors
/// For a policy that is not known, a destination that is none, and allowances where nothing
/// is denied.
pub fn parse_egress(policy: Option<&str>, allow: &[String]) -> Result<Option<Vec<Allowance>>, OptionError> {
    match (policy, allow) {
        (None | Some("allow"), []) => Ok(None),
        (Some("allow"), _) => Err(OptionError::Conflict {
            one: "--egress allow",
            other: "--egress-allow",
            why: ": everything is allowed already",
        }),
        // To allow something is to deny the rest.
        (None | Some("deny"), _) => {
            let lists = allow
                .iter()
                .map(|text| parse_allowances(text).map_err(|error| invalid("--egress-allow", text, &error)));
            Ok(Some(lists.collect::<Result<Vec<_>, _>>()?.concat()))
        }
        (Some(other), _) => Err(OptionError::form("--egress", other, "deny or allow")),
    }
}

/// Reads `--network-rate`, `--network-latency` and `--network-loss`.
///
/// # Errors
/// For the first that is not of its form.
pub fn parse_shape(
    rate: Option<&str>,
    latency: Option<&str>,
    loss: Option<&str>,
) -> Result<Shape, OptionError> {
    let rate = rate
        .map(|text| {
            shape::parse_rate(text)
                .ok_or_else(|| OptionError::form("--network-rate", text, "bits a second, e.g. 100mbit"))
        })
        .transpose()?;
    let latency = latency
        .map(|text| {
            shape::parse_latency(text)
                .ok_or_else(|| OptionError::form("--network-latency", text, "at most a minute, e.g. 50ms"))
        })
        .transpose()?;
    let loss = loss
        .map(|text| {
            shape::parse_loss(text)
                .ok_or_else(|| OptionError::form("--network-loss", text, "a share, e.g. 1%"))
        })
        .transpose()?;
    Ok(Shape { rate, latency, loss })
}

/// Reads a value of `--link`: `CONTAINER[:ALIAS]`.
///
/// # Errors
/// For another form.
pub fn parse_link(text: &str) -> Result<(String, String), OptionError> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let is_alias = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let name = name.trim_start_matches('/');
    let alias = alias.trim_start_matches('/');
    if name.is_empty() || alias.is_empty() || !alias.bytes().all(is_alias) {
        return Err(OptionError::form("--link", text, "CONTAINER or CONTAINER:ALIAS"));
    }
    Ok((name.to_owned(), alias.to_owned()))
}

/// Reads a value of `--add-host`: `NAME:ADDRESS` or `NAME=ADDRESS`, where the address may be
/// `host-gateway`.
///
/// # Errors
/// For anything else.
pub fn parse_add_host(text: &str) -> Result<(String, HostAddress), OptionError> {
    const FORM: &str = "NAME:ADDRESS or NAME=ADDRESS, where ADDRESS may be host-gateway";
    let form = || OptionError::form("--add-host", text, FORM);
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(form)?;
    let name = check_alias(name).ok().ok_or_else(form)?;
    if address == "host-gateway" {
        return Ok((name, HostAddress::Gateway));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(address);
    bare.parse()
        .map(|address: IpAddr| (name, HostAddress::Address(address)))
        .ok()
        .ok_or_else(form)
}

/// Reads an address.
///
/// # Errors
/// For anything else.
pub fn parse_address<T: std::str::FromStr>(flag: &'static str, text: &str) -> Result<T, OptionError> {
    text.parse()
        .ok()
        .ok_or_else(|| OptionError::form(flag, text, "an IP address of the flag's family"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Result<NetworkMode, OptionError> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        parse_networks(&texts)
    }

    #[test]
    fn ports_with_keys() {
        for (long, short) in [
            ("published=8080,target=80", "8080:80"),
            (
                "mode=host,target=80,published=8000-8001,protocol=udp",
                "8000-8001:80/udp",
            ),
            ("target=80", "80"),
        ] {
            assert_eq!(parse_publish(long), parse_publish(short), "{long}");
            assert!(parse_publish(long).is_ok(), "{long}");
        }
        for bad in [
            "published=8080",
            "target=80,bogus=1",
            "target=80,published",
            "target=x",
            "mode=x,target=1",
        ] {
            assert!(parse_publish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_goes_into_resolv_conf() {
        for (text, want) in [
            ("example.org", "example.org"),
            (" a. ", "a"),
            (".", "."),
            ("_tcp.x-y", "_tcp.x-y"),
        ] {
            assert_eq!(parse_dns_search(text).as_deref(), Ok(want), "{text:?}");
        }
        for bad in [
            "",
            " ",
            "a..b",
            ".a",
            "-x",
            "x-.a",
            "a b",
            "a\nnameserver 1.2.3.4",
        ] {
            assert!(parse_dns_search(bad).is_err(), "{bad:?}");
        }
        let options =
            |texts: &[&str]| parse_dns_options(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            options(&["", " ndots:2", "rotate"]),
            Ok(vec!["ndots:2".into(), "rotate".into()])
        );
        assert!(options(&["ndots:2\nnameserver 1.2.3.4"]).is_err());
    }

    #[test]
    fn modes() {
        assert_eq!(networks(&["none"]), Ok(NetworkMode::None));
        assert_eq!(networks(&["host"]), Ok(NetworkMode::Host));
        assert_eq!(
            networks(&["container:web"]),
            Ok(NetworkMode::Container("web".into()))
        );
        assert_eq!(
            networks(&["ns:/run/netns/x"]),
            Ok(NetworkMode::Path("/run/netns/x".into()))
        );
        let bridge = NetworkMode::Networks(vec![Attachment::to("bridge")]);
        assert_eq!(networks(&[]), Ok(bridge.clone()));
        assert_eq!(networks(&["default"]), Ok(bridge));
    }

    #[test]
    fn attachments() {
        let expected = Attachment {
            ip: Some("10.1.0.5".parse().unwrap()),
            aliases: vec!["db".into(), "sql.local".into()],
            mac: "02:42:ac:11:00:09".parse().ok(),
            ..Attachment::to("back")
        };
        let settings = "ip=10.1.0.5,alias=db,alias=sql.local,mac-address=02:42:ac:11:00:09";
        for text in [format!("back:{settings}"), format!("name=back,{settings}")] {
            assert_eq!(
                networks(&["front", &text]),
                Ok(NetworkMode::Networks(vec![
                    Attachment::to("front"),
                    expected.clone()
                ]))
            );
        }
        let two = networks(&["a", "b"]).unwrap();
        assert!(matches!(two, NetworkMode::Networks(list) if list.len() == 2));
    }

    #[test]
    fn mistakes() {
        for bad in [
            &["container:"][..],
            &["ns:relative"],
            &["none", "host"],
            &["a", "host"],
            &["a", "a"],
            &["-a"],
            &["a/b"],
            &["a:ip=fd00::1"],
            &["a:bogus=1"],
            &["a:alias=x y"],
            &["a:interface_name=lo"],
            &["a:interface_name=0123456789abcdef"],
        ] {
            assert!(networks(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hosts() {
        assert_eq!(
            parse_add_host("db:10.0.0.1"),
            Ok(("db".into(), HostAddress::Address("10.0.0.1".parse().unwrap())))
        );
        assert_eq!(
            parse_add_host("db=[fd00::1]"),
            Ok(("db".into(), HostAddress::Address("fd00::1".parse().unwrap())))
        );
        assert_eq!(
            parse_add_host("db:fd00::1"),
            Ok(("db".into(), HostAddress::Address("fd00::1".parse().unwrap())))
        );
        assert_eq!(
            parse_add_host("h:host-gateway"),
            Ok(("h".into(), HostAddress::Gateway))
        );
        for bad in ["", "db", "db:", "db:x", ":1.2.3.4", "a b:1.2.3.4"] {
            assert!(parse_add_host(bad).is_err(), "{bad}");
        }
    }
}
