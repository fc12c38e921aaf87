//! What is done with a group that runs: limits changed, stopped and resumed, looked into.

use super::group::{apply, attach_devices, open_below, read_text, write_text};
use super::plan::{Write, plan_v1, plan_v2};
use super::resources::Resources;
use super::v1::freezer;
use super::{CgroupError, Group, Layout};
use crate::error::SysError;
use cais_order::InOrder;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::time::Timespec;
use std::path::Path;

type Result<T> = std::result::Result<T, CgroupError>;

/// How long a group may take to stand still: 10 s, as runc gives it.
const FREEZE_ATTEMPTS: u32 = 10_000;

impl Group {
    /// Changes limits. What `resources` does not name stays.
    ///
    /// # Errors
    /// See [`CgroupError`]; limits before the one that failed are changed.
    pub fn update(&self, resources: &Resources) -> Result<()> {
        if resources.memory.check_before_update {
            self.check_usage(resources)?;
        }
        if self.members.is_empty()
            && let Some(unified) = &self.unified
        {
            let offered = read_text(unified.base.as_fd(), &format!("{}/cgroup.controllers", self.path))?;
            let has = |controller: &str| offered.split_whitespace().any(|known| known == controller);
            for write in plan_v2(resources, &has)? {
                apply(unified.base.as_fd(), &self.path, &write)?;
            }
            return attach_devices(unified, &self.path, &resources.devices);
        }
        let writes = plan_v1(resources, &|controller| self.member(controller).is_some())?;
        let mut rest = writes.as_slice();
        while let [write, others @ ..] = rest {
            rest = others;
            match (self.apply_v1(write), others) {
                // The limit of memory alone may not pass that of memory and swap: where
                // both rise, the second one is first.
                (Err(CgroupError::Refused { .. }), [second, others @ ..])
                    if is(write, "memory.limit_in_bytes") && is(second, "memory.memsw.limit_in_bytes") =>
                {
                    self.apply_v1(second)?;
                    self.apply_v1(write)?;
                    rest = others;
                }
                (result, _) => result?,
            }
        }
        Ok(())
    }

    fn apply_v1(&self, write: &Write) -> Result<()> {
        match self.member(write.controller) {
            Some(member) => apply(member.base.as_fd(), &self.path, write),
            None => Ok(()),
        }
    }

    fn check_usage(&self, resources: &Resources) -> Result<()> {
        let Some(limit) = resources.memory.limit.filter(|limit| *limit >= 0) else {
            return Ok(());
        };
        let text = match (self.member("memory"), &self.unified) {
            (Some(member), _) => read_text(
                member.base.as_fd(),
                &format!("{}/memory.usage_in_bytes", self.path),
            )?,
            (None, Some(unified)) => {
                read_text(unified.base.as_fd(), &format!("{}/memory.current", self.path))?
            }
            (None, None) => return Ok(()),
        };
        let usage = text.trim().parse().unwrap_or(0);
        if i64::try_from(usage).is_ok_and(|usage| usage > limit) {
            return Err(CgroupError::BelowUsage { limit, usage });
        }
        Ok(())
    }

    /// Stops all processes of the group, and waits until they stand still.
    ///
    /// # Errors
    /// [`CgroupError::NoController`] where version 1 has no freezer; `EBUSY` where they do
    /// not stand still within ten seconds: then they run again.
    pub fn freeze(&self) -> Result<()> {
        if let Some(member) = self.member("freezer") {
            return freeze_v1(member.base.as_fd(), &self.path);
        }
        match &self.unified {
            Some(unified) => freeze_v2(unified.base.as_fd(), &self.path, true),
            None => Err(no_freezer()),
        }
    }

    /// Lets them run again.
    ///
    /// # Errors
    /// As [`Group::freeze`].
    pub fn thaw(&self) -> Result<()> {
        if let Some(member) = self.member("freezer") {
            let file = format!("{}/{}", self.path, freezer::FILE);
            return Ok(write_text(member.base.as_fd(), &file, freezer::THAWED)?);
        }
        match &self.unified {
            Some(unified) => freeze_v2(unified.base.as_fd(), &self.path, false),
            None => Err(no_freezer()),
        }
    }

