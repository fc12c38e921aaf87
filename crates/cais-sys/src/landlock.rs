//! Landlock: a process takes rights from itself (landlock(7), linux/landlock.h), and
//! the form in which the rules reach the init stub.

use crate::syscall::{check, number, syscall6};
use core::ffi::CStr;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::Errno;

/// Rights over files and directories: `LANDLOCK_ACCESS_FS_*`.
pub mod fs {
    #![allow(missing_docs, reason = "each is the name in landlock(7)")]
    pub const EXECUTE: u64 = 1;
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const READ_FILE: u64 = 1 << 2;
    pub const READ_DIR: u64 = 1 << 3;
    pub const REMOVE_DIR: u64 = 1 << 4;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_CHAR: u64 = 1 << 6;
    pub const MAKE_DIR: u64 = 1 << 7;
    pub const MAKE_REG: u64 = 1 << 8;
    pub const MAKE_SOCK: u64 = 1 << 9;
    pub const MAKE_FIFO: u64 = 1 << 10;
    pub const MAKE_BLOCK: u64 = 1 << 11;
    pub const MAKE_SYM: u64 = 1 << 12;
    /// Since ABI 2.
    pub const REFER: u64 = 1 << 13;
    /// Since ABI 3.
    pub const TRUNCATE: u64 = 1 << 14;
    /// Since ABI 5.
    pub const IOCTL_DEV: u64 = 1 << 15;

    /// The rights that a rule on something other than a directory may give; the kernel
    /// refuses the others there with `EINVAL`.
    pub const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
}

/// Rights over TCP ports: `LANDLOCK_ACCESS_NET_*`, since ABI 4.
pub mod net {
    #![allow(missing_docs, reason = "each is the name in landlock(7)")]
    pub const BIND_TCP: u64 = 1;
    pub const CONNECT_TCP: u64 = 1 << 1;
}

/// What cannot be reached outside the own domain: `LANDLOCK_SCOPE_*`, since ABI 6.
pub mod scope {
    #![allow(missing_docs, reason = "each is the name in landlock(7)")]
    pub const ABSTRACT_UNIX_SOCKET: u64 = 1;
    pub const SIGNAL: u64 = 1 << 1;
}

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// `struct landlock_net_port_attr`.
#[repr(C)]
struct NetPortAttr {
    allowed_access: u64,
    port: u64,
}

const _: () = assert!(size_of::<RulesetAttr>() == 24);
const _: () = assert!(size_of::<PathBeneathAttr>() == 12);
const _: () = assert!(size_of::<NetPortAttr>() == 16);

/// The version of Landlock that the kernel speaks, from 1 on.
///
/// # Errors
/// `ENOSYS` where the kernel was built without it, `EOPNOTSUPP` where it is switched off.
pub fn abi() -> Result<u32, Errno> {
    const LANDLOCK_CREATE_RULESET_VERSION: usize = 1;
    let arguments = [0, 0, LANDLOCK_CREATE_RULESET_VERSION, 0, 0, 0];
    // SAFETY: with this flag the kernel takes no structure and makes no descriptor.
    let version = check(unsafe { syscall6(number::LANDLOCK_CREATE_RULESET, arguments) })?;
    u32::try_from(version).or(Err(Errno::INVAL))
}

