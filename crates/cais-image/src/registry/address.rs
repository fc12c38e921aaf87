//! Addresses: where answers point to (RFC 3986 §5, as far as `Location` and `Link` need it).

use ureq::http::Uri;

/// An address relative to another one. What has credentials in it is refused: nobody must be
/// able to make this client send some.
///
/// # Errors
/// Says in words what is wrong with `target`.
pub(super) fn resolve(base: &Uri, target: &str) -> Result<Uri, String> {
    let target = target.trim();
    let target = target.split('#').next().unwrap_or("");
    let scheme = base.scheme_str().unwrap_or("https");
    let authority = base.authority().map_or("", |authority| authority.as_str());
    let text = if target.starts_with("//") {
        format!("{scheme}:{target}")
    } else if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else if target.starts_with('?') {
        format!("{scheme}://{authority}{}{target}", base.path())
    } else if is_absolute(target) {
        target.to_owned()
    } else {
        let directory = base
            .path()
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        format!("{scheme}://{authority}{directory}/{target}")
    };
    parse(&text)
}

/// Parses an absolute address of http or https.
///
/// # Errors
/// Says in words what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Uri, String> {
    let quoted: String = text.chars().take(200).collect();
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("the address {quoted:?}: {error}"))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if !is_http || authority.is_empty() {
        return Err(format!("the address {quoted:?} is not one of http or https"));
    }
    if authority.contains('@') {
        return Err("an address with a user in it".to_owned());
    }
    Ok(uri)
}

fn is_absolute(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// With another parameter in its query, the others kept as they are.
///
/// # Errors
/// When the result is no address.
pub(super) fn with_parameter(uri: &Uri, name: &str, value: &str) -> Result<Uri, String> {
    let text = uri.to_string();
    let mark = if uri.query().is_some() { '&' } else { '?' };
    let mark = if text.ends_with(['?', '&']) {
        String::new()
    } else {
        mark.to_string()
    };
    parse(&format!("{text}{mark}{name}={}", escape(value)))
}

/// For a query: everything but letters, digits and `-._~` as `%XX`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Scheme, host and port: who gets to see what is sent.
pub(super) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or("https").to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    (scheme, uri.host().unwrap_or("").to_ascii_lowercase(), port)
}

/// An address to show: without the query, where signatures are.
pub(super) fn shown(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("https");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("{scheme}://{authority}{}", uri.path())
}

/// Whether a host with an optional port is this machine: Docker does without TLS for these.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => authority.split(':').next().unwrap_or(""),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_and_absolute() {
        let base: Uri = "https://r.io:5000/v2/a/blobs/uploads/?x=1".parse().unwrap();
        for (target, expected) in [
            ("/v2/u?s=a%2Fb&t=", "https://r.io:5000/v2/u?s=a%2Fb&t="),
            ("u1?s=2", "https://r.io:5000/v2/a/blobs/uploads/u1?s=2"),
            ("?s=2", "https://r.io:5000/v2/a/blobs/uploads/?s=2"),
            ("//cdn.io/x", "https://cdn.io/x"),
            ("http://cdn.io/x#f", "http://cdn.io/x"),
            (
                "a?u=http://x",
                "https://r.io:5000/v2/a/blobs/uploads/a?u=http://x",
            ),
            ("ftp://cdn.io/x", "bad"),
            ("https://user:pw@cdn.io/x", "bad"),
            ("https:///x", "bad"),
            ("/a b", "bad"),
        ] {
            let found = resolve(&base, target).map_or("bad".to_owned(), |uri| uri.to_string());
            assert_eq!(found, expected, "{target}");
        }
    }

    #[test]
    fn parameters_are_added() {
        for (uri, expected) in [
            ("http://h/p", "http://h/p?digest=sha256%3Aab"),
            (
                "http://h/p?_state=a%3D",
                "http://h/p?_state=a%3D&digest=sha256%3Aab",
            ),
            ("http://h/p?", "http://h/p?digest=sha256%3Aab"),
        ] {
            let uri: Uri = uri.parse().unwrap();
            assert_eq!(
                with_parameter(&uri, "digest", "sha256:ab").unwrap().to_string(),
                expected
            );
        }
    }

    #[test]
    fn hosts() {
        for host in [
            "localhost",
            "LOCALHOST:5000",
            "127.0.0.1:5",
            "127.9.9.9",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.x", "128.0.0.1", "[::2]:1", "r.io", ""] {
            assert!(!is_loopback(host), "{host}");
        }
        let origins = ["https://A.io/x", "https://a.io:443/y"].map(|uri| origin(&uri.parse().unwrap()));
        assert_eq!(origins[0], origins[1]);
        assert_eq!(
            shown(&"https://a.io/x?sig=secret".parse().unwrap()),
            "https://a.io/x"
        );
    }
}
