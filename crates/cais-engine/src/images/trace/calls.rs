//! The system calls that name files, and where in their arguments.

use super::watch::Effect;
use cais_linux::seccomp::default::default_profile;
use cais_linux::seccomp::profile::{Action, Rule};
use cais_linux::seccomp::{Arch, CompileError, Compiled, compile, syscalls};
use std::borrow::Cow;
use std::collections::HashMap;

/// Where a call has its path, and what it means.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    name: &'static str,
    /// The argument with the directory that a relative path begins at.
    pub(super) directory: Option<usize>,
    /// The argument with the path.
    pub(super) path: usize,
    /// What the call does there.
    pub(super) does: Does,
}

/// What a call does with a path, and which argument tells more.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    /// It opens it; the argument has open(2)'s flags.
    Open(usize),
    /// It opens it; the argument points to a `struct open_how`.
    OpenHow(usize),
    /// It follows links, unless the argument has `AT_SYMLINK_NOFOLLOW`.
    Flags(usize),
    /// Always the same.
    Always(Effect),
}

const fn here(name: &'static str, path: usize, does: Does) -> Call {
    Call {
        name,
        directory: None,
        path,
        does,
    }
}

const fn at(name: &'static str, path: usize, does: Does) -> Call {
    Call {
        name,
        directory: Some(path - 1),
        path,
        does,
    }
}

const READ: Does = Does::Always(Effect::Read);
const LINK: Does = Does::Always(Effect::Link);
const MAKE: Does = Does::Always(Effect::Make);

const CALLS: [Call; 39] = [
    here("open", 0, Does::Open(1)),
    at("openat", 1, Does::Open(2)),
    at("openat2", 1, Does::OpenHow(2)),
    here("creat", 0, MAKE),
    here("execve", 0, READ),
    at("execveat", 1, Does::Flags(4)),
    here("stat", 0, READ),
    here("lstat", 0, LINK),
    at("newfstatat", 1, Does::Flags(3)),
    at("statx", 1, Does::Flags(2)),
    here("access", 0, READ),
    at("faccessat", 1, READ),
    at("faccessat2", 1, Does::Flags(3)),
    here("readlink", 0, LINK),
    at("readlinkat", 1, LINK),
    here("chdir", 0, READ),
    here("statfs", 0, READ),
    here("truncate", 0, READ),
    here("chmod", 0, READ),
    at("fchmodat", 1, READ),
    here("chown", 0, READ),
    here("lchown", 0, LINK),
    at("fchownat", 1, Does::Flags(4)),
    at("utimensat", 1, Does::Flags(3)),
    here("getxattr", 0, READ),
    here("inotify_add_watch", 1, READ),
    here("mkdir", 0, MAKE),
    at("mkdirat", 1, MAKE),
    here("rename", 1, MAKE),
    at("renameat", 3, MAKE),
    at("renameat2", 3, MAKE),
    here("symlink", 1, MAKE),
    at("symlinkat", 2, MAKE),
    here("link", 1, MAKE),
    at("linkat", 3, MAKE),
    here("unlink", 0, MAKE),
    at("unlinkat", 1, MAKE),
    here("mknod", 0, MAKE),
    at("mknodat", 1, MAKE),
];

/// The calls by their numbers on this machine.
pub(super) fn by_number() -> HashMap<u32, Call> {
    let calls = CALLS.iter();
    calls
        .filter_map(|call| Some((syscalls::number(call.name, Arch::NATIVE)?, *call)))
        .collect()
}

/// The filter of a container that is watched: the usual one, which asks about these calls.
pub(crate) fn watched_filter(capabilities: u64) -> Result<Compiled, CompileError> {
    let mut profile = default_profile(capabilities, Arch::NATIVE);
    let rule = Rule {
        names: CALLS.iter().map(|call| Cow::Borrowed(call.name)).collect(),
        action: Action::Notify,
        errno: None,
        args: Vec::new(),
    };
    // The first rule that matches decides.
    profile.rules.insert(0, rule);
    compile(&profile, Arch::NATIVE)
}
