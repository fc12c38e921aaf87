//! Owners, modes, times and extended attributes, set on descriptors, or on a name in an
//! open directory without following it (CVE-2021-32760, CVE-2026-33056).

use super::error::Problem;
use super::marker::{Form, Translated, proc_descriptor, proc_path};
use crate::tar::{Entry, Kind, Time};
use rustix::fd::BorrowedFd;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmod, chownat, fchmod,
    fchown, fsetxattr, fstat, futimens, lsetxattr, openat, statat, utimensat,
};
use rustix::io::Errno;

/// Sets attributes of entries in one form, and collects which were left out.
pub(crate) struct Attributes {
    pub(crate) form: Form,
    /// The name of an extended attribute that was left out, and why.
    pub(crate) left_out: Vec<(Vec<u8>, &'static str)>,
}

/// A failed call that only makes an attribute missing.
fn is_refusal(errno: Errno, attribute: &[u8], form: Form, kind: Kind) -> Option<&'static str> {
    match errno {
        Errno::OPNOTSUPP => Some("the file system does not keep it"),
        // user.* is for files and directories only (xattr(7)).
        Errno::PERM if kind != Kind::Regular && attribute.starts_with(b"user.") => {
            Some("such a file cannot have it")
        }
        Errno::PERM if form == Form::Rootless => Some("it needs privilege"),
        _ => None,
    }
}

impl Attributes {
    /// Sets what `entry` says on an open file or directory; all but times, which for
    /// directories come last.
    pub(crate) fn set_on(&mut self, file: BorrowedFd<'_>, entry: &Entry, mode: Mode) -> Result<(), Problem> {
        let failed = |call| move |errno| Problem::sys(call, &entry.path, errno);
        let stat = fstat(file).map_err(failed("fstat"))?;
        let owners = self.form == Form::Privileged && (stat.st_uid != entry.uid || stat.st_gid != entry.gid);
        if owners {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            fchown(file, Some(uid), Some(gid)).map_err(failed("fchown"))?;
        }
        // A new owner takes the set-id bits away, so the mode comes after it.
        if Mode::from_raw_mode(stat.st_mode) != mode || owners && mode.intersects(Mode::SUID | Mode::SGID) {
            fchmod(file, mode).map_err(failed("fchmod"))?;
        }
        // And it takes security.capability away.
        self.set_xattrs(entry, |name, value| {
            fsetxattr(file, name, value, XattrFlags::empty())
        })
    }

    /// The same for what cannot be opened; times too.
    pub(crate) fn set_at(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), Problem> {
        let failed = |call| move |errno| Problem::sys(call, &entry.path, errno);
        if self.form == Form::Privileged {
            let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
            chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(failed("fchownat"))?;
        }
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("fstatat"))?;
        let mode = Mode::from_raw_mode(entry.mode);
        if entry.kind != Kind::Symlink && Mode::from_raw_mode(stat.st_mode) != mode {
            chmod_at(directory, name, mode).map_err(failed("fchmodat"))?;
        }
        if !entry.xattrs.is_empty() {
            let path = proc_path(directory, name);
            self.set_xattrs(entry, |attribute, value| {
                lsetxattr(&path, attribute, value, XattrFlags::empty())
            })?;
        }
        utimensat(directory, name, &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW).map_err(failed("utimensat"))
    }

    fn set_xattrs(
        &mut self,
        entry: &Entry,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Problem> {
        for (name, value) in &entry.xattrs {
            let result = match self.form.into_layer(name) {
                Translated::Same => set(name, value),
                Translated::As(other) => set(&other, value),
                Translated::Not(reason) => {
                    self.left_out.push((name.clone(), reason));
                    continue;
                }
            };
            if let Err(errno) = result {
                match is_refusal(errno, name, self.form, entry.kind) {
                    Some(reason) => self.left_out.push((name.clone(), reason)),
                    None => return Err(Problem::sys("setxattr", name, errno)),
                }
            }
        }
        Ok(())
    }

    /// Takes away what an entry before said of a directory.
    pub(crate) fn clear_xattrs(&self, directory: BorrowedFd<'_>) -> Result<(), Errno> {
        for name in list_xattrs(|buffer| rustix::fs::flistxattr(directory, buffer))? {
            if self.form.is_own(&name) || name.starts_with(b"security.") && name != b"security.capability" {
                continue;
            }
            match rustix::fs::fremovexattr(directory, &name[..]) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// The names of extended attributes; none where the file system has no such.
pub(crate) fn list_xattrs(list: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = vec![0u8; 1024];
    let length = loop {
        match list(&mut names) {
            Ok(length) => break length,
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            // 64 KiB is the most there can be (listxattr(2)).
            Err(Errno::RANGE) if names.len() < 65536 => names.resize(65536, 0),
            Err(errno) => return Err(errno),
        }
    };
    let names = names[..length].split(|byte| *byte == 0);
    Ok(names
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// fchmodat(2) follows links; a descriptor without access shows what is there first.
fn chmod_at(directory: BorrowedFd<'_>, name: &[u8], mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    chmod(proc_descriptor(&file), mode)
}

fn timespec(time: Time) -> Timespec {
    Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    }
}

/// The times that `entry` says; without one for reading, that of writing.
pub(crate) fn timestamps(entry: &Entry) -> Timestamps {
    Timestamps {
        last_access: timespec(entry.atime.unwrap_or(entry.mtime)),
        last_modification: timespec(entry.mtime),
    }
}

pub(crate) fn set_times(file: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Errno> {
    futimens(file, times)
}
