//! The header WWW-Authenticate.
#![no_main]

use cais_image::registry::{Challenge, Said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    drop(Said::parse(data).to_string());
    if let Ok(text) = std::str::from_utf8(data) {
        for challenge in Challenge::parse_all(text) {
            assert!(!challenge.scheme.is_empty());
            drop(challenge.get("realm").map(str::len));
        }
    }
});
