//! registries.conf: what is accepted answers for any name.
#![no_main]

use cais_image::Reference;
use cais_image::registry::config::Registries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(registries) = Registries::parse(text) {
        for name in ["nginx", "quay.io/team/pier:1", "localhost:5000/x"] {
            if let Ok(reference) = name.parse::<Reference>() {
                drop(registries.places(&reference));
            }
            drop(registries.is_insecure(name));
        }
    }
});
