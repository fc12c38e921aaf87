//! OCI runtime: `config.json` to plan (pure) to container.

pub mod seccomp_json;
