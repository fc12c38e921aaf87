//! From the configuration's limits to those of the kernel's rooms, and what of the
//! hierarchies a container sees.

use crate::plan::facts::{CgroupView, Hierarchy};
use crate::spec::Resources;
use cais_linux::cgroups::{self, Layout};

/// The limits as the cgroup rooms take them.
#[must_use]
pub fn resources_of(resources: &Resources) -> cgroups::Resources {
    cgroups::Resources {
        memory: resources.memory.as_ref().and_then(|memory| memory.limit),
        pids: resources.pids.as_ref().map(|pids| pids.limit),
    }
}

/// What a container sees at `/sys/fs/cgroup`.
#[must_use]
pub fn view_of(layout: &Layout) -> CgroupView {
    let hierarchies = layout.v1.iter().map(|(path, options)| Hierarchy {
        directory: path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        options: options.clone(),
    });
    CgroupView::V1(hierarchies.collect())
}
