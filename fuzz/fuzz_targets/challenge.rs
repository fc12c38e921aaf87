//! `WWW-Authenticate` of hostile servers.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = cais_image::registry::Challenge::parse_all(text);
});
