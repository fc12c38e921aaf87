//! Archives, entry by entry, contents and all.
#![no_main]

use cais_image::tar::{Entry, Limits, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(data, Limits::default());
    let mut entry = Entry::default();
    let mut bytes = 0u64;
    while let Ok(true) = reader.next_entry(&mut entry) {
        while let Ok(Some((place, piece))) = reader.data() {
            bytes += piece.len() as u64;
            // What is handed out belongs into the file.
            assert!(place + piece.len() as u64 <= entry.size);
        }
    }
    assert!(bytes <= data.len() as u64);
    assert!(reader.position() <= data.len() as u64);
});
