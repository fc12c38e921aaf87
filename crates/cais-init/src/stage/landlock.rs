//! Landlock: the rules are resolved inside the container, so the stub makes the
//! rule set (landlock(7)).

use super::{Failure, StepResult, failed, plain};
use cais_sys::landlock::{Rule, Rules, add_path_rule, add_port_rule, create_ruleset, fs, restrict_self};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};

pub(super) fn restrict<'a>(filesystem: u64, network: u64, scoped: u64, rules: &'a [u8]) -> StepResult<'a> {
    let ruleset = create_ruleset(filesystem, network, scoped).map_err(plain("landlock_create_ruleset"))?;
    for rule in Rules(rules) {
        match rule.map_err(|errno| Failure::new("landlock_add_rule", b"the rules", errno))? {
            Rule::Path { path, access } => allow_path(ruleset.as_fd(), path, access)?,
            Rule::Port { port, access } => add_port_rule(ruleset.as_fd(), port, access)
                .map_err(|errno| Failure::new("landlock_add_rule", b"a port", errno))?,
        }
    }
    restrict_self(ruleset.as_fd()).map_err(plain("landlock_restrict_self"))
}

fn allow_path<'a>(ruleset: BorrowedFd<'_>, path: &'a CStr, access: u64) -> StepResult<'a> {
    let beneath =
        openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open", path))?;
    let stat = fstat(&beneath).map_err(failed("fstat", path))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let access = if is_directory {
        access
    } else {
        access & fs::OF_FILES
    };
    add_path_rule(ruleset, beneath.as_fd(), access).map_err(failed("landlock_add_rule", path))
}
