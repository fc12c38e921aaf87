//! Platforms: the machine that an image is for, and which of several fits this one
//! (image-spec, "Image Index"; the names are Go's, as in `go tool dist list`).

use crate::descriptor::{Descriptor, MediaType};
use cais_order::InOrder;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// The version of the system.
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// What the system must have.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The kind of processor: `v7`, `v8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no platform: os/arch or os/arch/variant, as linux/amd64 or linux/arm/v7")]
pub struct BadPlatform(pub String);

/// Nothing in an index is for the wanted machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image has nothing for {wanted}; it has {}", list(.offered))]
pub struct NoMatch {
    /// What was looked for.
    pub wanted: Platform,
    /// What there is, in the index's order.
    pub offered: Vec<Platform>,
}

fn list(offered: &[Platform]) -> String {
    let names: Vec<String> = offered.iter().map(Platform::to_string).collect();
    if names.is_empty() {
        "no platforms at all".to_owned()
    } else {
        names.join(", ")
    }
}

impl Platform {
    /// The machine that programs of this one are for: no variant on amd64.
    #[must_use]
    pub fn own() -> Self {
        Self {
            architecture: std::env::consts::ARCH.to_owned(),
            os: std::env::consts::OS.to_owned(),
            ..Self::default()
        }
        .normalized()
    }

    /// This machine with the level of its processor (`linux/amd64/v3`), to choose from an
    /// index: images for lower levels fit as well.
    #[must_use]
    pub fn of_processor() -> Self {
        let own = Self::own();
        let variant = processor_level().or_else(|| own.variant.clone());
        Self { variant, ..own }
    }

    /// With the specification's names: `x86_64` is `amd64`, `aarch64` is `arm64` `v8`, `arm`
    /// alone is `v7`, `amd64` `v1` is `amd64`.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.as_deref().unwrap_or("").to_ascii_lowercase();
        let versioned = |text: &str| match text.strip_prefix('v').unwrap_or(text) {
            "" => None,
            version if version.starts_with(|letter: char| letter.is_ascii_digit()) => {
                Some(format!("v{}", version.strip_suffix(".0").unwrap_or(version)))
            }
            _ => Some(text.to_owned()),
        };
        let some = |text: &str| Some(text.to_owned());
        let (architecture, variant) = match architecture.as_str() {
            "x86_64" | "x86-64" | "x64" | "amd64" => {
                ("amd64", versioned(&variant).filter(|level| level != "v1"))
            }
            "i386" | "i486" | "i586" | "i686" | "x86" | "386" => ("386", None),
            "aarch64" | "arm64" => ("arm64", versioned(&variant).or_else(|| some("v8"))),
            "armhf" | "armv7" | "armv7l" => ("arm", some("v7")),
            "armv6" | "armv6l" => ("arm", some("v6")),
            "armel" => ("arm", versioned(&variant).or_else(|| some("v5"))),
            "arm" => ("arm", versioned(&variant).or_else(|| some("v7"))),
            "powerpc64le" | "ppc64el" => ("ppc64le", versioned(&variant)),
            "powerpc64" => ("ppc64", versioned(&variant)),
            "mips64el" => ("mips64le", versioned(&variant)),
            "mipsel" => ("mipsle", versioned(&variant)),
            "loongarch64" => ("loong64", versioned(&variant)),
            other => (other, versioned(&variant)),
        };
        let os = match self.os.to_ascii_lowercase() {
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        Self {
            architecture: architecture.to_owned(),
            os,
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant,
        }
    }

    /// How well an image for `offered` runs here: `None` is not at all, 0 is best.
    ///
    /// The same system and architecture is needed; a lower variant runs on a higher one
    /// (`v6` on `v7`, `amd64` on `amd64/v3`). A 32-bit program is never chosen for a 64-bit
    /// machine: many cannot run it, and nobody who says nothing means it.
    #[must_use]
    pub fn distance(&self, offered: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normalized(), offered.normalized());
        let fits = wanted.os == offered.os
            && wanted.architecture == offered.architecture
            && (wanted.os_version.is_none()
                || offered.os_version.is_none()
                || wanted.os_version == offered.os_version)
            && offered
                .os_features
                .iter()
                .all(|feature| wanted.os_features.contains(feature));
        if !fits {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        level(wanted.variant.as_deref())?.checked_sub(level(offered.variant.as_deref())?)
    }

