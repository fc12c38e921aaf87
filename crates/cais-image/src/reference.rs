//! References: what users call images (the grammar of github.com/distribution/reference,
//! which Docker and Podman share; distribution-spec, "Pulling manifests").
//!
//! `nginx` means `docker.io/library/nginx`. The first part is a registry only if it has a dot,
//! a colon or a capital letter, or is `localhost`.

use crate::Digest;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The registry of names that tell none.
pub const DOCKER_HUB: &str = "docker.io";
/// The tag of names that tell none.
pub const DEFAULT_TAG: &str = "latest";
/// Where Docker Hub keeps the images whose names have one part.
const OFFICIAL: &str = "library/";
/// The length of a repository's name that Docker accepts.
const REPOSITORY_LENGTH: usize = 255;
/// The length of a tag.
const TAG_LENGTH: usize = 128;

/// A reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry: `docker.io`.
    pub registry: String,
    /// The repository: `library/nginx`.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<crate::Digest>,
}

/// A text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no image name: {fault}")]
pub struct BadReference {
    /// What was given; at most 300 characters of it.
    pub text: String,
    /// What is wrong.
    pub fault: ReferenceFault,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceFault {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// 64 hex digits would be taken for the ID of an image.
    #[error("64 hex digits are the ID of an image")]
    LooksLikeId,
    /// The registry is not a host with an optional port.
    #[error("{0:?} is no registry: a host name, an address, [an IPv6 address], and :port if need be")]
    Registry(String),
    /// Repositories have no capital letters.
    #[error("the repository {0:?} must be in lower case")]
    Uppercase(String),
    /// A part of the repository's name.
    #[error("{0:?} in the repository must be letters and digits with single . or _, __, or - between them")]
    Part(String),
    /// The repository's name is too long.
    #[error("the repository has {0} characters, more than 255")]
    TooLong(usize),
    /// The tag.
    #[error("the tag {0:?} must be up to 128 letters, digits, _, . and -, and not begin with . or -")]
    Tag(String),
    /// The digest.
    #[error(transparent)]
    Digest(#[from] crate::digest::BadDigest),
}

/// What a manifest is fetched by: a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A name that may move.
    Tag(String),
    /// A content.
    Digest(Digest),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Reference {
    /// Parses what a user typed; what names no registry is looked for at `registry`
    /// (`unqualified-search-registries` of registries.conf). A `library/` is put before
    /// names of one part at Docker Hub only.
    ///
    /// # Errors
    /// When the text or `registry` breaks the grammar.
    pub fn parse_in(text: &str, registry: &str) -> Result<Self, BadReference> {
        parse(text, registry).map_err(|fault| BadReference {
            text: text.chars().take(300).collect(),
            fault,
        })
    }

    /// Whether a text names no registry: `nginx`, `team/web:1`.
    #[must_use]
    pub fn is_short(text: &str) -> bool {
        split_registry(text).is_none()
    }

    /// Registry and repository: `docker.io/library/nginx`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The shortest text that is parsed to the same: `nginx:1`. Docker shows these.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), Suffix(self))
    }

    /// The same without tag and digest: `nginx`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        let short = (self.registry == DOCKER_HUB).then(|| match self.repository.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.repository,
        });
        match short {
            Some(short) if short.parse().is_ok_and(|again: Self| again.name() == self.name()) => {
                short.to_owned()
            }
            _ => self.name(),
        }
    }

    /// With the tag `latest` if there is neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// What to ask the registry for: the digest if there is one, else the tag, else `latest`.
    #[must_use]
    pub fn target(&self) -> Target {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Target::Digest(digest.clone()),
            (None, Some(tag)) => Target::Tag(tag.clone()),
            (None, None) => Target::Tag(DEFAULT_TAG.to_owned()),
        }
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        Self::parse_in(text, DOCKER_HUB)
    }
}

/// Tag and digest with their marks.
struct Suffix<'a>(&'a Reference);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.0.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.0.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The whole name: `docker.io/library/nginx:1@sha256:…`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, Suffix(self))
    }
}