/// Makes an empty rule set that handles these rights; what is handled is denied unless
/// a rule allows it. Close-on-exec.
///
/// # Errors
/// `EINVAL` for a right that the kernel does not know, `E2BIG` where it does not know
/// a whole kind, `ENOMSG` for a set that handles nothing.
pub fn create_ruleset(filesystem: u64, network: u64, scoped: u64) -> Result<OwnedFd, Errno> {
    let attr = RulesetAttr {
        handled_access_fs: filesystem,
        handled_access_net: network,
        scoped,
    };
    // Older kernels accept the longer structure as long as the rest of it is zero.
    let arguments = [
        core::ptr::from_ref(&attr) as usize,
        size_of::<RulesetAttr>(),
        0,
        0,
        0,
        0,
    ];
    // SAFETY: the structure lives for the call and is only read, in its own size.
    let fd = check(unsafe { syscall6(number::LANDLOCK_CREATE_RULESET, arguments) })?;
    let fd = i32::try_from(fd).or(Err(Errno::BADF))?;
    // SAFETY: the kernel has just made this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Allows `access` ([`fs`]) to `beneath` and everything below it.
///
/// # Errors
/// `EINVAL` for a right that the set does not handle, or one that only directories
/// have; `ENOMSG` for no right; `EBADFD` for a descriptor of no file (a pipe).
pub fn add_path_rule(ruleset: BorrowedFd<'_>, beneath: BorrowedFd<'_>, access: u64) -> Result<(), Errno> {
    const LANDLOCK_RULE_PATH_BENEATH: usize = 1;
    let attr = PathBeneathAttr {
        allowed_access: access,
        parent_fd: beneath.as_raw_fd(),
    };
    let attr = core::ptr::from_ref(&attr) as usize;
    add_rule(ruleset, LANDLOCK_RULE_PATH_BENEATH, attr)
}

/// Allows `access` ([`net`]) to a TCP port.
///
/// # Errors
/// `EINVAL` for a right that the set does not handle, `EAFNOSUPPORT` without TCP.
pub fn add_port_rule(ruleset: BorrowedFd<'_>, port: u16, access: u64) -> Result<(), Errno> {
    const LANDLOCK_RULE_NET_PORT: usize = 2;
    let attr = NetPortAttr {
        allowed_access: access,
        port: u64::from(port),
    };
    let attr = core::ptr::from_ref(&attr) as usize;
    add_rule(ruleset, LANDLOCK_RULE_NET_PORT, attr)
}

fn add_rule(ruleset: BorrowedFd<'_>, kind: usize, attr: usize) -> Result<(), Errno> {
    let ruleset = ruleset.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: both callers pass a structure of the kind that they name, which outlives the call.
    check(unsafe { syscall6(number::LANDLOCK_ADD_RULE, [ruleset, kind, attr, 0, 0, 0]) }).map(drop)
}

/// Takes from the calling thread, for ever, what the set handles and does not allow.
///
/// # Errors
/// `EPERM` without `no_new_privs` or `CAP_SYS_ADMIN` in the own user namespace;
/// `E2BIG` for a 17th set on top of each other.
pub fn restrict_self(ruleset: BorrowedFd<'_>) -> Result<(), Errno> {
    let ruleset = ruleset.as_raw_fd().cast_unsigned() as usize;
    // SAFETY: takes a descriptor; memory is not touched.
    check(unsafe { syscall6(number::LANDLOCK_RESTRICT_SELF, [ruleset, 0, 0, 0, 0, 0]) }).map(drop)
}

/// One rule on its way to the stub: it is resolved inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule<'a> {
    /// Rights ([`fs`]) over a path and everything below it. On anything but a directory
    /// only those [`fs::OF_FILES`] are meant.
    Path {
        /// The path inside the container.
        path: &'a CStr,
        /// The rights.
        access: u64,
    },
    /// Rights ([`net`]) over a TCP port.
    Port {
        /// The port.
        port: u16,
        /// The rights.
        access: u64,
    },
}

const KIND_PATH: u8 = 1;
const KIND_PORT: u8 = 2;

impl Rule<'_> {
    /// Hands the rule's bytes to `put`: a kind, the rights in the byte order of the
    /// machine, then the path with its nul byte, or the port.
    pub fn encode(&self, mut put: impl FnMut(&[u8])) {
        match self {
            Rule::Path { path, access } => {
                put(&[KIND_PATH]);
                put(&access.to_ne_bytes());
                put(path.to_bytes_with_nul());
            }
            Rule::Port { port, access } => {
                put(&[KIND_PORT]);
                put(&access.to_ne_bytes());
                put(&port.to_ne_bytes());
            }
        }
    }
}

/// Encoded rules that are taken out one by one.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a>(pub &'a [u8]);

impl<'a> Rules<'a> {
    fn take_rule(&mut self) -> Option<Rule<'a>> {
        let (kind, rest) = self.0.split_first()?;
        let (access, rest) = rest.split_first_chunk::<8>()?;
        let access = u64::from_ne_bytes(*access);
        match *kind {
            KIND_PATH => {
                let path = CStr::from_bytes_until_nul(rest).ok()?;
                self.0 = rest.get(path.count_bytes() + 1..)?;
                Some(Rule::Path { path, access })
            }
            KIND_PORT => {
                let (port, rest) = rest.split_first_chunk::<2>()?;
                self.0 = rest;
                Some(Rule::Port {
                    port: u16::from_ne_bytes(*port),
                    access,
                })
            }
            _ => None,
        }
    }
}

impl<'a> Iterator for Rules<'a> {
    type Item = Result<Rule<'a>, Errno>;

    /// The next rule; `EBADMSG`, once, for bytes that are none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rule = self.take_rule().ok_or(Errno::BADMSG);
        if rule.is_err() {
            self.0 = &[];
        }
        Some(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_the_way() {
        let rules = [
            Rule::Path {
                path: c"/usr",
                access: fs::READ_FILE | fs::EXECUTE,
            },
            Rule::Port {
                port: 443,
                access: net::CONNECT_TCP,
            },
            Rule::Path { path: c"", access: 0 },
        ];
        let mut bytes = [0u8; 64];
        let mut used = 0;
        for rule in rules {
            rule.encode(|part| {
                bytes[used..used + part.len()].copy_from_slice(part);
                used += part.len();
            });
        }
        assert!(Rules(&bytes[..used]).eq(rules.map(Ok)));
        // Cut anywhere, it ends in one error or at a border between rules.
        for end in 0..used {
            let faults = Rules(&bytes[..end]).filter(Result::is_err).count();
            assert!(faults <= 1, "{end}");
        }
        assert!(Rules(&[9; 20]).eq([Err(Errno::BADMSG)]));
    }
}
