//! The typed seccomp profile, in the shape and the words of the OCI runtime
//! specification (`config-linux.md`, section "Seccomp").
//!
//! Which rule decides a call:
//! 1. rules whose outcome equals the default are skipped, as runc does;
//! 2. the first rule without argument conditions decides, wherever it stands:
//!    it covers every conditional rule of that call (libseccomp's behaviour);
//! 3. else the first rule in the profile's order whose conditions all hold
//!    (where rules with different actions match one call, libseccomp's answer
//!    depends on how it sorts its tree; ours is the order that was written);
//! 4. else the default.
//!
//! A rule that names one argument twice is as many rules as it has conditions,
//! which is what runc and crun make of it.

use super::arch::Arch;
use std::borrow::Cow;

/// What happens to a call (`SCMP_ACT_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Kills the thread, by the old name of [`Action::KillThread`].
    Kill,
    /// Kills the process as if by SIGSYS (Linux 4.14).
    KillProcess,
    /// Kills the calling thread as if by SIGSYS.
    KillThread,
    /// Sends SIGSYS.
    Trap,
    /// Fails the call with an errno.
    Errno,
    /// Asks the tracer; fails with ENOSYS where there is none.
    Trace,
    /// Lets the call through.
    Allow,
    /// Lets it through and logs it (Linux 4.14).
    Log,
    /// Asks the listener (Linux 5.0).
    Notify,
}

impl Action {
    /// The action of an OCI name.
    #[must_use]
    pub fn parse_oci(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_ACT_KILL" => Self::Kill,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno,
            "SCMP_ACT_TRACE" => Self::Trace,
            "SCMP_ACT_ALLOW" => Self::Allow,
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_NOTIFY" => Self::Notify,
            _ => return None,
        })
    }

    /// The OCI name.
    #[must_use]
    pub const fn oci_name(self) -> &'static str {
        match self {
            Self::Kill => "SCMP_ACT_KILL",
            Self::KillProcess => "SCMP_ACT_KILL_PROCESS",
            Self::KillThread => "SCMP_ACT_KILL_THREAD",
            Self::Trap => "SCMP_ACT_TRAP",
            Self::Errno => "SCMP_ACT_ERRNO",
            Self::Trace => "SCMP_ACT_TRACE",
            Self::Allow => "SCMP_ACT_ALLOW",
            Self::Log => "SCMP_ACT_LOG",
            Self::Notify => "SCMP_ACT_NOTIFY",
        }
    }

    /// The filter's return value without its data (`SECCOMP_RET_…` of `linux/seccomp.h`).
    #[must_use]
    pub const fn return_value(self) -> u32 {
        match self {
            Self::Kill | Self::KillThread => 0x0000_0000,
            Self::KillProcess => 0x8000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno => 0x0005_0000,
            Self::Notify => 0x7fc0_0000,
            Self::Trace => 0x7ff0_0000,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Whether `errnoRet` means something for it.
    #[must_use]
    pub const fn takes_errno(self) -> bool {
        matches!(self, Self::Errno | Self::Trace)
    }

    /// Whether a call gets through, to the kernel or to a tracer.
    #[must_use]
    pub const fn lets_through(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace)
    }
}

/// How an argument is compared, as an unsigned number (`SCMP_CMP_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Differs from `value`.
    NotEqual,
    /// Below `value`.
    LessThan,
    /// At most `value`.
    LessEqual,
    /// Equal to `value`.
    Equal,
    /// At least `value`.
    GreaterEqual,
    /// Above `value`.
    GreaterThan,
    /// `argument & value` equals `value_two & value`.
    MaskedEqual,
}

impl Operator {
    /// The operator of an OCI name.
    #[must_use]
    pub fn parse_oci(name: &str) -> Option<Self> {
        Some(match name {
            "SCMP_CMP_NE" => Self::NotEqual,
            "SCMP_CMP_LT" => Self::LessThan,
            "SCMP_CMP_LE" => Self::LessEqual,
            "SCMP_CMP_EQ" => Self::Equal,
            "SCMP_CMP_GE" => Self::GreaterEqual,
            "SCMP_CMP_GT" => Self::GreaterThan,
            "SCMP_CMP_MASKED_EQ" => Self::MaskedEqual,
            _ => return None,
        })
    }
}

/// A flag of the filter (`SECCOMP_FILTER_FLAG_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// All threads of the process.
    Tsync,
    /// Log every action but allow.
    Log,
    /// Keep speculative store bypass, for speed.
    SpecAllow,
    /// Only a fatal signal interrupts a wait for the listener.
    WaitKillableRecv,
}

impl Flag {
    /// The flag of an OCI name.
    #[must_use]
    pub fn parse_oci(name: &str) -> Option<Self> {
        Some(match name {
            "SECCOMP_FILTER_FLAG_TSYNC" => Self::Tsync,
            "SECCOMP_FILTER_FLAG_LOG" => Self::Log,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Self::SpecAllow,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Self::WaitKillableRecv,
            _ => return None,
        })
    }
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgRule {
    /// Which argument, 0 to 5.
    pub index: u8,
    /// What it is compared with; the mask of [`Operator::MaskedEqual`].
    pub value: u64,
    /// The second operand of [`Operator::MaskedEqual`].
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

/// An action for some system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The system calls by name.
    pub names: Vec<Cow<'static, str>>,
    /// What happens to them.
    pub action: Action,
    /// The errno of [`Action::Errno`], the message of [`Action::Trace`]; EPERM where absent.
    pub errno: Option<u32>,
    /// All must hold; see the module for an argument that is named twice.
    pub args: Vec<ArgRule>,
}

/// A whole profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// For calls that no rule decides.
    pub default_action: Action,
    /// The errno of the default action; EPERM where absent.
    pub default_errno: Option<u32>,
    /// Besides the native one, which is always in the filter.
    pub architectures: Vec<Arch>,
    /// How the filter is installed.
    pub flags: Vec<Flag>,
    /// The unix socket of the agent that gets the listener ([`Action::Notify`]).
    pub listener_path: Option<String>,
    /// Opaque text for that agent.
    pub listener_metadata: Option<String>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}
