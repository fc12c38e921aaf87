//! What takes rights away: capabilities, seccomp, Landlock, labels, device programs.

use super::kernel::from_result;
use super::{Finding, State, read_setting};
use crate::creds::capabilities::{CapSet, Capability, read_own};
use crate::error::Result;
use crate::lsm;

pub(super) fn findings() -> Vec<Finding> {
    vec![
        capabilities(),
        raising_limits(),
        seccomp(),
        landlock(),
        from_result(
            "device programs (eBPF)",
            "4.15",
            cais_sys::probe::load_device_program().map(drop),
            "on cgroup v2, devices are kept away by the user namespace and missing device nodes only",
        ),
        label(
            "AppArmor",
            lsm::apparmor::probe(),
            "--security-opt apparmor=PROFILE is an error",
        ),
        label(
            "SELinux",
            lsm::selinux::probe(),
            "--security-opt label=… is an error",
        ),
    ]
}

fn capabilities() -> Finding {
    const FEATURE: &str = "capabilities";
    const WITHOUT: &str = "with --userns=host and --privileged containers run without the missing ones";
    let own = match read_own() {
        Ok(own) => own,
        Err(error) => return Finding::new(FEATURE, State::Unknown, error.to_string(), WITHOUT),
    };
    let (state, detail) = judge_capabilities(own.effective, rustix::process::geteuid().is_root());
    Finding::new(FEATURE, state, detail, WITHOUT)
}

fn judge_capabilities(effective: CapSet, is_root: bool) -> (State, String) {
    let missing = CapSet::ALL.difference(effective);
    if missing.is_empty() {
        (State::Present, String::new())
    } else if is_root {
        (
            State::Partly,
            format!("root lacks {}", missing.names().join(", ")),
        )
    } else if effective.is_empty() {
        (
            State::Absent,
            "an ordinary user: containers have a user namespace of their own".into(),
        )
    } else {
        (
            State::Partly,
            format!("this user has {}", effective.names().join(", ")),
        )
    }
}

fn raising_limits() -> Finding {
    let has = read_own().is_ok_and(|own| own.effective.contains(Capability::SYS_RESOURCE));
    let detail = if has { "" } else { "CAP_SYS_RESOURCE is missing" };
    let without = "--ulimit above the own hard limit and --oom-score-adj below the own value are cut down, with a warning";
    Finding::new("raising limits", has, detail, without)
}

fn seccomp() -> Finding {
    const FEATURE: &str = "seccomp";
    const WITHOUT: &str = "containers start only with --security-opt seccomp=unconfined";
    let Some(actions) = read_setting("/proc/sys/kernel/seccomp/actions_avail") else {
        let detail = "/proc/sys/kernel/seccomp is not there: the kernel lacks CONFIG_SECCOMP_FILTER, or /proc hides it";
        return Finding::new(FEATURE, State::Absent, detail, WITHOUT);
    };
    let (state, detail) = judge_seccomp(&actions);
    Finding::new(FEATURE, state, detail, WITHOUT)
}

/// Judges the text of `actions_avail` (seccomp(2)).
fn judge_seccomp(actions: &str) -> (State, String) {
    let missing: Vec<_> = ["errno", "allow", "kill_process", "log", "user_notif"]
        .into_iter()
        .filter(|wanted| !actions.split_whitespace().any(|one| one == *wanted))
        .collect();
    if missing.is_empty() {
        (State::Present, "filters and notification".into())
    } else {
        (
            State::Partly,
            format!("without the actions {}", missing.join(", ")),
        )
    }
}

fn landlock() -> Finding {
    const FEATURE: &str = "Landlock";
    const WITHOUT: &str = "--security-opt landlock=… that needs more is an error";
    match lsm::landlock::read_abi() {
        Ok(abi) => {
            let (state, detail) = judge_landlock(abi);
            Finding::new(FEATURE, state, detail, WITHOUT)
        }
        Err(error) => Finding::new(FEATURE, State::Unknown, error.to_string(), WITHOUT),
    }
}

fn judge_landlock(abi: u32) -> (State, String) {
    let lacks = match abi {
        0 => {
            return (
                State::Absent,
                "not built in, or not in the kernel's lsm= list".into(),
            );
        }
        1..3 => "paths, TCP ports and scopes",
        3 => "TCP ports and scopes",
        4..6 => "scopes",
        _ => return (State::Present, format!("ABI {abi}")),
    };
    (State::Partly, format!("ABI {abi}: without {lacks}"))
}

fn label(feature: &'static str, probed: Result<bool>, without: &'static str) -> Finding {
    match probed {
        Ok(present) => Finding::new(feature, present, "", without),
        Err(error) => Finding::new(feature, State::Unknown, error.to_string(), without),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judging() {
        let all = "kill_process kill_thread trap errno user_notif trace log allow";
        assert_eq!(judge_seccomp(all).0, State::Present);
        assert_eq!(judge_seccomp("kill_thread errno allow").0, State::Partly);
        for (abi, want) in [
            (0, State::Absent),
            (1, State::Partly),
            (5, State::Partly),
            (6, State::Present),
        ] {
            assert_eq!(judge_landlock(abi).0, want, "{abi}");
        }
        let lacking = CapSet::ALL.difference(CapSet::of(&[Capability::SYS_RESOURCE]));
        assert_eq!(
            judge_capabilities(lacking, true),
            (State::Partly, "root lacks CAP_SYS_RESOURCE".into())
        );
        assert_eq!(judge_capabilities(CapSet::ALL, true).0, State::Present);
        assert_eq!(judge_capabilities(CapSet::EMPTY, false).0, State::Absent);
    }
}
