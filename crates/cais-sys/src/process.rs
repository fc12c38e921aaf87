//! Leaving and copying a process without a C library's ceremonies.

use crate::syscall::{check, number, syscall6};
use core::ffi::CStr;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::Pid;

/// Ends the process at once: no exit handlers, no flushing. See `_exit(2)`.
pub fn exit_now(status: u8) -> ! {
    loop {
        // SAFETY: exit_group takes a number and does not return.
        unsafe { syscall6(number::EXIT_GROUP, [usize::from(status), 0, 0, 0, 0, 0]) };
    }
}

/// Which side of [`fork`] this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new process.
    Child,
    /// The old one, with the id of the new one.
    Parent(Pid),
}

/// Copies the process. See fork(2).
///
/// The caller has one thread only: another one could hold a lock (of the
/// allocator, say) that nobody frees in the child.
///
/// # Errors
/// `EAGAIN` at a limit on processes, `ENOMEM`.
pub fn fork() -> Result<Forked, Errno> {
    fork_into(0)
}

/// The same, with the child in new namespaces (`CLONE_NEW*`).
///
/// # Errors
/// As [`fork`]; `EPERM` without the right to make them.
pub fn fork_into(namespaces: u64) -> Result<Forked, Errno> {
    const SIGCHLD: usize = 17;
    let flags = usize::try_from(namespaces).or(Err(Errno::INVAL))? | SIGCHLD;
    // The old call, since a system call filter cannot look into the arguments of clone3
    // and therefore refuses it (ENOSYS in Docker's profile).
    const CLONE: usize = if cfg!(target_arch = "x86_64") { 56 } else { 220 };
    // SAFETY: clone with nothing but the exit signal is fork(2): the child gets a copy of
    // the address space and returns on a copy of this stack.
    let result = unsafe { syscall6(CLONE, [flags, 0, 0, 0, 0, 0]) };
    let pid = check(result)?;
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        None => Ok(Forked::Child),
        Some(pid) => Ok(Forked::Parent(pid)),
    }
}

/// Marks every descriptor from `first` on close-on-exec. See close_range(2).
///
/// # Errors
/// `ENOSYS` before Linux 5.9, `EINVAL` before 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    const CLOSE_RANGE: usize = 436;
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    // SAFETY: takes numbers; the descriptors stay open, so none is used after closing.
    check(unsafe {
        syscall6(
            CLOSE_RANGE,
            [first as usize, u32::MAX as usize, CLOSE_RANGE_CLOEXEC, 0, 0, 0],
        )
    })
    .map(drop)
}

/// Closes all descriptors from 3 on but these: for a process made by fork(2) that has only these
/// to look after, and never returns to what owns the others.
#[cfg(not(feature = "stub"))]
pub fn close_all_but(kept: &[BorrowedFd<'_>]) {
    use rustix::fd::AsRawFd;
    const CLOSE_RANGE: usize = 436;
    const LAST: usize = u32::MAX as usize;
    let mut first = 3;
    while first <= LAST {
        let numbers = kept.iter().map(|fd| fd.as_raw_fd().cast_unsigned() as usize);
        let next = numbers
            .filter(|number| *number >= first)
            .min()
            .unwrap_or(LAST + 1);
        if first < next {
            // SAFETY: takes numbers; whoever owns these descriptors never runs again.
            unsafe { syscall6(CLOSE_RANGE, [first, next - 1, 0, 0, 0, 0]) };
        }
        first = next + 1;
    }
}

/// Closes these descriptors, those that follow each other by one call (close_range(2)): of many
/// that takes a quarter less than one by one.
#[cfg(not(feature = "stub"))]
pub fn close_together(descriptors: impl IntoIterator<Item = rustix::fd::OwnedFd>) {
    use rustix::fd::IntoRawFd;
    let mut run: Option<[i32; 2]> = None;
    for number in descriptors.into_iter().map(IntoRawFd::into_raw_fd) {
        match &mut run {
            Some([_, last]) if number == *last + 1 => *last = number,
            _ => run.replace([number, number]).into_iter().for_each(close_numbers),
        }
    }
    run.into_iter().for_each(close_numbers);
}

/// Closes the descriptors from the first to the last of these, which the caller owned.
#[cfg(not(feature = "stub"))]
fn close_numbers(run: [i32; 2]) {
    const CLOSE_RANGE: usize = 436;
    let [first, last] = run.map(|number| number.cast_unsigned() as usize);
    // SAFETY: takes numbers; their owners gave them up to be closed here.
    if check(unsafe { syscall6(CLOSE_RANGE, [first, last, 0, 0, 0, 0]) }).is_err() {
        for number in run[0]..=run[1] {
            // SAFETY: as above, and Linux before 5.9 has closed none of them.
            unsafe { rustix::io::close(number) };
        }
    }
}

/// Closes the descriptors that this process was given by whoever executed it, but for 0, 1
/// and 2 and the `sockets` after them: all of our own are close-on-exec, and those are not.
#[cfg(not(feature = "stub"))]
pub fn close_inherited(sockets: u32) {
    use rustix::fs::{Mode, OFlags, RawDir, open};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = open("/proc/self/fd", flags, Mode::empty()) else {
        return;
    };
    let mut buffer = [core::mem::MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
        let kept = i32::try_from(sockets).unwrap_or(i32::MAX).saturating_add(2);
        let Some(number) = number.filter(|number: &i32| *number > kept) else {
            continue;
        };
        // SAFETY: its name was just read; one that another thread has closed since is asked
        // for its flags alone, which fails with EBADF.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_getfd(fd).is_ok_and(|flags| !flags.contains(rustix::io::FdFlags::CLOEXEC)) {
            // SAFETY: no descriptor of this program's own lacks the flag, so nobody here
            // owns this one.
            unsafe { rustix::io::close(number) };
        }
    }
}

