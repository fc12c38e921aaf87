//! The messages on the channel (a `SOCK_SEQPACKET` pair): one plan down, reports up.

use crate::wire::{Field, Malformed, Sink, Source};
use cais_sys::clone::NETWORK_LEFT;

/// The most bytes of arguments that a failure carries.
pub const DETAIL: usize = 192;
/// The longest report in bytes.
pub const REPORT_MAX: usize = 32 + DETAIL;

/// What goes down with the descriptors: the first one is the sealed memfd of the
/// plan, the others are the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanHeader {
    /// Length of the plan in bytes.
    pub length: u64,
    /// How many descriptors follow the plan's own: a plan with more than one
    /// message can carry sends the rest in further messages.
    pub slots: u16,
    /// Whether each step's time is wanted.
    pub timings: bool,
    /// For tests: kill the stub before this step.
    pub kill_before: u32,
}

/// Length of an encoded [`PlanHeader`].
pub const HEADER_LENGTH: usize = 15;

impl Field<'_> for PlanHeader {
    fn encode(&self, sink: &mut impl Sink) {
        self.length.encode(sink);
        self.slots.encode(sink);
        self.timings.encode(sink);
        self.kill_before.encode(sink);
    }
    fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            length: Field::decode(source)?,
            slots: Field::decode(source)?,
            timings: Field::decode(source)?,
            kill_before: Field::decode(source)?,
        })
    }
}

/// What a go-between is told ([`crate::enter`]). With it come a pidfd or a pid namespace, then
/// the user namespace and the cgroup where there are such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enter {
    /// The namespaces that are entered (`CLONE_NEW*`).
    pub kinds: u32,
    /// The new namespaces of the process that is made.
    pub namespaces: u64,
    /// Whether nothing may look into the process from the first moment.
    pub hides: bool,
    /// Whether there is a user namespace to enter too.
    pub has_user: bool,
    /// Whether there is a cgroup to start in.
    pub has_cgroup: bool,
    /// Whether the process waits for the maps of its user namespace.
    pub awaits_id_maps: bool,
}

/// Length of an encoded [`Enter`].
pub const ENTER_LENGTH: usize = 16;

impl Field<'_> for Enter {
    fn encode(&self, sink: &mut impl Sink) {
        self.kinds.encode(sink);
        self.namespaces.encode(sink);
        self.hides.encode(sink);
        self.has_user.encode(sink);
        self.has_cgroup.encode(sink);
        self.awaits_id_maps.encode(sink);
    }
    fn decode(source: &mut Source<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            kinds: Field::decode(source)?,
            namespaces: Field::decode(source)?,
            hides: Field::decode(source)?,
            has_user: Field::decode(source)?,
            has_cgroup: Field::decode(source)?,
            awaits_id_maps: Field::decode(source)?,
        })
    }
}

/// What comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report<'a> {
    /// A step failed; nothing more comes.
    Failed {
        /// Its index in the plan.
        step: u32,
        /// The errno.
        errno: i32,
        /// The system call that failed and its arguments.
        detail: &'a [u8],
    },
    /// A step took this long.
    Took {
        /// Its index in the plan.
        step: u32,
        /// Nanoseconds.
        nanoseconds: u64,
    },
    /// The master of the terminal comes with this message.
    Terminal,
    /// The seccomp notification descriptor comes with this message.
    Listener,
    /// It is in a network namespace of its own from here on
    /// ([`NETWORK_LEFT`]).
    NetworkLeft,
    /// All is ready: the stub waits for the start.
    Created,
    /// The stub has let go of the caller and waits for somebody to connect.
    Waiting,
    /// The next thing is execve(2): the end of the channel without a failure
    /// means that it succeeded.
    Executing,
}

impl<'a> Field<'a> for Report<'a> {
    fn encode(&self, sink: &mut impl Sink) {
        match self {
            Self::Failed { step, errno, detail } => {
                sink.put(&[1]);
                step.encode(sink);
                errno.encode(sink);
                detail.get(..DETAIL).unwrap_or(detail).encode(sink);
            }
            Self::Took { step, nanoseconds } => {
                sink.put(&[2]);
                step.encode(sink);
                nanoseconds.encode(sink);
            }
            Self::Terminal => sink.put(&[3]),
            Self::Listener => sink.put(&[4]),
            Self::Created => sink.put(&[5]),
            Self::Executing => sink.put(&[6]),
            Self::Waiting => sink.put(&[7]),
            Self::NetworkLeft => sink.put(&[NETWORK_LEFT]),
        }
    }
    fn decode(source: &mut Source<'a>) -> Result<Self, Malformed> {
        match source.take(1)? {
            [1] => Ok(Self::Failed {
                step: Field::decode(source)?,
                errno: Field::decode(source)?,
                detail: Field::decode(source)?,
            }),
            [2] => Ok(Self::Took {
                step: Field::decode(source)?,
                nanoseconds: Field::decode(source)?,
            }),
            [3] => Ok(Self::Terminal),
            [4] => Ok(Self::Listener),
            [5] => Ok(Self::Created),
            [6] => Ok(Self::Executing),
            [7] => Ok(Self::Waiting),
            [NETWORK_LEFT] => Ok(Self::NetworkLeft),
            _ => Err(Malformed),
        }
    }
}
