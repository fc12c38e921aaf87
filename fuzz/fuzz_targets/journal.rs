//! Entries of the journal, in which a container's program has written whatever it likes.
#![no_main]
use cais_engine::log::journal::parse_entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut left = bytes;
    while let Some((entry, after)) = parse_entry(left) {
        assert!(after.len() < left.len(), "{entry:?}");
        left = after;
    }
});
