//! Who the process is and what it may do: users, groups, capabilities, labels,
//! keys, descriptors, seccomp.

use super::{Failure, Stage, StepResult, failed, plain};
use crate::message::Report;
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, open, openat2};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The highest number a capability can have in a 64-bit set.
const LAST_CAPABILITY: u32 = 63;

pub(super) fn new_keyring<'a>() -> StepResult<'a> {
    match cais_sys::keyring::join_new_session_keyring() {
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) | Ok(()) => Ok(()),
        Err(errno) => Err(Failure::new("keyctl", b"KEYCTL_JOIN_SESSION_KEYRING", errno)),
    }
}

pub(super) fn set_undumpable<'a>() -> StepResult<'a> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(plain("prctl PR_SET_DUMPABLE"))
}

pub(super) fn limit_descriptors<'a>(soft: u64, hard: u64) -> StepResult<'a> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = Rlimit {
        current: Some(soft),
        maximum: Some(hard),
    };
    setrlimit(Resource::Nofile, limit).map_err(plain("prlimit64 RLIMIT_NOFILE"))
}

pub(super) fn set_bounding_set<'a>(keep: u64) -> StepResult<'a> {
    for number in 0..=LAST_CAPABILITY {
        let capability = 1u64 << number;
        if keep & capability != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(capability))
        {
            // This kernel does not know the number: it knows none above it either.
            Err(Errno::INVAL) => break,
            other => other.map_err(plain("prctl PR_CAPBSET_DROP"))?,
        }
    }
    Ok(())
}

pub(super) fn set_user(uid: u32, gid: u32, groups: &[u8], bound: bool) -> StepResult<'_> {
    rustix::thread::set_keep_capabilities(true).map_err(plain("prctl PR_SET_KEEPCAPS"))?;
    match cais_sys::cred::set_groups(groups) {
        // A user namespace made without privilege has no say about groups, and then the
        // process keeps those of its maker (user_namespaces(7)). Its own is no further one.
        Err(Errno::PERM) if groups.is_empty() || groups == gid.to_ne_bytes() => {}
        other => other.map_err(plain("setgroups"))?,
    }
    cais_sys::cred::set_gid(gid).map_err(plain("setresgid"))?;
    cais_sys::cred::set_uid(uid).map_err(plain("setresuid"))?;
    if !bound {
        return Ok(());
    }
    // A change of ids clears the parent death signal (prctl(2)).
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(plain("prctl PR_SET_PDEATHSIG"))
}

pub(super) fn set_capabilities<'a>(
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
) -> StepResult<'a> {
    let set = |bits| CapabilitySet::from_bits_retain(bits);
    let sets = CapabilitySets {
        effective: set(effective),
        permitted: set(permitted),
        inheritable: set(inheritable),
    };
    rustix::thread::set_capabilities(None, sets).map_err(plain("capset"))?;
    match rustix::thread::clear_ambient_capability_set() {
        // Before Linux 4.3 there is no ambient set.
        Err(Errno::INVAL) if ambient == 0 => return Ok(()),
        other => other.map_err(plain("prctl PR_CAP_AMBIENT_CLEAR_ALL"))?,
    }
    for number in 0..=LAST_CAPABILITY {
        let capability = 1u64 << number;
        if ambient & capability != 0 {
            rustix::thread::configure_capability_in_ambient_set(set(capability), true)
                .map_err(plain("prctl PR_CAP_AMBIENT_RAISE"))?;
        }
    }
    Ok(())
}

pub(super) fn set_personality<'a>(domain: u32) -> StepResult<'a> {
    cais_sys::sched::set_personality(domain).map_err(plain("personality"))
}

pub(super) fn set_memory_policy(mode: u32, nodes: &[u8]) -> StepResult<'_> {
    cais_sys::sched::set_memory_policy(mode, nodes).map_err(plain("set_mempolicy"))
}

pub(super) fn set_affinity(mask: &[u8]) -> StepResult<'_> {
    cais_sys::sched::set_affinity(None, mask).map_err(plain("sched_setaffinity"))
}

pub(super) fn close_descriptors<'a>(first: u32) -> StepResult<'a> {
    cais_sys::process::close_on_exec_from(first).map_err(plain("close_range"))
}

pub(super) fn set_security_label<'a>(name: &'a CStr, text: &[u8]) -> StepResult<'a> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = open(c"/proc", flags, Mode::empty()).map_err(failed("open", c"/proc"))?;
    let file = open_own_attribute(proc.as_fd(), name).map_err(failed("openat2", name))?;
    rustix::io::write(file.as_fd(), text)
        .map(drop)
        .map_err(failed("write", name))
}

/// Opens a file of this thread's `attr` for writing. The image, or a process of the container,
/// may have put something else at /proc (CVE-2019-16884) or over a part of it
/// (CVE-2025-52881): it must be the top of a procfs, and the way down may not leave it.
fn open_own_attribute(proc: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    /// The inode number of the top of every procfs (`PROC_ROOT_INO` in the kernel).
    const TOP: u64 = 1;
    let filesystem = fstatfs(proc)?;
    if filesystem.f_type != PROC_SUPER_MAGIC || fstat(proc)?.st_ino != TOP {
        return Err(Errno::XDEV);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let directory = openat2(
        proc,
        c"thread-self/attr",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )?;
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(
        directory,
        name,
        flags,
        Mode::empty(),
        resolve | ResolveFlags::NO_SYMLINKS,
    )
}

impl<'a> Stage<'a> {
    pub(super) fn install_seccomp(&self, flags: u32, program: &'a [u8]) -> StepResult<'a> {
        let listener = cais_sys::seccomp::set_mode_filter(flags, program).map_err(plain("seccomp"))?;
        if let Some(listener) = listener {
            self.report(&Report::Listener, &[listener.as_fd()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_in_a_procfs_and_nowhere_else() {
        let directory = |path: &CStr| open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let proc = directory(c"/proc");
        assert!(open_own_attribute(proc.as_fd(), c"exec").is_ok());
        for bad in [c"../oom_score_adj", c"../../../sysrq-trigger"] {
            assert_eq!(open_own_attribute(proc.as_fd(), bad).unwrap_err(), Errno::XDEV);
        }
        // Not the top, and no procfs.
        for place in [c"/proc/sys", c"/tmp"] {
            let place = directory(place);
            assert_eq!(
                open_own_attribute(place.as_fd(), c"exec").unwrap_err(),
                Errno::XDEV
            );
        }
    }
}
