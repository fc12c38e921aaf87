//! Which ids `--user` and `--group-add` mean, looked up in the container's own
//! passwd and group files.
//!
//! The meaning is Docker's: a number is always an id, never a name; it needs no
//! entry; an entry that has it gives the group, the home and the further groups.
//! The parser is strict where others were not: a sign, a blank or a number that does
//! not fit is no id (crun CVE-2026-30892 took `1` for 0, containerd CVE-2024-40635
//! wrapped 4294967296 to 0).

use super::group::parse_group;
use super::passwd::{parse_id, parse_passwd};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The ids that a process runs with, as they are inside the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups, from the group file; without duplicates.
    pub groups: Vec<u32>,
    /// Home directory; `/` where no entry names one.
    pub home: OsString,
}

/// Why a user or group cannot be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// A name without an entry in the passwd file.
    #[error("no user {name:?} in the container's /etc/passwd: use a name from it, or a number")]
    NoSuchUser {
        /// The name as written.
        name: String,
    },
    /// A name without an entry in the group file.
    #[error("no group {name:?} in the container's /etc/group: use a name from it, or a number")]
    NoSuchGroup {
        /// The name as written.
        name: String,
    },
    /// A number that is no id.
    #[error("{text:?} is not a user or group id: ids are from 0 to 4294967294")]
    OutOfRange {
        /// The number as written.
        text: String,
    },
    /// More than one colon, or a text that cannot stand in the files.
    #[error("{text:?} is not a user: write NAME|UID, or NAME|UID:GROUP|GID")]
    Malformed {
        /// The text as written.
        text: String,
    },
}

/// An id as a number, or a name to be looked up.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    Id(u32),
    Name(&'a str),
}

/// Splits numbers from names. What only looks like a number (a sign before digits, or
/// digits that are too large) is refused: as a name it could never have been meant.
fn parse_wanted(text: &str) -> Result<Wanted<'_>, UserError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Wanted::Name(text));
    }
    parse_id(text.as_bytes())
        .map(Wanted::Id)
        .ok_or_else(|| UserError::OutOfRange {
            text: text.to_owned(),
        })
}

/// Finds the ids of `user`: `NAME|UID[:GROUP|GID]`. An empty user part means 0 and an
/// empty group part means none, as in Docker (Compose files write
/// `user: ${UID}:${GID}` with both unset).
///
/// `passwd` and `group` are the contents of the files; empty where there is none.
///
/// # Errors
/// [`UserError`] for a name that has no entry or a number that is no id.
pub fn resolve_user(user: &str, passwd: &[u8], group: &[u8]) -> Result<ResolvedUser, UserError> {
    let malformed = || UserError::Malformed {
        text: user.to_owned(),
    };
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    if group_part.contains(':') || user.contains(['\n', '\0']) {
        return Err(malformed());
    }
    let wanted = match user_part {
        "" => Wanted::Id(0),
        text => parse_wanted(text)?,
    };
    let entry = parse_passwd(passwd).find(|entry| match wanted {
        Wanted::Id(uid) => entry.uid == uid,
        Wanted::Name(name) => entry.name == name.as_bytes(),
    });
    let mut resolved = match (entry, wanted) {
        (Some(entry), _) => ResolvedUser {
            uid: entry.uid,
            gid: entry.gid,
            groups: Vec::new(),
            home: home_of(entry.home),
        },
        (None, Wanted::Id(uid)) => ResolvedUser {
            uid,
            gid: 0,
            groups: Vec::new(),
            home: OsString::from("/"),
        },
        (None, Wanted::Name(name)) => {
            return Err(UserError::NoSuchUser {
                name: name.to_owned(),
            });
        }
    };
    if !group_part.is_empty() {
        resolved.gid = resolve_group(group_part, group)?;
    } else if let Some(entry) = entry {
        for listed in parse_group(group).filter(|listed| listed.has_member(entry.name)) {
            add_once(&mut resolved.groups, listed.gid);
        }
    }
    Ok(resolved)
}

/// Finds the ids of `--group-add` and appends them to `groups`, each once.
///
/// # Errors
/// [`UserError`] for a name that has no entry or a number that is no id.
pub fn add_groups<S: AsRef<str>>(groups: &mut Vec<u32>, wanted: &[S], group: &[u8]) -> Result<(), UserError> {
    for text in wanted {
        let gid = resolve_group(text.as_ref(), group)?;
        add_once(groups, gid);
    }
    Ok(())
}

