//! What hides files of layers below: names that begin with `.wh.` in archives (image-spec,
//! "Whiteouts"), devices and extended attributes in directories (overlayfs.rst, "whiteouts
//! and opaque directories").

use super::error::{Problem, lossy};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;

/// What whiteouts begin with.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// What bookkeeping begins with.
pub(crate) const RESERVED: &[u8] = b".wh..wh.";
/// The name in a directory that hides everything of it in layers below.
pub(crate) const OPAQUE: &[u8] = b".wh..wh..opq";

/// Whose overlay attributes a directory has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `trusted.overlay.*`; owners and devices are made.
    Privileged,
    /// `user.overlay.*`, for a mount with `userxattr`; all files stay the caller's, devices
    /// are left out.
    Rootless,
}

/// How a hidden file is written down in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// As character devices 0:0, which since Linux 5.8 everybody may make.
    Devices,
    /// As empty files with the attribute `overlay.whiteout`, in directories with
    /// `overlay.opaque=x`. Since Linux 6.8.
    Attributes,
}

/// What the last part of a name in an archive says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marker<'a> {
    /// It is a file.
    File,
    /// It hides this name.
    Hide(&'a [u8]),
    /// It hides everything in its directory.
    Opaque,
    /// It is AUFS' own.
    Reserved,
}

/// Reads the last part of a name. A whiteout names something in its own directory.
pub(crate) fn parse_marker(name: &[u8]) -> Result<Marker<'_>, Problem> {
    if name == OPAQUE {
        return Ok(Marker::Opaque);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Marker::File),
        Some(b"" | b"." | b"..") => Err(Problem::BadWhiteout(lossy(name))),
        Some(_) if name.starts_with(RESERVED) => Ok(Marker::Reserved),
        Some(hidden) => Ok(Marker::Hide(hidden)),
    }
}

/// What becomes of an extended attribute of an archive or a directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Translated<'a> {
    /// It keeps its name.
    Same,
    /// It gets another one.
    As(Vec<u8>),
    /// It is left out, and this is why.
    Not(&'a str),
}

impl Form {
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Privileged => b"trusted.overlay.",
            Self::Rootless => b"user.overlay.",
        }
    }

    fn other_prefix(self) -> &'static [u8] {
        match self {
            Self::Privileged => b"user.overlay.",
            Self::Rootless => b"trusted.overlay.",
        }
    }

    fn attribute(self, name: &[u8]) -> Vec<u8> {
        [self.prefix(), name].concat()
    }

    /// An archive cannot say what overlayfs is to do: its overlay attributes get the names
    /// under which containers see them as they were (overlayfs.rst, "Nested overlayfs
    /// mounts").
    pub(crate) fn into_layer(self, name: &[u8]) -> Translated<'static> {
        if let Some(rest) = name.strip_prefix(self.prefix()) {
            return Translated::As([self.prefix(), b"overlay.", rest].concat());
        }
        if name.starts_with(self.other_prefix()) {
            return Translated::Not("an attribute of overlayfs");
        }
        if self == Self::Rootless && name.starts_with(b"trusted.") {
            return Translated::Not("an attribute that needs privilege");
        }
        Translated::Same
    }

    /// The reverse: overlayfs' own attributes are left out.
    pub(crate) fn out_of_layer(self, name: &[u8]) -> Translated<'static> {
        if let Some(rest) = name.strip_prefix(self.prefix()) {
            return match rest.strip_prefix(b"overlay.") {
                Some(escaped) => Translated::As([self.prefix(), escaped].concat()),
                None => Translated::Not("an attribute of overlayfs"),
            };
        }
        if name.starts_with(self.other_prefix()) {
            return Translated::Not("an attribute of overlayfs");
        }
        Translated::Same
    }

    /// Whether the attribute is overlayfs' own on a directory of this form.
    pub(crate) fn is_own(self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix())
            .is_some_and(|rest| !rest.starts_with(b"overlay."))
    }

    /// The value of `overlay.opaque`: `y` hides what is below, `x` says that there are
    /// whiteouts as attributes.
    pub(crate) fn opaque(self, directory: BorrowedFd<'_>) -> Result<Option<u8>, Errno> {
        let mut value = [0u8; 4];
        match rustix::fs::fgetxattr(directory, &self.attribute(b"opaque")[..], &mut value[..]) {
            Ok(1) => Ok(Some(value[0])),
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn set_opaque_value(self, directory: BorrowedFd<'_>, value: &[u8]) -> Result<(), Errno> {
        let name = self.attribute(b"opaque");
        rustix::fs::fsetxattr(directory, &name[..], value, XattrFlags::empty())
    }

    /// Hides everything of a directory in layers below. Whiteouts in it mean nothing then,
    /// and such as attributes would show.
    pub(crate) fn set_opaque(self, directory: BorrowedFd<'_>, whiteouts: Whiteouts) -> Result<(), Errno> {
        if whiteouts == Whiteouts::Attributes && self.opaque(directory)? == Some(b'x') {
            for entry in rustix::fs::Dir::read_from(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if !matches!(name, b"." | b"..") {
                    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    if self.is_whiteout(directory, name, &stat)? {
                        rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
                    }
                }
            }
        }
        self.set_opaque_value(directory, b"y")
    }

    /// Hides one name of layers below. Nothing of that name may be there.
    pub(crate) fn hide(
        self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        whiteouts: Whiteouts,
    ) -> Result<(), Errno> {
        if whiteouts == Whiteouts::Devices {
            return rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0);
        }
        if self.opaque(directory)? == Some(b'y') {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        let attribute = self.attribute(b"whiteout");
        rustix::fs::fsetxattr(file, &attribute[..], b"", XattrFlags::empty())?;
        self.set_opaque_value(directory, b"x")
    }

    /// Whether a name hides one of layers below, in either way.
    pub(crate) fn is_whiteout(
        self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> Result<bool, Errno> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Ok(stat.st_rdev == 0),
            FileType::RegularFile if stat.st_size == 0 => {
                let mut value = [0u8; 1];
                let attribute = self.attribute(b"whiteout");
                match rustix::fs::lgetxattr(proc_path(directory, name), &attribute[..], &mut value[..]) {
                    Ok(_) | Err(Errno::RANGE) => Ok(true),
                    Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
                    Err(errno) => Err(errno),
                }
            }
            _ => Ok(false),
        }
    }
}

