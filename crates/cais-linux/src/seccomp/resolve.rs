//! From a profile and one architecture to a verdict for each system call number.

use super::arch::Arch;
use super::compile::CompileError;
use super::profile::{Action, ArgRule, Operator, Profile, Rule};
use super::syscalls::{self, ARM_PRIVATE_BASE};
use std::collections::BTreeMap;

/// EPERM: the errno of a rule that names none.
const EPERM: u32 = 1;
/// The highest errno that the kernel passes on (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

/// A comparison on an unsigned argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `argument & mask == datum`; `datum` has no bit outside `mask`.
    MaskedEqual { mask: u64, datum: u64 },
    /// `argument > value`.
    Greater(u64),
    /// `argument >= value`.
    GreaterEqual(u64),
}

/// One condition, ready to assemble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Which argument, 0 to 5.
    pub(super) argument: u8,
    /// All 64 bits, or the low 32.
    pub(super) wide: bool,
    /// Holds where the comparison does not.
    pub(super) negated: bool,
    pub(super) comparison: Comparison,
}

/// All `tests` hold → return `outcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conditional {
    pub(super) tests: Vec<Test>,
    pub(super) outcome: u32,
}

/// What becomes of one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The filter's return value, whatever the arguments.
    Always(u32),
    /// The first that matches, else the default.
    FirstOf(Vec<Conditional>),
}

/// The verdicts of one architecture.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// By number; what is absent gets the default.
    pub(super) by_number: BTreeMap<u32, Verdict>,
    /// The highest number that the profile names, arm's private calls aside.
    pub(super) newest: Option<u32>,
}

/// The filter's return values of a profile.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) default: u32,
    pub(super) rules: Vec<u32>,
}

