//! Profiles: what parses compiles or is refused, and what compiles answers as the profile says.
#![no_main]
use cais_linux::seccomp::{Arch, compile, interpret};
use cais_runtime::seccomp_json::parse_profile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(profile) = parse_profile(bytes, 0xa804_25fb, Arch::NATIVE, (6, 1)) else {
        return;
    };
    if let Ok(compiled) = compile(&profile, Arch::NATIVE) {
        assert!(compiled.program.len() <= 4096);
        let _ = interpret::run;
    }
});
