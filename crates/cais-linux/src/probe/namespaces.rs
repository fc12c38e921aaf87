//! Which kinds of namespaces there are, and who may make user namespaces.

use super::{Finding, State, read_setting};
use std::path::Path;

/// The settings that decide over user namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserNamespaces {
    /// `/proc/self/ns/user` exists.
    pub built_in: bool,
    /// `user.max_user_namespaces` of this user namespace.
    pub max: Option<u64>,
    /// `kernel.unprivileged_userns_clone` of Debian's kernels.
    pub debian_allows: Option<bool>,
    /// `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu's kernels.
    pub apparmor_restricts: Option<bool>,
}

impl UserNamespaces {
    /// Reads the settings.
    #[must_use]
    pub fn read() -> Self {
        let number = |path| read_setting(path).and_then(|text| text.parse::<u64>().ok());
        let flag = |path| number(path).map(|value| value != 0);
        Self {
            built_in: Path::new("/proc/self/ns/user").exists(),
            max: number("/proc/sys/user/max_user_namespaces"),
            debian_allows: flag("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: flag("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        }
    }

    /// Whether root, or otherwise a user without privileges, may make one; and the
    /// setting that stands in the way.
    #[must_use]
    pub fn judge(&self, is_root: bool) -> (State, String) {
        if !self.built_in {
            return (State::Absent, "the kernel is built without CONFIG_USER_NS".into());
        }
        if self.max == Some(0) {
            let remedy = "sysctl user.max_user_namespaces=0 forbids them: set it to 15000, for example";
            return (State::Absent, remedy.into());
        }
        if !is_root && self.debian_allows == Some(false) {
            let remedy = "sysctl kernel.unprivileged_userns_clone=0 forbids them to users: set it to 1";
            return (State::Absent, remedy.into());
        }
        if !is_root && self.apparmor_restricts == Some(true) {
            let remedy = "AppArmor takes all capabilities inside them: install a profile for cais, or set \
                          sysctl kernel.apparmor_restrict_unprivileged_userns=0";
            return (State::Partly, remedy.into());
        }
        let max = self.max.map(|max| format!("user.max_user_namespaces={max}"));
        (State::Present, max.unwrap_or_default())
    }
}

pub(super) fn findings() -> Vec<Finding> {
    let is_root = rustix::process::geteuid().is_root();
    let (state, detail) = UserNamespaces::read().judge(is_root);
    let without = "containers run only with --userns=host, where root inside is root outside";
    let mut findings = vec![Finding::new("user namespaces", state, detail, without)];
    for (file, feature, without) in [
        ("mnt", "mount namespaces", "containers cannot be started"),
        ("pid", "PID namespaces", "only with --pid=host"),
        ("net", "network namespaces", "only with --network=host"),
        ("ipc", "IPC namespaces", "only with --ipc=host"),
        (
            "uts",
            "UTS namespaces",
            "only with --uts=host, without --hostname",
        ),
        ("cgroup", "cgroup namespaces", "only with --cgroupns=host"),
        (
            "time",
            "time namespaces",
            "containers share the host's monotonic clock",
        ),
    ] {
        let present = Path::new("/proc/self/ns").join(file).exists();
        findings.push(Finding::new(feature, present, "", without));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_make_user_namespaces() {
        let usual = UserNamespaces {
            built_in: true,
            max: Some(100),
            ..UserNamespaces::default()
        };
        let debian = UserNamespaces {
            debian_allows: Some(false),
            ..usual
        };
        let ubuntu = UserNamespaces {
            apparmor_restricts: Some(true),
            ..usual
        };
        for (settings, is_root, want) in [
            (UserNamespaces::default(), true, State::Absent),
            (usual, false, State::Present),
            (
                UserNamespaces {
                    max: Some(0),
                    ..usual
                },
                true,
                State::Absent,
            ),
            (debian, false, State::Absent),
            (debian, true, State::Present),
            (ubuntu, false, State::Partly),
            (ubuntu, true, State::Present),
        ] {
            assert_eq!(settings.judge(is_root).0, want, "{settings:?} {is_root}");
        }
    }
}
