//! Random profiles and calls: what the program says is what the profile means.

use super::super::arch::X32_BIT;
use super::super::assemble::JUMP;
use super::super::default::{DOCKER_CAPABILITIES, default_profile};
use super::super::interpret::{Call, run};
use super::super::syscalls::number;
use super::super::{Action, Arch, ArgRule, Operator, Profile, Rule, compile};
use super::evaluate::evaluate;
use std::borrow::Cow;

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
        let mut profile = super::profile(self.pick(&ACTIONS), Vec::new());
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
