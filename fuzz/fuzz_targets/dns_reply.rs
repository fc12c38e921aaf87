//! What an upstream server sends, and how it ages in the cache.
#![no_main]
use cais_net::dns::message::{CLASS_IN, Question, kind};
use cais_net::dns::name::Name;
use cais_net::dns::reply::{age_reply, parse_reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    // The question that it answers, so that the fuzzer gets behind it.
    let asked = Name::parse(message, 12).map(|(name, _)| name);
    let Some(name) = asked.or_else(|| Name::from_text("web.example")) else {
        return;
    };
    let question = Question {
        name,
        kind: kind::A,
        class: CLASS_IN,
    };
    if parse_reply(message, &question).is_some() {
        let mut aged = message.to_vec();
        age_reply(&mut aged, 10);
        assert!(parse_reply(&aged, &question).is_some());
    }
});
