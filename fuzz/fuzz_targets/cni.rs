//! Configurations of CNI, and what its plugins say.
#![no_main]
use cais_net::cni::{List, parse_given};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let _ = parse_given(&value, "eth0");
        let _ = List::new(value);
    }
});
