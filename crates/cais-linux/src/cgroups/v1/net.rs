//! Marks and priorities of packets (admin-guide/cgroup-v1/net_cls.rst, net_prio.rst).

use crate::cgroups::plan::Write;
use crate::cgroups::resources::Resources;

pub(crate) fn plan(resources: &Resources, writes: &mut Vec<Write>) {
    if let Some(class) = resources.class_id.filter(|class| *class != 0) {
        writes.push(Write::new("net_cls", "net_cls.classid", class));
    }
    for (interface, priority) in &resources.interface_priorities {
        writes.push(Write::new(
            "net_prio",
            "net_prio.ifpriomap",
            format!("{interface} {priority}"),
        ));
    }
}
