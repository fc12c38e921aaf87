//! Container ids: 64 hexadecimal digits, as Docker's.

use crate::error::{EngineError, Result};
use cais_linux::SysError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// A new random id.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes (getrandom(2)).
    pub fn random() -> Result<Self> {
        let mut bytes = [0u8; 32];
        let count = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| SysError::new("getrandom", "32 bytes", errno))
            .map_err(EngineError::system("choose an id"))?;
        if count != bytes.len() {
            return Err(EngineError::Invalid(
                "the kernel gave too few random bytes for an id".to_owned(),
            ));
        }
        let digits = b"0123456789abcdef";
        let digit = |value: u8| char::from(*digits.get(usize::from(value)).unwrap_or(&b'0'));
        Ok(Self(
            bytes
                .iter()
                .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
                .collect(),
        ))
    }

    /// An id as it stands in a file or directory name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 64 && text.bytes().all(is_hex)).then(|| Self(text.to_owned()))
    }

    /// All digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, which people use.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = String;
    fn try_from(text: String) -> std::result::Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a container id of 64 hexadecimal digits"))
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_and_differ() {
        let one = ContainerId::random().unwrap();
        assert_eq!(ContainerId::parse(one.as_str()), Some(one.clone()));
        assert_ne!(one, ContainerId::random().unwrap());
        assert_eq!(one.short().len(), 12);
    }

    #[test]
    fn nothing_else_is_an_id() {
        for bad in [
            "",
            "abc",
            &"g".repeat(64),
            &"A".repeat(64),
            &"a".repeat(65),
            "../x",
        ] {
            assert_eq!(ContainerId::parse(bad), None, "{bad}");
        }
    }
}
