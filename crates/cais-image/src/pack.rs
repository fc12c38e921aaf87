//! Packing: an image out of a machine's own programs, with only what they need.
//!
//! What a program needs is found without executing it: its loader and its libraries, as the
//! loader would find them; the interpreters of scripts; what its objects say that they open.
//! What it was seen to open while it ran can be added, and whatever the user names.

pub mod accounts;
mod archive;
mod collect;
mod data;
pub mod debian;
pub mod elf;
mod host;
pub mod ld_cache;
mod ld_conf;
mod loader;
pub mod notes;
pub mod script;
mod search;
mod secrets;
mod set;
#[cfg(test)]
mod tests;
mod wildcard;

pub use archive::{Archive, ArchiveOptions};
pub use collect::{CollectError, Collected, DEFAULT_PATH, Request, Secret, Use, UseKind, collect};
pub use host::{Host, Node, Resolved};
pub use loader::{Library, Load, LoadError, Loader, Missing};
pub use secrets::{secret_by_content, secret_by_name};
pub use set::{Content, FileSet, Item, Reason};
