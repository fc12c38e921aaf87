//! `restore`: CRIU makes the processes of a container again, in a bundle like the one that
//! they came from. They become children of this process (`rst_sibling`).

use super::create::{self, CreateOptions, Created};
use super::criu::message::{Fields, Request, option};
use super::criu::session::{Notice, Session};
use super::criu::{self, CgroupsMode, CriuOptions, DESCRIPTORS_FILE, Directories};
use super::error::{Result, RuntimeError};
use super::state::{Container, Directory, Status};
use super::{Runtime, cgroups, facts, handover, hooks, systemd};
use crate::spec::validate::clean_path;
use cais_linux::cgroups::{Group, Layout};
use cais_linux::mounts::place::{PrivateRoot, ensure_place};
use cais_linux::process::start_time::read_stat;
use cais_linux::process::{pidfd, stub};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::process::Pid;
use std::path::Path;

const LOG: &str = "restore.log";

/// What is asked beside [`CriuOptions`].
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// The container: bundle, sockets, pid file, whether the caller stays.
    pub create: CreateOptions,
    /// What both directions are told.
    pub criu: CriuOptions,
    /// `--lsm-profile`: `apparmor:NAME` or `selinux:LABEL`.
    pub lsm_profile: Option<String>,
    /// `--lsm-mount-context`.
    pub lsm_mount_context: Option<String>,
}

/// Makes a container from images.
///
/// # Errors
/// Where the bundle is wrong, CRIU is not installed, or CRIU refuses; nothing is left of the
/// container then.
pub fn restore(runtime: &Runtime, id: &str, options: &RestoreOptions) -> Result<Created> {
    criu::check_privilege(runtime, "restore")?;
    super::state::check_id(id)?;
    let (mut state, _process) = create::read_bundle(id, &options.create)?;
    if !options.criu.images.is_dir() {
        return Err(RuntimeError::Usage(format!(
            "--image-path: there is no directory {}",
            options.criu.images.display()
        )));
    }
    let layout = facts::read_layout(runtime)?;
    if runtime.systemd {
        systemd::plan(runtime, &mut state)?;
    } else {
        state.cgroup = facts::cgroup_path(runtime, &layout, &state.config, id);
    }
    runtime.checkpoints.pass("make the directory");
    let directory = Directory::make(runtime, id)?;
    let mut restoring = Restoring {
        runtime,
        options,
        layout: &layout,
        directory: &directory,
        state: &mut state,
        terminal: None,
    };
    let restored = restoring.run();
    match restored {
        Ok((process, terminal)) => Ok(Created {
            state: state.state,
            process,
            terminal,
            warnings: Vec::new(),
        }),
        Err(error) => Err(create::undo(runtime, directory, &state, error)),
    }
}

/// A container that is being made again.
struct Restoring<'a> {
    runtime: &'a Runtime,
    options: &'a RestoreOptions,
    layout: &'a Layout,
    directory: &'a Directory,
    state: &'a mut Container,
    terminal: Option<OwnedFd>,
}

