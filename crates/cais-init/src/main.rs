//! The init stub: the first process of every container, from a sealed memfd.
#![no_std]
#![no_main]

use core::ffi::CStr;

cais_sys::stub_main!(main);

fn main(channel: &CStr) -> u8 {
    match cais_sys::start::take_descriptor(channel) {
        Some(channel) => cais_init::stage::run(channel),
        None => 125,
    }
}
