//! What is told while an image moves, for whoever shows it.

use cais_image::Descriptor;

/// What happened to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was there already.
    Present,
    /// So many of its bytes have come.
    Fetching(u64),
    /// All have come.
    Fetched,
    /// It is unpacked.
    Unpacked,
    /// It is being made again from its files.
    Preparing,
    /// So many of its bytes were given.
    Pushing(u64),
    /// The registry had it already.
    Known,
    /// The registry has it now.
    Pushed,
    /// The registry took it from another of its repositories.
    Mounted,
}

/// Hears of what happens, from several threads at once.
pub trait Watch: Sync {
    /// Something happened to a blob, whose descriptor has its size.
    fn blob(&self, blob: &Descriptor, step: Step);

    /// A line for the user: `1: Pulling from team/web`.
    fn line(&self, _text: &str) {}

    /// A warning of the registry's or about the configuration.
    fn warning(&self, _text: &str) {}
}

/// Nobody listens.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn blob(&self, _blob: &Descriptor, _step: Step) {}
}
