//! Stopping and resuming a group (admin-guide/cgroup-v1/freezer-subsystem.rst).

/// The file that holds the state.
pub(crate) const FILE: &str = "freezer.state";
/// All processes stand still.
pub(crate) const FROZEN: &str = "FROZEN";
/// They run.
pub(crate) const THAWED: &str = "THAWED";
