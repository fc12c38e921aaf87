//! `cais logs`.

use super::engine;
use crate::failure::Failure;
use crate::output::print_error;
use cais::cli::LogsArgs;
use cais_engine::log::{self, Entry, Stream};
use cais_engine::{EngineError, follow, names};
use std::collections::VecDeque;
use std::io::Write;

pub(crate) fn logs(args: &LogsArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let id = names::find(&engine.store, &args.container)?;
    let tail = match args.tail.as_str() {
        "all" => None,
        text => {
            let number = text.parse::<usize>();
            Some(number.or(Err(Failure::new(format!(
                "--tail: {text:?} is not a number or \"all\""
            ))))?)
        }
    };
    let path = log::path(&engine.store.container(&id));
    let show = |entry: &Entry| show(entry, args.timestamps);
    let mut seen = 0usize;
    let mut last: VecDeque<Entry> = VecDeque::new();
    log::read(&path, |entry| {
        seen += 1;
        match tail {
            None => show(&entry)?,
            Some(count) => {
                last.push_back(entry);
                if last.len() > count {
                    last.pop_front();
                }
            }
        }
        Ok(())
    })?;
    last.iter().try_for_each(&show)?;
    if args.follow {
        follow::follow(&engine.store, &id, &path, seen, &mut |entry| show(entry))?;
    }
    Ok(0)
}

/// Shows one entry on the stream that it came from.
fn show(entry: &Entry, timestamps: bool) -> Result<(), EngineError> {
    let text = if timestamps {
        format!("{} {}", entry.time, entry.log)
    } else {
        entry.log.clone()
    };
    match entry.stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(EngineError::store("write to standard output"))
        }
        Stream::Stderr => {
            print_error(&text);
            Ok(())
        }
    }
}
