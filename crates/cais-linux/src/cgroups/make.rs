//! Making a group with its limits.
//!
//! On version 2 a process is cloned into its group, which is there before. On version 1 it
//! joins by itself, so those groups are made while it gets ready.

use super::detect::{Hierarchy, Layout};
use super::group::{Member, Unified, apply, attach_devices, open_base, open_below, read_text, write_text};
use super::plan::{Write, plan_v1, plan_v2};
use super::resources::{DeviceRule, Resources};
use super::{CgroupError, Group, v1, v2};
use crate::error::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;

type Result<T> = std::result::Result<T, CgroupError>;

/// A group that is made as far as a process needs that is cloned into it: the rest follows
/// while that process gets ready. What is made of it stays where this is dropped.
#[derive(Debug)]
pub struct Making<'a> {
    group: Group,
    layout: &'a Layout,
    /// What is written in the hierarchies of version 1.
    writes: Vec<Write>,
    adopt: bool,
    is_complete: bool,
}

impl Making<'_> {
    /// The directory of version 2: the process is cloned into it.
    ///
    /// # Errors
    /// As fcntl(2).
    pub fn clone_into(&self) -> Result<Option<OwnedFd>> {
        let directory = self.group.clone_into();
        let copy = directory.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 0));
        let copy = copy.transpose();
        Ok(copy.map_err(|errno| SysError::new("fcntl", "F_DUPFD_CLOEXEC", errno))?)
    }

    /// Makes the group in the hierarchies of version 1 with its limits, if it is not there
    /// yet. On an error nothing is left of the group.
    ///
    /// # Errors
    /// See [`CgroupError`].
    pub fn complete(&mut self) -> Result<&Group> {
        if !self.is_complete
            && let Err(error) = self.group.fill(self.layout, &self.writes, self.adopt)
        {
            // The error that counts is the one that stopped the making.
            self.group.remove().unwrap_or_default();
            return Err(error);
        }
        self.is_complete = true;
        Ok(&self.group)
    }

    /// What is there of it.
    #[must_use]
    pub fn into_group(self) -> Group {
        self.group
    }
}

/// What is to be written in version 2, decided before anything is made.
struct UnifiedPlan<'a> {
    writes: Vec<Write>,
    /// The controllers that the top of the hierarchy offers.
    offered: String,
    devices: &'a [DeviceRule],
}

impl Group {
    /// Makes the part of the group that must be there before its first process is.
    ///
    /// # Errors
    /// See [`CgroupError`]; nothing is left of the group then.
    pub fn begin<'a>(layout: &'a Layout, path: &str, resources: &Resources) -> Result<Making<'a>> {
        Self::make(layout, path, resources, false)
    }

    /// The same, but a group that is there already and holds no process is taken over:
    /// the caller of an OCI runtime may have made it.
    ///
    /// # Errors
    /// See [`CgroupError`]; [`CgroupError::InUse`] for a group with processes.
    pub fn begin_or_adopt<'a>(layout: &'a Layout, path: &str, resources: &Resources) -> Result<Making<'a>> {
        if let Some(group) = Self::open_existing(layout, path)?
            && !group.all_processes()?.is_empty()
        {
            return Err(CgroupError::InUse(path.to_owned()));
        }
        Self::make(layout, path, resources, true)
    }

    /// Takes over a group that somebody else made in some hierarchies, and makes it in the
    /// others, without limits.
    ///
    /// # Errors
    /// Where a hierarchy cannot be opened or written.
    pub fn adopt(layout: &Layout, path: &str) -> Result<Self> {
        let mut group = Self {
            path: path.to_owned(),
            members: Vec::new(),
            unified: None,
        };
        for hierarchy in &layout.v1 {
            group.members.push(make_member(hierarchy, path, true)?);
        }
        if let Some(hierarchy) = &layout.v2 {
            let base = open_base(hierarchy)?;
            make_directories(base.as_fd(), path, true)?;
            let directory = open_below(base.as_fd(), path, OFlags::PATH | OFlags::DIRECTORY)?;
            group.unified = Some(Unified { base, directory });
        }
        Ok(group)
    }

    fn make<'a>(layout: &'a Layout, path: &str, resources: &Resources, adopt: bool) -> Result<Making<'a>> {
        let has_v1 = |controller: &str| layout.v1_with(controller).is_some();
        let unified_base = layout.v2.as_ref().map(open_base).transpose()?;
        // Everything is planned before anything is made.
        let (writes, plan) = match &unified_base {
            Some(base) if layout.is_unified() => {
                let offered = read_text(base.as_fd(), "cgroup.controllers")?;
                let has = |controller: &str| offered.split_whitespace().any(|known| known == controller);
                let plan = UnifiedPlan {
                    writes: plan_v2(resources, &has)?,
                    offered,
                    devices: &resources.devices,
                };
                (Vec::new(), Some(plan))
            }
            _ => (plan_v1(resources, &has_v1)?, None),
        };
        let mut group = Self {
            path: path.to_owned(),
            members: Vec::new(),
            unified: None,
        };
        if let Some(base) = unified_base
            && let Err(error) = group.make_unified(base, plan.as_ref(), adopt)
        {
            // The error that counts is the one that stopped the making.
            group.remove().unwrap_or_default();
            return Err(error);
        }
        Ok(Making {
            group,
            layout,
            writes,
            adopt,
            is_complete: false,
        })
    }

    /// The group in the hierarchies of version 1.
    fn fill(&mut self, layout: &Layout, writes: &[Write], adopt: bool) -> Result<()> {
        for hierarchy in &layout.v1 {
            self.members.push(make_member(hierarchy, &self.path, adopt)?);
        }
        for write in writes {
            if let Some(member) = self.member(write.controller) {
                apply(member.base.as_fd(), &self.path, write)?;
            }
        }
        Ok(())
    }

    /// The group in the hierarchy of version 2, with its limits where that has the
    /// controllers.
    fn make_unified(&mut self, base: OwnedFd, plan: Option<&UnifiedPlan<'_>>, adopt: bool) -> Result<()> {
        if let Some(plan) = plan {
            enable_controllers(base.as_fd(), &self.path, &plan.offered)?;
        }
        make_directories(base.as_fd(), &self.path, adopt)?;
        let directory = open_below(base.as_fd(), &self.path, OFlags::PATH | OFlags::DIRECTORY)?;
        let unified = self.unified.insert(Unified { base, directory });
        if let Some(plan) = plan {
            for write in &plan.writes {
                apply(unified.base.as_fd(), &self.path, write)?;
            }
            attach_devices(unified, &self.path, plan.devices)?;
        }
        Ok(())
    }
}