    /// The entries of an index that can be tried for this machine, best first, and the
    /// index's order among equals ("the first matching entry SHOULD be used").
    ///
    /// An entry without a platform comes last: an index in the index, or a manifest whose
    /// configuration tells. Attestations, artifacts and unknown media types are left out.
    ///
    /// # Errors
    /// When nothing remains.
    pub fn select<'a>(&self, entries: &'a [Descriptor]) -> Result<Vec<&'a Descriptor>, Box<NoMatch>> {
        let mut ranked: Vec<(u32, &Descriptor)> = entries
            .iter()
            .filter(|entry| is_image(entry))
            .filter_map(|entry| match &entry.platform {
                Some(platform) => Some((self.distance(platform)?, entry)),
                None => Some((u32::MAX, entry)),
            })
            .collect();
        if ranked.is_empty() {
            let offered = entries.iter().filter(|entry| is_image(entry));
            return Err(Box::new(NoMatch {
                wanted: self.clone(),
                offered: offered.filter_map(|entry| entry.platform.clone()).collect(),
            }));
        }
        ranked.order_by_key(|(distance, _)| *distance); // stable: the first of equals stays first
        Ok(ranked.into_iter().map(|(_, entry)| entry).collect())
    }
}

/// The number of a variant: `v7` is 70, `v8.1` is 81, none is that of `v1`.
fn level(variant: Option<&str>) -> Option<u32> {
    let Some(text) = variant else { return Some(10) };
    let (major, minor) = match text.strip_prefix('v')?.split_once('.') {
        Some((major, minor)) => (major, minor),
        None => (text.strip_prefix('v')?, "0"),
    };
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    (major < 1000 && minor < 10).then(|| major * 10 + minor)
}

/// Whether an entry of an index can be an image: BuildKit's attestations have the platform
/// `unknown/unknown` and an annotation.
fn is_image(entry: &Descriptor) -> bool {
    let known = [
        MediaType::INDEX,
        MediaType::MANIFEST,
        MediaType::DOCKER_INDEX,
        MediaType::DOCKER_MANIFEST,
    ];
    let is_unknown = entry
        .platform
        .as_ref()
        .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown");
    known.contains(&entry.media_type.as_str())
        && !is_unknown
        && entry.artifact_type.is_none()
        && !entry.annotations.contains_key("vnd.docker.reference.type")
}

