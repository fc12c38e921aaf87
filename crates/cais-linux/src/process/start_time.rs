//! When a process started: with its id, a name that no other process has.

use crate::path::read_proc;

/// What /proc/PID/stat says of a process (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its start in clock ticks since boot (field 22).
    pub start: u64,
    /// Its state: `R`, `S`, `Z`, … (field 3).
    pub state: u8,
}

impl Stat {
    /// Whether it has ended, waited for or not.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// Reads it for the process that has this id now; `None` where there is none.
#[must_use]
pub fn read_stat(pid: i32) -> Option<Stat> {
    let stat = read_proc(&format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

/// Reads a line of /proc/PID/stat. The name, in brackets, may hold spaces and brackets
/// itself.
#[must_use]
pub fn parse_stat(stat: &str) -> Option<Stat> {
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let start = fields.nth(18)?.trim_end().parse().ok()?;
    Some(Stat { start, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_with_odd_names() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n";
        for name in ["sh", "a b", "x) S 1 (y", ""] {
            assert_eq!(
                parse_stat(&format!("17 ({name}) {rest}")),
                Some(Stat {
                    start: 4242,
                    state: b'S'
                }),
                "{name}"
            );
        }
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_stat("1 (x) S 1"), None);
    }
}
