//! `cais logs`.

use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::TO_STANDARD_OUTPUT;
use cais::cli::LogsArgs;
use cais_engine::engine::Engine;
use cais_engine::id::ContainerId;
use cais_engine::log::format::Line;
use cais_engine::log::journal::JournalReader;
use cais_engine::log::reader::{LogReader, Query, Watch, may_grow};
use cais_engine::log::{Stream, files};
use cais_engine::options::LogDriver;
use cais_engine::{EngineError, list, time};
use std::io::{IsTerminal, Write};
use std::time::SystemTime;

/// How much is gathered before it is written.
const GATHER: usize = 256 * 1024;
/// Colours for the names of several containers (ECMA-48, SGR).
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Where a log is kept.
enum Reader {
    Files(LogReader),
    Journal(JournalReader),
}

/// One container's log.
struct Source {
    id: ContainerId,
    reader: Reader,
    /// What stands before each line.
    prefix: Vec<u8>,
    /// Whether the last piece ended a line.
    at_start: [bool; 2],
    ended: bool,
}

pub(crate) fn logs(args: &LogsArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let query = query(args)?;
    let mut sources = Vec::new();
    for (index, name) in args.containers.iter().enumerate() {
        sources.push(open(&engine, name, &query, (index, args.containers.len()))?);
    }
    let watch = if args.follow {
        let directories = sources.iter().filter_map(|source| match &source.reader {
            Reader::Files(files) => Some(files.directory()),
            Reader::Journal(_) => None,
        });
        Some(Watch::new(&engine.store, directories)?)
    } else {
        None
    };
    let mut out = Output {
        timestamps: args.timestamps,
        details: args.details,
        gathered: Vec::with_capacity(GATHER + 64 * 1024),
        stream: Stream::Stdout,
    };
    loop {
        for source in sources.iter_mut().filter(|source| !source.ended) {
            let more = args.follow && may_grow(&engine.store, &source.id)?;
            let Source {
                reader,
                prefix,
                at_start,
                ..
            } = source;
            let take = &mut |line: &Line<'_>| out.line(line, prefix, at_start);
            let is_over = match reader {
                Reader::Files(files) => {
                    files.read_on(take)?;
                    files.is_over()
                }
                Reader::Journal(journal) => {
                    journal.read_on(more, take)?;
                    journal.is_over()
                }
            };
            source.ended = !more || is_over;
        }
        out.flush()?;
        match &watch {
            Some(watch) if sources.iter().any(|source| !source.ended) => {
                watch.wait(sources.iter().filter_map(|source| match &source.reader {
                    Reader::Journal(journal) if !source.ended => journal.descriptor(),
                    _ => None,
                }))?;
            }
            _ => return Ok(0),
        }
    }
}

fn open(
    engine: &Engine,
    name: &str,
    query: &Query,
    (index, count): (usize, usize),
) -> Result<Source, Failure> {
    let record = list::container(&engine.store, name)?.record;
    let directory = engine.store.container(&record.id);
    let reader = match files(&directory, &record.options.log) {
        Some((form, path)) => Reader::Files(LogReader::open(form, &path, query)?),
        None if record.options.log.driver == LogDriver::Journald => {
            Reader::Journal(JournalReader::new(&record.id, query))
        }
        None => {
            return Err(Failure::new(format!(
                "configured logging driver does not support reading: container {name} has the driver {}",
                record.options.log.driver.name()
            )));
        }
    };
    let prefix = match count {
        1 => Vec::new(),
        _ if std::io::stdout().is_terminal() => {
            let colour = COLOURS[index % COLOURS.len()];
            format!("\x1b[{colour}m{} | \x1b[0m", record.name).into_bytes()
        }
        _ => format!("{} | ", record.name).into_bytes(),
    };
    Ok(Source {
        id: record.id,
        reader,
        prefix,
        at_start: [true, true],
        ended: false,
    })
}

fn query(args: &LogsArgs) -> Result<Query, Failure> {
    let tail = match args.tail.as_str() {
        "all" | "" => None,
        text => match text.parse::<i64>() {
            // Docker: a negative number is all.
            Ok(number) => u64::try_from(number).ok(),
            Err(_) => {
                return Err(Failure::new(format!(
                    "--tail: {text:?} is not a number or \"all\""
                )));
            }
        },
    };
    Ok(Query {
        since: args
            .since
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| moment("--since", text))
            .transpose()?,
        until: args
            .until
            .as_deref()
            .filter(|text| !matches!(*text, "" | "0"))
            .map(|text| moment("--until", text))
            .transpose()?,
        tail,
    })
}

/// A moment as `--since` and `--until` take it.
pub(super) fn moment(flag: &str, text: &str) -> Result<String, Failure> {
    time::parse_moment(text, SystemTime::now())
        .map(time::format)
        .ok_or_else(|| {
            Failure::new(format!(
                "{flag}: {text:?} is not a moment: give RFC 3339, seconds since 1970, or a duration such as 10m"
            ))
        })
}

/// Where the lines go: each to the stream that it came from.
struct Output {
    timestamps: bool,
    details: bool,
    gathered: Vec<u8>,
    /// Where what is gathered belongs.
    stream: Stream,
}

impl Output {
    fn line(&mut self, line: &Line<'_>, prefix: &[u8], at_start: &mut [bool; 2]) -> Result<(), EngineError> {
        if line.stream != self.stream || self.gathered.len() >= GATHER {
            self.flush()?;
            self.stream = line.stream;
        }
        let start = &mut at_start[usize::from(line.stream == Stream::Stderr)];
        if *start {
            self.gathered.extend_from_slice(prefix);
        }
        *start = line.is_whole;
        if self.timestamps {
            self.gathered.extend_from_slice(line.time.as_bytes());
            self.gathered.push(b' ');
        }
        if self.details {
            self.gathered.extend_from_slice(line.attributes.as_bytes());
            self.gathered.push(b' ');
        }
        self.gathered.extend_from_slice(&line.text);
        if line.is_whole {
            self.gathered.push(b'\n');
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        // What the program wrote goes on as it is, text or not.
        let written = match self.stream {
            Stream::Stdout => std::io::stdout()
                .write_all(&self.gathered)
                .and_then(|()| std::io::stdout().flush())
                .map_err(EngineError::store(TO_STANDARD_OUTPUT)),
            Stream::Stderr => {
                std::io::stderr().write_all(&self.gathered).unwrap_or_default();
                Ok(())
            }
        };
        self.gathered.clear();
        written
    }
}