/// The x86-64 level of the processor (the System V psABI's micro-architecture levels).
#[cfg(target_arch = "x86_64")]
fn processor_level() -> Option<String> {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3")
        && has!("ssse3")
        && has!("sse4.1")
        && has!("sse4.2")
        && has!("popcnt")
        && has!("cmpxchg16b");
    let v3 = v2
        && has!("avx")
        && has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 =
        v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    let level = match (v2, v3, v4) {
        (_, _, true) => "v4",
        (_, true, _) => "v3",
        (true, ..) => "v2",
        _ => return None,
    };
    Some(level.to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_level() -> Option<String> {
    None
}

/// `os/arch`, `os/arch/variant`, or one word of the two: Docker takes the other from this
/// machine. The result is normalized.
impl FromStr for Platform {
    type Err = BadPlatform;

    fn from_str(text: &str) -> Result<Self, BadPlatform> {
        let bad = || BadPlatform(text.chars().take(100).collect());
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if !parts.iter().all(is_word) {
            return Err(bad());
        }
        let own = Self::own();
        let (os, architecture, variant) = match *parts.as_slice() {
            ["linux"] => ("linux", own.architecture.as_str(), own.variant.as_deref()),
            [architecture] if is_architecture(architecture) => (own.os.as_str(), architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(bad()),
        };
        let platform = Self {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            variant: variant.map(ToOwned::to_owned),
            ..Self::default()
        };
        Ok(platform.normalized())
    }
}

fn is_architecture(word: &str) -> bool {
    let platform = Platform {
        architecture: word.to_owned(),
        ..Platform::default()
    };
    let known = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
        "ppc64le", "riscv64", "s390x",
    ];
    known.contains(&platform.normalized().architecture.as_str())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    #[test]
    fn names() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm64/8", "linux/arm64/v8"),
            ("linux/arm64/v8.0", "linux/arm64/v8"),
            ("linux/arm64/v9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v5"),
            ("linux/i686", "linux/386"),
            ("linux/ppc64el", "linux/ppc64le"),
            ("linux/riscv64", "linux/riscv64"),
            ("macos/arm64", "darwin/arm64/v8"),
            ("linux", &Platform::own().to_string()),
            ("s390x", "linux/s390x"),
            ("", "bad"),
            ("linux/", "bad"),
            ("/amd64", "bad"),
            ("linux/a/b/c", "bad"),
            ("linux/a b", "bad"),
            ("solaris", "bad"),
        ] {
            let found = text
                .parse::<Platform>()
                .map_or("bad".to_owned(), |found| found.to_string());
            assert_eq!(found, expected, "{text}");
        }
    }

    fn entry(name: &str, platform: &str) -> Descriptor {
        let mut entry = Descriptor::new(MediaType::MANIFEST, Digest::of(name.as_bytes()), 1);
        entry.annotations.insert("name".to_owned(), name.to_owned());
        entry.platform = (!platform.is_empty()).then(|| {
            let mut parts = platform.split('/').map(ToOwned::to_owned);
            Platform {
                os: parts.next().unwrap(),
                architecture: parts.next().unwrap(),
                variant: parts.next(),
                ..Platform::default()
            }
        });
        entry
    }

    fn choose(wanted: &str, index: &[Descriptor]) -> String {
        let wanted: Platform = wanted.parse().unwrap();
        match wanted.select(index) {
            Ok(found) => {
                let names: Vec<&str> = found
                    .iter()
                    .map(|entry| entry.annotations["name"].as_str())
                    .collect();
                names.join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_best_and_among_equals_the_first() {
        let mut attestation = entry("attestation", "linux/amd64");
        let kind = (
            "vnd.docker.reference.type".to_owned(),
            "attestation-manifest".to_owned(),
        );
        attestation.annotations.extend([kind]);
        let mut artifact = entry("artifact", "");
        artifact.artifact_type = Some("application/x".to_owned());
        let mut unknown_type = entry("unknown-type", "linux/amd64");
        unknown_type.media_type = "application/x".to_owned();
        let mut feature = entry("feature", "linux/amd64");
        feature
            .platform
            .as_mut()
            .unwrap()
            .os_features
            .push("erofs".to_owned());
        let index = [
            attestation,
            artifact,
            unknown_type,
            feature,
            entry("unknown", "unknown/unknown"),
            entry("v5", "linux/arm/v5"),
            entry("v7", "linux/arm/v7"),
            entry("v6", "linux/arm/v6"),
            entry("arm64", "linux/arm64"),
            entry("arm64-again", "linux/arm64/v8"),
            entry("amd64", "linux/amd64"),
            entry("amd64-v3", "linux/amd64/v3"),
            entry("amd64-again", "linux/amd64"),
            entry("windows", "windows/amd64"),
        ];
        assert_eq!(choose("linux/amd64", &index), "amd64 amd64-again");
        assert_eq!(choose("linux/amd64/v2", &index), "amd64 amd64-again");
        assert_eq!(choose("linux/amd64/v4", &index), "amd64-v3 amd64 amd64-again");
        assert_eq!(choose("linux/arm64", &index), "arm64 arm64-again");
        assert_eq!(choose("linux/arm/v7", &index), "v7 v6 v5");
        assert_eq!(choose("linux/arm/v6", &index), "v6 v5");
        assert!(choose("linux/s390x", &index).starts_with(
            "the image has nothing for linux/s390x; it has linux/amd64, linux/arm/v5, linux/arm/v7,"
        ));
        assert_eq!(
            choose("linux/amd64", &[]),
            "the image has nothing for linux/amd64; it has no platforms at all"
        );
    }

    #[test]
    fn entries_that_do_not_tell_come_last() {
        let mut nested = entry("nested", "");
        nested.media_type = MediaType::INDEX.to_owned();
        let index = [nested, entry("amd64", "linux/amd64")];
        assert_eq!(choose("linux/amd64", &index), "amd64 nested");
        assert_eq!(choose("linux/s390x", &index), "nested");
    }

    #[test]
    fn this_machine_runs_its_own() {
        assert_eq!(
            Platform::of_processor()
                .distance(&Platform::own())
                .map(|far| far < 100),
            Some(true)
        );
    }
}
