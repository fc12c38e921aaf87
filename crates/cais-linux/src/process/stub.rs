//! The stub's executable in a sealed memfd, and the process that runs it.
//!
//! The copy is made before any cgroup is joined, so that a container with a limit
//! below the size of the copy starts all the same. Sealing makes it impossible to
//! write to, through /proc or otherwise (CVE-2019-5736).

use crate::error::{Result, SysError};
use cais_sys::clone::{ChildMemory, CloneRequest, StubProcess, clone_stub};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

/// Copies `bytes` into a memfd that can no longer change.
///
/// # Errors
/// As memfd_create(2): `EACCES` where vm.memfd_noexec forbids executables.
pub fn seal(name: &str, bytes: &[u8], executable: bool) -> Result<OwnedFd> {
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let kind = if executable {
        MemfdFlags::EXEC
    } else {
        MemfdFlags::NOEXEC_SEAL
    };
    let memfd = match memfd_create(name, base | kind) {
        // Before Linux 6.3 there are no such flags: every memfd may be executed.
        Err(Errno::INVAL) => memfd_create(name, base),
        other => other,
    }
    .map_err(|errno| SysError::new("memfd_create", format!("{name:?}"), errno))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&memfd, rest)).map_err(|errno| {
            SysError::new("write", format!("memfd {name:?}, {} bytes", rest.len()), errno)
        })?;
        rest = rest.get(written..).unwrap_or(&[]);
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memfd, seals)
        .map_err(|errno| SysError::new("fcntl", format!("memfd {name:?}, F_ADD_SEALS"), errno))?;
    Ok(memfd)
}

/// Makes the process that executes the stub. It goes on while the caller works;
/// see [`cais_sys::clone`].
///
/// # Errors
/// As clone3(2).
pub fn spawn(request: &CloneRequest<'_>) -> Result<StubProcess> {
    // The child reads this until it has executed the stub; a caller makes one or two
    // of them in its life, so it is left in place.
    let memory =
        ChildMemory::map().map_err(|errno| SysError::new("mmap", "memory for the stub's process", errno))?;
    let mut process = clone_stub(request, memory)
        .map_err(|errno| SysError::new("clone3", format!("namespaces {:#x}", request.namespaces), errno))?;
    if request.join_user.is_some() {
        // It was made by a process of another pid namespace, whose number for it is not ours.
        process.pid = read_pid(&process)?;
    }
    Ok(process)
}

/// The process that a go-between made for this one.
///
/// # Errors
/// Where its id cannot be read: this process cannot see it.
pub fn adopt(pidfd: OwnedFd) -> Result<StubProcess> {
    let mut process = StubProcess {
        pid: rustix::process::getpid(),
        pidfd,
    };
    process.pid = read_pid(&process)?;
    Ok(process)
}

/// The id of a process as this pid namespace has it (proc_pid_fdinfo(5)).
fn read_pid(process: &StubProcess) -> Result<rustix::process::Pid> {
    use rustix::fd::AsRawFd;
    let path = format!("/proc/self/fdinfo/{}", process.pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path)
        .map_err(|error| SysError::from_io("read", format!("{path:?}"), &error))?;
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok());
    pid.and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| SysError::new("read", format!("{path:?}"), Errno::SRCH))
}

/// The path of a user namespace, opened: what [`crate::mounts::tree::map_ids`] takes.
///
/// # Errors
/// As open(2).
pub fn open_user_namespace(process: &StubProcess) -> Result<OwnedFd> {
    let path = format!("/proc/{}/ns/user", process.pid.as_raw_nonzero());
    rustix::fs::open(
        &path,
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
}

/// Writes the id maps of a process that waits in a new user namespace, for a caller without
/// privilege: its own ids alone it may map itself, others take newuidmap(1) and newgidmap(1)
/// with the ranges of /etc/subuid and /etc/subgid.
///
/// # Errors
/// Where a helper is missing or refuses.
pub fn write_id_maps_by_helpers(process: &StubProcess, uid_map: &str, gid_map: &str) -> Result<()> {
    let own_alone = |map: &str, id: u32| {
        let words: Vec<&str> = map.split_whitespace().collect();
        matches!(words.as_slice(), [_, host, "1"] if *host == id.to_string())
    };
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if own_alone(uid_map, uid) && own_alone(gid_map, gid) {
        // The kernel's price for a map of groups without privilege (user_namespaces(7)).
        let path = format!("/proc/{}/setgroups", process.pid.as_raw_nonzero());
        std::fs::write(&path, "deny")
            .map_err(|error| SysError::from_io("write", format!("{path:?}, \"deny\""), &error))?;
        return write_id_maps(process, uid_map, gid_map);
    }
    for (helper, map) in [("newuidmap", uid_map), ("newgidmap", gid_map)] {
        let output = std::process::Command::new(helper)
            .arg(process.pid.as_raw_nonzero().to_string())
            .args(map.split_whitespace())
            .output()
            .map_err(|error| SysError::from_io("execve", format!("{helper}: install uidmap"), &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(SysError::new("write", format!("{helper}: {said}"), Errno::PERM));
        }
    }
    Ok(())
}

/// Writes the id maps of a process that waits in a new user namespace below `above`, as root
/// of that one: the maps are in its ids.
///
/// # Errors
/// As [`write_id_maps`]; as setns(2).
pub fn write_id_maps_within(
    process: &StubProcess,
    above: BorrowedFd<'_>,
    uid_map: &str,
    gid_map: &str,
) -> Result<()> {
    // What it says where it is killed.
    let mut written = Err(SysError::new("write", "uid_map, gid_map", Errno::CHILD));
    let mut write = || {
        written = cais_sys::namespace::enter(above, 0)
            .map_err(|errno| SysError::new("setns", "the user namespace above", errno))
            .and_then(|()| write_id_maps(process, uid_map, gid_map));
    };
    cais_sys::clone::apart(&mut write).map_err(|errno| SysError::new("clone3", "", errno))?;
    written
}

/// Writes the id maps of a process that waits in a new user namespace
/// (user_namespaces(7)).
///
/// # Errors
/// `EPERM` where the caller may not map these ids, `EINVAL` for an overlap.
pub fn write_id_maps(process: &StubProcess, uid_map: &str, gid_map: &str) -> Result<()> {
    let directory = format!("/proc/{}", process.pid.as_raw_nonzero());
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let directory = rustix::fs::open(&directory, flags, rustix::fs::Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{directory:?}"), errno))?;
    for (name, text) in [("uid_map", uid_map), ("gid_map", gid_map)] {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory.as_fd(), name, flags, rustix::fs::Mode::empty())
            .map_err(|errno| SysError::new("openat", format!("/proc/PID, {name:?}"), errno))?;
        rustix::io::write(&file, text.as_bytes())
            .map_err(|errno| SysError::new("write", format!("{name}, {text:?}"), errno))?;
    }
    Ok(())
}
