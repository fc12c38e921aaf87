//! Landlock: rights that the program gives up, whatever its user may do (landlock(7)).
//!
//! Rules as `--security-opt landlock=RULE` takes them, one each:
//!
//! | rule | meaning |
//! | --- | --- |
//! | `ro:/path` | files may be read, directories listed, here and below |
//! | `rx:/path` | and programs executed |
//! | `rw:/path` | read, listed, written, made, renamed, removed; devices controlled |
//! | `rwx:/path` | all of it |
//! | `tcp-connect:443` | TCP connections to this port |
//! | `tcp-bind:8080` | listening on this port; 0 is any port that the kernel chooses |
//! | `scope:signal` | no signal to processes outside the container's domain |
//! | `scope:abstract-unix` | no connection to abstract sockets outside it |
//!
//! A kind of right that no rule names stays as it is; one that some rule names is
//! denied except where a rule allows it. So one path rule takes away every other path
//! (the program and its libraries need an `rx` rule), and one `tcp-connect` rule every
//! other port. A rule that the kernel cannot enforce is an error, never left out.
//!
//! The paths are resolved inside the container, so the rule set is made by the init
//! stub; this room gives it the numbers.

use crate::error::{Result, SysError};
use cais_sys::landlock::{Rule as WireRule, abi, fs, net, scope};
use rustix::io::Errno;
use std::ffi::CString;

const READ: u64 = fs::READ_FILE | fs::READ_DIR;
const WRITE: u64 = fs::WRITE_FILE
    | fs::TRUNCATE
    | fs::REMOVE_DIR
    | fs::REMOVE_FILE
    | fs::MAKE_CHAR
    | fs::MAKE_DIR
    | fs::MAKE_REG
    | fs::MAKE_SOCK
    | fs::MAKE_FIFO
    | fs::MAKE_BLOCK
    | fs::MAKE_SYM
    | fs::REFER
    | fs::IOCTL_DEV;

/// The version from which reading and writing can be told apart: earlier ones cannot
/// deny truncation (Linux 6.2).
const ABI_PATHS: u32 = 3;
/// The version that knows TCP ports (Linux 6.7).
const ABI_PORTS: u32 = 4;
/// The version that knows ioctl(2) on devices (Linux 6.10).
const ABI_IOCTL_DEV: u32 = 5;
/// The version that knows scopes (Linux 6.12).
const ABI_SCOPES: u32 = 6;

/// A rule as the user wrote it, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// Rights over a path and everything below it.
    Path {
        /// An absolute path inside the container.
        path: CString,
        /// `LANDLOCK_ACCESS_FS_*`.
        access: u64,
    },
    /// Rights over a TCP port.
    Port {
        /// The port.
        port: u16,
        /// `LANDLOCK_ACCESS_NET_*`.
        access: u64,
    },
    /// Something outside the domain that cannot be reached.
    Scope {
        /// `LANDLOCK_SCOPE_*`.
        scope: u64,
    },
}

/// What is wrong with a rule, or with the kernel for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LandlockError {
    /// The rule's first word is none of ours.
    #[error(
        "landlock rule {rule:?} is unknown: use ro:, rx:, rw: or rwx: and a path, tcp-connect: or tcp-bind: and a port, or scope:signal, scope:abstract-unix"
    )]
    Unknown {
        /// The rule as written.
        rule: String,
    },
    /// The path is not absolute.
    #[error("landlock rule {rule:?} needs an absolute path of the container")]
    Path {
        /// The rule as written.
        rule: String,
    },
    /// The port is no port.
    #[error(
        "landlock rule {rule:?} needs a port from 1 to 65535 (0 for tcp-bind: any that the kernel chooses)"
    )]
    Port {
        /// The rule as written.
        rule: String,
    },
    /// The kernel has no Landlock.
    #[error(
        "this kernel has no Landlock: leave the landlock rules out, or boot a kernel that has landlock in its lsm= list"
    )]
    Absent,
    /// The kernel's Landlock is too old.
    #[error(
        "landlock rules for {what} need Linux {linux} (Landlock ABI {needed}), and this kernel has ABI {abi}: leave those rules out"
    )]
    TooOld {
        /// What the rules are about.
        what: &'static str,
        /// The kernel that has it.
        linux: &'static str,
        /// The version that has it.
        needed: u32,
        /// The version that is there.
        abi: u32,
    },
}

