//! Namespaces and cgroups: joining, leaving, and the little that a fresh one needs.

use super::{Failure, StepResult, plain};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags};

pub(super) fn join_cgroup<'a>(tasks: BorrowedFd<'_>) -> StepResult<'a> {
    rustix::io::write(tasks, b"0")
        .map(drop)
        .map_err(plain("write to tasks"))
}

pub(super) fn enter<'a>(target: BorrowedFd<'_>, kinds: u32) -> StepResult<'a> {
    let kinds = ThreadNameSpaceType::from_bits_retain(kinds);
    cais_sys::namespace::enter(target, kinds.bits()).map_err(plain("setns"))
}

pub(super) fn leave<'a>(kinds: u32) -> StepResult<'a> {
    cais_sys::namespace::leave(UnshareFlags::from_bits_retain(kinds).bits()).map_err(plain("unshare"))
}

/// The offsets can be set as long as nobody has entered the namespace.
pub(super) fn write_time_offsets(text: &[u8]) -> StepResult<'_> {
    const PATH: &core::ffi::CStr = c"/proc/self/timens_offsets";
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(PATH, flags, rustix::fs::Mode::empty())
        .map_err(|errno| Failure::new("open", PATH.to_bytes(), errno))?;
    rustix::io::write(&file, text)
        .map(drop)
        .map_err(|errno| Failure::new("write to timens_offsets", text, errno))
}

pub(super) fn set_hostname(name: &[u8]) -> StepResult<'_> {
    rustix::system::sethostname(name).map_err(|errno| Failure::new("sethostname", name, errno))
}

pub(super) fn set_domainname(name: &[u8]) -> StepResult<'_> {
    rustix::system::setdomainname(name).map_err(|errno| Failure::new("setdomainname", name, errno))
}

pub(super) fn loopback_up<'a>() -> StepResult<'a> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    // A kernel without IPv4 has the same request on an IPv6 socket.
    let socket = match socket {
        Err(Errno::AFNOSUPPORT) => socket_with(
            AddressFamily::INET6,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        ),
        other => other,
    };
    let socket = socket.map_err(plain("socket"))?;
    cais_sys::tty::bring_loopback_up(rustix::fd::AsFd::as_fd(&socket)).map_err(plain("ioctl SIOCSIFFLAGS lo"))
}
