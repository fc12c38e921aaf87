//! Names of images: what is read and written again is read as the same.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<cais_image::Reference>() {
        let again: cais_image::Reference = reference.to_string().parse().expect("a full name is a name");
        assert_eq!(again, reference);
        let short: cais_image::Reference = reference.familiar().parse().expect("a short name is a name");
        assert_eq!(short, reference);
    }
    let _ = text.parse::<cais_image::formats::Location>();
});