/// Reads one rule: what stands behind `landlock=`.
///
/// # Errors
/// [`LandlockError::Unknown`], [`LandlockError::Path`] or [`LandlockError::Port`].
pub fn parse_rule(text: &str) -> std::result::Result<Rule, LandlockError> {
    let rule = || text.to_owned();
    let unknown = || LandlockError::Unknown { rule: rule() };
    let (kind, value) = text.split_once(':').ok_or_else(unknown)?;
    let access = match kind {
        "ro" => READ,
        "rx" => READ | fs::EXECUTE,
        "rw" => READ | WRITE,
        "rwx" => READ | WRITE | fs::EXECUTE,
        "tcp-connect" | "tcp-bind" => {
            let binds = kind == "tcp-bind";
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let port = value.parse().ok().filter(|port| digits && (*port != 0 || binds));
            let access = if binds { net::BIND_TCP } else { net::CONNECT_TCP };
            return match port {
                Some(port) => Ok(Rule::Port { port, access }),
                None => Err(LandlockError::Port { rule: rule() }),
            };
        }
        "scope" => {
            let scope = match value {
                "signal" => scope::SIGNAL,
                "abstract-unix" => scope::ABSTRACT_UNIX_SOCKET,
                _ => return Err(unknown()),
            };
            return Ok(Rule::Scope { scope });
        }
        _ => return Err(unknown()),
    };
    match CString::new(value) {
        Ok(path) if value.starts_with('/') => Ok(Rule::Path { path, access }),
        _ => Err(LandlockError::Path { rule: rule() }),
    }
}

/// A rule whose rights are all handled by the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LandlockRule {
    /// What the rights are over.
    pub object: LandlockObject,
    /// `LANDLOCK_ACCESS_FS_*` or `LANDLOCK_ACCESS_NET_*`. For a path that is no
    /// directory, the stub keeps only those that files have.
    pub access: u64,
}

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LandlockObject {
    /// A path inside the container.
    Path(CString),
    /// A TCP port.
    Port(u16),
}

/// A rule set, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LandlockPlan {
    /// `handled_access_fs` of the rule set.
    pub handled_fs: u64,
    /// `handled_access_net` of the rule set.
    pub handled_net: u64,
    /// `scoped` of the rule set.
    pub scoped: u64,
    /// The rules.
    pub rules: Vec<LandlockRule>,
    /// Whether ioctl(2) on devices stays free, because the kernel cannot deny it (before
    /// ABI 5). To be reported to the user.
    pub ioctl_stays_free: bool,
}

impl LandlockPlan {
    /// The rules in the form that the stub reads ([`cais_sys::landlock::Rules`]).
    #[must_use]
    pub fn encode_rules(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rule in &self.rules {
            let access = rule.access;
            let wire = match &rule.object {
                LandlockObject::Path(path) => WireRule::Path { path, access },
                LandlockObject::Port(port) => WireRule::Port { port: *port, access },
            };
            wire.encode(|part| bytes.extend_from_slice(part));
        }
        bytes
    }
}

