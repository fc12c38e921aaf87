//! Digests: the names of contents (image-spec, "Digests").

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;
use sha2::digest::common::hazmat::SerializableState as _;
use std::fmt;
use std::str::FromStr;

/// A digest by an algorithm that is verified here: `sha256:` or `sha512:` and lower-case hex
/// digits of the right number. It is safe as a file name, which a text of the same field may
/// not be (CVE-2024-3727).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(String);

/// A text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no digest: sha256: and 64 hex digits, or sha512: and 128, in lower case")]
pub struct BadDigest(pub String);

impl Digest {
    /// The whole text: `sha256:…`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `sha256` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// The hex digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The SHA-256 digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::sha256();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let length = match text.split_once(':') {
            Some(("sha256", _)) => 64,
            Some(("sha512", _)) => 128,
            _ => 0,
        };
        let hex = text.get(7..).unwrap_or("");
        let is_hex = hex
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if length != 0 && hex.len() == length && is_hex {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadDigest(text.chars().take(200).collect()))
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Computes a digest while bytes go by.
#[derive(Debug, Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(sha2::Sha256),
    /// SHA-512.
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// A hasher for SHA-256, the algorithm of everything that is made here.
    #[must_use]
    pub fn sha256() -> Self {
        Self::Sha256(sha2::Sha256::new())
    }

    /// A hasher for the algorithm of `digest`.
    #[must_use]
    pub fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self::Sha512(sha2::Sha512::new()),
            _ => Self::sha256(),
        }
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// All that it has seen, to go on from in another process.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// Goes on from a state; `None` where it is none of the digest's algorithm.
    #[must_use]
    pub fn resume(digest: &Digest, state: &[u8]) -> Option<Self> {
        match digest.algorithm() {
            "sha512" => {
                let state = state.try_into().ok()?;
                sha2::Sha512::deserialize(state).ok().map(Self::Sha512)
            }
            _ => {
                let state = state.try_into().ok()?;
                sha2::Sha256::deserialize(state).ok().map(Self::Sha256)
            }
        }
    }

    /// The digest of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        let (name, bytes) = match self {
            Self::Sha256(hasher) => ("sha256", hasher.finalize().to_vec()),
            Self::Sha512(hasher) => ("sha512", hasher.finalize().to_vec()),
        };
        let mut text = format!("{name}:");
        for byte in bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        Digest(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_goes_on() {
        let bytes: Vec<u8> = (0..1000u32).map(|number| number.to_le_bytes()[0]).collect();
        for like in [
            Digest::of(b""),
            format!("sha512:{}", "0".repeat(128)).parse().unwrap(),
        ] {
            let mut whole = Hasher::like(&like);
            whole.update(&bytes);
            let whole = whole.finish();
            for cut in [0, 1, 63, 64, 65, 500, 1000] {
                let mut first = Hasher::like(&like);
                first.update(&bytes[..cut]);
                let mut second = Hasher::resume(&like, &first.state()).unwrap();
                second.update(&bytes[cut..]);
                assert_eq!(second.finish(), whole, "{cut}");
            }
            assert!(Hasher::resume(&like, b"x").is_none());
        }
    }

    #[test]
    fn only_what_can_be_a_file_name() {
        let good = Digest::of(b"");
        assert_eq!(
            good.as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(good.as_str().parse(), Ok(good.clone()));
        for bad in [
            "",
            "sha256:",
            "sha256:../../x",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &good.as_str().to_uppercase(),
            &good.as_str()[..70],
            &format!("{good}0"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
