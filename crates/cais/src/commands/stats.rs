//! `cais stats`.

use super::engine;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::StatsArgs;
use cais::template::Format;
use cais_engine::engine::Engine;
use cais_engine::list;
use cais_engine::state::Container;
use cais_engine::units::{bytes_size, human_size};
use cais_engine::usage::{Usage, read_usage};
use cais_json::{Value, json};
use rustix::event::poll;
use rustix::time::Timespec;
use std::collections::HashMap;
use std::time::Duration;

const TABLE: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADINGS: [(&str, &str); 7] = [
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

/// Between two readings of a list that goes on, and of one that is shown once.
const INTERVAL: Duration = Duration::from_secs(1);
const ONCE: Duration = Duration::from_millis(500);

/// What is known of a container at a moment: the name by which it was asked for, and what
/// it uses.
struct Reading {
    asked: String,
    container: Container,
    usage: Option<Usage>,
}

pub(crate) fn stats(args: &StatsArgs) -> Result<u8, Failure> {
    let format = Format::parse(args.format.as_deref(), TABLE)?;
    let engine = engine()?;
    let mut earlier = read(&engine, args)?;
    loop {
        pause(if args.no_stream { ONCE } else { INTERVAL });
        let now = read(&engine, args)?;
        let known: HashMap<&str, &Usage> = earlier
            .iter()
            .filter_map(|reading| {
                let id = reading.container.record.id.as_str();
                Some((id, reading.usage.as_ref()?))
            })
            .collect();
        let rows: Vec<Value> = now
            .iter()
            .map(|reading| {
                let id = reading.container.record.id.as_str();
                row(reading, known.get(id).copied(), args.no_trunc)
            })
            .collect();
        let text = format.render(rows, &HEADINGS)?;
        if args.no_stream {
            print(&text)?;
            return Ok(0);
        }
        // The screen is cleared and written from its beginning.
        print(&format!("\x1b[2J\x1b[H{text}"))?;
        earlier = now;
    }
}

/// Waits: for what a container uses there is no event. Nothing is polled in it.
fn pause(time: Duration) {
    let timeout = Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(1),
        tv_nsec: i64::from(time.subsec_nanos()),
    };
    poll(&mut [], Some(&timeout)).map(drop).unwrap_or_default();
}

fn read(engine: &Engine, args: &StatsArgs) -> Result<Vec<Reading>, Failure> {
    let containers: Vec<(String, Container)> = if args.containers.is_empty() {
        let found = if args.all {
            list::containers(&engine.store)?
        } else {
            list::with_state(&engine.store)?
        };
        found
            .into_iter()
            .filter(|container| args.all || container.is_up())
            .map(|container| (container.record.id.short().to_owned(), container))
            .collect()
    } else {
        let named = args.containers.iter();
        let named = named.map(|name| Ok((name.clone(), list::container(&engine.store, name)?)));
        named.collect::<Result<_, Failure>>()?
    };
    containers
        .into_iter()
        .map(|(asked, container)| {
            Ok(Reading {
                usage: read_usage(&container)?,
                asked,
                container,
            })
        })
        .collect()
}

fn row(reading: &Reading, earlier: Option<&Usage>, whole: bool) -> Value {
    let record = &reading.container.record;
    let id = if whole {
        record.id.as_str()
    } else {
        record.id.short()
    };
    let usage = reading.usage.as_ref();
    let pair = |pick: fn(&Usage) -> (u64, u64)| {
        let (one, other) = usage.map_or((0, 0), pick);
        format!("{} / {}", human_size(one), human_size(other))
    };
    let cpu = usage
        .zip(earlier)
        .map_or(0.0, |(usage, earlier)| usage.cpu_percent(earlier));
    let (memory, limit) = usage.map_or((0, 0), |usage| (usage.memory, usage.memory_limit));
    json!({
        "BlockIO": pair(|usage| usage.block),
        "CPUPerc": format!("{cpu:.2}%"),
        "Container": reading.asked,
        "ID": id,
        "MemPerc": format!("{:.2}%", usage.map_or(0.0, Usage::memory_percent)),
        "MemUsage": format!("{} / {}", bytes_size(memory), bytes_size(limit)),
        "Name": record.name,
        "NetIO": pair(|usage| usage.network),
        "PIDs": usage.map_or(0, |usage| usage.pids).to_string(),
    })
}
