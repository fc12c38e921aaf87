//! Names of images: what is accepted is the same when it is written and read again.
#![no_main]

use cais_image::Reference;
use cais_image::store::{decode_name, encode_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        let written = reference.to_string();
        assert_eq!(written.parse::<Reference>().as_ref(), Ok(&reference), "{written}");
        assert_eq!(reference.familiar().parse::<Reference>().as_ref(), Ok(&reference));
        assert!(!reference.repository.contains("..") && !reference.repository.starts_with('/'));
    }
    let encoded = encode_name(text);
    assert!(!encoded.contains('/') && !encoded.starts_with('.') && encoded.len() <= 200);
    if let Some(decoded) = decode_name(&encoded) {
        assert_eq!(decoded, text);
    }
});
