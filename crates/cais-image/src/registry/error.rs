//! What can go wrong with a registry, told apart by what a caller does about it.

use crate::Digest;
use cais_json::Value;
use std::fmt;
use std::io;
use std::time::Duration;

/// A failure of a request to a registry. The addresses in it have no query: signatures are there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No answer came, or it broke off.
    #[error("{method} {url}: {source}")]
    Network {
        /// The method of HTTP.
        method: String,
        /// The address.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server could not be trusted, or our certificate was not taken.
    #[error("{url}: {reason}")]
    Tls {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Who asks is not known, or may not.
    #[error("{registry}: {reason}")]
    Auth {
        /// The registry.
        registry: String,
        /// What the registry or the token server said.
        reason: String,
    },
    /// It is not there.
    #[error("{registry} has no {what}{}", Colon(.said))]
    NotFound {
        /// The registry.
        registry: String,
        /// What was asked for: `manifest library/nginx:1`.
        what: String,
        /// What the registry said.
        said: Said,
    },
    /// The bytes are not those that were asked for.
    #[error("{what}: the bytes have the digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was asked for.
        what: String,
        /// The digest that was asked for, or that the registry told.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// There are more or fewer bytes than there should be.
    #[error("{what}: {actual} bytes, not {expected}")]
    SizeMismatch {
        /// What was asked for.
        what: String,
        /// The size in the descriptor.
        expected: u64,
        /// The size that the registry told or sent.
        actual: u64,
    },
    /// A document is longer than is ever read.
    #[error("{what}: more than {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Too many requests (429), after waiting as often and as long as is allowed.
    #[error("{registry} refuses more requests{}{}", Later(.wait), Colon(.said))]
    RateLimited {
        /// The registry.
        registry: String,
        /// How long the registry wants to be left alone.
        wait: Option<Duration>,
        /// What the registry said.
        said: Said,
    },
    /// Any other answer that is no success.
    #[error("{method} {url}: status {status}{}", Colon(.said))]
    Refused {
        /// The method of HTTP.
        method: String,
        /// The address.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// What the registry said.
        said: Said,
    },
    /// The answer is not what the specification allows.
    #[error("{url}: {reason}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What was to be sent could not be read.
    #[error("reading what is to be pushed: {0}")]
    Source(#[source] io::Error),
    /// A name that would break out of its place in an address.
    #[error("{0}")]
    Name(#[from] crate::reference::ReferenceFault),
}

/// The kinds of [`RegistryError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Worth another try, or the next mirror.
    Network,
    /// A login is needed, or another one.
    Auth,
    /// It is not there.
    NotFound,
    /// The content is wrong: another mirror may have it, a repetition will not help.
    Mismatch,
    /// Later.
    RateLimited,
    /// The registry does not want to.
    Refused,
    /// The server does not speak the protocol.
    Protocol,
    /// The fault is on this machine.
    Local,
}

impl RegistryError {
    /// What a caller may do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Network { .. } => ErrorKind::Network,
            Self::Tls { .. } | Self::Protocol { .. } | Self::TooLarge { .. } => ErrorKind::Protocol,
            Self::Auth { .. } => ErrorKind::Auth,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::Mismatch,
            Self::RateLimited { .. } => ErrorKind::RateLimited,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Source(_) | Self::Name(_) => ErrorKind::Local,
        }
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Network { .. } | Self::RateLimited { .. } => true,
            Self::Refused { status, .. } => is_passing(*status),
            _ => false,
        }
    }

    /// The error that a reader of this module put into one of the standard library's.
    ///
    /// # Errors
    /// Gives the error back when there is none in it.
    pub fn from_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast()
    }
}

impl From<RegistryError> for io::Error {
    fn from(error: RegistryError) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound => io::ErrorKind::NotFound,
            ErrorKind::Auth => io::ErrorKind::PermissionDenied,
            ErrorKind::Mismatch | ErrorKind::Protocol => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Whether a status is of those that go away by themselves.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// What a server said about a failure, to be shown to the user (distribution-spec, "Error
/// Codes"); control characters are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The codes: `MANIFEST_UNKNOWN`.
    pub codes: Vec<String>,
    /// Code and message of each.
    pub messages: Vec<String>,
}

impl Said {
    /// Reads the body of an answer: the specification's `errors`, the forms that token servers
    /// and proxies use, or the beginning of a plain text.
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let mut said = Self::default();
        let Ok(document) = cais_json::from_slice::<Value>(body) else {
            let text = printable(&String::from_utf8_lossy(body));
            if !text.is_empty() && !text.starts_with('<') {
                said.messages.push(text);
            }
            return said;
        };
        for error in document["errors"].as_array().into_iter().flatten().take(8) {
            let code = printable(error["code"].as_str().unwrap_or_default());
            let message = printable(error["message"].as_str().unwrap_or_default());
            let both: Vec<&str> = [code.as_str(), &message]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
            said.messages.push(both.join(": "));
            said.codes.push(code);
        }
        let others = ["error", "error_description", "details", "detail", "message"];
        let texts = others.iter().filter_map(|name| document[*name].as_str());
        if said.messages.is_empty() {
            let texts: Vec<String> = texts.map(printable).collect();
            said.messages
                .extend((!texts.is_empty()).then(|| texts.join(": ")));
        }
        said
    }

    /// Whether a code is among them.
    #[must_use]
    pub fn has(&self, code: &str) -> bool {
        self.codes.iter().any(|own| own == code)
    }
}

/// The first 200 characters that a terminal shows, in one line.
pub(super) fn printable(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .filter(|letter| !letter.is_control())
        .take(200)
        .collect()
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("; "))
    }
}

/// With `: ` before it, or nothing.
struct Colon<'a>(&'a Said);

impl fmt::Display for Colon<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.messages.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.0)
    }
}

/// ` for 30 s`.
struct Later<'a>(&'a Option<Duration>);

impl fmt::Display for Later<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => write!(f, " for {} s", wait.as_secs()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say() {
        for (body, expected) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"no \u001b[31maccess"},{"code":"X"}]}"#,
                "DENIED: no [31maccess; X",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"gone"}"#,
                "invalid_grant: gone",
            ),
            (r#"{"errors":null}"#, ""),
            ("404 page\n not found\n", "404 page not found"),
            ("<html>", ""),
            ("", ""),
        ] {
            assert_eq!(Said::parse(body.as_bytes()).to_string(), expected, "{body}");
        }
        assert_eq!(Said::parse("x".repeat(1000).as_bytes()).to_string().len(), 200);
    }

    #[test]
    fn through_the_standard_library() {
        let error = RegistryError::SizeMismatch {
            what: "x".to_owned(),
            expected: 1,
            actual: 2,
        };
        let back = RegistryError::from_io(io::Error::from(error)).unwrap();
        assert_eq!(back.to_string(), "x: 2 bytes, not 1");
        assert!(RegistryError::from_io(io::Error::other("x")).is_err());
    }
}
