//! The kernel's version, and the system calls that make and hold processes and files.

use super::{Finding, State, read_setting};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, openat2};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Major and minor number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.18.44.
    pub major: u16,
    /// 18 of 6.18.44.
    pub minor: u16,
}

impl KernelVersion {
    /// A version.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest kernel that cais promises to run on: that of Debian 12 is 6.1, that of
/// RHEL 9 a 5.14 with much added.
const OLDEST: KernelVersion = KernelVersion::new(5, 14);

/// Reads a release as uname(2) gives it: `6.18.44-fc-v509`.
#[must_use]
pub fn parse_kernel_version(release: &[u8]) -> Option<KernelVersion> {
    let mut numbers = release.splitn(3, |byte| *byte == b'.');
    let number = |digits: &[u8]| {
        let end = digits
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    };
    let (major, minor) = (numbers.next()?, numbers.next()?);
    Some(KernelVersion::new(number(major)?, number(minor)?))
}

/// The version of the running kernel; 0.0 where its release cannot be read.
#[must_use]
pub fn read_kernel_version() -> KernelVersion {
    parse_kernel_version(rustix::system::uname().release().to_bytes()).unwrap_or_default()
}

/// What came of a probe by system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Present,
    Absent(Errno),
}

impl Outcome {
    pub(super) fn is_present(self) -> bool {
        self == Self::Present
    }
}

pub(super) fn clone_into_cgroup() -> Outcome {
    match cais_sys::probe::refused_clone_into_cgroup() {
        Errno::BADF => Outcome::Present,
        errno => Outcome::Absent(errno),
    }
}

/// A finding from the result of a call, where any failure means that it is not there.
pub(super) fn from_result(
    feature: &'static str,
    since: &str,
    result: Result<(), Errno>,
    without: &'static str,
) -> Finding {
    match result {
        Ok(()) => Finding::new(feature, State::Present, "", without),
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => {
            let detail = format!("not for this user: {}", reason(errno));
            Finding::new(feature, State::Unknown, detail, without)
        }
        Err(errno) => {
            let detail = format!("{}; in Linux since {since}", reason(errno));
            Finding::new(feature, State::Absent, detail, without)
        }
    }
}

/// An errno in words.
pub(super) fn reason(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_ascii_lowercase()
}

pub(super) fn findings() -> Vec<Finding> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    vec![
        version(),
        clone3(),
        from_result(
            "pidfd",
            "5.3",
            pidfd_open(getpid(), PidfdFlags::empty()).map(drop),
            "containers cannot be started: a process id alone may come to mean another process",
        ),
        from_result(
            "openat2",
            "5.6",
            openat2(CWD, "/", flags, Mode::empty(), resolve).map(drop),
            "containers cannot be started: paths inside them could not be resolved safely",
        ),
        from_result(
            "close_range",
            "5.9",
            cais_sys::probe::close_empty_range(),
            "containers cannot be started: descriptors of the host could reach them",
        ),
        executable_memfd(),
        device(
            "/dev/kvm",
            "KVM",
            "/dev/kvm can be opened; how fast it runs a guest's kernel was not tried",
            "virtual machines run in software emulation, tens of times slower",
        ),
        device(
            "/dev/fuse",
            "FUSE",
            "/dev/fuse can be opened",
            "file systems in user space cannot be mounted",
        ),
        criu(),
        grace_periods(),
    ]
}

fn version() -> Finding {
    let found = read_kernel_version();
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let state = if found >= OLDEST {
        State::Present
    } else {
        State::Partly
    };
    let detail = match state {
        State::Present => release,
        _ => format!("{release} is older than {OLDEST}, which cais is tested on"),
    };
    Finding::new(
        "kernel",
        state,
        detail,
        "what an older kernel lacks is listed below",
    )
}

fn clone3() -> Finding {
    const WITHOUT: &str =
        "a process joins its cgroup by its own write, which on cgroup v2 may wait for other processes";
    match clone_into_cgroup() {
        Outcome::Present => Finding::new("clone3 into a cgroup", State::Present, "", WITHOUT),
        Outcome::Absent(Errno::NOSYS) => Finding::new(
            "clone3 into a cgroup",
            State::Absent,
            "no clone3 at all (before Linux 5.3, or hidden by a seccomp filter)",
            "containers cannot be started",
        ),
        Outcome::Absent(errno) => Finding::new(
            "clone3 into a cgroup",
            State::Absent,
            format!("{}; in Linux since 5.7", reason(errno)),
            WITHOUT,
        ),
    }
}

