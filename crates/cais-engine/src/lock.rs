//! One lock for each container: a flock(2) on its directory, held by whoever makes,
//! starts, ends or removes it. Readers take none. The kernel frees it when its holder
//! dies.

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::store::Store;
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;

/// A container that is locked.
#[derive(Debug)]
pub struct ContainerLock {
    directory: OwnedFd,
}

/// The open directory: whoever has it has the lock.
impl AsFd for ContainerLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl ContainerLock {
    /// Waits for the lock. `None` where the container is gone by then.
    ///
    /// # Errors
    /// Where the directory cannot be opened or locked.
    pub fn acquire(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        Self::lock(store, id, FlockOperation::LockExclusive)
    }

    /// Takes the lock if nobody has it. `None` where somebody has, or where the
    /// container is gone.
    ///
    /// # Errors
    /// Where the directory cannot be opened or locked.
    pub fn try_acquire(store: &Store, id: &ContainerId) -> Result<Option<Self>> {
        Self::lock(store, id, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock(store: &Store, id: &ContainerId, operation: FlockOperation) -> Result<Option<Self>> {
        let path = store.container(id);
        let failed = |call, errno| EngineError::System {
            action: format!("lock container {}", id.short()),
            source: SysError::new(call, format!("{path:?}"), errno),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|errno| failed("open", errno))?,
        };
        match rustix::io::retry_on_intr(|| flock(&directory, operation)) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
            other => other.map_err(|errno| failed("flock", errno))?,
        }
        // It may have been removed while we waited: then the lock is on nothing.
        let links = fstat(&directory)
            .map_err(|errno| failed("fstat", errno))?
            .st_nlink;
        Ok((links > 0).then_some(Self { directory }))
    }

    /// Frees the lock here and in every process that has it by fork(2).
    pub fn release(self) {
        flock(&self.directory, FlockOperation::Unlock).unwrap_or_default();
    }
}
