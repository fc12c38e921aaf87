//! `/etc/group` (group(5)): name, password, id, and the members between commas.

use super::passwd::{lines, parse_id};

/// One group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// The group's name.
    pub name: &'a [u8],
    /// Its id.
    pub gid: u32,
    members: &'a [u8],
}

impl<'a> GroupEntry<'a> {
    /// The login names of the members.
    pub fn members(&self) -> impl Iterator<Item = &'a [u8]> {
        self.members
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
    }

    /// Whether `user` is listed as a member.
    #[must_use]
    pub fn has_member(&self, user: &[u8]) -> bool {
        self.members().any(|member| member == user)
    }
}

/// The groups in a group file, in its order, without the lines that are malformed.
pub fn parse_group(bytes: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(bytes).filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let _password = fields.next()?;
        let gid = parse_id(fields.next()?)?;
        let members = fields.next().unwrap_or_default();
        Some(GroupEntry { name, gid, members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let text = b"root:x:0:\nwheel:x:10:root, app,,\nbad:x:x:\nshort:x:12\n:x:13:app\n";
        let groups: Vec<_> = parse_group(text).collect();
        assert_eq!(
            groups.iter().map(|group| group.gid).collect::<Vec<_>>(),
            [0, 10, 12]
        );
        assert_eq!(groups[1].members().collect::<Vec<_>>(), [&b"root"[..], b"app"]);
        assert!(groups[1].has_member(b"app"));
        assert!(!groups[1].has_member(b""));
        assert!(!groups[0].has_member(b"root"));
    }
}
