//! The memory that the new process has in common with this one until it executes the stub.
//!
//! Where becoming id 0 of its user namespace gives it another id of the host, the kernel makes
//! that memory undumpable (prctl(2), `PR_SET_DUMPABLE`): of both processes. Who has no
//! `CAP_SYS_PTRACE` may open none of its namespaces then (proc(5)). What it executes is its own:
//! whoever made the user namespace may look at that.

use crate::error::CreateError;
use cais_linux::SysError;
use cais_linux::creds::capabilities::{Capability, read_effective};
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};

/// Held while the memory is shared and may become undumpable.
#[derive(Debug)]
pub(super) struct SharedMemory {
    /// Ends as the new process executes something, or dies.
    executed: OwnedFd,
    /// Whether who has the same ids may look at this process.
    was_dumpable: bool,
}

impl SharedMemory {
    /// Before the process is made, which inherits the second descriptor: here it is to be closed
    /// then. `None` where there is nothing to wait for.
    pub(super) fn watch(becomes_another: bool) -> Result<Option<(Self, OwnedFd)>, CreateError> {
        let looks = || read_effective().map(|effective| effective.contains(Capability::SYS_PTRACE));
        if !becomes_another || looks().map_err(CreateError::prepare("read the capabilities"))? {
            return Ok(None);
        }
        let dumpable = dumpable_behavior()
            .map_err(|errno| SysError::new("prctl", "PR_GET_DUMPABLE", errno))
            .map_err(CreateError::prepare(
                "read whether others may look at this process",
            ))?;
        let (executed, executes) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| SysError::new("pipe2", "O_CLOEXEC", errno))
            .map_err(CreateError::prepare("open the pipe that ends with execve"))?;
        let was_dumpable = dumpable == DumpableBehavior::Dumpable;
        Ok(Some((
            Self {
                executed,
                was_dumpable,
            },
            executes,
        )))
    }

    /// Waits until the memory is this process's alone, and makes it what it was.
    pub(super) fn await_exec(self) -> Result<(), CreateError> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.executed, &mut [0]))
            .map_err(|errno| SysError::new("read", "the pipe that ends with execve", errno))
            .map_err(CreateError::prepare("wait until the init stub is executed"))?;
        if !self.was_dumpable {
            return Ok(());
        }
        set_dumpable_behavior(DumpableBehavior::Dumpable)
            .map_err(|errno| SysError::new("prctl", "PR_SET_DUMPABLE", errno))
            .map_err(CreateError::prepare("let others look at this process again"))
    }
}
