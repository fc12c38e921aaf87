//! The init stub's executable, as `build.rs` made it.

/// The bytes of the static executable.
pub static STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cais-init"));
