//! A group in every hierarchy: opened, joined, ended, removed. See `make` for its beginning.
//!
//! All work goes through descriptors of the hierarchies' mount points. On version 1 the
//! child joins by writing `0` to the `tasks` files that are opened here: the kernel takes
//! its big lock, and waits for an RCU grace period of some milliseconds, only for
//! `cgroup.procs` and for other processes' ids. On version 2 the child is cloned into the
//! group.

use super::detect::{Hierarchy, Layout};
use super::plan::Write;
use super::resources::DeviceRule;
use super::v1::freezer;
use super::{CgroupError, v1, v2};
use crate::error::SysError;
use crate::path::read_unsized;
use crate::process::pidfd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

/// How often a busy group is tried, a millisecond apart.
const ATTEMPTS: u32 = 1000;

type Result<T> = std::result::Result<T, CgroupError>;

/// A group, by its path below every hierarchy.
#[derive(Debug)]
pub struct Group {
    pub(super) path: String,
    pub(super) members: Vec<Member>,
    pub(super) unified: Option<Unified>,
}

/// The group in one hierarchy of version 1.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) controllers: Vec<String>,
    pub(super) base: OwnedFd,
    pub(super) tasks: OwnedFd,
}

/// The group in the hierarchy of version 2.
#[derive(Debug)]
pub(super) struct Unified {
    pub(super) base: OwnedFd,
    pub(super) directory: OwnedFd,
}

impl Group {
    /// Moves a process into the group, in every hierarchy.
    ///
    /// # Errors
    /// As write(2) on `cgroup.procs`.
    pub fn add_process(&self, pid: i32) -> Result<()> {
        let members = self.members.iter().map(|member| member.base.as_fd());
        for base in members.chain(self.unified.iter().map(|unified| unified.base.as_fd())) {
            write_text(base, &format!("{}/cgroup.procs", self.path), &pid.to_string())?;
        }
        Ok(())
    }