impl Restoring<'_> {
    fn run(&mut self) -> Result<(cais_sys::clone::StubProcess, Option<OwnedFd>)> {
        let group = self.make_cgroup()?;
        self.make_places()?;
        // CRIU wants a root that is a mount point; in a tree of its own nothing is left behind,
        // whatever becomes of it.
        let root = PrivateRoot::enter(&self.state.rootfs)
            .map_err(RuntimeError::system("make the root a mount point for criu"))?;
        let started = self.start_criu();
        root.leave()
            .map_err(RuntimeError::system("come back from criu's mounts"))?;
        // CRIU opens the directories by the descriptors of this process: they stay open.
        let (session, request, _directories) = started?;
        self.join_cgroup(group.as_ref(), session.pid())?;
        let response = session.ask(Request::Restore, &request, &mut |notice| self.take(notice))?;
        let pid = Pid::from_raw(response.pid)
            .ok_or_else(|| RuntimeError::Wrong("criu named no process that it had made again".to_owned()))?;
        let process = pidfd::open(pid)
            .and_then(stub::adopt)
            .map_err(RuntimeError::system("open the process that criu made again"))?;
        if let Some(path) = &self.options.create.pid_file {
            handover::write_pid_file(path, self.state.pid)?;
        }
        if let Some(path) = &self.options.create.pidfd_socket {
            handover::send_descriptor(path, "pidfd", process.pidfd.as_fd())?;
        }
        Ok((process, self.terminal.take()))
    }

    /// Starts CRIU in the tree of mounts that this process is in. What it gets is opened here: it
    /// mounts below its directories, which must lie in its own tree.
    fn start_criu(&self) -> Result<(Session, Fields, Directories)> {
        let directories = Directories::open(&self.options.criu, false, LOG)?;
        let namespaces = open_namespaces(self.state)?;
        let mut request = Fields::default();
        directories.write(&mut request, LOG);
        self.plan_request(&namespaces, &mut request)?;
        let mut lent: Vec<BorrowedFd<'_>> = vec![directories.images.as_fd(), directories.work.as_fd()];
        lent.extend(namespaces.iter().map(|(_, fd)| fd.as_fd()));
        self.runtime.checkpoints.pass("start criu");
        let session = Session::start(&self.runtime.criu, &lent, directories.log.clone())?;
        Ok((session, request, directories))
    }

    /// The cgroup, written down before it is made.
    fn make_cgroup(&mut self) -> Result<Option<Group>> {
        let (path, unit) = (
            std::mem::take(&mut self.state.cgroup),
            self.state.systemd_unit.take(),
        );
        cgroups::check_free(self.layout, &path)?;
        (self.state.cgroup, self.state.systemd_unit) = (path, unit);
        self.runtime.checkpoints.pass("write the state");
        self.directory.write_new(self.state)?;
        if self.runtime.systemd {
            return Ok(None);
        }
        self.runtime.checkpoints.pass("make the cgroup");
        // Where this fails, the group is none of ours to remove.
        let path = std::mem::take(&mut self.state.cgroup);
        let making = cgroups::make(self.runtime, self.layout, &self.state.config, &path)?;
        let Some(mut making) = making else { return Ok(None) };
        let made = making.complete().map(drop);
        made.map_err(|error| cgroups::failed_to_make(&path, error))?;
        self.state.cgroup = path;
        Ok(Some(making.into_group()))
    }

    /// Puts CRIU itself into the cgroup: what it makes is born there.
    fn join_cgroup(&mut self, group: Option<&Group>, criu: i32) -> Result<()> {
        if self.runtime.systemd {
            return systemd::place(self.runtime, self.state, criu);
        }
        let Some(group) = group else { return Ok(()) };
        group
            .add_process(criu)
            .map_err(RuntimeError::cgroup("put criu into the container's cgroup"))
    }

    /// Makes what is missing in the root file system to mount on.
    fn make_places(&self) -> Result<()> {
        let root = cais_linux::mounts::tree::open_directory(&self.state.rootfs)
            .map_err(RuntimeError::system("open the root file system"))?;
        for mount in &self.state.config.mounts {
            let source = mount.source.as_deref().map(Path::new);
            let is_file = mount.kind.as_deref() == Some("bind") && source.is_some_and(Path::is_file);
            let place = clean_path(&mount.destination);
            ensure_place(root.as_fd(), &place, is_file)
                .map_err(RuntimeError::system(format!("make {place} to mount on")))?;
        }
        Ok(())
    }

    fn plan_request(&self, namespaces: &[(&'static str, OwnedFd)], request: &mut Fields) -> Result<()> {
        let options = self.options;
        options.criu.write(request);
        request
            .text(option::ROOT, &self.state.rootfs.to_string_lossy())
            .flag(option::RST_SIBLING, true)
            .flag(option::EVASIVE_DEVICES, true);
        if let Some(profile) = &options.lsm_profile {
            request.text(option::LSM_PROFILE, profile);
        }
        if let Some(context) = &options.lsm_mount_context {
            request.text(option::LSM_MOUNT_CONTEXT, context);
        }
        self.plan_cgroups(request);
        for (name, fd) in namespaces {
            plan_inherited(request, name, fd.as_raw_fd());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(RuntimeError::file("read /proc/self/mountinfo"))?;
        for (name, path) in criu::mounts::plan_sources(self.state, self.layout, &mounts) {
            request.pair(option::EXT_MNT, &name, &path);
        }
        // A stream that was a pipe is this process's own stream now.
        for (number, name) in (0..).zip(read_descriptors(&options.criu.images)?) {
            if name.contains("pipe:") {
                plan_inherited(request, &name, number);
            }
        }
        Ok(())
    }

    fn plan_cgroups(&self, request: &mut Fields) {
        let mode = if self.state.cgroup.is_empty() {
            CgroupsMode::Ignore
        } else {
            self.options.criu.cgroups_mode
        };
        request
            .flag(option::MANAGE_CGROUPS, mode != CgroupsMode::Ignore)
            .number(option::MANAGE_CGROUPS_MODE, mode as i64);
        if mode == CgroupsMode::Ignore {
            return;
        }
        let path = format!("/{}", self.state.cgroup);
        for hierarchy in &self.layout.v1 {
            let mut root = Fields::default();
            root.text(1, &hierarchy.controllers.join(",")).text(2, &path);
            request.message(option::CG_ROOT, &root);
        }
        if self.layout.is_unified() {
            let mut root = Fields::default();
            root.text(2, &path);
            request.message(option::CG_ROOT, &root);
        }
    }

    /// What CRIU tells: the moments at which a container that is made new has hooks and a state
    /// too.
    fn take(&mut self, notice: Notice) -> Result<()> {
        match notice.script.as_str() {
            "setup-namespaces" => self.run_hooks(notice.pid),
            "post-restore" => {
                self.record(notice.pid);
                self.directory.write(self.state)
            }
            "orphan-pts-master" => match (notice.descriptor, &self.options.create.console_socket) {
                (Some(master), Some(path)) => handover::send_descriptor(path, "/dev/console", master.as_fd()),
                (Some(master), None) => {
                    self.terminal = Some(master);
                    Ok(())
                }
                (None, _) => Err(RuntimeError::Wrong("criu sent no terminal".to_owned())),
            },
            _ => Ok(()),
        }
    }

    fn record(&mut self, pid: i32) {
        self.state.pid = pid;
        self.state.start_time = read_stat(pid).map_or(0, |stat| stat.start);
    }

    fn run_hooks(&mut self, pid: i32) -> Result<()> {
        self.record(pid);
        let Some(wanted) = self.state.config.hooks.clone() else {
            return Ok(());
        };
        hooks::run("prestart", &wanted.prestart, self.state, Status::Creating)?;
        hooks::run(
            "createRuntime",
            &wanted.create_runtime,
            self.state,
            Status::Creating,
        )
    }
}

fn plan_inherited(request: &mut Fields, key: &str, fd: i32) {
    let mut inherited = Fields::default();
    inherited.text(1, key).number(2, i64::from(fd));
    request.message(option::INHERIT_FD, &inherited);
}

fn open_namespaces(state: &Container) -> Result<Vec<(&'static str, OwnedFd)>> {
    let open = |path: &Path| {
        std::fs::File::open(path)
            .map(OwnedFd::from)
            .map_err(RuntimeError::file(format!(
                "open the namespace {}",
                path.display()
            )))
    };
    criu::external_namespaces(state)
        .into_iter()
        .map(|(_, path, name)| Ok((name, open(&path)?)))
        .collect()
}

/// What the standard streams were when the container was written down.
fn read_descriptors(images: &Path) -> Result<Vec<String>> {
    let file = images.join(DESCRIPTORS_FILE);
    let bytes = std::fs::read(&file).map_err(RuntimeError::file(format!("read {}", file.display())))?;
    cais_json::from_slice(&bytes).map_err(|error| RuntimeError::Json {
        file,
        source: error.into(),
    })
}