    /// Whether its processes stand still, or are about to.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let read = |base: BorrowedFd<'_>, file: &str| read_text(base, &format!("{}/{file}", self.path));
        if let Some(member) = self.member("freezer") {
            // `self` and not the state: a group above may be the one that is frozen.
            return read(member.base.as_fd(), "freezer.self_freezing").is_ok_and(|text| text.trim() == "1");
        }
        let Some(unified) = &self.unified else {
            return false;
        };
        read(unified.base.as_fd(), "cgroup.freeze").is_ok_and(|text| text.trim() == "1")
    }

    /// The processes of the group and of all groups below it.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn all_processes(&self) -> Result<Vec<Pid>> {
        let base = match (self.members.first(), &self.unified) {
            (Some(member), _) => member.base.as_fd(),
            (None, Some(unified)) => unified.base.as_fd(),
            (None, None) => return Ok(Vec::new()),
        };
        let mut found = Vec::new();
        collect_processes(base, &self.path, &mut found)?;
        found.order_by_key(|pid| pid.as_raw_nonzero());
        found.dedup();
        Ok(found)
    }

    /// Opens the group in the hierarchy of version 1 that has `controller`, or that of
    /// version 2 for the empty name.
    #[must_use]
    pub fn open_directory(&self, controller: &str) -> Option<rustix::fd::OwnedFd> {
        let base = if controller.is_empty() {
            self.unified.as_ref()?.base.as_fd()
        } else {
            self.member(controller)?.base.as_fd()
        };
        open_below(base, &self.path, OFlags::PATH | OFlags::DIRECTORY).ok()
    }

    /// Whether the group is one of cgroup v2 alone.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.members.is_empty() && self.unified.is_some()
    }
}

fn is(write: &Write, file: &str) -> bool {
    write.files.first().is_some_and(|known| known == file)
}

fn no_freezer() -> CgroupError {
    CgroupError::NoController {
        limit: "standing still",
        controller: "freezer",
    }
}

/// Version 1 tells of no change: the state is asked for until it is right. A process that
/// is being made may slip through, so the request is repeated.
fn freeze_v1(base: BorrowedFd<'_>, path: &str) -> Result<()> {
    let file = format!("{path}/{}", freezer::FILE);
    for _ in 0..FREEZE_ATTEMPTS {
        write_text(base, &file, freezer::FROZEN)?;
        if read_text(base, &file)?.trim() == freezer::FROZEN {
            return Ok(());
        }
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        poll(&mut [], Some(&pause)).map(drop).unwrap_or_default();
    }
    write_text(base, &file, freezer::THAWED)?;
    Err(CgroupError::Refused {
        file,
        value: freezer::FROZEN.to_owned(),
        errno: Errno::BUSY,
    })
}

/// Version 2 wakes a reader of `cgroup.events`.
fn freeze_v2(base: BorrowedFd<'_>, path: &str, frozen: bool) -> Result<()> {
    let events = open_below(base, &format!("{path}/cgroup.events"), OFlags::RDONLY)?;
    write_text(
        base,
        &format!("{path}/cgroup.freeze"),
        if frozen { "1" } else { "0" },
    )?;
    let wanted = if frozen { "frozen 1" } else { "frozen 0" };
    for _ in 0..10 {
        let mut buffer = [0u8; 128];
        let length = rustix::io::pread(&events, &mut buffer[..], 0)
            .map_err(|errno| SysError::new("pread", format!("cgroup {path:?}, cgroup.events"), errno))?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or(&[])).into_owned();
        if text.lines().any(|line| line == wanted) {
            return Ok(());
        }
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&second)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", "cgroup.events", errno).into()),
        }
    }
    if frozen {
        write_text(base, &format!("{path}/cgroup.freeze"), "0")?;
    }
    Err(CgroupError::Refused {
        file: "cgroup.freeze".to_owned(),
        value: wanted.to_owned(),
        errno: Errno::BUSY,
    })
}

fn collect_processes(base: BorrowedFd<'_>, path: &str, found: &mut Vec<Pid>) -> Result<()> {
    match read_text(base, &format!("{path}/cgroup.procs")) {
        Ok(text) => found.extend(text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?))),
        // A threaded group of version 2 lists none; one that is gone had none.
        Err(error) if matches!(error.errno(), Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV) => {}
        Err(error) => return Err(error.into()),
    }
    let Ok(directory) = open_below(base, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW) else {
        return Ok(());
    };
    let entries = Dir::read_from(&directory)
        .map_err(|errno| SysError::new("getdents64", format!("cgroup {path:?}"), errno))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_bytes();
        if entry.file_type().is_dir() && !matches!(name, b"." | b"..") {
            collect_processes(base, &format!("{path}/{}", String::from_utf8_lossy(name)), found)?;
        }
    }
    Ok(())
}

/// The groups directly below the top of some hierarchy whose name begins with `prefix`:
/// for finding what was left behind.
#[must_use]
pub fn list_groups(layout: &Layout, prefix: &str) -> Vec<String> {
    let hierarchies = layout.v1.iter().chain(&layout.v2);
    let mut found: Vec<String> = hierarchies
        .flat_map(|hierarchy| list_in(&hierarchy.path, prefix))
        .collect();
    found.order();
    found.dedup();
    found
}

fn list_in(path: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(prefix)).collect()
}
