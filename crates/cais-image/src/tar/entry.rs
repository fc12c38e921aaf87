//! What an archive says of one file.

/// What a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    #[default]
    Regular,
    /// Another name of an entry before it.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A time: seconds since 1970 and the part of a second after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds, less than a second.
    pub nanoseconds: u32,
}

/// The numbers of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Device {
    /// The major number.
    pub major: u32,
    /// The minor number.
    pub minor: u32,
}

/// What an archive says of one file, with everything that extended headers say applied.
/// A reader fills the same one again and again, so its buffers are allocated once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub path: Vec<u8>,
    /// What a hard link or symbolic link points to.
    pub link: Vec<u8>,
    /// What the file is.
    pub kind: Kind,
    /// Permissions, set-id bits and sticky bit.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The length in bytes with holes; 0 for anything but regular files.
    pub size: u64,
    /// When it was modified.
    pub mtime: Time,
    /// When it was read, where the archive says so.
    pub atime: Option<Time>,
    /// The numbers of a device.
    pub device: Device,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether only parts of the file stand in the archive.
    pub sparse: bool,
    /// Where its header begins, in bytes from the beginning of the archive, extended
    /// headers not counted in.
    pub offset: u64,
}

impl Entry {
    /// Empties it and keeps its buffers.
    pub(crate) fn clear(&mut self) {
        let (mut path, mut link, mut xattrs) = (
            std::mem::take(&mut self.path),
            std::mem::take(&mut self.link),
            std::mem::take(&mut self.xattrs),
        );
        path.clear();
        link.clear();
        xattrs.clear();
        *self = Self {
            path,
            link,
            xattrs,
            ..Self::default()
        };
    }

    /// The name for people.
    #[must_use]
    pub fn name(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }
}
