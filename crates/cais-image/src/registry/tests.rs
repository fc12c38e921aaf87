//! Against a registry that makes mistakes.
