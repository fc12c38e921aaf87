//! The steps of devices and of the links beside them (runtime-spec, "Default Devices").

use super::planner::Planner;
use super::sources::Source;
use super::steps::c_string;
use crate::error::PlanError;
use crate::spec::validate::clean_path;
use crate::spec::{DeviceNode, Mount};
use cais_init::step::{Step, target};
use rustix::fs::FileType;

/// The devices that every container has (runtime-spec, "Default Devices").
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links that every container has.
const DEFAULT_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Whether set-up makes devices: everywhere but in a /dev that comes from elsewhere.
fn needs_devices(planner: &Planner<'_>) -> bool {
    let is_bound = |mount: &Mount| {
        clean_path(&mount.destination) == "/dev"
            && (mount.kind.as_deref() == Some("bind")
                || mount
                    .options
                    .iter()
                    .any(|option| option == "bind" || option == "rbind"))
    };
    !planner.spec.mounts.iter().any(is_bound)
}

pub(super) fn plan_devices(planner: &mut Planner<'_>) -> Result<(), PlanError> {
    if !needs_devices(planner) {
        return Ok(());
    }
    let asked = planner
        .spec
        .linux
        .as_ref()
        .map_or(&[][..], |linux| &linux.devices[..]);
    for (path, major, minor) in DEFAULT_DEVICES {
        // What the configuration says of a default device holds, but for the null device,
        // which hidden paths are made of.
        if path != "/dev/null" && asked.iter().any(|node| node.path == path) {
            continue;
        }
        let node = DeviceNode {
            path: path.to_owned(),
            kind: "c".to_owned(),
            major: i64::from(major),
            minor: i64::from(minor),
            file_mode: Some(0o666),
            ..DeviceNode::default()
        };
        plan_device(planner, &node)?;
    }
    for node in asked.iter().filter(|node| node.path != "/dev/null") {
        plan_device(planner, node)?;
    }
    for (link, content) in DEFAULT_LINKS {
        let step = Step::MakeSymlink {
            path: &c_string(link),
            content: &c_string(content),
        };
        planner.step("programs expect it (runtime-spec, \"Default Devices\")", &step);
    }
    Ok(())
}

/// A device is made where the process may make one, else the host's is mounted. The
/// null device is always mounted: hidden paths are copies of that mount.
fn plan_device(planner: &mut Planner<'_>, node: &DeviceNode) -> Result<(), PlanError> {
    let number = |value: i64| {
        u32::try_from(value).map_err(|_out_of_range| PlanError::Unknown {
            path: "linux.devices[]",
            value: format!("{}: {value}", node.path),
        })
    };
    let (major, minor) = (number(node.major)?, number(node.minor)?);
    let (kind, bits) = match node.kind.as_str() {
        "c" | "u" => (FileType::CharacterDevice, 0o020_000),
        "b" => (FileType::BlockDevice, 0o060_000),
        "p" => (FileType::Fifo, 0o010_000),
        other => {
            return Err(PlanError::Unknown {
                path: "linux.devices[].type",
                value: other.to_owned(),
            });
        }
    };
    let path = c_string(&node.path);
    let is_null = node.path == "/dev/null";
    let cannot_make = planner.has_user_namespace() || planner.facts.rootless || planner.facts.confined;
    if is_null || (cannot_make && kind != FileType::Fifo) {
        let mount = if is_null {
            planner.null_device()
        } else {
            let host = planner
                .facts
                .device_sources
                .get(&node.path)
                .cloned()
                .unwrap_or_else(|| node.path.clone().into());
            planner.device(Source::Device {
                path: host,
                kind,
                major,
                minor,
            })
        };
        let step = Step::MountTree {
            mount,
            path: &path,
            propagation: 0,
            target: target::REAL | target::MAKE_FILE,
        };
        planner.step(
            "the host's device: a node cannot be made in a user namespace",
            &step,
        );
        return Ok(());
    }
    if let Some((parent, _)) = node
        .path
        .rsplit_once('/')
        .filter(|(parent, _)| parent.len() > "/dev".len())
    {
        let parent = c_string(parent);
        planner.step(
            "the directory of a device",
            &Step::MakeDirectory {
                path: &parent,
                mode: 0o755,
            },
        );
    }
    let mode = bits | node.file_mode.unwrap_or(0o666);
    let step = Step::MakeDevice {
        path: &path,
        mode,
        major,
        minor,
        uid: node.uid.unwrap_or(0),
        gid: node.gid.unwrap_or(0),
    };
    planner.step("programs expect it (runtime-spec, \"Default Devices\")", &step);
    Ok(())
}
