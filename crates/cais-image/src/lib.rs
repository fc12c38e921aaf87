//! Images: what they are called, where they come from, how they are kept.

pub mod descriptor;
pub mod digest;
pub mod formats;
pub mod layer;
pub mod manifest;
pub mod pack;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod store;
pub mod tar;

pub use descriptor::{Descriptor, MediaType};
pub use digest::{Digest, Hasher};
pub use reference::Reference;
pub use store::ContentStore;
