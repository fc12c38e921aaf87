//! `cais ps`.

use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::{print, table};
use cais::cli::PsArgs;
use cais_engine::list::containers;
use cais_engine::options::RootSource;
use cais_engine::record::Exit;
use cais_engine::state::{Container, Status};
use cais_engine::time;
use serde_json::json;
use std::time::SystemTime;

pub(crate) fn ps(args: &PsArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    sweep(&engine);
    let mut all = containers(&engine.store)?;
    all.retain(|container| {
        args.all || matches!(container.status, Status::Restarting(_)) || container.is_running()
    });
    if args.quiet {
        let ids = all.iter().map(|container| id(container, args.no_trunc));
        print(&ids.fold(String::new(), |text, id| text + id + "\n"))?;
        return Ok(0);
    }
    if args.format.as_deref() == Some("json") {
        for container in &all {
            let object = json!({
                "ID": id(container, args.no_trunc),
                "Image": image(container),
                "Command": command(container, args.no_trunc),
                "CreatedAt": container.record.created,
                "Status": status(container),
                "State": state(container),
                "Names": container.record.name,
            });
            print(&format!("{object}\n"))?;
        }
        return Ok(0);
    }
    let heading = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"]
        .map(str::to_owned)
        .to_vec();
    let rows = all.iter().map(|container| {
        vec![
            id(container, args.no_trunc).to_owned(),
            image(container),
            command(container, args.no_trunc),
            format!("{} ago", since(&container.record.created)),
            status(container),
            container.record.name.clone(),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    print(&table(&rows))?;
    Ok(0)
}

fn id(container: &Container, whole: bool) -> &str {
    if whole {
        container.record.id.as_str()
    } else {
        container.record.id.short()
    }
}

/// The image, or the directory that is the root.
pub(super) fn image(container: &Container) -> String {
    match &container.record.options.root {
        RootSource::Host => "host".to_owned(),
        RootSource::Image { name, .. } => name.clone(),
        RootSource::Directory { path, .. } => path.display().to_string(),
    }
}

fn command(container: &Container, whole: bool) -> String {
    let options = &container.record.options;
    let words: Vec<&str> = options
        .entrypoint
        .iter()
        .flatten()
        .chain(&options.command)
        .map(String::as_str)
        .collect();
    let text = words.join(" ");
    if whole || text.chars().count() <= 20 {
        return format!("\"{text}\"");
    }
    format!("\"{}…\"", text.chars().take(19).collect::<String>())
}

/// Docker's word for what a container is doing.
pub(super) fn state(container: &Container) -> &'static str {
    match container.status {
        Status::Created => "created",
        Status::Running { .. } => "running",
        Status::Paused { .. } => "paused",
        Status::Restarting(_) => "restarting",
        Status::Exited(_) => "exited",
    }
}

fn status(container: &Container) -> String {
    match &container.status {
        Status::Created => "Created".to_owned(),
        Status::Running { started, .. } => format!("Up {}", since(started)),
        Status::Paused { started, .. } => format!("Up {} (Paused)", since(started)),
        Status::Restarting(exit) => format!("Restarting ({}) {} ago", code(exit), since(&exit.finished)),
        Status::Exited(exit) if exit.finished.is_empty() => format!("Exited ({})", code(exit)),
        Status::Exited(exit) => format!("Exited ({}) {} ago", code(exit), since(&exit.finished)),
    }
}

/// The exit code, or that nobody saw it.
fn code(exit: &Exit) -> String {
    exit.code.map_or("unknown".to_owned(), |code| code.to_string())
}

/// How long ago a moment was, in Docker's words.
pub(super) fn since(moment: &str) -> String {
    let elapsed = time::parse(moment).and_then(|moment| SystemTime::now().duration_since(moment).ok());
    let seconds = elapsed.map_or(0, |elapsed| elapsed.as_secs());
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => "Less than a second".to_owned(),
        (0, 0, 0, 1) => "1 second".to_owned(),
        (0, 0, 0, seconds) => format!("{seconds} seconds"),
        (0, 0, 1, _) => "About a minute".to_owned(),
        (0, 0, minutes, _) => format!("{minutes} minutes"),
        (0, 1, ..) => "About an hour".to_owned(),
        (days, hours, ..) if days < 2 => format!("{hours} hours"),
        (days, ..) if days < 14 => format!("{days} days"),
        (days, ..) if days < 60 => format!("{} weeks", days / 7),
        (days, ..) if days < 730 => format!("{} months", days / 30),
        (days, ..) => format!("{} years", days / 365),
    }
}
