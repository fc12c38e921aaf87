//! Layers: archives of changes to a file tree (image-spec, "Image Layer Filesystem
//! Changeset"), unpacked into directories that overlayfs takes as they are, and packed again.
//!
//! A layer is unpacked without those below it. Two things need them, and are reported:
//! directories that the archive does not describe, and hard links to files of layers below.

mod ahead;
mod assemble;
mod attributes;
mod compress;
mod decode;
mod dirs;
mod error;
mod marker;
mod name;
mod options;
mod pack;
mod place;
mod record;
mod remove;
mod staging;
#[cfg(test)]
mod tests;
mod unpack;

pub use assemble::{AssembleError, Assembled, assemble_layer};
pub use compress::{compress_gzip, compress_zstd};
pub use decode::{Compression, DecodeError, Decoder, Expansion};
pub use error::{Problem, UnpackError};
pub use marker::{Form, Whiteouts};
pub use options::{UnpackLimits, UnpackOptions};
pub use pack::{PackError, PackOptions, Packed, pack_layer};
pub use place::{PlaceError, place_layer};
pub use remove::{remove_children, remove_tree};
pub use staging::{DeferredLink, LeftOut};
pub use unpack::{Unpacked, unpack_layer, unpack_layer_ahead};
