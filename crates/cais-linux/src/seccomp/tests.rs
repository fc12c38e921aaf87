//! The compiler against a second reading of the profile that shares no code
//! with it, on many random profiles and calls; and what single profiles mean.

use super::arch::X32_BIT;
use super::assemble::JUMP;
use super::default::{DOCKER_CAPABILITIES, default_profile, default_program};
use super::interpret::{Call, run};
use super::syscalls::number;
use super::*;
use std::borrow::Cow;
use std::fmt::Write as _;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_PROCESS: u32 = 0x8000_0000;

fn profile(default_action: Action, rules: Vec<Rule>) -> Profile {
    Profile {
        default_action,
        default_errno: None,
        architectures: vec![Arch::X86_64, Arch::X86, Arch::X32],
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        rules,
    }
}

fn rule(name: &'static str, action: Action, args: Vec<ArgRule>) -> Rule {
    Rule {
        names: vec![Cow::Borrowed(name)],
        action,
        errno: None,
        args,
    }
}

fn arg(index: u8, op: Operator, value: u64, value_two: u64) -> ArgRule {
    ArgRule {
        index,
        value,
        value_two,
        op,
    }
}

fn call(arch: Arch, number: u32, args: &[u64]) -> Call {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    Call {
        number,
        audit: arch.audit().unwrap(),
        args: all,
    }
}

