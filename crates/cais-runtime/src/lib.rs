//! The OCI runtime: a configuration becomes a plan (pure), and the plan a container.
//!
//! The way of a start: [`plan`] turns the configuration and what is known of the
//! machine into sources (what this process opens) and steps (what the stub does);
//! [`create`] opens the sources, makes the process, sends the steps, and listens.

pub mod cgroup;
pub mod checkpoint;
pub mod container;
pub mod create;
pub mod error;
pub mod explain;
pub mod mount_options;
pub mod plan;
pub mod seccomp_filter;
pub mod seccomp_json;
pub mod spec;
pub mod stub;
pub mod time;
