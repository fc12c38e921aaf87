//! JSON of image configurations.
#![no_main]

use cais_image::manifest::parse_config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = parse_config(data) {
        let text = serde_json::to_vec(&config).unwrap();
        let again = parse_config(&text).unwrap();
        assert_eq!(again.rootfs.diff_ids, config.rootfs.diff_ids);
        drop(again.platform());
    }
});
