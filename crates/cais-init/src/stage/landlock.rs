//! Landlock: the rules are resolved inside the container, so the stub makes the
//! rule set (landlock(7)).

use super::{Failure, StepResult};
use rustix::io::Errno;

pub(super) fn restrict<'a>(filesystem: u64, network: u64, scoped: u64, rules: &'a [u8]) -> StepResult<'a> {
    let _ = (filesystem, network, scoped, rules);
    Err(Failure::new("landlock_restrict_self", b"", Errno::NOSYS))
}
