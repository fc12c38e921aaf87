//! Configurations of hostile images, and what a container takes from them.
#![no_main]
use libfuzzer_sys::fuzz_target;

use cais_image::manifest::{ImageConfig, parse_config};
use serde_json::Value;

/// The configuration without fractions and numbers beyond 64 bits. There are some in keys of
/// others alone, and they are read to the last digit but one (exact reading takes 38 KB of
/// code); the document itself is kept as it came.
fn plain(config: &ImageConfig) -> Value {
    fn drop_fractions(value: &mut Value) {
        match value {
            Value::Number(number) if number.is_f64() => *value = Value::Null,
            Value::Array(list) => list.iter_mut().for_each(drop_fractions),
            Value::Object(map) => map.values_mut().for_each(drop_fractions),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(config).expect("a configuration is JSON");
    drop_fractions(&mut value);
    value
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = parse_config(bytes) {
        let text = serde_json::to_vec(&config).expect("a configuration is JSON");
        let again = parse_config(&text).expect("what was written is read");
        assert_eq!(plain(&again), plain(&config));
    }
});
