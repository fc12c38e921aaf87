//! The CPUs and memory nodes that may be used (cgroup-v2.rst, "Cpuset").

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Cpu;

pub(crate) fn plan(cpu: &Cpu, writes: &mut Vec<Write>) {
    for (file, value) in [("cpuset.cpus", &cpu.cpus), ("cpuset.mems", &cpu.mems)] {
        if let Some(value) = value {
            writes.push(Write::new("cpuset", file, value));
        }
    }
}