/// Plans the rule set for a kernel of version `abi` ([`read_abi`]; 0 is no Landlock).
/// No rules make an empty plan, which is not to be applied.
///
/// # Errors
/// [`LandlockError::Absent`] or [`LandlockError::TooOld`] where a rule cannot be enforced.
pub fn plan_landlock(rules: &[Rule], abi: u32) -> std::result::Result<LandlockPlan, LandlockError> {
    if abi == 0 && !rules.is_empty() {
        return Err(LandlockError::Absent);
    }
    let need = |needed, what, linux| match abi {
        old if old < needed => Err(LandlockError::TooOld {
            what,
            linux,
            needed,
            abi,
        }),
        _ => Ok(()),
    };
    let mut plan = LandlockPlan::default();
    let has_ioctl = abi >= ABI_IOCTL_DEV;
    let known_fs = READ | WRITE | fs::EXECUTE;
    let known_fs = if has_ioctl {
        known_fs
    } else {
        known_fs & !fs::IOCTL_DEV
    };
    for rule in rules {
        match rule {
            Rule::Path { path, access } => {
                need(ABI_PATHS, "paths", "6.2")?;
                plan.handled_fs = known_fs;
                plan.ioctl_stays_free = !has_ioctl;
                plan.rules.push(LandlockRule {
                    object: LandlockObject::Path(path.clone()),
                    access: access & known_fs,
                });
            }
            Rule::Port { port, access } => {
                need(ABI_PORTS, "TCP ports", "6.7")?;
                plan.handled_net |= access;
                plan.rules.push(LandlockRule {
                    object: LandlockObject::Port(*port),
                    access: *access,
                });
            }
            Rule::Scope { scope } => {
                need(ABI_SCOPES, "scopes", "6.12")?;
                plan.scoped |= scope;
            }
        }
    }
    Ok(plan)
}

