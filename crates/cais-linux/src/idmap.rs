//! Which ids of a user namespace stand for which ids outside (user_namespaces(7),
//! "User and group ID mappings"), and the ranges that containers get.

mod subid;

pub use subid::{SubidEntry, parse_subid};

use std::fmt::Write;

/// How many lines the kernel takes in a map (`UID_GID_MAP_MAX_EXTENTS`, Linux 4.15).
pub const MAX_EXTENTS: usize = 340;
/// A map is written by one write(2) that is shorter than a page.
const MAX_TEXT: usize = 4095;
/// How many ids a container gets: enough for `nobody` (65534).
pub const RANGE_SIZE: u32 = 65_536;
/// The first id of the pool for `--userns=auto`. systemd reserves 524288 to 1879048191
/// for containers (systemd.io/UIDS-GIDS); the upper part of it is far from the ids that
/// `/etc/subuid` usually gives away.
pub const POOL_FIRST: u32 = 0x4000_0000;
/// The last id of the pool.
pub const POOL_LAST: u32 = 0x6fff_ffff;
/// How many ranges the pool has.
pub const POOL_RANGES: u32 = (POOL_LAST - POOL_FIRST + 1) / RANGE_SIZE;

/// `count` ids from `start` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// The number behind the last id.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(self.start) + u64::from(self.count)
    }

    /// Whether the two have an id in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        u64::from(self.start) < other.end() && u64::from(other.start) < self.end()
    }

    /// Whether `id` is in it.
    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        id.checked_sub(self.start)
            .is_some_and(|offset| offset < self.count)
    }
}

/// One extent of a map: `count` ids from `inside` on stand for those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// The first id in the namespace.
    pub inside: u32,
    /// The first id in the parent namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// The ids in the namespace.
    #[must_use]
    pub fn inside_range(&self) -> IdRange {
        IdRange {
            start: self.inside,
            count: self.count,
        }
    }

    /// The ids in the parent namespace.
    #[must_use]
    pub fn outside_range(&self) -> IdRange {
        IdRange {
            start: self.outside,
            count: self.count,
        }
    }
}

/// A map that the kernel would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdMapError {
    /// No extent: nothing could run in the namespace.
    #[error("the id map is empty")]
    Empty,
    /// More than [`MAX_EXTENTS`], or more text than a page.
    #[error("the id map has {count} extents: the kernel takes at most 340 in less than 4096 bytes")]
    TooLong {
        /// How many there are.
        count: usize,
    },
    /// An extent of no ids, or one that reaches the id 4294967295.
    #[error("the id map {} {} {} is empty or goes beyond the highest id, 4294967294", .extent.inside, .extent.outside, .extent.count)]
    OutOfRange {
        /// The extent.
        extent: IdMap,
    },
    /// Two extents share ids on one side.
    #[error("the id maps {} {} {} and {} {} {} overlap", .first.inside, .first.outside, .first.count, .second.inside, .second.outside, .second.count)]
    Overlap {
        /// The one.
        first: IdMap,
        /// The other.
        second: IdMap,
    },
}

/// Checks what the kernel checks when a map is written, so that the error has a name.
///
/// # Errors
/// [`IdMapError`] for the first fault.
pub fn check_maps(maps: &[IdMap]) -> Result<(), IdMapError> {
    if maps.is_empty() {
        return Err(IdMapError::Empty);
    }
    if maps.len() > MAX_EXTENTS {
        return Err(IdMapError::TooLong { count: maps.len() });
    }
    for (index, extent) in maps.iter().enumerate() {
        let highest = extent.inside_range().end().max(extent.outside_range().end());
        // The id u32::MAX is `(uid_t)-1`; no range may contain it.
        if extent.count == 0 || highest > u64::from(u32::MAX) {
            return Err(IdMapError::OutOfRange { extent: *extent });
        }
        let clash = maps[..index].iter().find(|earlier| {
            earlier.inside_range().overlaps(extent.inside_range())
                || earlier.outside_range().overlaps(extent.outside_range())
        });
        if let Some(first) = clash {
            return Err(IdMapError::Overlap {
                first: *first,
                second: *extent,
            });
        }
    }
    Ok(())
}

/// The text for `/proc/<pid>/uid_map` or `gid_map`.
///
/// # Errors
/// As [`check_maps`].
pub fn render_maps(maps: &[IdMap]) -> Result<String, IdMapError> {
    check_maps(maps)?;
    let mut text = String::with_capacity(maps.len() * 24);
    for extent in maps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} {} {}", extent.inside, extent.outside, extent.count);
    }
    if text.len() > MAX_TEXT {
        return Err(IdMapError::TooLong { count: maps.len() });
    }
    Ok(text)
}

/// The id outside that `inside` stands for.
#[must_use]
pub fn to_outside(maps: &[IdMap], inside: u32) -> Option<u32> {
    maps.iter().find_map(|extent| {
        let offset = inside.checked_sub(extent.inside)?;
        (offset < extent.count).then(|| extent.outside.checked_add(offset))?
    })
}

/// The id inside that stands for `outside`.
#[must_use]
pub fn to_inside(maps: &[IdMap], outside: u32) -> Option<u32> {
    maps.iter().find_map(|extent| {
        let offset = outside.checked_sub(extent.outside)?;
        (offset < extent.count).then(|| extent.inside.checked_add(offset))?
    })
}

/// Range `index` of the pool for `--userns=auto`, or `None` where there is no such range
/// or one of `taken` has ids in it. The same index is always the same range, whatever
/// else is taken, so that a lease by index stays true.
///
/// `taken` is what `/etc/subuid` and `/etc/subgid` give to users, and a range of one id
/// for each entry of `/etc/passwd` and `/etc/group`.
#[must_use]
pub fn plan_range(index: u32, taken: &[IdRange]) -> Option<IdRange> {
    if index >= POOL_RANGES {
        return None;
    }
    let range = IdRange {
        start: POOL_FIRST + index * RANGE_SIZE,
        count: RANGE_SIZE,
    };
    (!taken.iter().any(|one| one.overlaps(range))).then_some(range)
}

/// The map that gives a container all of `range`, from id 0 on.
#[must_use]
pub fn plan_whole(range: IdRange) -> Vec<IdMap> {
    vec![IdMap {
        inside: 0,
        outside: range.start,
        count: range.count,
    }]
}

/// The map for `--userns=keep-id`: `caller` is the same inside and outside, and the ids
/// below and above it come from `range`, in order.
///
/// `range` must not contain `caller`; [`check_maps`] reports it.
#[must_use]
pub fn plan_keep_id(caller: u32, range: IdRange) -> Vec<IdMap> {
    let below = caller.min(range.count);
    let mut maps = Vec::with_capacity(3);
    let mut add = |inside: u32, outside: Option<u32>, count: u32| {
        if let (Some(outside), true) = (outside, count > 0) {
            maps.push(IdMap {
                inside,
                outside,
                count,
            });
        }
    };
    add(0, Some(range.start), below);
    add(caller, Some(caller), 1);
    // There is a rest only where caller < count, so that neither sum overflows then.
    let rest = range.count - below;
    add(caller.saturating_add(1), range.start.checked_add(below), rest);
    maps
}

#[cfg(test)]
mod tests;
