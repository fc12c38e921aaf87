//! `checkpoint`: CRIU writes the processes of a container down, and by default ends them.

use super::criu::message::{Fields, Request, option};
use super::criu::session::{Notice, Session};
use super::criu::{self, CriuOptions, DESCRIPTORS_FILE, Directories};
use super::error::{Result, RuntimeError};
use super::state::{Container, Directory, State, Status, probe_status};
use super::{Runtime, cgroups};
use cais_linux::cgroups::Layout;
use rustix::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const LOG: &str = "dump.log";

/// What is asked beside [`CriuOptions`].
#[derive(Debug, Clone, Default)]
pub struct CheckpointOptions {
    /// What both directions are told.
    pub criu: CriuOptions,
    /// `--parent-path`: images of before, relative to the directory of these.
    pub parent: Option<PathBuf>,
    /// `--leave-running`.
    pub leave_running: bool,
    /// `--pre-dump`: memory alone, and the container goes on.
    pub pre_dump: bool,
    /// `--tcp-skip-in-flight`.
    pub tcp_skip_in_flight: bool,
    /// `--page-server`: address and port.
    pub page_server: Option<(String, u16)>,
    /// `--status-fd`: where CRIU says that lazy pages can be fetched.
    pub status_fd: Option<i32>,
}

/// Writes a container down.
///
/// # Errors
/// Where it does not run, CRIU is not installed, or CRIU refuses.
pub fn checkpoint(runtime: &Runtime, id: &str, options: &CheckpointOptions) -> Result<()> {
    criu::check_privilege(runtime, "checkpoint")?;
    check_parent(options)?;
    check_status_fd(options)?;
    let directory = Directory::open(runtime, id)?;
    let state = directory
        .read_container()?
        .ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let status = probe_status(runtime, &state);
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(RuntimeError::wrong("container cannot be checkpointed", status));
    }
    let directories = Directories::open(&options.criu, true, LOG)?;
    let mut request = Fields::default();
    directories.write(&mut request, LOG);
    plan_request(&state, options, &mut request)?;
    if !options.pre_dump {
        write_descriptors(&state, &options.criu.images)?;
    }
    // The status descriptor came from this process's own caller, open across execve(2).
    let lent = [directories.images.as_fd(), directories.work.as_fd()];
    runtime.checkpoints.pass("start criu");
    let session = Session::start(&runtime.criu, &lent, directories.log.clone())?;
    let kind = if options.pre_dump {
        Request::PreDump
    } else {
        Request::Dump
    };
    // Nothing of ours is to be done at any moment of a dump: the state is asked of the kernel.
    session
        .ask(kind, &request, &mut |_notice: Notice| Ok(()))
        .map(drop)
}

fn check_parent(options: &CheckpointOptions) -> Result<()> {
    let Some(parent) = &options.parent else {
        return Ok(());
    };
    if parent.is_absolute() {
        return Err(RuntimeError::Usage(format!(
            "--parent-path {}: it must be relative to --image-path",
            parent.display()
        )));
    }
    let place = options.criu.images.join(parent);
    if !place.is_dir() {
        return Err(RuntimeError::Usage(format!(
            "--parent-path: there is no directory {}",
            place.display()
        )));
    }
    Ok(())
}

fn check_status_fd(options: &CheckpointOptions) -> Result<()> {
    match options.status_fd {
        Some(fd) if !Path::new(&format!("/proc/self/fd/{fd}")).exists() => Err(RuntimeError::Usage(format!(
            "--status-fd {fd}: no such descriptor is open"
        ))),
        _ => Ok(()),
    }
}

fn plan_request(state: &Container, options: &CheckpointOptions, request: &mut Fields) -> Result<()> {
    options.criu.write(request);
    request
        .number(option::PID, i64::from(state.pid))
        .text(option::ROOT, &state.rootfs.to_string_lossy())
        .flag(option::LEAVE_RUNNING, options.leave_running || options.pre_dump)
        .flag(option::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight);
    let mode = if state.cgroup.is_empty() {
        criu::CgroupsMode::Ignore
    } else {
        options.criu.cgroups_mode
    };
    request
        .flag(option::MANAGE_CGROUPS, mode != criu::CgroupsMode::Ignore)
        .number(option::MANAGE_CGROUPS_MODE, mode as i64);
    if let Some(path) = freezer_of(state)? {
        request.text(option::FREEZE_CGROUP, &path.to_string_lossy());
    }
    if options.pre_dump || options.parent.is_some() {
        request.flag(option::TRACK_MEM, true);
    }
    if let Some(parent) = &options.parent {
        request.text(option::PARENT_IMG, &parent.to_string_lossy());
    }
    if let Some((address, port)) = &options.page_server {
        let mut server = Fields::default();
        server.text(1, address).number(2, i64::from(*port));
        request.message(option::PAGE_SERVER, &server);
    }
    if let Some(fd) = options.status_fd {
        request.number(option::STATUS_FD, i64::from(fd));
    }
    for (kind, path, name) in criu::external_namespaces(state) {
        let number = std::fs::metadata(&path)
            .map_err(RuntimeError::file(format!(
                "look up the namespace {}",
                path.display()
            )))?
            .ino();
        request.text(option::EXTERNAL, &format!("{kind}[{number}]:{name}"));
    }
    if !options.pre_dump {
        for (place, name) in criu::mounts::read_external(state)? {
            request.pair(option::EXT_MNT, &place, &name);
        }
    }
    Ok(())
}

/// The group by which CRIU stops all processes at once.
fn freezer_of(state: &State) -> Result<Option<PathBuf>> {
    if state.cgroup.is_empty() || cgroups::open(state)?.is_none() {
        return Ok(None);
    }
    let layout = Layout::read().map_err(RuntimeError::system("find the cgroup hierarchies"))?;
    let hierarchy = match &layout.v2 {
        Some(v2) if layout.is_unified() => Some(v2),
        _ => layout.v1_with("freezer"),
    };
    Ok(hierarchy.map(|hierarchy| hierarchy.path.join(&state.cgroup)))
}

/// Writes down what the standard streams are: a pipe is somebody else's, and `restore` puts
/// its own there.
fn write_descriptors(state: &State, images: &Path) -> Result<()> {
    let name = |number: u32| {
        let link = std::fs::read_link(format!("/proc/{}/fd/{number}", state.pid));
        link.map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let names = [0, 1, 2].map(name);
    let file = images.join(DESCRIPTORS_FILE);
    let text = cais_json::to_vec(&names).map_err(|error| RuntimeError::Json {
        file: file.clone(),
        source: error.into(),
    })?;
    std::fs::write(&file, text).map_err(RuntimeError::file(format!("write {}", file.display())))
}