fn parse(text: &str, default_registry: &str) -> Result<Reference, ReferenceFault> {
    if text.is_empty() {
        return Err(ReferenceFault::Empty);
    }
    if text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    {
        return Err(ReferenceFault::LooksLikeId);
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest.parse()?)),
        None => (text, None),
    };
    let (registry, rest) = split_registry(named).unwrap_or((default_registry, named));
    check_registry(registry)?;
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(ReferenceFault::Tag(tag.unwrap_or_default().to_owned()));
    }
    check_repository(path)?;
    let registry = match registry {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    };
    let official = registry == DOCKER_HUB && !path.contains('/');
    let repository = format!("{}{path}", if official { OFFICIAL } else { "" });
    check_length(&repository)?;
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag: tag.map(ToOwned::to_owned),
        digest,
    })
}

/// The registry and the rest, if the first part is a registry.
fn split_registry(text: &str) -> Option<(&str, &str)> {
    let (first, rest) = text.split_once('/')?;
    let is_registry = first == "localhost"
        || first.contains(['.', ':'])
        || first.contains(|letter: char| letter.is_uppercase());
    is_registry.then_some((first, rest))
}

/// Whether a text is a registry: a host and an optional port.
///
/// # Errors
/// When it is not.
pub fn check_registry(registry: &str) -> Result<(), ReferenceFault> {
    let bad = || ReferenceFault::Registry(registry.to_owned());
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(bad)?;
            address.parse::<Ipv6Addr>().map_err(|_source| bad())?;
            ("", port)
        }
        None => registry.split_at(registry.find(':').unwrap_or(registry.len())),
    };
    if let Some(port) = port.strip_prefix(':') {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !port.parse().is_ok_and(|port: u16| port != 0) {
            return Err(bad());
        }
    } else if !port.is_empty() {
        return Err(bad());
    }
    let is_bracketed = registry.starts_with('[');
    if is_bracketed || (host.len() <= 253 && host.split('.').all(is_label)) {
        Ok(())
    } else {
        Err(bad())
    }
}

