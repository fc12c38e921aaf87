//! What this process sets on the stub from outside, because the stub may not: limits
//! on resources and the weight for the OOM killer.

use crate::error::CreateError;
use cais_linux::SysError;
use rustix::process::{Pid, Resource, Rlimit};

/// Limits of the process, ready to be set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcessLimits {
    /// Resource limits (prlimit(2)); what the caller may not raise was cut off before.
    pub rlimits: Vec<(Resource, Rlimit)>,
    /// The weight for the OOM killer (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i32>,
}

impl ProcessLimits {
    /// Sets them on process `pid`.
    ///
    /// # Errors
    /// [`CreateError::Prepare`] with the call that failed.
    pub fn apply(&self, pid: Pid) -> Result<(), CreateError> {
        for (resource, limit) in &self.rlimits {
            rustix::process::prlimit(Some(pid), *resource, *limit).map_err(|errno| CreateError::Prepare {
                action: format!("set the limit {resource:?} to {limit:?}"),
                source: SysError::new("prlimit64", format!("{resource:?}"), errno),
            })?;
        }
        if let Some(value) = self.oom_score_adj {
            let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
            std::fs::write(&path, value.to_string())
                .map_err(|error| SysError::from_io("write", format!("{path:?}, \"{value}\""), &error))
                .map_err(CreateError::prepare("set the weight for the OOM killer"))?;
        }
        Ok(())
    }
}
