//! Answers of the kernel over netlink, of all kinds that are read.
#![no_main]
use cais_net::netlink::{MessageReader, address, conntrack, link, nftables, route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut elements = Vec::new();
    for message in MessageReader::new(bytes) {
        let _ = message.meaning();
        let _ = link::parse(&message);
        let _ = address::parse(&message);
        let _ = route::parse(&message);
        let _ = conntrack::parse(&message);
        let _ = nftables::parse_chain(&message);
        let _ = nftables::parse_generation(&message);
        nftables::parse_elements(&message, &mut elements);
    }
});
