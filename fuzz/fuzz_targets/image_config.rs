//! Configurations of hostile images, and what a container takes from them.
#![no_main]
use libfuzzer_sys::fuzz_target;

use cais_image::manifest::parse_config;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = parse_config(bytes) {
        let text = serde_json::to_vec(&config).expect("a configuration is JSON");
        assert_eq!(parse_config(&text).expect("what was written is read"), config);
    }
});
