//! `/etc/subuid` and `/etc/subgid` (subuid(5)): ranges that users may map.

use super::IdRange;
use crate::creds::passwd::parse_id;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubidEntry<'a> {
    /// A login name, or a user id in decimal.
    pub owner: &'a [u8],
    /// The ids that the owner may map.
    pub range: IdRange,
}

impl SubidEntry<'_> {
    /// Whether the range belongs to this user.
    #[must_use]
    pub fn is_of(&self, name: &[u8], uid: u32) -> bool {
        self.owner == name || parse_id(self.owner) == Some(uid)
    }
}

/// The ranges in the file, in its order; a malformed line is passed over.
pub fn parse_subid(bytes: &[u8]) -> impl Iterator<Item = SubidEntry<'_>> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.trim_ascii();
        let mut fields = line.split(|byte| *byte == b':');
        let owner = fields
            .next()
            .filter(|owner| !owner.is_empty() && !owner.starts_with(b"#"))?;
        let start = parse_id(fields.next()?)?;
        let count = parse_id(fields.next()?)?;
        let range = IdRange { start, count };
        let fits = count > 0 && range.end() <= u64::from(u32::MAX);
        (fits && fields.next().is_none()).then_some(SubidEntry { owner, range })
    })
}
