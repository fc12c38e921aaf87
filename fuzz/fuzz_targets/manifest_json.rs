//! Manifests and indexes of hostile registries.
#![no_main]
use libfuzzer_sys::fuzz_target;

use cais_image::manifest::parse_manifest;

fuzz_target!(|bytes: &[u8]| {
    for expected in [
        None,
        Some("application/vnd.oci.image.manifest.v1+json"),
        Some("application/vnd.oci.image.index.v1+json"),
    ] {
        if let Ok(manifest) = parse_manifest(bytes, expected) {
            let _ = manifest.children();
        }
    }
});
