//! Resource limits (getrlimit(2), prlimit(2)).
//!
//! Raising a hard limit needs `CAP_SYS_RESOURCE` in the initial user namespace. Even
//! root can be without it (in a VM or a container), so the plan cuts a request down to
//! what can be had and says so, where other runtimes fail.

use crate::error::{Result, SysError};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::fmt;
use std::sync::OnceLock;

/// Names as Docker writes them, and resources.
const NAMES: [(&str, Resource); 16] = [
    ("as", Resource::As),
    ("core", Resource::Core),
    ("cpu", Resource::Cpu),
    ("data", Resource::Data),
    ("fsize", Resource::Fsize),
    ("locks", Resource::Locks),
    ("memlock", Resource::Memlock),
    ("msgqueue", Resource::Msgqueue),
    ("nice", Resource::Nice),
    ("nofile", Resource::Nofile),
    ("nproc", Resource::Nproc),
    ("rss", Resource::Rss),
    ("rtprio", Resource::Rtprio),
    ("rttime", Resource::Rttime),
    ("sigpending", Resource::Sigpending),
    ("stack", Resource::Stack),
];

/// Reads a resource's name, as `nofile` or `RLIMIT_NOFILE`, in any case.
#[must_use]
pub fn parse_resource(name: &str) -> Option<Resource> {
    let short = match name.get(..7) {
        Some(prefix) if prefix.eq_ignore_ascii_case("RLIMIT_") => &name[7..],
        _ => name,
    };
    NAMES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(short))
        .map(|(_, resource)| *resource)
}

/// The name that Docker uses: `nofile`.
#[must_use]
pub fn resource_name(resource: Resource) -> &'static str {
    NAMES
        .iter()
        .find(|(_, known)| *known == resource)
        .map_or("unknown", |(name, _)| name)
}

/// A limit that was asked for. `None` in it means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitRequest {
    /// Which resource.
    pub resource: Resource,
    /// The soft and hard limit.
    pub limit: Rlimit,
}

impl RlimitRequest {
    /// A request from numbers as Docker and the OCI write them, where `u64::MAX` is
    /// unlimited.
    #[must_use]
    pub fn new(resource: Resource, soft: u64, hard: u64) -> Self {
        let bound = |value| (value != u64::MAX).then_some(value);
        let limit = Rlimit {
            current: bound(soft),
            maximum: bound(hard),
        };
        Self { resource, limit }
    }
}

/// What the caller can grant.
#[derive(Clone, Copy)]
pub struct RlimitBounds<'a> {
    /// The caller's hard limit of a resource; `None` is unlimited.
    pub current_hard: &'a dyn Fn(Resource) -> Option<u64>,
    /// Whether the caller has `CAP_SYS_RESOURCE` in the initial user namespace.
    pub has_cap_sys_resource: bool,
    /// `/proc/sys/fs/nr_open`, which bounds `nofile` for everyone; `None` where it was not read.
    pub nr_open: Option<u64>,
}

impl fmt::Debug for RlimitBounds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RlimitBounds")
            .field("has_cap_sys_resource", &self.has_cap_sys_resource)
            .field("nr_open", &self.nr_open)
            .finish_non_exhaustive()
    }
}

/// What is to be set, and what of the request was cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RlimitPlan {
    /// Limits that the kernel will accept.
    pub apply: Vec<RlimitRequest>,
    /// To be shown to the user.
    pub warnings: Vec<RlimitWarning>,
}

/// Why a hard limit is lower than the one asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RlimitBound {
    /// The caller's own hard limit, which it may not raise.
    OwnHardLimit,
    /// `fs.nr_open`.
    NrOpen,
}

/// A limit that was cut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RlimitWarning {
    /// Which resource.
    pub resource: Resource,
    /// The hard limit asked for; `None` is unlimited.
    pub wanted: Option<u64>,
    /// The hard limit that is set.
    pub granted: u64,
    /// What bounds it.
    pub bound: RlimitBound,
}

impl fmt::Display for RlimitWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = resource_name(self.resource);
        match self.wanted {
            Some(wanted) => write!(f, "ulimit {name}={wanted} is cut down to {}: ", self.granted)?,
            None => write!(f, "ulimit {name}=unlimited is cut down to {}: ", self.granted)?,
        }
        f.write_str(match self.bound {
            RlimitBound::OwnHardLimit => {
                "that is the hard limit of this process, which CAP_SYS_RESOURCE would allow to raise"
            }
            RlimitBound::NrOpen => "that is the value of sysctl fs.nr_open",
        })
    }
}

