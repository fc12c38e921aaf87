//! What a container sends to its resolver, and what we make of it.
#![no_main]
use cais_net::dns::config::ResolverConfig;
use cais_net::dns::lookup::{Verdict, look_up};
use cais_net::dns::message::parse_query;
use cais_net::dns::resolv_conf::ResolvConf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    if let Ok(query) = parse_query(message) {
        let limit = query.udp_limit();
        if let Ok(Verdict::Here(answer)) = look_up(&ResolverConfig::default(), &query.question) {
            assert!(answer.encode(&query, limit).len() <= limit);
        }
    }
    if let Ok(text) = str::from_utf8(message) {
        let _ = ResolvConf::parse(text);
    }
});
