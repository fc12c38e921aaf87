//! Tar archives, read and written as streams: ustar and PAX (POSIX.1-2024, "pax"), the GNU
//! dialect (GNU tar manual, "Basic Tar Format") and what schily and libarchive add for
//! extended attributes.
//!
//! Where readers disagree about an archive it is refused and not guessed at: whoever scans
//! an archive with one reader and unpacks it with another must see the same files
//! (CVE-2025-62518).

mod contents;
mod entry;
mod error;
mod header;
mod pax;
mod reader;
mod source;
mod sparse;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

pub use contents::Contents;
pub use entry::{Device, Entry, Kind, Time};
pub use error::{TarError, TarProblem};
pub use reader::{Limits, Reader, Tap};
pub use writer::Writer;

/// The size of a block: archives consist of whole ones (POSIX.1-2024, "pax").
pub const BLOCK: usize = 512;
