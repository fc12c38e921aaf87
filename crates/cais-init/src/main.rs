//! The init stub: the first process of every container, from a sealed memfd.
#![no_std]
#![no_main]

use core::ffi::CStr;

cais_sys::stub_main!(main);

fn main(argument: &CStr) -> u8 {
    let rest = argument.to_bytes_with_nul().strip_prefix(b"e");
    let digits = rest.and_then(|rest| CStr::from_bytes_with_nul(rest).ok());
    match cais_sys::start::take_descriptor(digits.unwrap_or(argument)) {
        Some(channel) if digits.is_some() => cais_init::enter::run(channel),
        Some(channel) => cais_init::stage::run(channel),
        None => 125,
    }
}