/// A set of requests that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RlimitError {
    /// The kernel refuses this (getrlimit(2), `EINVAL`).
    #[error("the soft limit of ulimit {} is above its hard limit: lower it", resource_name(*.resource))]
    SoftAboveHard {
        /// Which resource.
        resource: Resource,
    },
    /// OCI runtime-spec, config.md "rlimits": a duplicate is an error.
    #[error("ulimit {} is given twice", resource_name(*.resource))]
    Duplicate {
        /// Which resource.
        resource: Resource,
    },
}

/// Cuts requests down to what the caller can grant.
///
/// # Errors
/// [`RlimitError`] for requests that contradict themselves.
pub fn plan_rlimits(
    requested: &[RlimitRequest],
    bounds: &RlimitBounds<'_>,
) -> std::result::Result<RlimitPlan, RlimitError> {
    let mut plan = RlimitPlan::default();
    for request in requested {
        let resource = request.resource;
        if is_above(request.limit.current, request.limit.maximum) {
            return Err(RlimitError::SoftAboveHard { resource });
        }
        if plan.apply.iter().any(|planned| planned.resource == resource) {
            return Err(RlimitError::Duplicate { resource });
        }
        let mut limit = request.limit;
        if let Some((granted, bound)) = lowest_bound(resource, limit.maximum, bounds) {
            plan.warnings.push(RlimitWarning {
                resource,
                wanted: limit.maximum,
                granted,
                bound,
            });
            limit.maximum = Some(granted);
            if is_above(limit.current, limit.maximum) {
                limit.current = limit.maximum;
            }
        }
        plan.apply.push(RlimitRequest { resource, limit });
    }
    Ok(plan)
}

/// The lowest bound that a hard limit is above of, if any.
fn lowest_bound(
    resource: Resource,
    wanted: Option<u64>,
    bounds: &RlimitBounds<'_>,
) -> Option<(u64, RlimitBound)> {
    let own = if bounds.has_cap_sys_resource {
        None
    } else {
        (bounds.current_hard)(resource).map(|value| (value, RlimitBound::OwnHardLimit))
    };
    let nr_open = bounds
        .nr_open
        .filter(|_| resource == Resource::Nofile)
        .map(|value| (value, RlimitBound::NrOpen));
    own.into_iter()
        .chain(nr_open)
        .filter(|(value, _)| is_above(wanted, Some(*value)))
        .min_by_key(|(value, _)| *value)
}

/// Whether limit `a` is higher than limit `b`, `None` being unlimited.
fn is_above(a: Option<u64>, b: Option<u64>) -> bool {
    match (a, b) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(a), Some(b)) => a > b,
    }
}

/// The calling process's hard limit; `None` is unlimited. For [`RlimitBounds`].
#[must_use]
pub fn read_own_hard(resource: Resource) -> Option<u64> {
    getrlimit(resource).maximum
}

/// The limit on descriptors that this process had before [`raise_descriptors`].
static FORMER: OnceLock<Rlimit> = OnceLock::new();

/// Lets this process have as many descriptors as its hard limit allows. The soft limit, 1024
/// nearly everywhere, is for programs that use select(2).
pub fn raise_descriptors() {
    let own = getrlimit(Resource::Nofile);
    // Known before it is so: whoever starts a program at the same time, in another thread, gives
    // it the former one.
    if FORMER.set(own).is_ok() {
        let raised = Rlimit {
            current: own.maximum,
            ..own
        };
        // Where that is not allowed, what needs more says so.
        setrlimit(Resource::Nofile, raised).unwrap_or_default();
    }
}

/// What a program that this process starts is to have of them, where this process has more.
#[must_use]
pub fn former_descriptors() -> Option<RlimitRequest> {
    let limit = *FORMER.get()?;
    Some(RlimitRequest {
        resource: Resource::Nofile,
        limit,
    })
}

