//! The words of a mount's options (runtime-spec, "Mounts"; mount(8)), understood: flags
//! of the mount, propagation, and what is left for the file system itself.

use cais_order::InOrder;
use cais_sys::mount::{
    MOUNT_ATTR_ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME, MS_PRIVATE,
    MS_SHARED, MS_SLAVE, MS_UNBINDABLE,
};

/// Options, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountFlags {
    /// `MOUNT_ATTR_*` to set.
    pub attr_set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub attr_clear: u64,
    /// `MOUNT_ATTR_*` to set on the submounts too.
    pub recursive_set: u64,
    /// `MOUNT_ATTR_*` to clear on the submounts too.
    pub recursive_clear: u64,
    /// `MS_PRIVATE` and its kin.
    pub propagation: Option<u64>,
    /// A bind mount without its submounts.
    pub bind: bool,
    /// A bind mount with its submounts.
    pub rbind: bool,
    /// Its owners are mapped.
    pub idmap: bool,
    /// Those of its submounts too.
    pub ridmap: bool,
    /// A new file system gets a copy of what the image has there.
    pub copy_up: bool,
    /// What is mounted there already changes its flags.
    pub remount: bool,
    /// A source that is a link becomes a link with the same content.
    pub copy_symlink: bool,
    /// A source that is a link is refused.
    pub no_follow: bool,
    /// Words for the whole file system (`sync`), which a bind mount has no use for.
    pub superblock: Vec<String>,
    /// Options of the file system.
    pub data: Vec<(String, Option<String>)>,
}

impl MountFlags {
    /// The propagation to set after attaching; zero where the copy's own, private, stays.
    #[must_use]
    pub fn propagation_bits(&self) -> u64 {
        self.propagation.filter(|bits| *bits != MS_PRIVATE).unwrap_or(0)
    }

    /// Whether the mount stays in the peer group of its original.
    #[must_use]
    pub fn follows_peers(&self) -> bool {
        matches!(self.propagation, Some(MS_SHARED | MS_SLAVE))
    }
}

/// Why options cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountOptionError {
    /// An option with a nul byte.
    #[error("the mount option {0:?} holds a nul byte")]
    Nul(String),
}

