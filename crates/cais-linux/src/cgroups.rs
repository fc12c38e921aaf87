//! Control groups, for a first light.

use crate::error::SysError;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::path::PathBuf;

/// A failure.
pub type CgroupError = SysError;

/// Limits.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// memory
    pub memory: Option<i64>,
    /// pids
    pub pids: Option<i64>,
}

/// The hierarchies.
#[derive(Debug, Clone)]
pub struct Layout {
    /// directory, options
    pub v1: Vec<(PathBuf, Vec<String>)>,
}

impl Layout {
    /// Reads.
    ///
    /// # Errors
    /// x
    pub fn read() -> Result<Self, SysError> {
        let text = std::fs::read_to_string("/proc/self/mountinfo")
            .map_err(|e| SysError::from_io("read", "mountinfo", &e))?;
        let mut v1 = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let Some(dash) = words.iter().position(|w| *w == "-") else {
                continue;
            };
            if words.get(dash + 1) == Some(&"cgroup") {
                let options = words[dash + 3]
                    .split(',')
                    .filter(|o| *o != "rw")
                    .map(str::to_owned)
                    .collect();
                v1.push((PathBuf::from(words[4]), options));
            }
        }
        Ok(Self { v1 })
    }
    /// How many tasks files.
    #[must_use]
    pub fn tasks_count(&self) -> usize {
        self.v1.len()
    }
}

/// A group.
#[derive(Debug)]
pub struct Group {
    dirs: Vec<PathBuf>,
    tasks: Vec<OwnedFd>,
}

impl Group {
    /// Makes.
    ///
    /// # Errors
    /// x
    pub fn create(layout: &Layout, path: &str, resources: &Resources) -> Result<Self, SysError> {
        let mut group = Self {
            dirs: Vec::new(),
            tasks: Vec::new(),
        };
        for (base, _) in &layout.v1 {
            let dir = base.join(path);
            std::fs::create_dir_all(&dir).map_err(|e| SysError::from_io("mkdir", format!("{dir:?}"), &e))?;
            if base.ends_with("cpuset") {
                for f in ["cpuset.cpus", "cpuset.mems"] {
                    let v = std::fs::read(base.join(f)).unwrap_or_default();
                    std::fs::write(dir.parent().unwrap_or(&dir).join(f), &v)
                        .map_err(|e| SysError::from_io("write", f, &e))?;
                    std::fs::write(dir.join(f), &v).map_err(|e| SysError::from_io("write", f, &e))?;
                }
            }
            if let (true, Some(limit)) = (base.ends_with("memory"), resources.memory) {
                std::fs::write(dir.join("memory.limit_in_bytes"), limit.to_string())
                    .map_err(|e| SysError::from_io("write", "memory", &e))?;
            }
            if let (true, Some(limit)) = (base.ends_with("pids"), resources.pids.filter(|l| *l > 0)) {
                std::fs::write(dir.join("pids.max"), limit.to_string())
                    .map_err(|e| SysError::from_io("write", "pids", &e))?;
            }
            let tasks = dir.join("tasks");
            group.tasks.push(
                rustix::fs::open(&tasks, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|e| SysError::new("open", format!("{tasks:?}"), e))?,
            );
            group.dirs.push(dir);
        }
        Ok(group)
    }
    /// Opens.
    ///
    /// # Errors
    /// x
    pub fn open_existing(layout: &Layout, path: &str) -> Result<Option<Self>, SysError> {
        let mut group = Self {
            dirs: Vec::new(),
            tasks: Vec::new(),
        };
        for (base, _) in &layout.v1 {
            let dir = base.join(path);
            if let Ok(fd) =
                rustix::fs::open(dir.join("tasks"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            {
                group.tasks.push(fd);
                group.dirs.push(dir);
            }
        }
        Ok((!group.dirs.is_empty()).then_some(group))
    }
    /// Tasks.
    #[must_use]
    pub fn tasks(&self) -> Vec<BorrowedFd<'_>> {
        self.tasks.iter().map(AsFd::as_fd).collect()
    }
    /// v2.
    #[must_use]
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// Kills.
    ///
    /// # Errors
    /// x
    pub fn kill_all(&self) -> Result<(), SysError> {
        Ok(())
    }
    /// Removes.
    ///
    /// # Errors
    /// x
    pub fn remove(&self) -> Result<(), SysError> {
        for dir in &self.dirs {
            std::fs::remove_dir(dir).map_err(|e| SysError::from_io("rmdir", format!("{dir:?}"), &e))?;
        }
        Ok(())
    }
    /// OOM.
    ///
    /// # Errors
    /// x
    pub fn read_oom_kills(&self) -> Result<u64, SysError> {
        Ok(0)
    }
}
