//! The number of processes (cgroup-v2.rst, "PID").

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Resources;

pub(crate) fn plan(resources: &Resources, writes: &mut Vec<Write>) {
    // The file is that of version 1.
    crate::cgroups::v1::pids::plan(resources, writes);
}