/// Makes the group, and those above it that are missing. One that is there is an error
/// unless it may be adopted.
fn make_directories(base: BorrowedFd<'_>, path: &str, adopt: bool) -> std::result::Result<(), SysError> {
    let mode = Mode::from_raw_mode(0o755);
    match mkdirat(base, path, mode) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) if adopt => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(SysError::new("mkdirat", format!("cgroup {path:?}"), errno)),
    }
    for (index, _) in path.match_indices('/') {
        let above = path.get(..index).unwrap_or(path);
        match mkdirat(base, above, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(SysError::new("mkdirat", format!("cgroup {above:?}"), errno)),
        }
    }
    mkdirat(base, path, mode).map_err(|errno| SysError::new("mkdirat", format!("cgroup {path:?}"), errno))
}

fn make_member(hierarchy: &Hierarchy, path: &str, adopt: bool) -> Result<Member> {
    let base = open_base(hierarchy)?;
    make_directories(base.as_fd(), path, adopt)?;
    if hierarchy
        .controllers
        .iter()
        .any(|controller| controller == "cpuset")
    {
        inherit_cpuset(base.as_fd(), path)?;
    }
    let tasks = open_below(base.as_fd(), &format!("{path}/tasks"), OFlags::WRONLY)?;
    Ok(Member {
        controllers: hierarchy.controllers.clone(),
        base,
        tasks,
    })
}

/// Gives a group the CPUs and memory nodes of the one above, from the top down: it starts
/// with none.
pub(super) fn inherit_cpuset(base: BorrowedFd<'_>, path: &str) -> Result<()> {
    for file in v1::cpuset::FILES {
        let mut above = String::new();
        for end in path
            .match_indices('/')
            .map(|(index, _)| index)
            .chain([path.len()])
        {
            let group = path.get(..end).unwrap_or(path);
            let place = format!("{group}/{file}");
            if read_text(base, &place)?.trim().is_empty() {
                let source = if above.is_empty() {
                    file.to_owned()
                } else {
                    format!("{above}/{file}")
                };
                write_text(base, &place, read_text(base, &source)?.trim())?;
            }
            group.clone_into(&mut above);
        }
    }
    Ok(())
}

/// Offers the controllers to the groups below, from the top down to the one above `path`. A
/// group that is another user's offers what it does already: below are those that were given
/// to this user.
pub(super) fn enable_controllers(base: BorrowedFd<'_>, path: &str, offered: &str) -> Result<()> {
    let mut offered: Vec<&str> = offered
        .split_whitespace()
        .filter(|name| v2::CONTROLLERS.contains(name))
        .collect();
    let levels = std::iter::once(0).chain(path.match_indices('/').map(|(index, _)| index));
    for end in levels {
        let above = path.get(..end).unwrap_or("");
        if !above.is_empty() {
            match mkdirat(base, above, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(SysError::new("mkdirat", format!("cgroup {above:?}"), errno).into()),
            }
        }
        let file = if above.is_empty() {
            "cgroup.subtree_control".to_owned()
        } else {
            format!("{above}/cgroup.subtree_control")
        };
        let enabled = read_text(base, &file)?;
        let missing: Vec<String> = offered
            .iter()
            .filter(|name| !enabled.split_whitespace().any(|known| known == **name))
            .map(|name| format!("+{name}"))
            .collect();
        if !missing.is_empty() {
            let value = missing.join(" ");
            match write_text(base, &file, &value).map_err(|error| error.errno()) {
                Ok(()) => {}
                Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                    // One takes the others with it: cpuset, where a process of another user is
                    // below.
                    for one in &missing {
                        write_text(base, &file, one).unwrap_or_default();
                    }
                    let enabled = read_text(base, &file)?;
                    offered.retain(|name| enabled.split_whitespace().any(|known| known == *name));
                }
                Err(errno) => return Err(CgroupError::Refused { file, value, errno }),
            }
        }
    }
    Ok(())
}