/// A path to a name in an open directory, for calls that take no descriptor of one. Only
/// the name itself could be a link, and those calls do not follow it.
pub(crate) fn proc_path(directory: impl AsFd, name: &[u8]) -> Vec<u8> {
    [proc_descriptor(directory).as_bytes(), b"/", name].concat()
}

/// A path to what a descriptor made with `O_PATH` refers to.
pub(crate) fn proc_descriptor(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        for (name, want) in [
            ("a", Some(Marker::File)),
            (".wh", Some(Marker::File)),
            (".wh.a", Some(Marker::Hide(b"a"))),
            (".wh....", Some(Marker::Hide(b"..."))),
            (".wh..hidden", Some(Marker::Hide(b".hidden"))),
            (".wh..wh..opq", Some(Marker::Opaque)),
            (".wh..wh.plnk", Some(Marker::Reserved)),
            (".wh.", None),
            (".wh..", None),
            (".wh...", None),
        ] {
            assert_eq!(parse_marker(name.as_bytes()).ok(), want, "{name}");
        }
    }

    #[test]
    fn overlay_attributes_have_no_effect() {
        let form = Form::Privileged;
        let escaped = b"trusted.overlay.overlay.opaque".to_vec();
        assert_eq!(
            form.into_layer(b"trusted.overlay.opaque"),
            Translated::As(escaped.clone())
        );
        assert_eq!(
            form.out_of_layer(&escaped),
            Translated::As(b"trusted.overlay.opaque".to_vec())
        );
        assert!(matches!(
            form.out_of_layer(b"trusted.overlay.origin"),
            Translated::Not(_)
        ));
        assert!(matches!(
            form.into_layer(b"user.overlay.opaque"),
            Translated::Not(_)
        ));
        assert_eq!(form.into_layer(b"trusted.other"), Translated::Same);
        let form = Form::Rootless;
        assert!(matches!(form.into_layer(b"trusted.other"), Translated::Not(_)));
        assert!(matches!(
            form.into_layer(b"trusted.overlay.redirect"),
            Translated::Not(_)
        ));
        assert!(matches!(
            form.into_layer(b"user.overlay.redirect"),
            Translated::As(_)
        ));
    }
}
