//! Ranges of addresses: an address and the number of bits that all of them share.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A subnet. The address is its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

/// An address as a number, for both families.
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of this family with this number; `None` beyond the family's last.
fn address_of(like: IpAddr, number: u128) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => u32::try_from(number)
            .ok()
            .map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(_) => Some(Ipv6Addr::from_bits(number).into()),
    }
}

impl Subnet {
    /// The subnet with these bits of `address`. A prefix beyond the family's width is that
    /// width.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.min(width);
        let host_bits = u32::from(width - prefix);
        let kept = number(address)
            .checked_shr(host_bits)
            .and_then(|bits| bits.checked_shl(host_bits))
            .unwrap_or(0);
        Self {
            address: address_of(address, kept).unwrap_or(address),
            prefix,
        }
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of bits that its addresses share.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    fn host_bits(&self) -> u32 {
        u32::from(if self.is_ipv4() { 32 } else { 128 } - self.prefix)
    }

    /// How many addresses it has, less one.
    #[must_use]
    pub fn last_index(&self) -> u128 {
        1u128
            .checked_shl(self.host_bits())
            .map_or(u128::MAX, |size| size - 1)
    }

    /// The address at this place, counted from its first.
    #[must_use]
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        if index > self.last_index() {
            return None;
        }
        address_of(self.address, number(self.address).checked_add(index)?)
    }

    /// Its last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.nth(self.last_index()).unwrap_or(self.address)
    }

    /// The broadcast address of a subnet of IPv4.
    #[must_use]
    pub fn broadcast(&self) -> Option<IpAddr> {
        self.is_ipv4().then(|| self.last())
    }

    /// Whether the address is one of its.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && Self::new(address, self.prefix) == *self
    }

    /// The place of an address in it.
    #[must_use]
    pub fn index_of(&self, address: IpAddr) -> Option<u128> {
        self.contains(address)
            .then(|| number(address) - number(self.address))
    }

    /// Whether the two share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Whether the address may be given to an interface: neither the subnet's own nor the
    /// broadcast address.
    #[must_use]
    pub fn is_usable(&self, address: IpAddr) -> bool {
        let Some(index) = self.index_of(address) else {
            return false;
        };
        let ends = self.host_bits() > 1;
        !(ends && (index == 0 || (self.is_ipv4() && index == self.last_index())))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The text is no subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a subnet: an address and the number of its network bits, e.g. 10.1.0.0/24 or fd00:1::/64")]
pub struct BadSubnet;

impl FromStr for Subnet {
    type Err = BadSubnet;

    fn from_str(text: &str) -> Result<Self, BadSubnet> {
        let (address, prefix) = text.split_once('/').ok_or(BadSubnet)?;
        let address: IpAddr = address.parse().ok().ok_or(BadSubnet)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= width);
        Ok(Self::new(address, prefix.ok_or(BadSubnet)?))
    }
}

impl serde::Serialize for Subnet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Subnet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn arithmetic() {
        let small = subnet("10.1.2.200/24");
        assert_eq!(small.to_string(), "10.1.2.0/24");
        assert_eq!(small.nth(1), Some(address("10.1.2.1")));
        assert_eq!(small.nth(256), None);
        assert_eq!(small.last(), address("10.1.2.255"));
        assert_eq!(small.index_of(address("10.1.2.9")), Some(9));
        assert!(!small.contains(address("::a01:203")));
        let all = subnet("0.0.0.0/0");
        assert!(all.contains(address("255.255.255.255")) && all.overlaps(&small));
        assert_eq!(all.last(), address("255.255.255.255"));
        let six = subnet("fd00::1/64");
        assert_eq!(six.nth(2), Some(address("fd00::2")));
        assert_eq!(subnet("::/0").last_index(), u128::MAX);
        assert!(!six.overlaps(&subnet("fd00:0:0:1::/64")) && six.overlaps(&subnet("fd00::/8")));
        assert_eq!(subnet("10.0.0.7/32").last(), address("10.0.0.7"));
    }

    #[test]
    fn usable() {
        let small = subnet("10.1.2.0/24");
        for (text, expected) in [
            ("10.1.2.0", false),
            ("10.1.2.1", true),
            ("10.1.2.255", false),
            ("10.1.3.1", false),
        ] {
            assert_eq!(small.is_usable(address(text)), expected, "{text}");
        }
        assert!(subnet("10.0.0.0/31").is_usable(address("10.0.0.0")));
        assert!(subnet("fd00::/64").is_usable(address("fd00::ffff:ffff:ffff:ffff")));
    }

    #[test]
    fn mistakes() {
        for bad in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0/8",
            "fd00::/129",
            "10.0.0.0/+8",
            "/8",
        ] {
            assert_eq!(bad.parse::<Subnet>(), Err(BadSubnet), "{bad}");
        }
    }
}
