//! The CPUs and memory nodes that may be used (admin-guide/cgroup-v1/cpusets.rst). A
//! group starts with none of either and takes no process then: [`crate::cgroups::Group`]
//! copies those of the group above.

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Cpu;

/// The two files.
pub(crate) const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

pub(crate) fn plan(cpu: &Cpu, writes: &mut Vec<Write>) {
    for (file, value) in FILES.iter().zip([&cpu.cpus, &cpu.mems]) {
        if let Some(value) = value {
            writes.push(Write::new("cpuset", *file, value));
        }
    }
}
