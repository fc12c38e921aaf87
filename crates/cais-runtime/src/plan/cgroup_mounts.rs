//! The steps of `/sys/fs/cgroup`: what a container sees of the hierarchies.

use super::facts::{CgroupView, Hierarchy};
use super::filesystem::plan_host_view;
use super::namespaces;
use super::planner::Planner;
use super::sources::{MapIds, Source};
use super::steps::{c_string, str_block};
use crate::error::PlanError;
use crate::mount_options::MountFlags;
use crate::spec::Mount;
use cais_init::step::{Step, target};
use cais_init::wire::StrBlock;
use cais_sys::clone::namespace;
use cais_sys::mount::{MOUNT_ATTR_RDONLY, MountAttr};

/// `/sys/fs/cgroup`: the container's own part of the hierarchies, as they are mounted
/// on the host.
pub(super) fn plan_cgroup_mount(
    planner: &mut Planner<'_>,
    mount: &Mount,
    flags: &MountFlags,
) -> Result<(), PlanError> {
    let base = mount.destination.trim_end_matches('/').to_owned();
    // Without a cgroup namespace the whole hierarchy would be seen: read-only then,
    // whatever was asked (CVE-2023-25809).
    let private = namespaces::has(planner.spec, namespace::CGROUP);
    let attributes = if private {
        flags.attr_set
    } else {
        flags.attr_set | MOUNT_ATTR_RDONLY
    };
    let make = target::MAKE_DIRECTORY;
    let path = c_string(&base);
    let shows_own =
        matches!(planner.facts.cgroup_view, CgroupView::V1(_)) && !planner.facts.cgroup_path.is_empty();
    if !private && !shows_own {
        return plan_host_view(planner, mount, flags, "/sys/fs/cgroup");
    }
    match planner.facts.cgroup_view.clone() {
        CgroupView::None => Ok(()),
        CgroupView::V2 => {
            let step = Step::MountNew {
                path: &path,
                fstype: c"cgroup2",
                parameters: StrBlock(b""),
                attributes,
                target: make,
            };
            planner.step("the container sees its own limits", &step);
            Ok(())
        }
        CgroupView::V1(hierarchies) => {
            let step = Step::MountNew {
                path: &path,
                fstype: c"tmpfs",
                parameters: StrBlock(b"mode\x00755\0"),
                attributes: attributes & !MOUNT_ATTR_RDONLY,
                target: make,
            };
            planner.step("a place for the hierarchies of cgroup v1", &step);
            // The top of a new namespace is the container's own group. Bound, it is opened by the
            // caller while the stub works. Where it can be written to, what the host has read-only
            // must not count, so it is mounted anew.
            let is_read_only = attributes & MOUNT_ATTR_RDONLY != 0;
            let is_own_top = namespaces::is_new(planner.spec, namespace::CGROUP) && is_read_only;
            let binds = !private || shows_own && is_own_top;
            for hierarchy in &hierarchies {
                plan_hierarchy(planner, &base, hierarchy, attributes, binds);
            }
            if attributes & MOUNT_ATTR_RDONLY != 0 {
                let step = Step::SetMountAttributes {
                    path: &path,
                    set: MOUNT_ATTR_RDONLY,
                    clear: 0,
                    recursive: false,
                };
                planner.step("no hierarchy can be added", &step);
            }
            Ok(())
        }
    }
}

fn plan_hierarchy(
    planner: &mut Planner<'_>,
    base: &str,
    hierarchy: &Hierarchy,
    attributes: u64,
    binds: bool,
) {
    let path = c_string(&format!("{base}/{}", hierarchy.directory));
    if binds {
        // The container's own group is bound there, as runc does it without a namespace.
        let source = Source::Tree {
            path: hierarchy.path.join(&planner.facts.cgroup_path),
            recursive: false,
            peer: false,
            attributes: MountAttr {
                attr_set: attributes,
                ..MountAttr::default()
            },
            map_ids: MapIds::No,
            no_follow: false,
        };
        let mount = planner.tree(source);
        let step = Step::MountTree {
            mount,
            path: &path,
            propagation: 0,
            target: target::MAKE_DIRECTORY,
        };
        planner.step(
            "the container sees its own limits, and not the host's tree",
            &step,
        );
    } else {
        plan_own_hierarchy(planner, &path, hierarchy, attributes);
    }
    // `cpu` and `cpuacct` are looked for by their own names too.
    for name in hierarchy
        .directory
        .split(',')
        .filter(|_| hierarchy.directory.contains(','))
    {
        let link = c_string(&format!("{base}/{name}"));
        let step = Step::MakeSymlink {
            path: &link,
            content: &c_string(&hierarchy.directory),
        };
        planner.step("the controller by its own name", &step);
    }
}

/// A hierarchy as the container's cgroup namespace has it.
fn plan_own_hierarchy(
    planner: &mut Planner<'_>,
    path: &std::ffi::CStr,
    hierarchy: &Hierarchy,
    attributes: u64,
) {
    let fstype = if hierarchy.options.is_empty() {
        c"cgroup2"
    } else {
        c"cgroup"
    };
    let mut parameters = Vec::new();
    for option in &hierarchy.options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        parameters.extend([key.to_owned(), value.to_owned()]);
    }
    let block = str_block(&parameters);
    let step = Step::MountNew {
        path,
        fstype,
        parameters: StrBlock(&block),
        attributes,
        target: target::MAKE_DIRECTORY,
    };
    planner.step("the container sees its own limits", &step);
}
