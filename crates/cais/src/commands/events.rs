//! `cais events`.

use super::engine;
use super::logs::moment;
use crate::failure::Failure;
use crate::output::print;
use cais::cli::EventsArgs;
use cais::template::Template;
use cais_engine::EngineError;
use cais_engine::events::{Event, EventQuery, EventReader};
use cais_engine::time;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn events(args: &EventsArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut query = EventQuery {
        since: args
            .since
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| nanoseconds("--since", text))
            .transpose()?,
        until: args
            .until
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(|text| nanoseconds("--until", text))
            .transpose()?,
        filters: Vec::new(),
    };
    for filter in &args.filter {
        query.add_filter(filter)?;
    }
    let template = match args.format.as_deref() {
        None | Some("json" | "") => None,
        Some(text) => Some(
            Template::parse(text)
                .map_err(|error| Failure::new(format!("failed to parse template: {error}")))?,
        ),
    };
    let as_json = args.format.as_deref() == Some("json");
    // Docker: without --since only what comes, unless --until asks for what was.
    let from_beginning = query.since.is_some() || query.until.is_some();
    let mut reader = EventReader::open(&engine.store, from_beginning)?;
    loop {
        let mut text = String::new();
        let mut failed = None;
        reader.read_on(&mut |event| {
            if query.takes(event) {
                match show(event, template.as_ref(), as_json) {
                    Ok(line) => text.push_str(&line),
                    Err(failure) => failed = Some(failure),
                }
            }
            Ok::<(), EngineError>(())
        })?;
        print(&text)?;
        if let Some(failure) = failed {
            return Err(failure);
        }
        let left = match query.until {
            None => None,
            Some(until) => {
                let now = u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX);
                match until.checked_sub(now) {
                    None | Some(0) => return Ok(0),
                    Some(left) => Some(std::time::Duration::from_nanos(left)),
                }
            }
        };
        reader.wait(left)?;
    }
}

fn since_epoch() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(flag: &str, text: &str) -> Result<u64, Failure> {
    let moment = time::parse(&moment(flag, text)?).unwrap_or(UNIX_EPOCH);
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// One event as a line.
fn show(event: &Event, template: Option<&Template>, as_json: bool) -> Result<String, Failure> {
    let value = || cais_json::to_value(event).unwrap_or_default();
    if let Some(template) = template {
        let text = template
            .render(&value())
            .map_err(|error| Failure::new(format!("template: {error}")))?;
        return Ok(text + "\n");
    }
    if as_json {
        return Ok(format!("{}\n", value()));
    }
    let attributes: Vec<String> = event
        .actor
        .attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Ok(format!(
        "{} {} {} {} ({})\n",
        event.moment(),
        event.kind,
        event.action,
        event.actor.id,
        attributes.join(", ")
    ))
}
