//! Layers, unpacked without privilege into a directory; what is accepted is made again bit
//! for bit, and nothing appears beside the directory.
#![no_main]

use cais_image::layer::{UnpackOptions, assemble_layer, remove_children, unpack_layer};
use libfuzzer_sys::fuzz_target;
use std::fs::{self, File};
use std::io::Cursor;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::OnceLock;

fn directory() -> &'static PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let base = base.join(format!("cais-fuzz-{}", std::process::id()));
        fs::create_dir_all(base.join("deep/layer")).unwrap();
        base
    })
}

fuzz_target!(|data: &[u8]| {
    let layer = File::open(directory().join("deep/layer")).unwrap();
    let mut options = UnpackOptions::rootless();
    options.limits.bytes = 1 << 20;
    options.limits.entries = 1000;
    options.limits.depth = 50;
    let mut record = Vec::new();
    if unpack_layer(data, layer.as_fd(), Some(&mut record), &options).is_ok() {
        let mut again = Vec::new();
        assemble_layer(layer.as_fd(), Cursor::new(&record), &mut again).unwrap();
        assert!(again == data);
    }
    remove_children(layer.as_fd()).unwrap();
    for (place, wanted) in [("", 1), ("deep", 1)] {
        assert_eq!(fs::read_dir(directory().join(place)).unwrap().count(), wanted);
    }
});
