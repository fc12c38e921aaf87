//! The columns that `top` knows, with the names and headings of ps(1).

use super::process::{Machine, Process};
use std::time::Duration;

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    /// Its names.
    names: &'static [&'static str],
    /// Its heading.
    pub(super) title: &'static str,
    /// What it shows.
    pub(super) show: fn(&Process, &Machine) -> String,
}

/// All of them.
pub(super) const COLUMNS: &[Column] = &[
    column(&["pid", "tgid"], "PID", |process, _| process.pid.to_string()),
    column(&["ppid"], "PPID", |process, _| process.field(4).to_string()),
    column(&["pgid", "pgrp"], "PGID", |process, _| {
        process.field(5).to_string()
    }),
    column(&["sid", "sess", "session"], "SID", |process, _| {
        process.field(6).to_string()
    }),
    column(&["uid", "euid"], "UID", |process, _| process.uid.to_string()),
    column(
        &["user", "euser", "uname", "ruser"],
        "USER",
        |process, machine| machine.user(process.uid),
    ),
    column(&["gid", "egid"], "GID", |process, _| process.gid.to_string()),
    column(&["group", "egroup", "rgroup"], "GROUP", |process, machine| {
        machine.group(process.gid)
    }),
    column(&["comm", "ucmd", "ucomm"], "COMMAND", |process, _| {
        process.comm.clone()
    }),
    column(&["args", "command"], "COMMAND", |process, _| process.args.clone()),
    column(&["cmd"], "CMD", |process, _| process.args.clone()),
    column(&["c"], "C", |process, machine| {
        (machine.cpu_share(process) / 10).to_string()
    }),
    column(&["pcpu", "%cpu"], "%CPU", |process, machine| {
        tenths(machine.cpu_share(process))
    }),
    column(&["pmem", "%mem"], "%MEM", |process, machine| {
        let bytes = resident(process, machine);
        tenths(bytes.saturating_mul(1000) / machine.memory)
    }),
    column(&["vsz", "vsize"], "VSZ", |process, _| {
        (process.field(23) / 1024).to_string()
    }),
    column(&["rss", "rssize", "rsz"], "RSS", |process, machine| {
        (resident(process, machine) / 1024).to_string()
    }),
    column(&["tty", "tt", "tname"], "TT", |process, _| process.terminal()),
    column(&["stat"], "STAT", |process, _| process.state_with_signs()),
    column(&["state", "s"], "S", |process, _| process.state().to_owned()),
    column(&["time", "cputime"], "TIME", |process, machine| {
        clock(Duration::from_secs(process.cpu_ticks() / machine.ticks))
    }),
    column(&["bsdtime"], "TIME", |process, machine| {
        let seconds = process.cpu_ticks() / machine.ticks;
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }),
    column(&["etime"], "ELAPSED", |process, machine| {
        elapsed(machine.age(process))
    }),
    column(&["etimes"], "ELAPSED", |process, machine| {
        machine.age(process).as_secs().to_string()
    }),
    column(&["stime", "start_time", "start", "bsdstart"], "STIME", start),
    column(&["lstart"], "STARTED", |process, machine| machine.start(process)),
    column(&["ni", "nice"], "NI", |process, _| process.field(19).to_string()),
    column(&["pri"], "PRI", |process, _| (39 - process.field(18)).to_string()),
    column(&["nlwp", "thcount"], "NLWP", |process, _| {
        process.field(20).to_string()
    }),
    column(&["psr"], "PSR", |process, _| process.field(39).to_string()),
];

const fn column(
    names: &'static [&'static str],
    title: &'static str,
    show: fn(&Process, &Machine) -> String,
) -> Column {
    Column { names, title, show }
}

/// The column of this name.
pub(super) fn find_column(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.names.contains(&name))
}

fn resident(process: &Process, machine: &Machine) -> u64 {
    u64::try_from(process.field(24))
        .unwrap_or(0)
        .saturating_mul(machine.page)
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// `[DD-]HH:MM:SS`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 {
        clock
    } else {
        format!("{days}-{clock}")
    }
}

/// `[[DD-]HH:]MM:SS`.
fn elapsed(time: Duration) -> String {
    let text = clock(time);
    match text.strip_prefix("00:") {
        Some(short) => short.to_owned(),
        None => text,
    }
}

/// `HH:MM` today, the day before; in UTC.
fn start(process: &Process, machine: &Machine) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let moment = machine.start(process);
    let today = crate::time::format(machine.now);
    if moment.get(..10) == today.get(..10) {
        return moment.get(11..16).unwrap_or("").to_owned();
    }
    let month = moment.get(5..7).and_then(|month| month.parse::<usize>().ok());
    let name = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!("{}{}", name.unwrap_or(&"?"), moment.get(8..10).unwrap_or(""))
}
