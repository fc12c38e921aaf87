//! What /proc says of a process (proc_pid_stat(5), proc_pid_status(5)).

use crate::time;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) comm: String,
    pub(super) args: String,
    /// The fields of its stat from the third on.
    stat: Vec<String>,
    /// Whether some of its memory is locked.
    locked: bool,
}

impl Process {
    /// Reads a process; `None` where it is gone.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let directory = format!("/proc/{pid}");
        let owner = fs::metadata(&directory).ok()?;
        let stat = fs::read_to_string(format!("{directory}/stat")).ok()?;
        let (comm, fields) = parse_stat(&stat)?;
        let line = fs::read(format!("{directory}/cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&line)
            .replace('\0', " ")
            .trim_end()
            .to_owned();
        let status = fs::read_to_string(format!("{directory}/status")).unwrap_or_default();
        let locked = status
            .lines()
            .find_map(|line| line.strip_prefix("VmLck:"))
            .is_some_and(|line| !line.trim_start().starts_with("0 "));
        Some(Self {
            pid,
            uid: owner.uid(),
            gid: owner.gid(),
            args: if args.is_empty() {
                format!("[{comm}]")
            } else {
                args
            },
            comm,
            stat: fields,
            locked,
        })
    }

    /// A field of its stat, counted as in the manual page; 0 where it is missing.
    pub(super) fn field(&self, number: usize) -> i64 {
        let text = number.checked_sub(3).and_then(|index| self.stat.get(index));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// `R`, `S`, `Z` …
    pub(super) fn state(&self) -> &str {
        self.stat.first().map_or("?", String::as_str)
    }

    /// The state with the signs of ps(1) behind it.
    pub(super) fn state_with_signs(&self) -> String {
        let mut text = self.state().to_owned();
        match self.field(19) {
            nice if nice < 0 => text.push('<'),
            nice if nice > 0 => text.push('N'),
            _ => {}
        }
        let signs = [
            (self.locked, 'L'),
            (self.field(6) == i64::from(self.pid), 's'),
            (self.field(20) > 1, 'l'),
            (self.field(8) == self.field(5) && self.field(8) > 0, '+'),
        ];
        text.extend(signs.into_iter().filter(|(is, _)| *is).map(|(_, sign)| sign));
        text
    }

    /// Time on the CPUs, in clock ticks.
    pub(super) fn cpu_ticks(&self) -> u64 {
        u64::try_from(self.field(14).saturating_add(self.field(15))).unwrap_or(0)
    }

    /// The terminal: `pts/0`, `tty1`, or `?`.
    pub(super) fn terminal(&self) -> String {
        let device = self.field(7);
        let (major, minor) = (
            (device >> 8) & 0xfff,
            (device & 0xff) | ((device >> 12) & 0xfff00),
        );
        match major {
            136..=143 => format!("pts/{}", minor + ((major - 136) << 8)),
            4 if minor < 64 => format!("tty{minor}"),
            4 => format!("ttyS{}", minor - 64),
            _ => "?".to_owned(),
        }
    }
}

/// The name and the fields behind it. The name may hold brackets and spaces itself.
fn parse_stat(stat: &str) -> Option<(String, Vec<String>)> {
    let (from, to) = (stat.find('(')?, stat.rfind(')')?);
    let comm = stat.get(from + 1..to)?.to_owned();
    let rest = stat.get(to + 2..)?;
    Some((comm, rest.split_whitespace().map(str::to_owned).collect()))
}

/// What is the same for all processes.
#[derive(Debug)]
pub(super) struct Machine {
    /// Clock ticks a second.
    pub(super) ticks: u64,
    /// Bytes of a page.
    pub(super) page: u64,
    /// All memory, in bytes.
    pub(super) memory: u64,
    /// Since the boot.
    pub(super) uptime: Duration,
    pub(super) now: SystemTime,
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Machine {
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let uptime = text("/proc/uptime");
        let uptime: f64 = uptime
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(0.0);
        Self {
            ticks: rustix::param::clock_ticks_per_second().max(1),
            page: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            memory: crate::usage::parse_mem_total(&text("/proc/meminfo")).unwrap_or(1),
            uptime: Duration::try_from_secs_f64(uptime).unwrap_or_default(),
            now: SystemTime::now(),
            users: parse_names(&text("/etc/passwd")),
            groups: parse_names(&text("/etc/group")),
        }
    }

    /// The name of a user of the host, or the number.
    pub(super) fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The name of a group of the host, or the number.
    pub(super) fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// How long a process is there.
    pub(super) fn age(&self, process: &Process) -> Duration {
        let start = u64::try_from(process.field(22)).unwrap_or(0);
        let milliseconds = start.saturating_mul(1000) / self.ticks;
        self.uptime.saturating_sub(Duration::from_millis(milliseconds))
    }

    /// When it started, as RFC 3339.
    pub(super) fn start(&self, process: &Process) -> String {
        time::format(self.now.checked_sub(self.age(process)).unwrap_or(UNIX_EPOCH))
    }

    /// The share of one CPU that it has used since its start, in tenths of a percent.
    pub(super) fn cpu_share(&self, process: &Process) -> u64 {
        let used = u128::from(process.cpu_ticks()) * 1_000_000 / u128::from(self.ticks);
        let age = self.age(process).as_millis();
        u64::try_from(used.checked_div(age).unwrap_or(0)).unwrap_or(0)
    }
}

/// Names by number, of a file with colons.
fn parse_names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (name, number) = (fields.next(), fields.nth(1));
        if let (Some(name), Some(Ok(number))) = (name, number.map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}
