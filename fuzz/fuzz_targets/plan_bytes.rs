//! The stub's decoder: any bytes give steps or an error.
#![no_main]
use cais_init::step::Step;
use cais_init::wire::Source;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut source = Source(bytes);
    while !source.0.is_empty() {
        if Step::decode(&mut source).is_err() {
            return;
        }
    }
});
