//! Layers compressed for a registry.

use std::io::{self, Read, Write};

/// Compresses by gzip, without a time or a name, so that the same archive gives the same bytes.
///
/// # Errors
/// What `archive` and `out` fail with.
pub fn compress_gzip(archive: &mut dyn Read, out: &mut dyn Write) -> io::Result<u64> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
    let copied = io::copy(archive, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(copied)
}

/// Compresses by zstd.
///
/// # Errors
/// What `archive` and `out` fail with.
pub fn compress_zstd(archive: &mut dyn Read, out: &mut dyn Write) -> io::Result<u64> {
    let mut encoder = zstd::Encoder::new(out, 3)?;
    let copied = io::copy(archive, &mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(copied)
}