/// Replaces standard error by the null device.
///
/// # Errors
/// As open(2).
pub fn close_standard_error() -> Result<(), Errno> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stderr(&null)
}

/// The working directory as getcwd(2) gives it: it begins with a slash unless it
/// lies outside the root of the process (`(unreachable)/…`).
///
/// # Errors
/// `ENOENT` where it was removed, `ERANGE` where the buffer is too short.
pub fn working_directory(buffer: &mut [u8]) -> Result<&CStr, Errno> {
    const GETCWD: usize = if cfg!(target_arch = "x86_64") { 79 } else { 17 };
    // SAFETY: the kernel writes at most this many bytes into the buffer.
    check(unsafe { syscall6(GETCWD, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0]) })?;
    CStr::from_bytes_until_nul(buffer).or(Err(Errno::RANGE))
}

/// Standard input, which stays open as long as the process.
#[must_use]
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: nothing in this program closes descriptor 0; were it closed by the
    // caller of execve, calls on it would fail with EBADF.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Standard output, or standard error.
#[must_use]
pub fn standard_stream(error: bool) -> BorrowedFd<'static> {
    // SAFETY: as for standard input.
    unsafe { BorrowedFd::borrow_raw(if error { 2 } else { 1 }) }
}

/// Leaves the terminal and the standard streams of the caller: a session of its own,
/// and the null device for descriptors 0, 1 and 2.
///
/// # Errors
/// As setsid(2) and open(2).
pub fn leave_terminal() -> Result<(), Errno> {
    rustix::process::setsid()?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use rustix::event::epoll;
    use rustix::fd::{AsRawFd, OwnedFd};
    use std::vec::Vec;

    #[test]
    fn descriptors_are_closed_together_and_no_others() {
        let open = || epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let number = |fd: &OwnedFd| fd.as_raw_fd();
        let all: Vec<OwnedFd> = (0..12).map(|_| open()).collect();
        let mut others = Vec::new();
        let mut gone = Vec::new();
        for (place, fd) in all.into_iter().enumerate() {
            match place {
                0 | 5 | 8 => others.push(fd),
                _ => gone.push(fd),
            }
        }
        // One that does not follow the one before it.
        let last = gone.pop().unwrap();
        gone.insert(2, last);
        let numbers: Vec<i32> = gone.iter().map(number).collect();
        let held: Vec<i32> = others.iter().map(number).collect();
        close_together(gone);
        // Other tests open theirs meanwhile, but no epolls of a number that is ours.
        let is_epoll = |number: &i32| {
            std::fs::read_link(std::format!("/proc/self/fd/{number}"))
                .is_ok_and(|path| path.to_string_lossy().contains("eventpoll"))
        };
        assert_eq!(numbers.iter().filter(|number| is_epoll(number)).count(), 0);
        assert!(held.iter().all(is_epoll));
    }
}
