//! The compiler: a profile becomes one classic BPF program for every
//! architecture that the kernel takes calls of. Pure.
//!
//! The program looks at `seccomp_data.arch` first. A foreign architecture, and
//! x32 where the profile does not name it, kills the process: its numbers mean
//! other calls. Then it searches the number in a sorted list of ranges of equal
//! fate, and where the fate depends on arguments, compares them.
//!
//! A call newer than the newest one that the profile names fails with ENOSYS
//! instead of the default action, unless the default lets calls through. The C
//! library then falls back to an older call; EPERM it would take for an answer.
//! runc does the same (its `patchbpf`), on each architecture by itself.

use super::arch::{Arch, X32_BIT};
use super::assemble::{ARCH_OFFSET, Assembler, JUMP_EQUAL, Leaf, NUMBER_OFFSET, Target};
use super::profile::{Action, Flag, Profile};
use super::resolve::{Conditional, Outcomes, Verdict, Verdicts, outcomes, resolve};
use super::syscalls::{self, ARM_PRIVATE_BASE};
use cais_sys::seccomp::{
    FLAG_LOG, FLAG_NEW_LISTENER, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_TSYNC_ESRCH, FLAG_WAIT_KILLABLE_RECV,
    MAX_INSTRUCTIONS, SockFilter,
};
use std::borrow::Cow;

/// Goes up whenever the same profile compiles to another program, so that
/// stored programs are not taken for those of today's compiler.
pub const COMPILER_VERSION: u32 = 1;

/// `SECCOMP_RET_ERRNO` with ENOSYS.
const NOT_IMPLEMENTED: u32 = Action::Errno.return_value() | 38;
const KILL_PROCESS: u32 = Action::KillProcess.return_value();

/// A compiled profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The instructions.
    pub program: Vec<SockFilter>,
    /// The flags of seccomp(2), `FLAG_NEW_LISTENER` among them where a rule asks a listener.
    pub flags: u32,
    /// Names of rules that no architecture of the table has; they were skipped,
    /// as every runtime does, because a profile may know newer calls than we do.
    pub unknown: Vec<Cow<'static, str>>,
}

/// Why a profile cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// There is no system call table for the machine.
    #[error("seccomp: no system call table for {arch}; run with --security-opt seccomp=unconfined")]
    NoTable {
        /// The OCI name of the architecture.
        arch: &'static str,
    },
    /// An argument index above 5.
    #[error("seccomp rule for {syscall}: argument index {index} is above 5, the last argument")]
    ArgumentIndex {
        /// The rule's first system call.
        syscall: String,
        /// What the profile says.
        index: u8,
    },
    /// An errno beside an action that returns none.
    #[error(
        "seccomp: errno {errno} given with {action}, which returns none; remove it or use SCMP_ACT_ERRNO"
    )]
    ErrnoWithoutMeaning {
        /// The action's OCI name.
        action: &'static str,
        /// The errno.
        errno: u32,
    },
    /// An errno that the filter's return value cannot carry.
    #[error("seccomp: errno {errno} is above {limit}")]
    ErrnoTooLarge {
        /// The errno.
        errno: u32,
        /// The highest possible.
        limit: u32,
    },
    /// The default action asks a listener.
    #[error("seccomp: SCMP_ACT_NOTIFY cannot be the default action, nobody could start the program")]
    NotifyByDefault,
    /// A listener is asked about a call that handing over the listener needs.
    #[error("seccomp: SCMP_ACT_NOTIFY cannot decide {syscall}, which hands over the listener itself")]
    NotifyNeededCall {
        /// The system call.
        syscall: String,
    },
    /// More instructions than the kernel takes.
    #[error(
        "seccomp: the profile needs {instructions} instructions and the kernel takes {limit}; use fewer rules with arguments"
    )]
    TooLong {
        /// What it came to.
        instructions: usize,
        /// `BPF_MAXINSNS`.
        limit: usize,
    },
}

/// Compiles `profile` for a kernel of architecture `native`.
///
/// # Errors
/// A profile that the specification forbids, or a program too long for the kernel.
pub fn compile(profile: &Profile, native: Arch) -> Result<Compiled, CompileError> {
    let family = native.family();
    if family.is_empty() {
        return Err(CompileError::NoTable {
            arch: native.oci_name(),
        });
    }
    let outcomes = outcomes(profile)?;
    let newer = newer_outcome(profile.default_action, outcomes.default);
    let wanted = |arch: Arch| arch == native || profile.architectures.contains(&arch);

    let mut assembler = Assembler::default();
    let mut other_arch = Target::Return(KILL_PROCESS);
    // Written backwards, so that the native architecture is looked at first.
    for arch in family.iter().rev().copied() {
        if arch == Arch::X32 || !wanted(arch) {
            continue;
        }
        let mut ranges = Ranges::new(outcomes.default, newer);
        ranges.cover(&resolve(profile, &outcomes, arch)?, arch);
        if arch == Arch::X86_64 {
            let x32 = wanted(Arch::X32)
                .then(|| resolve(profile, &outcomes, Arch::X32))
                .transpose()?;
            ranges.cover_x32(x32.as_ref());
        }
        let search = assembler.search(&ranges.segments, &ranges.chains, outcomes.default);
        let section = assembler.load(NUMBER_OFFSET, search);
        let audit = arch.audit().unwrap_or_default();
        other_arch = assembler.branch(JUMP_EQUAL, audit, section, other_arch);
    }
    assembler.load(ARCH_OFFSET, other_arch);

    let program = assembler.finish();
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong {
            instructions: program.len(),
            limit: MAX_INSTRUCTIONS,
        });
    }
    Ok(Compiled {
        program,
        flags: flag_bits(profile, &outcomes),
        unknown: unknown_names(profile),
    })
}

