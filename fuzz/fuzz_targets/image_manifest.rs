//! JSON of manifests and indexes: what is accepted is safe to use as names and sizes.
#![no_main]

use cais_image::manifest::{Manifest, parse_manifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = parse_manifest(data, None) {
        for child in manifest.children() {
            assert!(!child.digest.hex().contains(['/', '.']));
        }
        let text = match &manifest {
            Manifest::Image(image) => serde_json::to_vec(image),
            Manifest::Index(index) => serde_json::to_vec(index),
        };
        // It means the same when it is written again.
        let again = parse_manifest(&text.unwrap(), manifest.media_type()).unwrap();
        assert_eq!(again.children().len(), manifest.children().len());
    }
});
