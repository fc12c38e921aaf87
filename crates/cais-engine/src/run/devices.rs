//! Looking up devices: those that the user names, and all of the host for a privileged
//! container.

use crate::bundle::BundleFacts;
use crate::error::{EngineError, Result};
use crate::options::{DeviceOption, RunOptions};
use cais_runtime::spec::DeviceNode;
use rustix::fs::{FileType, major, minor, stat};
use std::path::{Path, PathBuf};

/// Fills in what the facts need to know of devices.
pub(super) fn find(options: &RunOptions, facts: &mut BundleFacts) -> Result<()> {
    for device in &options.devices {
        let before = facts.devices.len();
        match node_of(&device.host, &device.container)? {
            Some(node) => facts.devices.push(node),
            None if device.host.is_dir() => devices_below(device, &mut facts.devices)?,
            None => {}
        }
        if facts.devices.len() == before {
            let path = device.host.display();
            return Err(EngineError::Invalid(format!("--device: {path} is not a device")));
        }
        facts
            .device_access
            .resize(facts.devices.len(), device.access.clone());
    }
    if options.security.privileged {
        all_devices(Path::new("/dev"), &mut facts.devices)?;
    }
    let limits = &options.limits;
    let limited = [
        &limits.device_read_bps,
        &limits.device_write_bps,
        &limits.device_read_iops,
        &limits.device_write_iops,
        &limits.blkio_weight_device,
    ];
    for (path, _) in limited.into_iter().flatten() {
        let status = stat(path).map_err(|errno| not_found(path, errno))?;
        if FileType::from_raw_mode(status.st_mode) == FileType::BlockDevice {
            facts
                .block_devices
                .insert(path.clone(), (major(status.st_rdev), minor(status.st_rdev)));
        }
    }
    Ok(())
}

fn not_found(path: &Path, errno: rustix::io::Errno) -> EngineError {
    EngineError::Store {
        action: format!("look up the device {}", path.display()),
        source: errno.into(),
    }
}

/// The node at `host`, to appear at `container`; `None` for no device.
fn node_of(host: &Path, container: &str) -> Result<Option<DeviceNode>> {
    let status = stat(host).map_err(|errno| not_found(host, errno))?;
    let kind = match FileType::from_raw_mode(status.st_mode) {
        FileType::CharacterDevice => "c",
        FileType::BlockDevice => "b",
        _ => return Ok(None),
    };
    Ok(Some(DeviceNode {
        path: container.to_owned(),
        kind: kind.to_owned(),
        major: i64::from(major(status.st_rdev)),
        minor: i64::from(minor(status.st_rdev)),
        file_mode: Some(status.st_mode & 0o7777),
        uid: Some(status.st_uid),
        gid: Some(status.st_gid),
    }))
}

/// Every device below the directory that the user names, at the same place below the one inside.
fn devices_below(device: &DeviceOption, devices: &mut Vec<DeviceNode>) -> Result<()> {
    let mut found = Vec::new();
    all_devices(&device.host, &mut found)?;
    for mut node in found {
        if let Ok(below) = Path::new(&node.path).strip_prefix(&device.host) {
            node.path = Path::new(&device.container).join(below).display().to_string();
            devices.push(node);
        }
    }
    Ok(())
}

/// Every device below `directory`, but for those that each container has its own of.
fn all_devices(directory: &Path, devices: &mut Vec<DeviceNode>) -> Result<()> {
    let entries =
        std::fs::read_dir(directory).map_err(EngineError::store(format!("read {}", directory.display())))?;
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        let own = [
            "/dev/pts",
            "/dev/shm",
            "/dev/mqueue",
            "/dev/console",
            "/dev/ptmx",
            "/dev/fd",
            "/dev/tty",
        ];
        let Some(text) = path.to_str().filter(|text| !own.contains(text)) else {
            continue;
        };
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            all_devices(&path, devices)?;
        } else if !kind.is_symlink()
            && let Ok(Some(node)) = node_of(&path, text)
        {
            devices.push(node);
        }
    }
    Ok(())
}