/// The stub is executed from a memfd (vm.memfd_noexec, Linux 6.3).
fn executable_memfd() -> Finding {
    const WITHOUT: &str = "containers cannot be started: the init stub runs from a sealed memfd";
    let policy = read_setting("/proc/sys/vm/memfd_noexec");
    let (state, detail) = match memfd_create("cais-probe", MemfdFlags::CLOEXEC | MemfdFlags::EXEC) {
        Ok(_) => (
            State::Present,
            policy.map(|value| format!("vm.memfd_noexec={value}")),
        ),
        // Before 6.3 the flag is unknown, and every memfd is executable.
        Err(Errno::INVAL) if policy.is_none() => {
            (State::Present, Some("without MFD_EXEC, before Linux 6.3".into()))
        }
        Err(Errno::ACCESS) => (
            State::Absent,
            Some("sysctl vm.memfd_noexec=2 forbids it: set it to 0 or 1".into()),
        ),
        Err(errno) => (State::Absent, Some(reason(errno))),
    };
    Finding::new("executable memfd", state, detail.unwrap_or_default(), WITHOUT)
}

/// Whether a device can be opened. Opening these two changes nothing.
fn device(path: &'static str, feature: &'static str, seen: &'static str, without: &'static str) -> Finding {
    match rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Finding::new(feature, State::Present, seen, without),
        Err(errno) => Finding::new(
            feature,
            State::Absent,
            format!("{path}: {}", reason(errno)),
            without,
        ),
    }
}

fn criu() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = find_program(path.as_bytes(), "criu");
    Finding::new(
        "criu",
        found.is_some(),
        found.unwrap_or_else(|| "no program criu in PATH".into()),
        "running containers cannot be saved and restored",
    )
}

/// The first executable file `name` in a list of directories as in `PATH`.
fn find_program(path: &[u8], name: &str) -> Option<String> {
    path.split(|byte| *byte == b':')
        .filter(|directory| directory.starts_with(b"/"))
        .map(|directory| Path::new(std::ffi::OsStr::from_bytes(directory)).join(name))
        .find(|file| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok())
        .map(|file| file.display().to_string())
}

/// A note, not a lack: one grace period takes milliseconds, and a start that waits for
/// one (a pid written to a cgroup v1 `cgroup.procs`) is that much slower.
fn grace_periods() -> Finding {
    const WITHOUT: &str = "nothing changes: cais starts containers without waiting for a grace period";
    let detail = match read_setting("/sys/kernel/rcu_expedited").as_deref() {
        None => {
            return Finding::new(
                "RCU grace periods",
                State::Unknown,
                "/sys/kernel/rcu_expedited cannot be read",
                WITHOUT,
            );
        }
        Some("0") => "rcu_expedited=0: one takes milliseconds, cais avoids them",
        Some(_) => "rcu_expedited=1: short ones",
    };
    Finding::new("RCU grace periods", State::Present, detail, WITHOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (release, want) in [
            ("6.18.44-fc-v509", Some((6, 18))),
            ("5.14.0-503.el9.x86_64", Some((5, 14))),
            ("6.12-rc3", Some((6, 12))),
            ("7.0", Some((7, 0))),
            ("7", None),
            ("", None),
            ("x.y", None),
        ] {
            let want = want.map(|(major, minor)| KernelVersion::new(major, minor));
            assert_eq!(parse_kernel_version(release.as_bytes()), want, "{release}");
        }
        assert!(KernelVersion::new(6, 9) < KernelVersion::new(6, 10));
        assert_eq!(KernelVersion::new(6, 9).to_string(), "6.9");
    }

    #[test]
    fn programs_are_found_in_absolute_directories() {
        assert_eq!(
            find_program(b"bin::/nowhere:/bin", "sh").as_deref(),
            Some("/bin/sh")
        );
        assert_eq!(find_program(b"", "sh"), None);
        assert_eq!(find_program(b"/bin", "no-such-program"), None);
    }
}
