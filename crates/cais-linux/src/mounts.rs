//! Mounts that the caller prepares before the container's own process attaches
//! them: detached trees, id-mapped where the container has a user namespace.
//! See open_tree(2), fsopen(2), mount_setattr(2).

pub mod overlay;
pub mod place;
pub mod tree;
mod visit;
