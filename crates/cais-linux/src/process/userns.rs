//! A user namespace that holds nothing but its id maps: what an id-mapped mount is told
//! (mount_setattr(2), "ID-mapped mounts").

use crate::error::{Result, SysError};
use cais_sys::clone::namespace;
use cais_sys::process::{Forked, exit_now, fork_into};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open, openat};
use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, set_parent_process_death_signal};

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
    let maker = getpid();
    let forked =
        fork_into(namespace::USER).map_err(|errno| SysError::new("clone", "CLONE_NEWUSER", errno))?;
    let child = match forked {
        Forked::Child => hold(maker),
        Forked::Parent(child) => child,
    };
    let made = fill(child, uid_map, gid_map);
    rustix::process::kill_process(child, Signal::KILL)
        .map_err(|errno| SysError::new("kill", "SIGKILL", errno))?;
    rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child), WaitOptions::empty()))
        .map_err(|errno| SysError::new("waitpid", "the holder of a user namespace", errno))?;
    made
}

/// In the new process: it is there until it is killed, and dies with its maker.
fn hold(maker: Pid) -> ! {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap_or_default();
    // Who died before is no parent any more, and of that death no signal comes (prctl(2)).
    if getppid() == Some(maker) {
        rustix::event::poll(&mut [], None).unwrap_or_default();
    }
    exit_now(0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use cais_sys::process::fork;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    /// The holder is late, and its maker was killed: nobody else would end it.
    #[test]
    fn a_holder_does_not_outlive_a_maker_that_is_gone_already() {
        let (ours, held) = rustix::pipe::pipe().unwrap();
        let (late, early) = rustix::pipe::pipe().unwrap();
        // In the children nothing but system calls: this process has threads.
        let maker = match fork().unwrap() {
            Forked::Child => {
                let maker = getpid();
                if matches!(fork(), Ok(Forked::Child)) {
                    drop(early);
                    // Until the maker is gone, which has the other end.
                    rustix::io::read(&late, &mut [0u8][..]).unwrap_or_default();
                    hold(maker);
                }
                exit_now(0)
            }
            Forked::Parent(child) => child,
        };
        drop((held, early));
        rustix::process::waitpid(Some(maker), WaitOptions::empty()).unwrap();
        let limit = Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ended, 1, "it still holds the pipe");
    }
}
