//! Images: what they are called, where they come from, how they are kept.

pub mod descriptor;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod reference;
pub mod registry;

pub use descriptor::{Descriptor, MediaType};
pub use digest::{Digest, Hasher};
pub use reference::Reference;
