//! The hierarchies in mountinfo.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = cais_linux::cgroups::detect::parse_layout(text);
});
