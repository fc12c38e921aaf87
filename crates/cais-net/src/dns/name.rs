//! A domain name in the form of the wire: labels of at most 63 octets, each behind its
//! length, 255 octets in all, ended by a zero (RFC 1035, 3.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name in octets, lengths and final zero included.
pub const MAX_NAME: usize = 255;
/// The longest label.
const MAX_LABEL: usize = 63;

/// A domain name in lower case, without compression.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// Reads a name that is spelled out at `at`; returns it and where it ends.
    ///
    /// `None` where it is longer than allowed, goes beyond the message, or is compressed:
    /// nothing stands before a question that it could point to.
    #[must_use]
    pub fn parse(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut end = at;
        loop {
            let length = usize::from(*message.get(end)?);
            if length > MAX_LABEL {
                return None;
            }
            end += 1 + length;
            if end - at > MAX_NAME {
                return None;
            }
            if length == 0 {
                break;
            }
        }
        let bytes = message.get(at..end)?;
        // A length octet is below the letters: lower-casing leaves it alone.
        Some((Self(bytes.to_ascii_lowercase()), end))
    }

    /// The name that this text spells, with or without a final dot.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.').filter(|_| !text.is_empty()) {
            let length = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > MAX_LABEL {
                return None;
            }
            wire.push(length);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= MAX_NAME).then_some(Self(wire))
    }

    /// The octets of the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first()?;
            let length = usize::from(*length);
            if length == 0 {
                return None;
            }
            let label = behind.get(..length)?;
            rest = behind.get(length..)?;
            Some(label)
        })
    }

    /// The name as text without a final dot; `None` where a label has octets that no name
    /// of a container or host has.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.0.len());
        for label in self.labels() {
            if !text.is_empty() {
                text.push('.');
            }
            for byte in label {
                if !byte.is_ascii_graphic() || *byte == b'.' {
                    return None;
                }
                text.push(char::from(*byte));
            }
        }
        Some(text)
    }

    /// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
    #[must_use]
    pub fn reverse_address(&self) -> Option<IpAddr> {
        let text = self.text()?;
        if let Some(digits) = text.strip_suffix(".in-addr.arpa") {
            let mut octets = [0u8; 4];
            let mut parts = digits.split('.');
            for octet in octets.iter_mut().rev() {
                let part = parts.next()?;
                *octet = part.parse().ok().filter(|value: &u8| value.to_string() == part)?;
            }
            return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
        }
        let digits = text.strip_suffix(".ip6.arpa")?;
        let mut value = 0u128;
        let mut count = 0;
        for part in digits.rsplit('.') {
            let mut characters = part.chars();
            let digit = characters.next()?.to_digit(16)?;
            if characters.next().is_some() || count == 32 {
                return None;
            }
            value = (value << 4) | u128::from(digit);
            count += 1;
        }
        (count == 32).then(|| Ipv6Addr::from(value).into())
    }
}

/// The name under which PTR records of this address are found, without a final dot.
#[must_use]
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let digits = format!("{:032x}", u128::from(address));
            let mut text = String::with_capacity(72);
            for digit in digits.chars().rev() {
                text.push(digit);
                text.push('.');
            }
            text + "ip6.arpa"
        }
    }
}

/// The end of the name at `at`, which may be compressed. Pointers end a name and are not
/// followed.
#[must_use]
pub fn skip_name(message: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    loop {
        let length = usize::from(*message.get(end)?);
        match length {
            0 => return Some(end + 1),
            1..=MAX_LABEL => end += 1 + length,
            0xc0.. => {
                message.get(end + 1)?;
                return Some(end + 2);
            }
            _ => return None,
        }
        if end - at > MAX_NAME {
            return None;
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for label in self.labels() {
            write!(f, "{}.", label.escape_ascii())?;
        }
        if self.0.len() == 1 {
            f.write_str(".")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_wire() {
        for (text, wire) in [
            ("Web.Net", Some(&b"\x03web\x03net\0"[..])),
            ("web.", Some(b"\x03web\0")),
            (".", Some(b"\0")),
            ("", Some(b"\0")),
            ("a..b", None),
            (".a", None),
        ] {
            let name = Name::from_text(text);
            assert_eq!(name.as_ref().map(Name::as_bytes), wire, "{text:?}");
        }
        assert!(Name::from_text(&"a".repeat(64)).is_none());
        assert!(Name::from_text(&["a".repeat(61).as_str(); 4].join(".")).is_some());
        assert!(Name::from_text(&["a".repeat(63).as_str(); 4].join(".")).is_none());
    }

    #[test]
    fn a_name_of_the_wire() {
        for (bytes, want) in [
            (&b"\x03WeB\0rest"[..], Some(("web", 5))),
            (b"\0", Some(("", 1))),
            (b"\x03we", None),
            (b"\x03web", None),
            (b"", None),
            // A pointer, and the two reserved kinds of label.
            (b"\xc0\x00", None),
            (b"\x40a\0", None),
            (b"\x80a\0", None),
        ] {
            let parsed = Name::parse(bytes, 0).map(|(name, end)| (name.text().unwrap(), end));
            assert_eq!(
                parsed,
                want.map(|(text, end)| (text.to_owned(), end)),
                "{bytes:?}"
            );
        }
        let long = [&[1u8, b'a'][..]; 127].concat();
        assert!(Name::parse(&[&long[..], &[0]].concat(), 0).is_some());
        assert!(Name::parse(&[&long[..], &[1, b'a', 0]].concat(), 0).is_none());
        let (odd, _) = Name::parse(b"\x03a.b\0", 0).unwrap();
        assert_eq!(odd.text(), None);
    }

    #[test]
    fn skipping_does_not_follow() {
        for (bytes, want) in [
            (&b"\x01a\0"[..], Some(3)),
            (b"\x01a\xc0\x0c", Some(4)),
            // It points at itself.
            (b"\xc0\x00", Some(2)),
            (b"\xc0", None),
            (b"\x01a", None),
            (b"\x7fa\0", None),
        ] {
            assert_eq!(skip_name(bytes, 0), want, "{bytes:?}");
        }
    }

    #[test]
    fn addresses_and_their_names() {
        for text in ["10.89.0.2", "0.0.0.0", "fd00::1:2", "::1"] {
            let address: IpAddr = text.parse().unwrap();
            let name = Name::from_text(&reverse_name(address)).unwrap();
            assert_eq!(name.reverse_address(), Some(address));
        }
        for wrong in [
            "2.0.89.in-addr.arpa",
            "1.2.0.89.10.in-addr.arpa",
            "02.0.89.10.in-addr.arpa",
            "256.0.0.1.in-addr.arpa",
            "1.ip6.arpa",
            "in-addr.arpa",
            "web",
        ] {
            assert_eq!(Name::from_text(wrong).unwrap().reverse_address(), None, "{wrong}");
        }
    }
}
