//! Compressed layers of any kind: never more comes out than is accepted.
#![no_main]

use cais_image::layer::{Decoder, Expansion};
use libfuzzer_sys::fuzz_target;
use std::io::Read;

fuzz_target!(|data: &[u8]| {
    let limit = Expansion {
        bytes: 1 << 20,
        ratio: 200,
        free: 1 << 16,
    };
    if let Ok(mut decoder) = Decoder::new(data, Some(limit)) {
        let mut out = vec![0u8; 1 << 16];
        let mut sum = 0u64;
        while let Ok(1..) = decoder.read(&mut out).inspect(|count| sum += *count as u64) {}
        assert!(sum <= limit.bytes + out.len() as u64);
    }
});
