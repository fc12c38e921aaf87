//! /etc/passwd and /etc/group of an image, and what the user asked.
#![no_main]
use cais_linux::creds::ids::resolve_user;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (user, passwd, group) = input;
    let _ = resolve_user(user, passwd, group);
});