/// The version of Landlock that this kernel has; 0 where it has none or it is off.
///
/// # Errors
/// As landlock_create_ruleset(2), where it is neither.
pub fn read_abi() -> Result<u32> {
    match abi() {
        Ok(version) => Ok(version),
        Err(Errno::NOSYS | Errno::OPNOTSUPP) => Ok(0),
        Err(errno) => Err(SysError::new(
            "landlock_create_ruleset",
            "NULL, 0, LANDLOCK_CREATE_RULESET_VERSION",
            errno,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cais_sys::landlock::Rules;

    #[test]
    fn rules_are_parsed() {
        let path = |path: &str, access| Rule::Path {
            path: CString::new(path).unwrap(),
            access,
        };
        for (text, want) in [
            ("ro:/etc", path("/etc", READ)),
            ("rx:/usr", path("/usr", READ | fs::EXECUTE)),
            ("rw:/tmp", path("/tmp", READ | WRITE)),
            ("rwx:/", path("/", READ | WRITE | fs::EXECUTE)),
            ("ro:/a:b c", path("/a:b c", READ)),
            (
                "tcp-connect:443",
                Rule::Port {
                    port: 443,
                    access: net::CONNECT_TCP,
                },
            ),
            (
                "tcp-bind:0",
                Rule::Port {
                    port: 0,
                    access: net::BIND_TCP,
                },
            ),
            ("scope:signal", Rule::Scope { scope: scope::SIGNAL }),
            (
                "scope:abstract-unix",
                Rule::Scope {
                    scope: scope::ABSTRACT_UNIX_SOCKET,
                },
            ),
        ] {
            assert_eq!(parse_rule(text), Ok(want), "{text}");
        }
        for text in ["", "ro", "RO:/x", "x:/x", "scope:all", "scope:", "udp:1"] {
            assert!(
                matches!(parse_rule(text), Err(LandlockError::Unknown { .. })),
                "{text}"
            );
        }
        for text in ["ro:", "ro:etc", "rw:/a\0b"] {
            assert!(
                matches!(parse_rule(text), Err(LandlockError::Path { .. })),
                "{text}"
            );
        }
        for text in [
            "tcp-bind:",
            "tcp-connect:0",
            "tcp-connect:65536",
            "tcp-bind:+1",
            "tcp-bind:http",
        ] {
            assert!(
                matches!(parse_rule(text), Err(LandlockError::Port { .. })),
                "{text}"
            );
        }
    }

    fn plan(rules: &[&str], abi: u32) -> std::result::Result<LandlockPlan, LandlockError> {
        let rules: Vec<_> = rules.iter().map(|rule| parse_rule(rule).unwrap()).collect();
        plan_landlock(&rules, abi)
    }

    #[test]
    fn only_named_kinds_are_handled() {
        let all = READ | WRITE | fs::EXECUTE;
        assert_eq!(all, 0xffff);
        for (rules, want) in [
            (&["ro:/"][..], (all, 0, 0)),
            (&["tcp-connect:1", "tcp-connect:2"], (0, net::CONNECT_TCP, 0)),
            (
                &["tcp-connect:1", "tcp-bind:2"],
                (0, net::CONNECT_TCP | net::BIND_TCP, 0),
            ),
            (&["scope:signal"], (0, 0, scope::SIGNAL)),
            (&[], (0, 0, 0)),
        ] {
            let plan = plan(rules, 7).unwrap();
            assert_eq!(
                (plan.handled_fs, plan.handled_net, plan.scoped),
                want,
                "{rules:?}"
            );
            assert!(!plan.ioctl_stays_free);
        }
        let old = plan(&["rw:/"], 3).unwrap();
        assert_eq!(old.handled_fs, all & !fs::IOCTL_DEV);
        assert_eq!(old.rules[0].access & !old.handled_fs, 0);
        assert!(old.ioctl_stays_free);
    }

    #[test]
    fn what_the_kernel_cannot_enforce_is_refused() {
        for (rule, abi) in [("ro:/", 2), ("tcp-bind:1", 3), ("scope:signal", 5)] {
            assert!(
                matches!(plan(&[rule], abi), Err(LandlockError::TooOld { .. })),
                "{rule}"
            );
            assert!(plan(&[rule], abi + 1).is_ok(), "{rule}");
            assert_eq!(plan(&[rule], 0), Err(LandlockError::Absent));
        }
        assert_eq!(
            plan(&["tcp-bind:1"], 3).unwrap_err().to_string(),
            "landlock rules for TCP ports need Linux 6.7 (Landlock ABI 4), and this kernel has ABI 3: \
             leave those rules out"
        );
        assert_eq!(plan(&[], 0), Ok(LandlockPlan::default()));
    }

    #[test]
    fn the_stub_reads_what_was_encoded() {
        let plan = plan(&["rx:/usr", "tcp-bind:80"], 7).unwrap();
        let bytes = plan.encode_rules();
        let rules: Vec<_> = Rules(&bytes).map(std::result::Result::unwrap).collect();
        assert_eq!(
            rules,
            [
                WireRule::Path {
                    path: c"/usr",
                    access: READ | fs::EXECUTE
                },
                WireRule::Port {
                    port: 80,
                    access: net::BIND_TCP
                }
            ]
        );
    }

    /// Restricts one thread of the test, which is gone afterwards.
    #[test]
    fn the_kernel_enforces_a_plan() {
        use cais_sys::landlock::{add_path_rule, create_ruleset, restrict_self};
        use rustix::fd::AsFd;
        use rustix::fs::{CWD, Mode, OFlags, openat};
        let abi = read_abi().unwrap();
        if abi < ABI_PATHS {
            return;
        }
        let plan = plan(&["ro:/proc"], abi).unwrap();
        let denied = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let ruleset = create_ruleset(plan.handled_fs, plan.handled_net, plan.scoped).unwrap();
            for rule in Rules(&plan.encode_rules()) {
                let WireRule::Path { path, access } = rule.unwrap() else {
                    panic!("no path")
                };
                let beneath = openat(CWD, path, OFlags::PATH, Mode::empty()).unwrap();
                add_path_rule(ruleset.as_fd(), beneath.as_fd(), access).unwrap();
            }
            restrict_self(ruleset.as_fd()).unwrap();
            let opens = |path: &str| std::fs::File::open(path).map(drop).map_err(|error| error.kind());
            (opens("/proc/version"), opens("/etc/passwd"))
        });
        assert_eq!(
            denied.join().unwrap(),
            (Ok(()), Err(std::io::ErrorKind::PermissionDenied))
        );
    }
}
