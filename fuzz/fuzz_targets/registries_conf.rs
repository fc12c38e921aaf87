//! registries.conf, and where it sends a name.
#![no_main]
use libfuzzer_sys::fuzz_target;

use cais_image::registry::config::Registries;

fuzz_target!(|input: (&str, &str)| {
    let (text, name) = input;
    if let (Ok(registries), Ok(reference)) = (Registries::parse(text), name.parse()) {
        let _ = registries.places(&reference);
        let _ = registries.own_place(&reference);
    }
});
