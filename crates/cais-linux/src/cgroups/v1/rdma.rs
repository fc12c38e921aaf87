//! RDMA devices (admin-guide/cgroup-v1/rdma.rst); the file is the same in version 2.

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Resources;

pub(crate) fn plan(resources: &Resources, writes: &mut Vec<Write>) {
    for (device, handles, objects) in &resources.rdma {
        let mut value = device.clone();
        for (key, limit) in [("hca_handle", handles), ("hca_object", objects)] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {key}={limit}"));
            }
        }
        writes.push(Write::new("rdma", "rdma.max", value));
    }
}
