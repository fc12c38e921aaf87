//! Where images are, in the words of containers-transports(5).

use std::path::PathBuf;
use std::str::FromStr;

/// A place that an image comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `docker://NAME`: a registry.
    Registry(String),
    /// `cais:NAME`: the store of this engine.
    Store(String),
    /// `oci:DIRECTORY[:NAME]`: an OCI layout.
    OciDirectory(PathBuf, Option<String>),
    /// `oci-archive:FILE[:NAME]`: an archive of one.
    OciArchive(PathBuf, Option<String>),
    /// `docker-archive:FILE[:NAME]`: an archive as `docker save` makes them.
    DockerArchive(PathBuf, Option<String>),
    /// A path without a word before it: what it is shows in it.
    Path(PathBuf),
}

/// A text that tells no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}: {detail}")]
pub struct BadLocation {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = |detail| BadLocation {
            text: text.chars().take(300).collect(),
            detail,
        };
        if let Some(name) = text.strip_prefix("docker://") {
            return Ok(Self::Registry(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("cais:") {
            return Ok(Self::Store(name.to_owned()));
        }
        let path = |rest: &str| match rest.split_once(':') {
            Some((path, name)) => (
                PathBuf::from(path),
                Some(name.to_owned()).filter(|name| !name.is_empty()),
            ),
            None => (PathBuf::from(rest), None),
        };
        for (word, make) in [
            ("oci:", Self::OciDirectory as fn(PathBuf, Option<String>) -> Self),
            ("oci-archive:", Self::OciArchive),
            ("docker-archive:", Self::DockerArchive),
        ] {
            if let Some(rest) = text.strip_prefix(word) {
                let (path, name) = path(rest);
                if path.as_os_str().is_empty() {
                    return Err(bad("a path is missing"));
                }
                return Ok(make(path, name));
            }
        }
        for word in ["dir:", "docker-daemon:", "containers-storage:", "ostree:", "sif:"] {
            if text.starts_with(word) {
                return Err(bad(
                    "not supported: use docker://, oci:, oci-archive:, docker-archive: or cais:",
                ));
            }
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Path(text.into()));
        }
        Ok(Self::Registry(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let name = |name: &str| Some(name.to_owned());
        for (text, expected) in [
            ("docker://nginx:1", Location::Registry("nginx:1".into())),
            ("r.example:5000/x", Location::Registry("r.example:5000/x".into())),
            ("cais:web", Location::Store("web".into())),
            ("oci:dir", Location::OciDirectory("dir".into(), None)),
            ("oci:/a/b:1", Location::OciDirectory("/a/b".into(), name("1"))),
            (
                "docker-archive:x.tar:quay.io/x:1",
                Location::DockerArchive("x.tar".into(), name("quay.io/x:1")),
            ),
            ("oci-archive:x.tar:", Location::OciArchive("x.tar".into(), None)),
            ("./x.tar", Location::Path("./x.tar".into())),
            ("/x", Location::Path("/x".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["oci:", "dir:/x", "oci-archive::x"] {
            assert!(bad.parse::<Location>().is_err(), "{bad}");
        }
    }
}