fn resolve_group(text: &str, group: &[u8]) -> Result<u32, UserError> {
    match parse_wanted(text)? {
        Wanted::Id(gid) => Ok(gid),
        Wanted::Name(name) => parse_group(group)
            .find(|entry| entry.name == name.as_bytes())
            .map(|entry| entry.gid)
            .ok_or_else(|| UserError::NoSuchGroup {
                name: name.to_owned(),
            }),
    }
}

fn add_once(groups: &mut Vec<u32>, gid: u32) {
    if !groups.contains(&gid) {
        groups.push(gid);
    }
}

fn home_of(home: &[u8]) -> OsString {
    if home.is_empty() {
        OsString::from("/")
    } else {
        OsString::from_vec(home.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        app:x:1000:1001::/home/app:/bin/sh\n\
        1000:x:7:7::/trap:/bin/sh\n\
        homeless:x:5:5:::\n\
        twin:x:1000:9::/twin:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwheel:x:10:app\napp:x:1001:\nwheel2:x:10:app\ndocker:x:999:app,root\n1001:x:66:\n";

    fn resolved(uid: u32, gid: u32, groups: &[u32], home: &str) -> ResolvedUser {
        ResolvedUser {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.into(),
        }
    }

    #[test]
    fn users_are_found() {
        for (text, want) in [
            ("root", resolved(0, 0, &[999], "/root")),
            ("0", resolved(0, 0, &[999], "/root")),
            ("", resolved(0, 0, &[999], "/root")),
            (":", resolved(0, 0, &[999], "/root")),
            ("app", resolved(1000, 1001, &[10, 999], "/home/app")),
            ("1000", resolved(1000, 1001, &[10, 999], "/home/app")),
            ("1", resolved(1, 0, &[], "/")),
            ("1:", resolved(1, 0, &[], "/")),
            (":1", resolved(0, 1, &[], "/root")),
            ("1:1", resolved(1, 1, &[], "/")),
            ("app:docker", resolved(1000, 999, &[], "/home/app")),
            ("app:1001", resolved(1000, 1001, &[], "/home/app")),
            ("65536:65536", resolved(65_536, 65_536, &[], "/")),
            ("homeless", resolved(5, 5, &[], "/")),
            ("4294967294", resolved(4_294_967_294, 0, &[], "/")),
        ] {
            assert_eq!(resolve_user(text, PASSWD, GROUP), Ok(want), "{text:?}");
        }
        assert_eq!(resolve_user("12", b"", b""), Ok(resolved(12, 0, &[], "/")));
        assert_eq!(resolve_user("", b"", b""), Ok(resolved(0, 0, &[], "/")));
    }

    #[test]
    fn cve_2026_30892_and_cve_2024_40635() {
        let range = |text: &str| UserError::OutOfRange { text: text.into() };
        for (text, want) in [
            ("+1", range("+1")),
            ("-1", range("-1")),
            ("4294967295", range("4294967295")),
            ("4294967296", range("4294967296")),
            ("4294967296:1", range("4294967296")),
            ("1:4294967296", range("4294967296")),
            ("1:-1", range("-1")),
            ("18446744073709551616", range("18446744073709551616")),
            ("1:1:1", UserError::Malformed { text: "1:1:1".into() }),
            ("a\nb", UserError::Malformed { text: "a\nb".into() }),
            (" 1", UserError::NoSuchUser { name: " 1".into() }),
            ("1 ", UserError::NoSuchUser { name: "1 ".into() }),
            ("0x0", UserError::NoSuchUser { name: "0x0".into() }),
            (
                "nobody",
                UserError::NoSuchUser {
                    name: "nobody".into(),
                },
            ),
            ("app:none", UserError::NoSuchGroup { name: "none".into() }),
        ] {
            assert_eq!(resolve_user(text, PASSWD, GROUP), Err(want), "{text:?}");
        }
    }

    #[test]
    fn groups_are_added_once() {
        let mut groups = vec![10];
        add_groups(&mut groups, &["docker", "10", "wheel", "77", "999"], GROUP).unwrap();
        assert_eq!(groups, [10, 999, 77]);
        let unknown = add_groups(&mut groups, &["none"], GROUP);
        assert_eq!(unknown, Err(UserError::NoSuchGroup { name: "none".into() }));
        assert!(add_groups(&mut groups, &["4294967295"], GROUP).is_err());
    }
}
