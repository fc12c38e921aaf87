//! An overlay made inside the container's user namespace (overlayfs.rst, "userxattr").

use super::{Failure, Stage, StepResult, failed};
use crate::step::Slot;
use crate::wire::StrBlock;
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

/// How many layers fit into one string of fsconfig(2), which takes 256 bytes, as
/// `/proc/self/fd/NNN`.
const MAX_BY_NAME: usize = 13;
const STRING_MAX: usize = 256;

impl<'a> Stage<'a> {
    pub(super) fn make_overlay(
        &mut self,
        slot: Slot,
        lower: StrBlock<'a>,
        changes: &'a CStr,
        volatile: bool,
    ) -> StepResult<'a> {
        let overlay = make_any(lower, changes, volatile)?;
        let place = self.slots.get_mut(usize::from(slot.0)).ok_or(Failure::new(
            "slot",
            b"no such slot",
            Errno::BADF,
        ))?;
        *place = Some(overlay);
        Ok(())
    }
}

/// Makes an overlay in whichever way this kernel takes its layers.
pub(super) fn make_any<'a>(
    lower: StrBlock<'a>,
    changes: &'a CStr,
    volatile: bool,
) -> StepResult<'a, OwnedFd> {
    match make(lower, changes, volatile, by_descriptor) {
        // Before Linux 6.13 overlayfs takes names only.
        Err(failure) if matches!(failure.errno, Errno::INVAL | Errno::OPNOTSUPP | Errno::BADF) => {
            make(lower, changes, volatile, by_name)
        }
        other => other,
    }
}

/// Whether a layer is not there any more.
pub(super) fn is_gone(lower: StrBlock<'_>) -> bool {
    let gone = |path| matches!(open_directory(CWD, path), Err(failure) if failure.errno == Errno::NOENT);
    lower.iter().any(gone)
}

type SetLayers<'a> = fn(BorrowedFd<'_>, StrBlock<'a>, &Changes, &'a CStr) -> StepResult<'a, OwnedFd>;

/// The places of what is changed.
struct Changes {
    upper: OwnedFd,
    work: OwnedFd,
}

fn open_directory<'a>(at: BorrowedFd<'_>, path: &'a CStr) -> StepResult<'a, OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty()).map_err(failed("openat", path))
}

fn make<'a>(
    lower: StrBlock<'a>,
    changes: &'a CStr,
    volatile: bool,
    set_layers: SetLayers<'a>,
) -> StepResult<'a, OwnedFd> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen", c"overlay"))?;
    for (wanted, name) in [(true, c"userxattr"), (volatile, c"volatile")] {
        if wanted {
            fsconfig_set_flag(context.as_fd(), name).map_err(failed("fsconfig", name))?;
        }
    }
    let directory = open_directory(CWD, changes)?;
    let places = Changes {
        upper: open_directory(directory.as_fd(), c"upper")?,
        work: open_directory(directory.as_fd(), c"work")?,
    };
    if volatile {
        forget_last_mount(&places.work);
    }
    set_layers(context.as_fd(), lower, &places, changes)
}

/// A volatile overlay leaves a mark that forbids the next one (overlayfs.rst). Whoever mounts it
/// again did not go down with the machine since: what was written is still in memory.
fn forget_last_mount(work: &OwnedFd) {
    // Mostly there is none; what cannot be removed the mount tells of.
    if unlinkat(work, c"work/incompat/volatile/dirty", AtFlags::empty()).is_ok() {
        for directory in [c"work/incompat/volatile", c"work/incompat"] {
            unlinkat(work, directory, AtFlags::REMOVEDIR).unwrap_or_default();
        }
    }
}

fn finish<'a>(context: BorrowedFd<'_>, changes: &'a CStr) -> StepResult<'a, OwnedFd> {
    fsconfig_create(context).map_err(failed("fsconfig FSCONFIG_CMD_CREATE, overlay", changes))?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed("fsmount, overlay", changes))
}

fn by_descriptor<'a>(
    context: BorrowedFd<'_>,
    lower: StrBlock<'a>,
    places: &Changes,
    changes: &'a CStr,
) -> StepResult<'a, OwnedFd> {
    for path in lower.iter() {
        let layer = open_directory(CWD, path)?;
        fsconfig_set_fd(context, c"lowerdir+", layer.as_fd()).map_err(failed("fsconfig lowerdir+", path))?;
    }
    for (key, place) in [(c"upperdir", &places.upper), (c"workdir", &places.work)] {
        fsconfig_set_fd(context, key, place.as_fd()).map_err(failed("fsconfig", key))?;
    }
    finish(context, changes)
}

fn by_name<'a>(
    context: BorrowedFd<'_>,
    lower: StrBlock<'a>,
    places: &Changes,
    changes: &'a CStr,
) -> StepResult<'a, OwnedFd> {
    let mut layers = [const { None }; MAX_BY_NAME];
    let mut names = Name::default();
    for (index, path) in lower.iter().enumerate() {
        let place = layers.get_mut(index).ok_or(Failure::new(
            "fsconfig: more layers than this kernel takes",
            path.to_bytes(),
            Errno::TOOBIG,
        ))?;
        let layer = place.insert(open_directory(CWD, path)?);
        if index > 0 {
            names.put(b":");
        }
        names.put_descriptor(layer.as_fd());
    }
    fsconfig_set_string(context, c"lowerdir", names.as_c_str()).map_err(failed("fsconfig", c"lowerdir"))?;
    for (key, place) in [(c"upperdir", &places.upper), (c"workdir", &places.work)] {
        let mut name = Name::default();
        name.put_descriptor(place.as_fd());
        fsconfig_set_string(context, key, name.as_c_str()).map_err(failed("fsconfig", key))?;
    }
    finish(context, changes)
}

/// A short text without an allocator. What does not fit is left out; [`MAX_BY_NAME`] sees to
/// it that everything does.
struct Name {
    bytes: [u8; STRING_MAX],
    length: usize,
}

impl Default for Name {
    fn default() -> Self {
        Self {
            bytes: [0; STRING_MAX],
            length: 0,
        }
    }
}

impl Name {
    fn put(&mut self, text: &[u8]) {
        // One byte stays for the end.
        for (place, byte) in self
            .bytes
            .iter_mut()
            .take(STRING_MAX - 1)
            .skip(self.length)
            .zip(text)
        {
            *place = *byte;
            self.length += 1;
        }
    }

    fn put_descriptor(&mut self, fd: BorrowedFd<'_>) {
        self.put(b"/proc/self/fd/");
        let mut digits = [0u8; 10];
        let mut count = 0;
        let mut rest = fd.as_raw_fd().cast_unsigned();
        for digit in &mut digits {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            count += 1;
            if rest == 0 {
                break;
            }
        }
        for digit in digits.iter().take(count).rev() {
            self.put(core::slice::from_ref(digit));
        }
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors() {
        let file = rustix::fs::open(c"/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
        let mut name = Name::default();
        name.put_descriptor(file.as_fd());
        name.put(b":x");
        let text = name.as_c_str().to_bytes();
        let number = text
            .strip_prefix(b"/proc/self/fd/")
            .and_then(|rest| rest.strip_suffix(b":x"));
        let number = number.and_then(|digits| core::str::from_utf8(digits).ok());
        assert_eq!(
            number.and_then(|digits| digits.parse().ok()),
            Some(file.as_raw_fd())
        );
        name.put(&[b'y'; 300]);
        assert_eq!(name.as_c_str().to_bytes().len(), STRING_MAX - 1);
    }
}
