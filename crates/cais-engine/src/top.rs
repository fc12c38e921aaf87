//! The processes of a container, with the columns of ps(1): `top`. All is read from /proc;
//! no program is run.

mod columns;
mod process;

use crate::error::{EngineError, Result};
use crate::state::Container;
use cais_linux::cgroups::{Group, Layout};
use columns::{Column, find_column};
use process::{Machine, Process};

/// What `top` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The headings.
    pub titles: Vec<String>,
    /// One row for each process.
    pub rows: Vec<Vec<String>>,
}

/// Reads the processes of a container. `options` are those of ps(1): `-ef`, `aux`, `-o LIST`
/// and `-eo LIST`; `-ef` where there are none.
///
/// # Errors
/// [`EngineError::NotRunning`]; [`EngineError::Invalid`] for options that are not known.
pub fn read_processes(container: &Container, options: &[String]) -> Result<Table> {
    let columns = parse_options(options)?;
    let (Some(init), Some(state)) = (container.init(), &container.state) else {
        return Err(EngineError::NotRunning(container.record.id.to_string()));
    };
    let pids = match state.cgroup.as_str() {
        "" => vec![init.pid],
        cgroup => pids_of(cgroup)?,
    };
    let machine = Machine::read();
    let rows = pids.iter().filter_map(|pid| Process::read(*pid)).map(|process| {
        let cells = columns.iter();
        cells
            .map(|(column, _)| (column.show)(&process, &machine))
            .collect()
    });
    Ok(Table {
        rows: rows.collect(),
        titles: columns.iter().map(|(_, title)| title.clone()).collect(),
    })
}

fn pids_of(cgroup: &str) -> Result<Vec<i32>> {
    let layout = Layout::read().map_err(EngineError::system("find the cgroup hierarchies"))?;
    let action = || format!("list the processes of the cgroup {cgroup}");
    let group = Group::open_existing(&layout, cgroup).map_err(EngineError::cgroup(action()))?;
    let Some(group) = group else {
        return Ok(Vec::new());
    };
    let pids = group.all_processes().map_err(EngineError::cgroup(action()))?;
    Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}

type Columns = Vec<(&'static Column, String)>;

const FULL: &str = "user=UID,pid,ppid,c,stime,tname=TTY,time,cmd";
const USER_ORIENTED: &str = "user,pid,%cpu,%mem,vsz,rss,tname=TTY,stat,start=START,bsdtime=TIME,command";
const PLAIN: &str = "pid,tname=TTY,time,comm=CMD";

/// The columns that options of ps(1) ask for.
fn parse_options(options: &[String]) -> Result<Columns> {
    let mut list: Option<String> = None;
    let mut form = if options.is_empty() { FULL } else { PLAIN };
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let letters = word.strip_prefix('-').unwrap_or(word);
        let is_bsd = !word.starts_with('-');
        if let Some(columns) = word.strip_prefix("--format=") {
            list = Some(columns.to_owned());
            continue;
        }
        for (index, letter) in letters.char_indices() {
            match (letter, is_bsd) {
                ('o', _) => {
                    let rest = letters.get(index + 1..).unwrap_or("");
                    let columns = match rest {
                        "" => words.next().map(String::as_str).unwrap_or_default(),
                        rest => rest,
                    };
                    let known = list.take().map(|known| known + ",").unwrap_or_default();
                    list = Some(known + columns);
                    break;
                }
                ('e' | 'A', false) | ('a' | 'x', true) | ('w', _) => {}
                ('f', false) => form = FULL,
                ('u', true) => form = USER_ORIENTED,
                _ => {
                    return Err(EngineError::Invalid(format!(
                        "top: {word:?} is not an option of ps that is known here: give -ef, aux, -o LIST or -eo LIST"
                    )));
                }
            }
        }
    }
    let columns = parse_columns(list.as_deref().unwrap_or(form))?;
    if columns.iter().any(|(_, title)| title == "PID") {
        Ok(columns)
    } else {
        Err(EngineError::Invalid(
            "Couldn't find PID field in ps output".to_owned(),
        ))
    }
}

fn parse_columns(list: &str) -> Result<Columns> {
    let mut columns = Columns::new();
    for item in list.split([',', ' ']).filter(|item| !item.is_empty()) {
        let (name, title) = match item.split_once('=') {
            Some((name, title)) => (name, Some(title.to_owned())),
            None => (item, None),
        };
        let column = find_column(name).ok_or_else(|| {
            EngineError::Invalid(format!(
                "ps: error: unknown user-defined format specifier {name:?}"
            ))
        })?;
        columns.push((column, title.unwrap_or_else(|| column.title.to_owned())));
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(words: &str) -> Result<String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let columns = parse_options(&words)?;
        let titles: Vec<String> = columns.into_iter().map(|(_, title)| title).collect();
        Ok(titles.join(" "))
    }

    #[test]
    fn options_of_ps() {
        for (words, want) in [
            ("", "UID PID PPID C STIME TTY TIME CMD"),
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("-e", "PID TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-o pid,comm", "PID COMMAND"),
            ("-eo pid,args", "PID COMMAND"),
            ("-opid,user=WHO", "PID WHO"),
            ("-o pid -o rss", "PID RSS"),
            ("axo pid,etime", "PID ELAPSED"),
        ] {
            assert_eq!(titles(words).unwrap(), want, "{words}");
        }
        for bad in ["-o nosuch", "-Z", "-o comm", "xyz", "-o"] {
            assert!(titles(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_process_can_be_shown() {
        let process = Process::read(std::process::id().cast_signed()).unwrap();
        let machine = Machine::read();
        for column in columns::COLUMNS {
            let text = (column.show)(&process, &machine);
            assert!(!text.is_empty() || column.title == "TTY", "{}", column.title);
        }
    }
}
