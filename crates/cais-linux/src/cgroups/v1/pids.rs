//! The number of processes (admin-guide/cgroup-v1/pids.rst).

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Resources;

pub(crate) fn plan(resources: &Resources, writes: &mut Vec<Write>) {
    let Some(limit) = resources.pids else { return };
    let value = if limit <= 0 {
        "max".to_owned()
    } else {
        limit.to_string()
    };
    writes.push(Write {
        optional: resources.pids_is_default,
        ..Write::new("pids", "pids.max", value)
    });
}