/// Word, flags it sets, flags it clears.
const WORDS: [(&str, u64, u64); 18] = [
    ("ro", MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV, 0),
    ("dev", 0, MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, MOUNT_ATTR_NOEXEC),
    ("noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR_ATIME),
    ("atime", 0, MOUNT_ATTR_ATIME),
    ("strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR_ATIME),
    ("nostrictatime", 0, MOUNT_ATTR_ATIME),
    ("relatime", 0, MOUNT_ATTR_ATIME),
    ("norelatime", 0, MOUNT_ATTR_ATIME),
    ("nodiratime", MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, u64); 8] = [
    ("private", MS_PRIVATE),
    ("rprivate", MS_PRIVATE),
    ("slave", MS_SLAVE),
    ("rslave", MS_SLAVE),
    ("shared", MS_SHARED),
    ("rshared", MS_SHARED),
    ("unbindable", MS_UNBINDABLE),
    ("runbindable", MS_UNBINDABLE),
];

/// All words that are understood, sorted: for `features`.
#[must_use]
pub fn known_words() -> Vec<&'static str> {
    const OTHERS: [&str; 19] = [
        "async",
        "bind",
        "copy-symlink",
        "defaults",
        "dirsync",
        "idmap",
        "iversion",
        "lazytime",
        "loud",
        "mand",
        "noiversion",
        "nolazytime",
        "nomand",
        "rbind",
        "remount",
        "ridmap",
        "silent",
        "src-nofollow",
        "sync",
    ];
    const RECURSIVE: [&str; 18] = [
        "rro",
        "rrw",
        "rnosuid",
        "rsuid",
        "rnodev",
        "rdev",
        "rnoexec",
        "rexec",
        "rnoatime",
        "ratime",
        "rstrictatime",
        "rnostrictatime",
        "rrelatime",
        "rnorelatime",
        "rnodiratime",
        "rdiratime",
        "rnosymfollow",
        "rsymfollow",
    ];
    let plain = WORDS.iter().map(|(word, ..)| *word);
    let propagations = PROPAGATIONS.iter().map(|(word, _)| *word);
    let mut all: Vec<&str> = plain
        .chain(propagations)
        .chain(OTHERS)
        .chain(RECURSIVE)
        .chain(["tmpcopyup"])
        .collect();
    all.order();
    all
}

/// Understands options; a later word wins over an earlier one.
///
/// # Errors
/// [`MountOptionError`] for a word that would change what is mounted and is not known
/// how to do.
pub fn parse_mount_options(options: &[String]) -> Result<MountFlags, MountOptionError> {
    let mut flags = MountFlags::default();
    for option in options {
        if option.contains('\0') {
            return Err(MountOptionError::Nul(option.clone()));
        }
        let word = option.as_str();
        if let Some((_, set, clear)) = WORDS.iter().find(|(known, ..)| *known == word) {
            apply(&mut flags.attr_set, &mut flags.attr_clear, *set, *clear);
            continue;
        }
        let recursive = word
            .strip_prefix('r')
            .and_then(|rest| WORDS.iter().find(|(known, ..)| *known == rest));
        if let Some((_, set, clear)) = recursive {
            apply(&mut flags.recursive_set, &mut flags.recursive_clear, *set, *clear);
            continue;
        }
        if let Some((_, bits)) = PROPAGATIONS.iter().find(|(known, _)| *known == word) {
            flags.propagation = Some(*bits);
            continue;
        }
        match word {
            "bind" => flags.bind = true,
            "rbind" => flags.rbind = true,
            "defaults" | "" | "async" | "nomand" | "loud" | "noiversion" | "silent" | "iversion" => {}
            "remount" => flags.remount = true,
            "idmap" => flags.idmap = true,
            "ridmap" => (flags.idmap, flags.ridmap) = (true, true),
            "tmpcopyup" => flags.copy_up = true,
            "notmpcopyup" => flags.copy_up = false,
            "copy-symlink" => flags.copy_symlink = true,
            "src-nofollow" => flags.no_follow = true,
            "sync" | "dirsync" | "mand" | "lazytime" | "nolazytime" => flags.superblock.push(option.clone()),
            _ => flags.data.push(match word.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (word.to_owned(), None),
            }),
        }
    }
    Ok(flags)
}

fn apply(set: &mut u64, clear: &mut u64, sets: u64, clears: u64) {
    *set = (*set & !clears) | sets;
    *clear = (*clear & !sets) | clears;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> MountFlags {
        parse_mount_options(&words.split(',').map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn words_become_flags() {
        let flags = parse("nosuid,noexec,nodev,ro,size=64k,newinstance,mode=755");
        assert_eq!(
            flags.attr_set,
            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY
        );
        assert_eq!(
            flags.data,
            [
                ("size".into(), Some("64k".into())),
                ("newinstance".into(), None),
                ("mode".into(), Some("755".into()))
            ]
        );
        let last = parse("ro,rw");
        assert_eq!((last.attr_set, last.attr_clear), (0, MOUNT_ATTR_RDONLY));
        let bind = parse("rbind,rslave,rro");
        assert!(bind.rbind && bind.follows_peers());
        assert_eq!(
            (bind.recursive_set, bind.propagation_bits()),
            (MOUNT_ATTR_RDONLY, MS_SLAVE)
        );
        assert_eq!(parse("rprivate").propagation_bits(), 0);
        assert_eq!(parse("strictatime").attr_clear, MOUNT_ATTR_ATIME);
    }

    #[test]
    fn words_that_are_more_than_a_flag() {
        let flags = parse("ridmap,tmpcopyup,sync,remount");
        assert!(flags.idmap && flags.ridmap && flags.copy_up && flags.remount);
        assert_eq!(flags.superblock, ["sync"]);
        assert!(parse_mount_options(&["a\0b".to_owned()]).is_err());
    }
}
