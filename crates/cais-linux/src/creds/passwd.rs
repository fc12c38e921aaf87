//! `/etc/passwd` (passwd(5)): seven fields between colons, one user a line.
//!
//! The file comes from an image, so it is hostile input: a line that does not
//! follow the format is passed over. Above all, a bad number never becomes 0.

/// One user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// The login name.
    pub name: &'a [u8],
    /// The user id.
    pub uid: u32,
    /// The id of the user's own group.
    pub gid: u32,
    /// The home directory; may be empty.
    pub home: &'a [u8],
    /// The shell; may be empty.
    pub shell: &'a [u8],
}

/// The users in a passwd file, in its order, without the lines that are malformed.
pub fn parse_passwd(bytes: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(bytes).filter_map(parse_line)
}

fn parse_line(line: &[u8]) -> Option<PasswdEntry<'_>> {
    let mut fields = line.split(|byte| *byte == b':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let _password = fields.next()?;
    let uid = parse_id(fields.next()?)?;
    let gid = parse_id(fields.next()?)?;
    let _gecos = fields.next();
    // Docker accepts entries that end early, as minimal images write them.
    let home = fields.next().unwrap_or_default();
    let shell = fields.next().unwrap_or_default();
    Some(PasswdEntry {
        name,
        uid,
        gid,
        home,
        shell,
    })
}

/// Lines without surrounding blanks; those with a nul byte are no text and are left out.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.contains(&0))
}

/// A user or group id: decimal digits only, at most 4294967294 (the highest number
/// is `(uid_t)-1`, which means "no change" to the kernel).
#[must_use]
pub fn parse_id(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u32;
    for byte in digits {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    (value != u32::MAX).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let text = b"root:x:0:0:root:/root:/bin/sh\n\
            # a comment\n\
            +::::::\n\
            bad:x:4294967296:1::/:\n\
            worse:x:-1:1::/:\n\
            empty:x:::::\n\
            short:x:7:8\n\
            \x20 app:x:1000:1001:App, the:/home/app:\r\n\
            nul\0:x:3:3::/:\n\
            last:x:5:6::/last:/bin/false";
        let names: Vec<_> = parse_passwd(text).map(|entry| entry.name).collect();
        assert_eq!(names, [&b"root"[..], b"short", b"app", b"last"]);
        let app = parse_passwd(text).nth(2).unwrap();
        assert_eq!(
            (app.uid, app.gid, app.home, app.shell),
            (1000, 1001, &b"/home/app"[..], &b""[..])
        );
        assert_eq!(parse_passwd(text).nth(1).unwrap().home, b"");
        assert_eq!(parse_passwd(b"").count(), 0);
    }

    #[test]
    fn ids_are_strict() {
        let cases: [(&[u8], Option<u32>); 11] = [
            (b"0", Some(0)),
            (b"0010", Some(10)),
            (b"65536", Some(65_536)),
            (b"4294967294", Some(4_294_967_294)),
            (b"4294967295", None),
            (b"4294967296", None),
            (b"99999999999999999999999", None),
            (b"+1", None),
            (b"-1", None),
            (b"1 ", None),
            (b"", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_id(text), want, "{}", text.escape_ascii());
        }
    }
}
