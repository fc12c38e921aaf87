//! A second reading of a profile, call by call, in the words of `profile.rs`.

use super::super::arch::X32_BIT;
use super::super::interpret::Call;
use super::super::syscalls::number;
use super::super::{Action, Arch, ArgRule, Operator, Profile, Rule};
use super::{ENOSYS, KILL_PROCESS};

/// Whose call it is, or nothing where the filter does not speak for it.
fn arch_of(profile: &Profile, native: Arch, call: &Call) -> Option<Arch> {
    let present = |arch: &Arch| *arch == native || profile.architectures.contains(arch);
    let arch = native
        .family()
        .iter()
        .copied()
        .filter(|arch| *arch != Arch::X32)
        .find(|arch| arch.audit() == Some(call.audit))
        .filter(present)?;
    if arch != Arch::X86_64 || call.number < X32_BIT {
        return Some(arch);
    }
    if present(&Arch::X32) {
        return Some(Arch::X32);
    }
    (call.number == u32::MAX).then_some(arch)
}

fn is_ordinary(number: u32, arch: Arch) -> bool {
    arch != Arch::Arm || number < 0xf_0000
}

/// The highest number that the profile speaks of, by name or by a second door.
fn newest(profile: &Profile, arch: Arch) -> Option<u32> {
    let doors = |rule: &Rule, name: &str| {
        let opaque = !rule.args.is_empty() && rule.action.lets_through();
        let has = |calls: &str| arch == Arch::X86 && !opaque && calls.split(' ').any(|call| call == name);
        [has(SOCKETCALLS).then_some(102), has(IPC_CALLS).then_some(117)]
    };
    profile
        .rules
        .iter()
        .flat_map(|rule| rule.names.iter().map(move |name| (rule, name)))
        .flat_map(|(rule, name)| doors(rule, name).into_iter().chain([number(name, arch)]))
        .flatten()
        .filter(|number| is_ordinary(*number, arch))
        .max()
}

/// The answer by the words of `profile.rs`, read straight from the profile.
pub(super) fn evaluate(profile: &Profile, native: Arch, call: &Call) -> u32 {
    let default = value(profile.default_action, profile.default_errno);
    let permissive = matches!(
        profile.default_action,
        Action::Allow | Action::Log | Action::Trace
    );
    let newer = if permissive { default } else { ENOSYS };
    let Some(arch) = arch_of(profile, native, call) else {
        return KILL_PROCESS;
    };
    let newest = newest(profile, arch);
    if is_ordinary(call.number, arch) && newest.is_some_and(|newest| call.number > newest) {
        return newer;
    }

    let mut conditional = None;
    for rule in &profile.rules {
        let outcome = value(rule.action, rule.errno);
        if outcome == default {
            continue;
        }
        for name in &rule.names {
            if number(name, arch) == Some(call.number) {
                if rule.args.is_empty() {
                    return outcome;
                }
                if conditional.is_none() && holds(&rule.args, call, arch) {
                    conditional = Some(outcome);
                }
            }
            let opaque = matches!(rule.action, Action::Allow | Action::Log | Action::Trace);
            if arch == Arch::X86 && (rule.args.is_empty() || !opaque) {
                let through = match call.number {
                    102 => SOCKETCALLS
                        .split(' ')
                        .position(|call| call == name)
                        .is_some_and(|at| (call.args[0] & 0xffff_ffff) == at as u64),
                    117 => IPC_CALLS
                        .split(' ')
                        .position(|call| call == name)
                        .is_some_and(|at| (call.args[0] & 0xffff) == at as u64),
                    _ => false,
                };
                if through && conditional.is_none() {
                    conditional = Some(outcome);
                }
            }
        }
    }
    conditional.unwrap_or(default)
}

/// Each at the place of its number (linux/net.h, linux/ipc.h).
const SOCKETCALLS: &str = "- socket bind connect listen accept getsockname getpeername socketpair send recv \
     sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg";
const IPC_CALLS: &str = "- semop semget semctl semtimedop - - - - - - msgsnd msgrcv msgget msgctl \
     - - - - - - shmat shmdt shmget shmctl";

fn value(action: Action, errno: Option<u32>) -> u32 {
    let data = if action.takes_errno() {
        errno.unwrap_or(1)
    } else {
        0
    };
    action.return_value() | data
}

fn holds(args: &[ArgRule], call: &Call, arch: Arch) -> bool {
    let mask = match arch {
        Arch::X86_64 | Arch::Aarch64 => u64::MAX,
        _ => 0xffff_ffff,
    };
    let one = |arg: &ArgRule| {
        let actual = call.args[usize::from(arg.index)] & mask;
        let wanted = arg.value & mask;
        match arg.op {
            Operator::NotEqual => actual != wanted,
            Operator::LessThan => actual < wanted,
            Operator::LessEqual => actual <= wanted,
            Operator::Equal => actual == wanted,
            Operator::GreaterEqual => actual >= wanted,
            Operator::GreaterThan => actual > wanted,
            Operator::MaskedEqual => actual & wanted == arg.value_two & wanted,
        }
    };
    let mut indices: Vec<u8> = args.iter().map(|arg| arg.index).collect();
    indices.sort_unstable();
    indices.dedup();
    if indices.len() == args.len() {
        args.iter().all(one)
    } else {
        args.iter().any(one)
    }
}