    /// Opens a group that was made before; `None` where it is in no hierarchy.
    ///
    /// # Errors
    /// Where a hierarchy cannot be opened.
    pub fn open_existing(layout: &Layout, path: &str) -> Result<Option<Self>> {
        let mut group = Self {
            path: path.to_owned(),
            members: Vec::new(),
            unified: None,
        };
        for hierarchy in &layout.v1 {
            let base = open_base(hierarchy)?;
            match open_below(base.as_fd(), &format!("{path}/tasks"), OFlags::WRONLY) {
                Ok(tasks) => group.members.push(Member {
                    controllers: hierarchy.controllers.clone(),
                    base,
                    tasks,
                }),
                Err(error) if error.errno() == Errno::NOENT => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(hierarchy) = &layout.v2 {
            let base = open_base(hierarchy)?;
            match open_below(base.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(directory) => group.unified = Some(Unified { base, directory }),
                Err(error) if error.errno() == Errno::NOENT => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok((!group.members.is_empty() || group.unified.is_some()).then_some(group))
    }

    /// The `tasks` files of version 1: the child writes `0` to each.
    #[must_use]
    pub fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.members.iter().map(|member| member.tasks.as_fd()).collect()
    }

    /// The directory of version 2: the child is cloned into it.
    #[must_use]
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|unified| unified.directory.as_fd())
    }

    /// How many processes of the group were killed for want of memory.
    ///
    /// # Errors
    /// Where the file cannot be read; a group without the controller had none.
    pub fn read_oom_kills(&self) -> Result<u64> {
        let read = |base: BorrowedFd<'_>, file: &str| read_text(base, &format!("{}/{file}", self.path));
        if let Some(memory) = self.member("memory") {
            return Ok(v1::memory::parse_oom_kills(&read(
                memory.base.as_fd(),
                "memory.oom_control",
            )?));
        }
        match &self.unified {
            None => Ok(0),
            Some(unified) => match read(unified.base.as_fd(), "memory.events") {
                Ok(events) => Ok(v2::memory::parse_oom_kills(&events)),
                Err(error) if error.errno() == Errno::NOENT => Ok(0),
                Err(error) => Err(error.into()),
            },
        }
    }

    pub(super) fn member(&self, controller: &str) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.controllers.iter().any(|known| known == controller))
    }

    /// The processes of the group, by the hierarchy that is asked first.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn processes(&self) -> Result<Vec<Pid>> {
        let base = match (self.members.first(), &self.unified) {
            (Some(member), _) => member.base.as_fd(),
            (None, Some(unified)) => unified.base.as_fd(),
            (None, None) => return Ok(Vec::new()),
        };
        match read_text(base, &format!("{}/cgroup.procs", self.path)) {
            // A zero is a process that this pid namespace does not show.
            Ok(text) => Ok(text
                .lines()
                .filter_map(|line| Pid::from_raw(line.parse().ok()?))
                .collect()),
            Err(error) if error.errno() == Errno::NOENT => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills every process of the group and waits until all are gone.
    ///
    /// # Errors
    /// Where a process cannot be signalled or waited for.
    pub fn kill_all(&self) -> Result<()> {
        if self.members.is_empty()
            && let Some(unified) = &self.unified
        {
            return kill_unified(unified.base.as_fd(), &self.path);
        }
        loop {
            let processes = self.processes()?;
            if processes.is_empty() {
                return Ok(());
            }
            // Standing still they make no others meanwhile. A frozen process dies when it
            // is thawed.
            self.set_freezer(freezer::FROZEN);
            let opened: Vec<OwnedFd> = processes
                .iter()
                .filter_map(|pid| pidfd::open(*pid).ok())
                .collect();
            for process in &opened {
                pidfd::send_signal(process.as_fd(), Signal::KILL).unwrap_or_default();
            }
            self.set_freezer(freezer::THAWED);
            for process in &opened {
                pidfd::await_end(process.as_fd(), None)?;
            }
        }
    }

    /// Without the controller a loop that kills faster than they fork must do.
    fn set_freezer(&self, state: &str) {
        if let Some(member) = self.member("freezer") {
            let file = format!("{}/{}", self.path, freezer::FILE);
            write_text(member.base.as_fd(), &file, state).unwrap_or_default();
        }
    }

    /// Removes the group from every hierarchy, with what a process made below it. What is
    /// still in it is killed. All are tried; the first error is returned.
    ///
    /// # Errors
    /// As rmdir(2).
    pub fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        let bases = self.members.iter().map(|member| member.base.as_fd());
        for base in bases.chain(self.unified.as_ref().map(|unified| unified.base.as_fd())) {
            let mut removed = remove_directory(base, &self.path);
            // A process that has ended, and is even waited for, counts until its processor has
            // switched to another: it is listed nowhere, and version 1 tells nobody.
            for _ in 0..ATTEMPTS {
                if !matches!(&removed, Err(error) if error.errno() == Errno::BUSY) {
                    break;
                }
                removed = match self.kill_all() {
                    Ok(()) => remove_tree(base, &self.path),
                    Err(CgroupError::System(error)) => Err(error),
                    Err(_) => removed,
                };
                if removed.is_err() {
                    let pause = rustix::time::Timespec {
                        tv_sec: 0,
                        tv_nsec: 1_000_000,
                    };
                    // A signal ends the pause, which is as well.
                    poll(&mut [], Some(&pause)).map(drop).unwrap_or_default();
                }
            }
            if let (Ok(()), Err(error)) = (&first, removed) {
                first = Err(error.into());
            }
        }
        first
    }
}

pub(super) fn open_base(hierarchy: &Hierarchy) -> std::result::Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&hierarchy.path, flags, Mode::empty())
        .map_err(|errno| SysError::new("open", format!("{:?}", hierarchy.path), errno))
}