/// A part of a host name.
fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a text is a tag.
#[must_use]
pub fn is_tag(tag: &str) -> bool {
    !tag.is_empty()
        && tag.len() <= TAG_LENGTH
        && !tag.starts_with(['.', '-'])
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether a text is the name of a repository, without its registry.
///
/// # Errors
/// When it is not.
pub fn check_repository(path: &str) -> Result<(), ReferenceFault> {
    if path.contains(|letter: char| letter.is_ascii_uppercase()) {
        return Err(ReferenceFault::Uppercase(path.to_owned()));
    }
    if let Some(part) = path.split('/').find(|part| !is_part(part)) {
        return Err(ReferenceFault::Part(part.to_owned()));
    }
    check_length(path)
}

fn check_length(repository: &str) -> Result<(), ReferenceFault> {
    if repository.len() > REPOSITORY_LENGTH {
        return Err(ReferenceFault::TooLong(repository.len()));
    }
    Ok(())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_part(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = part.bytes().next().is_some_and(is_word) && part.bytes().last().is_some_and(is_word);
    let separators = part.split(|letter: char| u8::try_from(letter).is_ok_and(is_word));
    ends && separators
        .filter(|text| !text.is_empty())
        .all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_and_their_short_forms() {
        let long = "a".repeat(128);
        #[rustfmt::skip]
        let table = [
            ("nginx", "docker.io/library/nginx", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("team/web", "docker.io/team/web", "team/web"),
            ("library/nginx", "docker.io/library/nginx", "nginx"),
            ("docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx", "nginx"),
            ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("docker.io/localhost/x", "docker.io/localhost/x", "docker.io/localhost/x"),
            ("docker.io/a.b/x", "docker.io/a.b/x", "docker.io/a.b/x"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x"),
            ("127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t", "127.0.0.1:5000/a/b/c:t"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("[fd00:1::2]/x", "[fd00:1::2]/x", "[fd00:1::2]/x"),
            ("ghcr.io/A-b/x", "", "lower case"),
            ("Foo/bar", "Foo/bar", "Foo/bar"),
            ("a--b/c__d/e.f_g", "docker.io/a--b/c__d/e.f_g", "a--b/c__d/e.f_g"),
            ("x:_1.-", "docker.io/library/x:_1.-", "x:_1.-"),
            ("", "", "empty"),
            (":1", "", "\"\" in the repository"),
            ("x:", "", "tag"),
            ("x:.a", "", "tag"),
            ("x:a b", "", "tag"),
            ("Nginx", "", "lower case"),
            ("-x", "", "\"-x\""),
            ("a..b", "", "a..b"),
            ("a._b", "", "a._b"),
            ("a___b", "", "a___b"),
            ("a//b", "", "\"\""),
            ("/a", "", "\"\""),
            ("a/", "", "\"\""),
            ("é", "", "é"),
            ("a b", "", "a b"),
            ("x.y:/b", "", "registry"),
            ("x.y:0/b", "", "registry"),
            ("x.y:99999/b", "", "registry"),
            ("x.y:+5/b", "", "registry"),
            ("-x.y/b", "", "registry"),
            ("x..y/b", "", "registry"),
            ("::1/b", "", "registry"),
            ("[::1/b", "", "registry"),
            ("[::g]/b", "", "registry"),
            ("[::1]5/b", "", "registry"),
            ("http://x.y/b", "", "registry"),
            ("x@sha256:12", "", "no digest"),
            ("x@", "", "no digest"),
            ("x@md5:d41d8cd98f00b204e9800998ecf8427e", "", "no digest"),
            (&DIGEST[7..], "", "ID of an image"),
            (&format!("x:{long}"), &format!("docker.io/library/x:{long}"), &format!("x:{long}")),
            (&format!("x:{long}a"), "", "tag"),
            (&format!("x@{DIGEST}"), &format!("docker.io/library/x@{DIGEST}"), &format!("x@{DIGEST}")),
            (&format!("q.io/x:1@{DIGEST}"), &format!("q.io/x:1@{DIGEST}"), &format!("q.io/x:1@{DIGEST}")),
            (&"a/".repeat(127).chars().chain(['b']).collect::<String>(),
             &format!("docker.io/{}b", "a/".repeat(127)), &format!("{}b", "a/".repeat(127))),
            (&format!("{}bb", "a/".repeat(127)), "", "256 characters"),
            (&"a".repeat(250), "", "258 characters"),
        ];
        for (text, full, short) in table {
            match text.parse::<Reference>() {
                Ok(reference) => {
                    assert_eq!(reference.to_string(), full, "{text}");
                    assert_eq!(reference.familiar(), short, "{text}");
                    assert_eq!(full.parse(), Ok(reference.clone()), "{text}");
                    assert_eq!(short.parse(), Ok(reference), "{text}");
                }
                Err(error) => {
                    assert_eq!(full, "", "{text}: {error}");
                    assert!(error.to_string().contains(short), "{text}: {error}");
                }
            }
        }
    }

    #[test]
    fn what_to_ask_for() {
        let parse = |text: &str| text.parse::<Reference>().unwrap();
        assert_eq!(parse("x").target(), Target::Tag("latest".to_owned()));
        assert_eq!(parse("x:1").target(), Target::Tag("1".to_owned()));
        let digest = Target::Digest(DIGEST.parse().unwrap());
        assert_eq!(parse(&format!("x:1@{DIGEST}")).target(), digest);
        assert_eq!(parse("x").or_latest().to_string(), "docker.io/library/x:latest");
        assert_eq!(parse("x:1").or_latest(), parse("x:1"));
    }

    #[test]
    fn short_names_elsewhere() {
        assert!(Reference::is_short("web:1") && Reference::is_short("team/web"));
        assert!(!Reference::is_short("q.io/web") && !Reference::is_short("localhost/web"));
        let reference = Reference::parse_in("web:1", "quay.io").unwrap();
        assert_eq!(reference.to_string(), "quay.io/web:1");
        assert!(Reference::parse_in("web", "quay io").is_err());
    }
}
