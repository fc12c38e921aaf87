//! Names in archives: made relative and plain before anything is done with them.

use super::error::{Problem, lossy};
use super::marker;

/// Writes `name` to `plain` without slashes at its ends, empty parts, `.` and `..`. The root
/// becomes the empty name. What stands for the root or above it through `..` is refused
/// (CVE-2014-9356): `a/../../b` is not `b` to every reader.
pub(crate) fn parse_name(name: &[u8], plain: &mut Vec<u8>, depth: usize) -> Result<(), Problem> {
    plain.clear();
    if name.is_empty() {
        return Err(Problem::EmptyName);
    }
    let mut parts = 0usize;
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts = parts
                    .checked_sub(1)
                    .ok_or_else(|| Problem::Escapes(lossy(name)))?;
                let end = plain.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                plain.truncate(end);
            }
            part => {
                parts += 1;
                if !plain.is_empty() {
                    plain.push(b'/');
                }
                plain.extend_from_slice(part);
            }
        }
    }
    if parts > depth {
        return Err(Problem::Limit {
            what: "directories in each other",
            limit: depth as u64,
        });
    }
    Ok(())
}

/// The directory part, empty for the root, and the last part.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// A directory and a name in it.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` is below `directory`.
pub(crate) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() && !path.is_empty()
        || path
            .strip_prefix(directory)
            .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// No directory may have a name that is kept for whiteouts: packed again it would be one.
/// True where the name belongs to the bookkeeping of AUFS, which Docker passes over too.
pub(crate) fn check_parents(directory: &[u8], whole: &[u8]) -> Result<bool, Problem> {
    for part in directory.split(|byte| *byte == b'/') {
        if part.starts_with(marker::RESERVED) {
            return Ok(true);
        }
        if part.starts_with(marker::WHITEOUT) {
            return Err(Problem::InsideWhiteout(lossy(whole)));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_plain() {
        let mut plain = Vec::new();
        for (name, want) in [
            ("a/b", Some("a/b")),
            ("/a//b/", Some("a/b")),
            ("./a/./b/.", Some("a/b")),
            ("a/../b", Some("b")),
            ("a/b/../../c", Some("c")),
            (".", Some("")),
            ("/", Some("")),
            ("a/..", Some("")),
            ("...", Some("...")),
            ("", None),
            ("..", None),
            ("../a", None),
            ("/../a", None),
            ("a/../../b", None),
            ("a/b/c/d/e", None),
        ] {
            let got = parse_name(name.as_bytes(), &mut plain, 4);
            assert_eq!(got.is_ok(), want.is_some(), "{name}");
            if let Some(want) = want {
                assert_eq!(plain, want.as_bytes(), "{name}");
            }
        }
        assert!(
            is_below(b"a/b", b"a") && is_below(b"a", b"") && !is_below(b"ab", b"a") && !is_below(b"a", b"a")
        );
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(join(b"", b"c"), b"c");
    }
}
