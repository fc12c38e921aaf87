//! Manifests, indexes and configurations.