/// Checks the actions and errnos of `profile` and turns them into return values.
pub(super) fn outcomes(profile: &Profile) -> Result<Outcomes, CompileError> {
    if profile.default_action == Action::Notify {
        return Err(CompileError::NotifyByDefault);
    }
    let default = outcome(profile.default_action, profile.default_errno)?;
    let rules = profile
        .rules
        .iter()
        .map(|rule| {
            check_notify(rule)?;
            outcome(rule.action, rule.errno)
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Outcomes { default, rules })
}

/// The init stub hands the listener over by sendmsg(2), and reports its end or
/// failure by write(2), with the filter already on: asking the agent about
/// those would wait forever for an agent that has no listener yet. runc
/// refuses `write` for the same reason.
fn check_notify(rule: &Rule) -> Result<(), CompileError> {
    let needed = ["sendmsg", "write"];
    let stuck = rule.names.iter().find(|name| needed.contains(&name.as_ref()));
    match stuck {
        Some(name) if rule.action == Action::Notify => Err(CompileError::NotifyNeededCall {
            syscall: name.to_string(),
        }),
        _ => Ok(()),
    }
}

fn outcome(action: Action, errno: Option<u32>) -> Result<u32, CompileError> {
    if !action.takes_errno() {
        // The specification asks for an error where an errno has no meaning.
        return match errno {
            None => Ok(action.return_value()),
            Some(errno) => Err(CompileError::ErrnoWithoutMeaning {
                action: action.oci_name(),
                errno,
            }),
        };
    }
    let data = errno.unwrap_or(EPERM);
    let limit = if action == Action::Errno {
        MAX_ERRNO
    } else {
        u32::from(u16::MAX)
    };
    if data > limit {
        return Err(CompileError::ErrnoTooLarge { errno: data, limit });
    }
    Ok(action.return_value() | data)
}

/// Resolves the names of `profile` on `arch`.
pub(super) fn resolve(profile: &Profile, outcomes: &Outcomes, arch: Arch) -> Result<Verdicts, CompileError> {
    let mut verdicts = Verdicts {
        by_number: BTreeMap::new(),
        newest: None,
    };
    for (rule, outcome) in profile.rules.iter().zip(&outcomes.rules) {
        let alternatives = alternatives(rule, arch)?;
        for name in &rule.names {
            if let Some(number) = syscalls::number(name, arch) {
                verdicts.names(number, arch);
                if *outcome != outcomes.default {
                    verdicts.add(number, &alternatives, *outcome);
                }
            }
            if arch == Arch::X86
                && let Some((number, test)) = multiplexed(name, rule)
            {
                verdicts.names(number, arch);
                if *outcome != outcomes.default {
                    verdicts.add(number, &[vec![test]], *outcome);
                }
            }
        }
    }
    Ok(verdicts)
}

impl Verdicts {
    /// The profile's author knew `number`.
    fn names(&mut self, number: u32, arch: Arch) {
        if arch != Arch::Arm || number < ARM_PRIVATE_BASE {
            self.newest = self.newest.max(Some(number));
        }
    }

    /// Adds a rule: each of `alternatives` is a list of tests that must all hold.
    fn add(&mut self, number: u32, alternatives: &[Vec<Test>], outcome: u32) {
        let verdict = self
            .by_number
            .entry(number)
            .or_insert_with(|| Verdict::FirstOf(Vec::new()));
        let Verdict::FirstOf(conditionals) = verdict else {
            return;
        };
        if alternatives.iter().any(Vec::is_empty) {
            *verdict = Verdict::Always(outcome);
            return;
        }
        conditionals.extend(alternatives.iter().map(|tests| Conditional {
            tests: tests.clone(),
            outcome,
        }));
    }
}

/// The conditions of `rule` as alternatives: one list of tests, or one list
/// for each condition where an argument is named twice.
fn alternatives(rule: &Rule, arch: Arch) -> Result<Vec<Vec<Test>>, CompileError> {
    let mut tests = Vec::with_capacity(rule.args.len());
    let mut repeated = false;
    for (at, arg) in rule.args.iter().enumerate() {
        if arg.index > 5 {
            return Err(CompileError::ArgumentIndex {
                syscall: rule.names.first().map_or_else(String::new, ToString::to_string),
                index: arg.index,
            });
        }
        repeated |= rule.args.iter().take(at).any(|before| before.index == arg.index);
        tests.push(test(arg, arch.compares_64_bits()));
    }
    if repeated {
        Ok(tests.into_iter().map(|test| vec![test]).collect())
    } else {
        Ok(vec![tests])
    }
}

fn test(arg: &ArgRule, wide: bool) -> Test {
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let value = arg.value & width;
    let equal = Comparison::MaskedEqual {
        mask: width,
        datum: value,
    };
    let (negated, comparison) = match arg.op {
        Operator::Equal => (false, equal),
        Operator::NotEqual => (true, equal),
        Operator::GreaterThan => (false, Comparison::Greater(value)),
        Operator::LessEqual => (true, Comparison::Greater(value)),
        Operator::GreaterEqual => (false, Comparison::GreaterEqual(value)),
        Operator::LessThan => (true, Comparison::GreaterEqual(value)),
        Operator::MaskedEqual => (
            false,
            Comparison::MaskedEqual {
                mask: value,
                datum: arg.value_two & value,
            },
        ),
    };
    Test {
        argument: arg.index,
        wide,
        negated,
        comparison,
    }
}

/// i386 has a second door to the socket and System V IPC calls: socketcall(2)
/// and ipc(2), where the first argument says which call is meant and the call's
/// own arguments lie behind a pointer that a filter cannot follow. So a rule
/// without conditions holds at both doors. One with conditions cannot: a rule
/// that lets through stays at the first door (libseccomp opens the second to
/// everything), one that refuses closes the second altogether.
fn multiplexed(name: &str, rule: &Rule) -> Option<(u32, Test)> {
    const SOCKETCALL: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    if !rule.args.is_empty() && rule.action.lets_through() {
        return None;
    }
    let socket = SOCKETCALL
        .iter()
        .zip(1_u64..)
        .find(|(call, _)| **call == name)
        .map(|(_, selector)| ("socketcall", u64::from(u32::MAX), selector));
    // ipc(2) keeps a version in the high half of its first argument.
    let ipc = || {
        let (_, selector) = IPC.iter().find(|(call, _)| *call == name)?;
        Some(("ipc", 0xffff, *selector))
    };
    let (door, mask, datum) = socket.or_else(ipc)?;
    let test = Test {
        argument: 0,
        wide: false,
        negated: false,
        comparison: Comparison::MaskedEqual { mask, datum },
    };
    Some((syscalls::number(door, Arch::X86)?, test))
}