/// What happens to calls that the profile's author could not know.
fn newer_outcome(default_action: Action, default: u32) -> u32 {
    if default_action.lets_through() {
        default
    } else {
        NOT_IMPLEMENTED
    }
}

/// A profile flag that says nothing without a listener is left out then: the
/// kernel would refuse it.
fn flag_bits(profile: &Profile, outcomes: &Outcomes) -> u32 {
    let listens = outcomes.rules.contains(&Action::Notify.return_value());
    let mut bits = if listens { FLAG_NEW_LISTENER } else { 0 };
    for flag in &profile.flags {
        bits |= match flag {
            Flag::Tsync if listens => FLAG_TSYNC | FLAG_TSYNC_ESRCH,
            Flag::Tsync => FLAG_TSYNC,
            Flag::Log => FLAG_LOG,
            Flag::SpecAllow => FLAG_SPEC_ALLOW,
            Flag::WaitKillableRecv if listens => FLAG_WAIT_KILLABLE_RECV,
            Flag::WaitKillableRecv => 0,
        };
    }
    bits
}

fn unknown_names(profile: &Profile) -> Vec<Cow<'static, str>> {
    let mut unknown: Vec<Cow<'static, str>> = Vec::new();
    for name in profile.rules.iter().flat_map(|rule| &rule.names) {
        if !syscalls::is_known(name) && !unknown.contains(name) {
            unknown.push(name.clone());
        }
    }
    unknown
}

/// All numbers of one `seccomp_data.arch`, as ranges of equal fate.
struct Ranges {
    /// First number and fate, sorted; a range ends where the next begins.
    segments: Vec<(u32, Leaf)>,
    /// The fates that depend on arguments, each once.
    chains: Vec<Vec<Conditional>>,
    default: u32,
    newer: u32,
    /// What number -1 gets: a tracer's mark for a call that it has skipped.
    beyond: u32,
}

impl Ranges {
    fn new(default: u32, newer: u32) -> Self {
        Self {
            segments: vec![(0, Leaf::Return(default))],
            chains: Vec::new(),
            default,
            newer,
            beyond: default,
        }
    }

    /// From `start` on, `leaf`; starts must not go down.
    fn push(&mut self, start: u32, leaf: Leaf) {
        if self.segments.last().is_some_and(|(last, _)| *last == start) {
            self.segments.pop();
        }
        if self.segments.last().is_none_or(|(_, last)| *last != leaf) {
            self.segments.push((start, leaf));
        }
    }

    fn push_verdicts<'a>(&mut self, verdicts: impl Iterator<Item = (&'a u32, &'a Verdict)>) {
        for (number, verdict) in verdicts {
            let leaf = match verdict {
                Verdict::Always(outcome) => Leaf::Return(*outcome),
                Verdict::FirstOf(conditionals) => self.chain(conditionals),
            };
            self.push(*number, leaf);
            self.push(number + 1, Leaf::Return(self.default));
        }
    }

    fn chain(&mut self, conditionals: &[Conditional]) -> Leaf {
        let known = self.chains.iter().position(|chain| chain == conditionals);
        Leaf::Chain(known.unwrap_or_else(|| {
            self.chains.push(conditionals.to_vec());
            self.chains.len() - 1
        }))
    }

    /// Appends the calls of `arch` and what comes after its newest one.
    fn cover(&mut self, verdicts: &Verdicts, arch: Arch) {
        let private_from = match arch {
            Arch::Arm => ARM_PRIVATE_BASE,
            _ => u32::MAX,
        };
        self.push_verdicts(verdicts.by_number.range(..private_from));
        if let Some(newest) = verdicts.newest {
            self.push(newest + 1, Leaf::Return(self.newer));
            self.beyond = self.newer;
        }
        if arch == Arch::Arm {
            self.push(private_from, Leaf::Return(self.default));
            self.push_verdicts(verdicts.by_number.range(private_from..));
        }
    }

    /// Appends the x32 half of x86_64.
    fn cover_x32(&mut self, x32: Option<&Verdicts>) {
        match x32 {
            Some(verdicts) => {
                self.push(X32_BIT, Leaf::Return(self.default));
                self.cover(verdicts, Arch::X32);
            }
            None => {
                self.push(X32_BIT, Leaf::Return(KILL_PROCESS));
                self.push(u32::MAX, Leaf::Return(self.beyond));
            }
        }
    }
}
