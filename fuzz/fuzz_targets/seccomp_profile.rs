//! Profiles: what parses compiles or is refused, and what compiles answers as the profile says,
//! read a second time by code that shares nothing with the compiler.
#![no_main]
use cais_linux::seccomp::interpret::{Call, run};
use cais_linux::seccomp::reading::evaluate;
use cais_linux::seccomp::syscalls::number;
use cais_linux::seccomp::{Arch, Rule, compile};
use cais_runtime::seccomp_json::parse_profile;
use libfuzzer_sys::fuzz_target;

/// Calls at the edges of what a rule says.
fn calls(rule: &Rule, name: &str, arch: Arch) -> Vec<Call> {
    let Some(audit) = arch.audit() else { return Vec::new() };
    let numbers = [number(name, arch), Some(u32::MAX), Some(102), Some(117)];
    let mut calls = Vec::new();
    for number in numbers.into_iter().flatten() {
        let call = Call { number, audit, args: [0; 6] };
        calls.extend([call, Call { number: number.wrapping_add(1), ..call }]);
        for arg in rule.args.iter().take(4) {
            let value = arg.value;
            let edges = [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ 1 << 32, arg.value_two];
            for edge in edges {
                let mut args = [0; 6];
                args[usize::from(arg.index) % 6] = edge;
                calls.push(Call { args, ..call });
            }
        }
    }
    calls
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = parse_profile(bytes, 0xa804_25fb, Arch::NATIVE, (6, 1)) else {
        return;
    };
    let Ok(compiled) = compile(&profile, Arch::NATIVE) else {
        return;
    };
    assert!(compiled.program.len() <= 4096);
    for rule in profile.rules.iter().take(8) {
        for name in rule.names.iter().take(8) {
            for arch in Arch::NATIVE.family() {
                for call in calls(rule, name, *arch) {
                    let answer = run(&compiled.program, &call);
                    assert_eq!(answer, Ok(evaluate(&profile, Arch::NATIVE, &call)), "{call:?} {profile:?}");
                }
            }
        }
    }
});
