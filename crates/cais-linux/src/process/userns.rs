//! A user namespace that holds nothing but its id maps: what an id-mapped mount is told
//! (mount_setattr(2), "ID-mapped mounts").

use crate::error::{Result, SysError};
use cais_sys::clone::namespace;
use cais_sys::process::{Forked, exit_now, fork_into};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::process::{Pid, Signal, WaitOptions};

/// Whether this process is in the machine's first user namespace: there all ids are mapped
/// to themselves (user_namespaces(7)).
#[must_use]
pub fn is_initial() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut words = map.split_whitespace();
    [words.next(), words.next(), words.next()] == [Some("0"), Some("0"), Some("4294967295")]
}

/// Makes a user namespace with these maps, in the form of uid_map, and opens it.
///
/// # Errors
/// As clone(2), and `EPERM` or `EINVAL` for maps that the kernel refuses.
pub fn make(uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let forked =
        fork_into(namespace::USER).map_err(|errno| SysError::new("clone", "CLONE_NEWUSER", errno))?;
    let child = match forked {
        Forked::Child => {
            // It holds the namespace until it is killed, and dies with its maker.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap_or_default();
            loop {
                if rustix::event::poll(&mut [], None).is_err() {
                    exit_now(0);
                }
            }
        }
        Forked::Parent(child) => child,
    };
    let made = fill(child, uid_map, gid_map);
    rustix::process::kill_process(child, Signal::KILL)
        .map_err(|errno| SysError::new("kill", "SIGKILL", errno))?;
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))
        .map_err(|errno| SysError::new("waitpid", "the holder of a user namespace", errno))?;
    made
}

fn fill(child: Pid, uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let path = format!("/proc/{}", child.as_raw_nonzero());
    let directory = open(
        &path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))?;
    for (name, text) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let file = openat(
            directory.as_fd(),
            name,
            OFlags::WRONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| SysError::new("openat", format!("{path}/{name}"), errno))?;
        rustix::io::write(&file, text.as_bytes())
            .map_err(|errno| SysError::new("write", format!("{name}, {text:?}"), errno))?;
    }
    openat(
        directory.as_fd(),
        "ns/user",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| SysError::new("openat", format!("{path}/ns/user"), errno))
}