fn ask(profile: &Profile, native: Arch, call: &Call) -> u32 {
    run(&compile(profile, native).unwrap().program, call).unwrap()
}

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
fn evaluate(profile: &Profile, native: Arch, call: &Call) -> u32 {
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

const NAMES: [&str; 36] = [
    "read",
    "write",
    "open",
    "openat",
    "close",
    "socket",
    "connect",
    "accept",
    "bind",
    "sendmsg",
    "recv",
    "socketcall",
    "ipc",
    "semop",
    "semtimedop",
    "shmget",
    "msgctl",
    "clone",
    "clone3",
    "mmap",
    "mmap2",
    "personality",
    "ioctl",
    "rt_sigaction",
    "pwritev2",
    "execve",
    "exit_group",
    "set_tls",
    "cacheflush",
    "breakpoint",
    "futex_wake",
    "statx",
    "arch_prctl",
    "getpid",
    "gettid",
    "no_such_call",
];

const ACTIONS: [Action; 8] = [
    Action::Kill,
    Action::KillProcess,
    Action::Trap,
    Action::Errno,
    Action::Errno,
    Action::Trace,
    Action::Allow,
    Action::Log,
];

const OPERATORS: [Operator; 7] = [
    Operator::NotEqual,
    Operator::LessThan,
    Operator::LessEqual,
    Operator::Equal,
    Operator::GreaterEqual,
    Operator::GreaterThan,
    Operator::MaskedEqual,
];

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn operand(&mut self) -> u64 {
        const EDGES: [u64; 14] = [
            0,
            1,
            2,
            38,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_fffe,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0026,
            0xffff_ffff_0000_0000,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.below(8) {
            0 => self.next(),
            1 => self.next() & 0x3f,
            _ => self.pick(&EDGES),
        }
    }

    fn profile(&mut self, rules: usize) -> Profile {
        let mut profile = profile(self.pick(&ACTIONS), Vec::new());
        profile.architectures = [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm]
            .into_iter()
            .filter(|_| self.below(4) != 0)
            .collect();
        for _ in 0..rules {
            let action = self.pick(&ACTIONS);
            let conditions = self.pick(&[0, 0, 1, 1, 2, 3]);
            profile.rules.push(Rule {
                names: (0..=self.below(3))
                    .map(|_| Cow::Borrowed(self.pick(&NAMES)))
                    .collect(),
                action,
                errno: (action.takes_errno() && self.below(2) == 0).then(|| self.pick(&[0, 1, 38, 4095])),
                args: (0..conditions)
                    .map(|_| ArgRule {
                        index: u8::try_from(self.below(6)).unwrap(),
                        value: self.operand(),
                        value_two: self.operand(),
                        op: self.pick(&OPERATORS),
                    })
                    .collect(),
            });
        }
        profile
    }

    /// A call near what the profile speaks of.
    fn call(&mut self, profile: &Profile) -> Call {
        let arch = self.pick(&[Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm]);
        let rule = &profile.rules[self.below(profile.rules.len())];
        let name = &rule.names[self.below(rule.names.len())];
        let near = number(name, arch).unwrap_or_default();
        let number = match self.below(12) {
            0 => near.wrapping_add(1),
            1 => near.wrapping_sub(1),
            2 => self.pick(&[0, 102, 117, 0xf_0000, 0xf_0005, X32_BIT, u32::MAX, 0x8000_0000]),
            3 => u32::try_from(self.below(700)).unwrap(),
            4 => 102,
            5 => 117,
            _ => near,
        };
        let mut args = [0; 6].map(|_: u64| self.operand());
        for arg in &rule.args {
            if self.below(2) == 0 {
                args[usize::from(arg.index)] = arg.value.wrapping_add(self.pick(&[0, 0, 1, u64::MAX]));
            } else if arg.op == Operator::MaskedEqual {
                args[usize::from(arg.index)] = arg.value_two;
            }
        }
        if number == 102 || number == 117 {
            args[0] = self.next() & 0x1001f;
        }
        let audit = if self.below(30) == 0 {
            0x1234
        } else {
            arch.audit().unwrap()
        };
        Call { number, audit, args }
    }
}

#[test]
fn programs_agree_with_their_profiles() {
    let mut random = Random(0x0063_6169_7320_7365);
    let mut long_jumps = 0;
    for round in 0..1500 {
        let native = random.pick(&[Arch::X86_64, Arch::Aarch64]);
        let rules = if round % 10 == 0 {
            120
        } else {
            1 + random.below(12)
        };
        let profile = random.profile(rules);
        let program = compile(&profile, native).unwrap().program;
        long_jumps += program
            .iter()
            .filter(|instruction| instruction.code == JUMP)
            .count();
        for _ in 0..150 {
            let call = random.call(&profile);
            assert_eq!(
                run(&program, &call),
                Ok(evaluate(&profile, native, &call)),
                "round {round}, {native:?}: {call:x?}\n{profile:#x?}"
            );
        }
    }
    assert!(long_jumps > 20, "only {long_jumps} jumps over 255 were tried");
}

#[test]
fn default_profile_agrees_with_its_program() {
    let mut random = Random(0x6465_6661_756c_7421);
    for (capabilities, native) in [
        (DOCKER_CAPABILITIES, Arch::X86_64),
        (0, Arch::X86_64),
        (u64::MAX, Arch::X86_64),
        (DOCKER_CAPABILITIES, Arch::Aarch64),
    ] {
        let profile = default_profile(capabilities, native);
        let compiled = compile(&profile, native).unwrap();
        for _ in 0..4000 {
            let call = random.call(&profile);
            let wanted = evaluate(&profile, native, &call);
            assert_eq!(run(&compiled.program, &call), Ok(wanted), "{call:x?}");
        }
    }
}

#[test]
fn every_rule_of_precedence() {
    use Action::{Allow, Errno, Kill, Log};
    let eq = |value| vec![arg(0, Operator::Equal, value, 0)];
    let socket = |value| call(Arch::X86_64, 41, &[value]);
    let cases: [(&str, Vec<Rule>, u64, u32); 7] = [
        (
            "the first unconditional wins",
            vec![rule("socket", Log, vec![]), rule("socket", Allow, vec![])],
            1,
            0x7ffc_0000,
        ),
        (
            "an unconditional covers a conditional before it",
            vec![rule("socket", Kill, eq(38)), rule("socket", Allow, vec![])],
            38,
            ALLOW,
        ),
        (
            "the first conditional that holds wins",
            vec![
                rule("socket", Kill, eq(38)),
                rule("socket", Allow, vec![arg(0, Operator::GreaterThan, 10, 0)]),
            ],
            38,
            0,
        ),
        (
            "in the order that was written",
            vec![
                rule("socket", Allow, vec![arg(0, Operator::GreaterThan, 10, 0)]),
                rule("socket", Kill, eq(38)),
            ],
            38,
            ALLOW,
        ),
        (
            "a rule like the default is skipped",
            vec![
                rule("socket", Errno, eq(38)),
                rule("socket", Allow, vec![arg(0, Operator::GreaterThan, 10, 0)]),
            ],
            38,
            ALLOW,
        ),
        (
            "all conditions must hold",
            vec![rule(
                "socket",
                Allow,
                vec![arg(0, Operator::Equal, 1, 0), arg(1, Operator::Equal, 1, 0)],
            )],
            1,
            EPERM,
        ),
        (
            "a repeated argument is an alternative",
            vec![rule(
                "socket",
                Allow,
                vec![arg(0, Operator::Equal, 1, 0), arg(0, Operator::Equal, 2, 0)],
            )],
            1,
            ALLOW,
        ),
    ];
    for (what, rules, value, wanted) in cases {
        assert_eq!(
            ask(&profile(Errno, rules), Arch::X86_64, &socket(value)),
            wanted,
            "{what}"
        );
    }
}

#[test]
fn second_doors_of_i386() {
    use Action::{Allow, Errno};
    let family = || vec![arg(0, Operator::Equal, 38, 0)];
    let socketcall = |sub| call(Arch::X86, 102, &[sub]);
    let plain = profile(
        Errno,
        vec![rule("connect", Allow, vec![]), rule("semop", Allow, vec![])],
    );
    assert_eq!(ask(&plain, Arch::X86_64, &socketcall(3)), ALLOW);
    assert_eq!(ask(&plain, Arch::X86_64, &socketcall(1)), EPERM);
    assert_eq!(
        ask(&plain, Arch::X86_64, &call(Arch::X86, 117, &[0x1_0001])),
        ALLOW
    );
    let narrow = profile(Errno, vec![rule("socket", Allow, family())]);
    assert_eq!(
        ask(&narrow, Arch::X86_64, &socketcall(1)),
        EPERM,
        "what it cannot see it does not allow"
    );
    let refuse = profile(Allow, vec![rule("socket", Errno, family())]);
    assert_eq!(
        ask(&refuse, Arch::X86_64, &socketcall(1)),
        EPERM,
        "what it cannot see it refuses"
    );
    assert_eq!(ask(&refuse, Arch::X86_64, &socketcall(2)), ALLOW);
}

#[test]
fn newer_calls_and_other_architectures() {
    let allow = profile(Action::Errno, vec![rule("openat2", Action::Allow, vec![])]);
    let x86_64 = |number| call(Arch::X86_64, number, &[]);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(437)), ALLOW);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(436)), EPERM);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(438)), ENOSYS);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(u32::MAX)), ENOSYS);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(437 | X32_BIT)), ALLOW);
    assert_eq!(ask(&allow, Arch::X86_64, &x86_64(438 | X32_BIT)), ENOSYS);
    assert_eq!(
        ask(&allow, Arch::X86_64, &call(Arch::Aarch64, 437, &[])),
        KILL_PROCESS
    );
    let mut native_only = allow.clone();
    native_only.architectures.clear();
    assert_eq!(ask(&native_only, Arch::X86_64, &x86_64(437)), ALLOW);
    assert_eq!(
        ask(&native_only, Arch::X86_64, &x86_64(437 | X32_BIT)),
        KILL_PROCESS
    );
    assert_eq!(
        ask(&native_only, Arch::X86_64, &call(Arch::X86, 437, &[])),
        KILL_PROCESS
    );
    let mut kill = allow.clone();
    kill.default_action = Action::Kill;
    assert_eq!(ask(&kill, Arch::X86_64, &x86_64(438)), ENOSYS);
    assert_eq!(ask(&kill, Arch::X86_64, &x86_64(436)), 0);
    let mut log = allow;
    log.default_action = Action::Log;
    assert_eq!(ask(&log, Arch::X86_64, &x86_64(438)), 0x7ffc_0000);
    let nothing = profile(Action::Errno, Vec::new());
    assert_eq!(
        ask(&nothing, Arch::X86_64, &x86_64(438)),
        EPERM,
        "no newest call, no guess"
    );
}

