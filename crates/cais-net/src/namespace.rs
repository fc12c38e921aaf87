//! A moment in a network namespace (network_namespaces(7)).

use crate::error::{NetError, Result};
use cais_linux::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use std::sync::OnceLock;

const NEWNET: u32 = 0x4000_0000;
const NEWUSER: u32 = 0x1000_0000;

/// The network namespace in which this process has its bridges and their table, where that is
/// not its own: an ordinary user's.
static HOME: OnceLock<OwnedFd> = OnceLock::new();

/// Finds it, or makes it.
pub type Seek = Box<dyn Fn() -> Result<OwnedFd> + Send + Sync>;
static SEEK: OnceLock<Seek> = OnceLock::new();

/// Has `seek` called when this process first looks for bridges: they, their table, and what
/// speaks to their containers are in the namespace that it finds. Said once.
pub fn seek_home(seek: Seek) {
    // The first one stays: there is one for each user.
    SEEK.set(seek).unwrap_or_default();
}

fn home() -> Result<Option<BorrowedFd<'static>>> {
    if let (None, Some(seek)) = (HOME.get(), SEEK.get()) {
        HOME.set(seek()?).unwrap_or_default();
    }
    Ok(HOME.get().map(AsFd::as_fd))
}

/// What this process holds of it, where it has looked.
#[must_use]
pub fn held() -> Option<BorrowedFd<'static>> {
    HOME.get().map(AsFd::as_fd)
}

/// Whether the bridges are elsewhere.
#[must_use]
pub fn has_home() -> bool {
    SEEK.get().is_some()
}

/// Does something where the bridges are.
///
/// # Errors
/// As [`inside`], and what `action` meets.
pub fn at_home<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    match home()? {
        Some(home) => inside(home, action),
        None => action(),
    }
}

/// Opens the network namespace of a process.
///
/// # Errors
/// As open(2).
pub fn open_of(pid: i32) -> Result<OwnedFd> {
    open_at(&format!("/proc/{pid}/ns/net"))
}

/// Opens a network namespace.
///
/// # Errors
/// As open(2).
pub fn open_at(path: &str) -> Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{path:?}"), errno))
        .map_err(NetError::system("open a network namespace"))
}

fn enter(target: BorrowedFd<'_>, kind: u32) -> Result<()> {
    cais_sys::namespace::enter(target, kind)
        .map_err(|errno| SysError::new("setns", "a network namespace", errno))
        .map_err(NetError::system("enter a network namespace"))
}

/// Does something in this namespace; sockets that it opens stay there. This thread goes
/// back on every way out. Only for processes with one thread, or threads of one's own.
///
/// # Errors
/// As setns(2), and what `action` meets.
pub fn inside<T>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    if !rustix::process::geteuid().is_root() {
        return inside_apart(namespace, action);
    }
    let own = open_at("/proc/thread-self/ns/net")?;
    enter(namespace, NEWNET)?;
    let done = action();
    enter(own.as_fd(), NEWNET)?;
    done
}

/// The same without privilege: as root of the user namespace that the network namespace
/// belongs to, from which nobody comes back, so in another process.
fn inside_apart<T>(namespace: BorrowedFd<'_>, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let (mut action, mut done) = (Some(action), None);
    enter_apart(namespace, &mut || done = action.take().map(|action| action()))?;
    done.unwrap_or_else(|| {
        Err(NetError::Invalid(
            "a process in another network namespace was killed".to_owned(),
        ))
    })
}

fn enter_apart(namespace: BorrowedFd<'_>, action: &mut dyn FnMut()) -> Result<()> {
    let failed = |call| {
        move |errno| NetError::System {
            action: "enter a network namespace".to_owned(),
            source: SysError::new(call, "", errno),
        }
    };
    let owner = cais_sys::namespace::owner(namespace).map_err(failed("ioctl NS_GET_USERNS"))?;
    let mut entered = Ok(());
    let mut errand = || {
        entered = enter(owner.as_fd(), NEWUSER).and_then(|()| enter(namespace, NEWNET));
        if entered.is_ok() {
            action();
        }
    };
    cais_sys::clone::apart(&mut errand).map_err(failed("clone3"))?;
    entered
}

/// How many sockets of TCP there are in a namespace: those that nobody has open any more but
/// that still have something to send count too (proc_pid_net(5), `sockstat`).
///
/// # Errors
/// As [`inside`]; where /proc cannot be read.
pub fn count_tcp(namespace: BorrowedFd<'_>) -> Result<u32> {
    inside(namespace, || {
        let mut count = 0;
        for name in ["sockstat", "sockstat6"] {
            let path = format!("/proc/thread-self/net/{name}");
            match std::fs::read_to_string(&path) {
                Ok(text) => count += text.lines().filter_map(parse_tcp).sum::<u32>(),
                // A kernel without IPv6.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(NetError::file(format!("read {path}"))(error)),
            }
        }
        Ok(count)
    })
}

/// `TCP: inuse 5 orphan 0 …` or `TCP6: inuse 3`.
fn parse_tcp(line: &str) -> Option<u32> {
    let rest = line
        .strip_prefix("TCP: inuse ")
        .or_else(|| line.strip_prefix("TCP6: inuse "))?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_tcp;

    #[test]
    fn lines_of_sockstat() {
        for (line, expected) in [
            ("TCP: inuse 5 orphan 1 tw 0 alloc 9 mem 2", Some(5)),
            ("TCP6: inuse 3", Some(3)),
            ("UDP: inuse 2 mem 0", None),
            ("TCP: inuse", None),
            ("", None),
        ] {
            assert_eq!(parse_tcp(line), expected, "{line}");
        }
    }
}
