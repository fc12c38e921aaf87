//! What single profiles mean, and that the default is what it should be. In
//! `random` the compiler is held against `evaluate`, a second reading of the
//! profile that shares no code with it.

mod evaluate;
mod random;

use super::arch::X32_BIT;
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