#[test]
fn profiles_that_cannot_be() {
    let with = |change: fn(&mut Profile)| {
        let mut changed = profile(Action::Errno, vec![rule("read", Action::Allow, vec![])]);
        change(&mut changed);
        compile(&changed, Arch::X86_64)
    };
    let too_long = with(|profile| {
        profile.rules = (0..2000)
            .map(|value| {
                rule(
                    "read",
                    Action::Allow,
                    vec![arg(0, Operator::Equal, value << 20, 0)],
                )
            })
            .collect();
    });
    assert!(
        matches!(too_long, Err(CompileError::TooLong { limit: 4096, .. })),
        "{too_long:?}"
    );
    let cases: [(Result<Compiled, CompileError>, &str); 6] = [
        (
            with(|profile| profile.rules[0].args = vec![arg(6, Operator::Equal, 0, 0)]),
            "argument index 6",
        ),
        (
            with(|profile| profile.rules[0].errno = Some(1)),
            "given with SCMP_ACT_ALLOW",
        ),
        (with(|profile| profile.default_errno = Some(4096)), "above 4095"),
        (
            with(|profile| profile.default_action = Action::Notify),
            "default action",
        ),
        (
            with(|profile| profile.rules = vec![rule("write", Action::Notify, vec![])]),
            "cannot decide write",
        ),
        (
            compile(
                &profile(Action::Allow, Vec::new()),
                Arch::Foreign("SCMP_ARCH_RISCV64"),
            ),
            "no system call table",
        ),
    ];
    for (result, wanted) in cases {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn flags_and_unknown_names() {
    let mut asked = profile(
        Action::Allow,
        vec![
            rule("mount", Action::Notify, vec![]),
            rule("mnout", Action::Kill, vec![]),
        ],
    );
    asked.flags = vec![Flag::Tsync, Flag::Log, Flag::SpecAllow, Flag::WaitKillableRecv];
    let compiled = compile(&asked, Arch::X86_64).unwrap();
    assert_eq!(compiled.flags, 0b11_1111);
    assert_eq!(compiled.unknown, ["mnout"]);
    asked.rules.remove(0);
    assert_eq!(compile(&asked, Arch::X86_64).unwrap().flags, 0b00_0111);
}

#[test]
fn default_profile_keeps_its_promises() {
    let docker = default_profile(DOCKER_CAPABILITIES, Arch::X86_64);
    let admin = default_profile(DOCKER_CAPABILITIES | 1 << 21, Arch::X86_64);
    let docker = compile(&docker, Arch::X86_64).unwrap();
    let admin = compile(&admin, Arch::X86_64).unwrap();
    let (namespace, thread) = (0x1000_0011, 0x003d_0f00);
    let cases: [(&str, &[u64], u32, u32); 22] = [
        ("read", &[], ALLOW, ALLOW),
        ("ptrace", &[], ALLOW, ALLOW),
        ("chroot", &[], ALLOW, ALLOW),
        ("mount", &[], EPERM, ALLOW),
        ("unshare", &[], EPERM, ALLOW),
        ("setns", &[], EPERM, ALLOW),
        ("bpf", &[], EPERM, ALLOW),
        ("clone", &[namespace], EPERM, ALLOW),
        ("clone", &[thread], ALLOW, ALLOW),
        ("clone3", &[], ENOSYS, ALLOW),
        ("keyctl", &[], EPERM, EPERM),
        ("kexec_load", &[], EPERM, EPERM),
        ("io_uring_setup", &[], EPERM, EPERM),
        ("userfaultfd", &[], EPERM, EPERM),
        ("reboot", &[], EPERM, EPERM),
        ("file_setattr", &[], ENOSYS, ENOSYS),
        ("socket", &[2], ALLOW, ALLOW),
        ("socket", &[38], EPERM, EPERM),
        ("socket", &[40], EPERM, EPERM),
        ("socket", &[0x1_0000_0026], EPERM, EPERM),
        ("personality", &[0xffff_ffff], ALLOW, ALLOW),
        ("personality", &[0x40000], EPERM, EPERM),
    ];
    for (name, args, with_docker, with_admin) in cases {
        let call = call(Arch::X86_64, number(name, Arch::X86_64).unwrap(), args);
        assert_eq!(run(&docker.program, &call), Ok(with_docker), "{name} {args:x?}");
        assert_eq!(
            run(&admin.program, &call),
            Ok(with_admin),
            "{name} {args:x?} with SYS_ADMIN"
        );
    }
    for family in 0..64 {
        let call = call(Arch::X86_64, 41, &[family]);
        let wanted = if family == 38 || family == 40 {
            EPERM
        } else {
            ALLOW
        };
        assert_eq!(run(&docker.program, &call), Ok(wanted), "family {family}");
    }
    // Names of other machines, and no misspelt ones.
    assert_eq!(docker.unknown, ["riscv_hwprobe"]);
}

/// The programs in the executable are those of today's compiler and profile.
/// `CAIS_REGENERATE=1 cargo test -p cais-linux default_programs` writes them anew.
#[test]
fn default_programs_are_current() {
    let stored = [
        (Arch::X86_64, "default_x86_64.rs", default_x86_64::PROGRAM),
        (Arch::Aarch64, "default_aarch64.rs", default_aarch64::PROGRAM),
    ];
    for (native, file, program) in stored {
        let compiled = compile(&default_profile(DOCKER_CAPABILITIES, native), native).unwrap();
        assert_eq!(compiled.flags, default::DEFAULT_FLAGS);
        if std::env::var_os("CAIS_REGENERATE").is_some() {
            let path = format!("{}/src/seccomp/{file}", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, source(native, &compiled.program)).unwrap();
        } else {
            assert!(
                program == compiled.program,
                "{file} is stale, regenerate it with CAIS_REGENERATE=1"
            );
        }
    }
}

fn source(native: Arch, program: &[SockFilter]) -> String {
    let mut text = format!(
        "//! Docker's default profile for its default capabilities on {}, compiled.\n\
         //! Generated by the test `default_programs_are_current`, which says how; not for editing.\n\n\
         use cais_sys::seccomp::SockFilter;\n\n\
         const fn i(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {{\n    \
         SockFilter {{ code, jt, jf, k }}\n}}\n\n\
         /// {} instructions.\n\
         #[rustfmt::skip]\n\
         pub(super) static PROGRAM: &[SockFilter] = &[\n",
        native.oci_name(),
        program.len()
    );
    for SockFilter { code, jt, jf, k } in program {
        writeln!(text, "    i({code:#04x}, {jt}, {jf}, {k:#x}),").unwrap();
    }
    text + "];\n"
}

#[test]
fn precompiled_only_where_the_capabilities_that_matter_agree() {
    let net_admin = 1 << 12;
    let sys_admin = 1 << 21;
    let cases = [
        (DOCKER_CAPABILITIES, true),
        (DOCKER_CAPABILITIES | net_admin, true),
        (1 << 18, true),
        (0, false),
        (DOCKER_CAPABILITIES | sys_admin, false),
    ];
    for (capabilities, precompiled) in cases {
        let program = default_program(capabilities).unwrap();
        assert_eq!(
            matches!(program, Cow::Borrowed(_)),
            precompiled,
            "{capabilities:#x}"
        );
        let fresh = compile(&default_profile(capabilities, Arch::NATIVE), Arch::NATIVE).unwrap();
        assert!(program == fresh.program, "{capabilities:#x}");
    }
}

/// The kernel takes the program, and it does what it says. The filter lives
/// and dies with a thread of its own.
#[test]
fn the_kernel_takes_the_default_program() {
    let answer = std::thread::spawn(|| {
        rustix::thread::set_no_new_privs(true).unwrap();
        let program = default_program(DOCKER_CAPABILITIES).unwrap();
        load::install_filter(&program, default::DEFAULT_FLAGS).map(|listener| {
            (
                listener.is_none(),
                rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).err(),
            )
        })
    })
    .join()
    .unwrap();
    assert_eq!(answer.unwrap(), (true, Some(rustix::io::Errno::PERM)));
    assert_eq!(load::probe_action(Action::Allow), Ok(true));
}