pub(super) fn open_below(
    base: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> std::result::Result<OwnedFd, SysError> {
    openat(base, path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SysError::new("openat", format!("cgroup {path:?}"), errno))
}

pub(super) fn read_text(base: BorrowedFd<'_>, path: &str) -> std::result::Result<String, SysError> {
    read_unsized(&open_below(base, path, OFlags::RDONLY)?)
        .map_err(|error| SysError::from_io("read", format!("cgroup {path:?}"), &error))
}

pub(super) fn write_text(base: BorrowedFd<'_>, path: &str, text: &str) -> std::result::Result<(), SysError> {
    let file = open_below(base, path, OFlags::WRONLY)?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, text.as_bytes()))
        .map(drop)
        .map_err(|errno| SysError::new("write", format!("cgroup {path:?}, {text:?}"), errno))
}

/// Writes a limit into the first of its files that this kernel has.
pub(super) fn apply(base: BorrowedFd<'_>, path: &str, write: &Write) -> Result<()> {
    for (index, file) in write.files.iter().enumerate() {
        let value = if file == "io.weight" {
            v2::io::io_weight(write.value.parse().unwrap_or(500)).to_string()
        } else {
            write.value.clone()
        };
        match write_text(base, &format!("{path}/{file}"), &value) {
            Ok(()) => return Ok(()),
            Err(error) if error.errno() == Errno::NOENT && error.call() == "openat" => {
                if index + 1 == write.files.len() && !write.optional {
                    return Err(CgroupError::Refused {
                        file: file.clone(),
                        value,
                        errno: Errno::OPNOTSUPP,
                    });
                }
            }
            Err(error) => {
                return Err(CgroupError::Refused {
                    file: file.clone(),
                    value,
                    errno: error.errno(),
                });
            }
        }
    }
    Ok(())
}

pub(super) fn attach_devices(unified: &Unified, path: &str, rules: &[DeviceRule]) -> Result<()> {
    if rules.iter().all(|rule| rule.allow) {
        return Ok(());
    }
    let program = v2::devices::compile(rules);
    let program = cais_sys::bpf::load_device_program(&program)
        .map_err(|errno| SysError::new("bpf", "BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE", errno))?;
    let directory = open_below(unified.base.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    cais_sys::bpf::attach_device_program(directory.as_fd(), program.as_fd())
        .map_err(|errno| SysError::new("bpf", "BPF_PROG_ATTACH, BPF_CGROUP_DEVICE", errno))?;
    Ok(())
}

/// Kills a group of version 2 and waits until it says that it is empty.
fn kill_unified(base: BorrowedFd<'_>, path: &str) -> Result<()> {
    let events = match open_below(base, &format!("{path}/cgroup.events"), OFlags::RDONLY) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        other => other?,
    };
    loop {
        let text = read_text(base, &format!("{path}/cgroup.events"))?;
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        write_text(base, &format!("{path}/cgroup.kill"), "1")?;
        // The kernel wakes a reader of the file at each change; it must have been read.
        let mut buffer = [0u8; 64];
        rustix::io::pread(&events, &mut buffer[..], 0)
            .map(drop)
            .unwrap_or_default();
        match poll(
            &mut [PollFd::new(&events, PollFlags::PRI)],
            Some(&rustix::time::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            }),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", "cgroup.events", errno).into()),
        }
    }
}

fn remove_directory(base: BorrowedFd<'_>, path: &str) -> std::result::Result<(), SysError> {
    match unlinkat(base, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(SysError::new("unlinkat", format!("cgroup {path:?}"), errno)),
    }
}

/// Removes a group with the groups below it, the lowest first.
fn remove_tree(base: BorrowedFd<'_>, path: &str) -> std::result::Result<(), SysError> {
    let directory = match open_below(base, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        other => other?,
    };
    let entries = Dir::read_from(&directory)
        .map_err(|errno| SysError::new("getdents64", format!("cgroup {path:?}"), errno))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if entry.file_type().is_dir() && !matches!(name, b"." | b"..") {
            remove_tree(base, &format!("{path}/{}", String::from_utf8_lossy(name)))?;
        }
    }
    remove_directory(base, path)
}

#[cfg(test)]
mod tests;