/// `fs.nr_open`; `None` where `/proc` does not show it.
#[must_use]
pub fn read_nr_open() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open")
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Sets a limit on a process, which is `None` for the calling one.
///
/// The caller needs the target's ids or `CAP_SYS_RESOURCE` in the target's user
/// namespace, which the process that made this namespace has.
///
/// # Errors
/// As prlimit(2).
pub fn apply_rlimit(pid: Option<Pid>, request: &RlimitRequest) -> Result<()> {
    prlimit(pid, request.resource, request.limit)
        .map(drop)
        .map_err(|errno| {
            let text = |value: Option<u64>| {
                value.map_or_else(|| "RLIM_INFINITY".to_owned(), |value| value.to_string())
            };
            let arguments = format!(
                "{}, RLIMIT_{}, {{{}, {}}}",
                Pid::as_raw(pid),
                resource_name(request.resource).to_ascii_uppercase(),
                text(request.limit.current),
                text(request.limit.maximum)
            );
            SysError::new("prlimit64", arguments, errno)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, resource) in [
            ("nofile", Resource::Nofile),
            ("RLIMIT_NOFILE", Resource::Nofile),
            ("Rlimit_As", Resource::As),
            ("RTTIME", Resource::Rttime),
        ] {
            assert_eq!(parse_resource(name), Some(resource));
        }
        for name in ["", "RLIMIT_", "no file", "nofiles", "é"] {
            assert_eq!(parse_resource(name), None, "{name:?}");
        }
        for (name, resource) in NAMES {
            assert_eq!(resource_name(resource), name);
        }
    }

    fn plan_one(soft: u64, hard: u64, has_cap: bool) -> RlimitPlan {
        let bounds = RlimitBounds {
            current_hard: &|resource| (resource != Resource::Core).then_some(1000),
            has_cap_sys_resource: has_cap,
            nr_open: Some(5000),
        };
        plan_rlimits(&[RlimitRequest::new(Resource::Nofile, soft, hard)], &bounds).unwrap()
    }

    #[test]
    fn what_cannot_be_granted_is_cut_down_and_reported() {
        const MAX: u64 = u64::MAX;
        // soft, hard, capability → soft, hard, bound
        let own = Some(RlimitBound::OwnHardLimit);
        let nr = Some(RlimitBound::NrOpen);
        for (asked, want) in [
            ((10, 1000, false), (10, 1000, None)),
            ((10, 1001, false), (10, 1000, own)),
            ((1001, 1001, false), (1000, 1000, own)),
            ((MAX, MAX, false), (1000, 1000, own)),
            ((10, 5000, true), (10, 5000, None)),
            ((10, MAX, true), (10, 5000, nr)),
        ] {
            let plan = plan_one(asked.0, asked.1, asked.2);
            let want_apply = RlimitRequest::new(Resource::Nofile, want.0, want.1);
            assert_eq!(plan.apply, [want_apply], "{asked:?}");
            assert_eq!(
                plan.warnings.first().map(|warning| warning.bound),
                want.2,
                "{asked:?}"
            );
        }
        let warning = plan_one(1, MAX, false).warnings[0];
        assert_eq!(
            warning.to_string(),
            "ulimit nofile=unlimited is cut down to 1000: that is the hard limit of this process, \
             which CAP_SYS_RESOURCE would allow to raise"
        );
    }

    #[test]
    fn other_resources_know_no_nr_open() {
        let bounds = RlimitBounds {
            current_hard: &|_| None,
            has_cap_sys_resource: false,
            nr_open: Some(1),
        };
        let request = RlimitRequest::new(Resource::Memlock, u64::MAX, u64::MAX);
        assert_eq!(
            plan_rlimits(&[request], &bounds).unwrap(),
            RlimitPlan {
                apply: vec![request],
                warnings: vec![]
            }
        );
    }

    #[test]
    fn contradictions_are_refused() {
        let bounds = RlimitBounds {
            current_hard: &|_| None,
            has_cap_sys_resource: true,
            nr_open: None,
        };
        let request = |soft, hard| RlimitRequest::new(Resource::Core, soft, hard);
        let resource = Resource::Core;
        for requests in [[request(2, 1); 1], [request(u64::MAX, 5); 1]] {
            assert_eq!(
                plan_rlimits(&requests, &bounds),
                Err(RlimitError::SoftAboveHard { resource })
            );
        }
        let twice = [request(0, 1), request(0, 2)];
        assert_eq!(
            plan_rlimits(&twice, &bounds),
            Err(RlimitError::Duplicate { resource })
        );
    }

    #[test]
    fn own_limit_set_to_itself() {
        let limit = getrlimit(Resource::Core);
        apply_rlimit(
            None,
            &RlimitRequest {
                resource: Resource::Core,
                limit,
            },
        )
        .unwrap();
        assert_eq!(read_own_hard(Resource::Core), limit.maximum);
    }
}
