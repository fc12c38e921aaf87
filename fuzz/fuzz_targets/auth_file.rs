//! Files with logins.
#![no_main]
use libfuzzer_sys::fuzz_target;

use cais_image::registry::config::{AuthFile, Flavour};

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, registry, repository) = input;
    for flavour in [Flavour::Docker, Flavour::Containers] {
        // Without helpers: those would be executed.
        if text.contains("cred") || text.contains("\\u") {
            return;
        }
        if let Ok(file) = AuthFile::parse(std::path::Path::new("/none"), flavour, text) {
            let _ = file.find(registry, repository);
        }
    }
});
