//! `cais container prune` and `cais system prune`.

use super::inspect::{Kind, inspect_kind};
use super::network::prune_unused;
use super::{engine, sweep};
use crate::failure::Failure;
use crate::output::{human_size, print};
use cais::cli::{ContainerCommand, ImagePruneArgs, PruneArgs, SystemCommand, SystemPruneArgs};
use cais_engine::engine::Engine;
use cais_engine::prune::{PruneFilter, Pruned, prune_containers};
use cais_engine::{images, volumes};
use std::io::BufRead;
use std::time::SystemTime;

pub(crate) fn container(command: &ContainerCommand) -> Result<u8, Failure> {
    match command {
        ContainerCommand::Inspect(args) => inspect_kind(args, Kind::Container),
        ContainerCommand::Prune(args) => prune(args),
    }
}

pub(crate) fn system(command: &SystemCommand) -> Result<u8, Failure> {
    match command {
        SystemCommand::Prune(args) => prune_all(args),
        SystemCommand::Install(args) => super::boot::install(args),
        SystemCommand::StartAll => super::boot::start_all(),
        SystemCommand::StopAll => super::boot::stop_all(),
        SystemCommand::Df(args) => super::disk::df(args),
        SystemCommand::Check(args) => super::disk::check(args),
    }
}

/// Asks on standard output and reads the answer; anything but y is no.
pub(crate) fn ask(warning: &str) -> Result<bool, Failure> {
    print(&format!(
        "WARNING! {warning}\nAre you sure you want to continue? [y/N] "
    ))?;
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(format!("standard input: {error}")))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

fn prune(args: &PruneArgs) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&args.filter, SystemTime::now())?;
    let engine = engine()?;
    if !args.force && !ask("This will remove all stopped containers.")? {
        return Ok(0);
    }
    sweep(&engine);
    let pruned = prune_containers(&engine, &filter)?;
    show("Deleted Containers:", &pruned)?;
    print(&format!("Total reclaimed space: {}\n", human_size(pruned.freed)))?;
    Ok(0)
}

/// The names of what is gone, under a heading, where anything is.
fn show(heading: &str, pruned: &Pruned) -> Result<(), Failure> {
    if pruned.removed.is_empty() {
        return Ok(());
    }
    print(&format!("{heading}\n{}\n\n", pruned.removed.join("\n")))
}

fn prune_all(args: &SystemPruneArgs) -> Result<u8, Failure> {
    let filter = PruneFilter::parse(&args.filter, SystemTime::now())?;
    let engine = engine()?;
    if !args.force && !ask(&warning(args))? {
        return Ok(0);
    }
    sweep(&engine);
    let pruned = prune_containers(&engine, &filter)?;
    show("Deleted Containers:", &pruned)?;
    let mut freed = pruned.freed;
    // The rules of the firewall are the administrator's to change.
    if !engine.rootless {
        prune_unused(&engine, &filter)?;
    }
    if args.volumes {
        let (removed, bytes) = volumes::prune(&engine, false, &filter)?;
        freed = freed.saturating_add(bytes);
        let removed = Pruned {
            removed,
            freed: bytes,
        };
        show("Deleted Volumes:", &removed)?;
    }
    freed = freed.saturating_add(prune_some_images(&engine, args.all, &filter)?);
    print(&format!("Total reclaimed space: {}\n", human_size(freed)))?;
    Ok(0)
}

pub(crate) fn prune_images(args: &ImagePruneArgs) -> Result<u8, Failure> {
    // Docker's other word for --all, and for its absence.
    let (mut all, mut filters) = (args.all, args.filter.clone());
    filters.retain(|text| match text.as_str() {
        "dangling=false" | "dangling=0" => {
            all = true;
            false
        }
        other => !matches!(other, "dangling=true" | "dangling=1"),
    });
    let filter = PruneFilter::parse(&filters, SystemTime::now())?;
    let engine = engine()?;
    let warning = if all {
        "This will remove all images without at least one container associated to them."
    } else {
        "This will remove all dangling images."
    };
    if !args.force && !ask(warning)? {
        return Ok(0);
    }
    sweep(&engine);
    let freed = prune_some_images(&engine, all, &filter)?;
    print(&format!("Total reclaimed space: {}\n", human_size(freed)))?;
    Ok(0)
}

/// Removes images and says which; returns the bytes that came free.
fn prune_some_images(engine: &Engine, all: bool, filter: &PruneFilter) -> Result<u64, Failure> {
    let (removed, bytes) = images::prune(engine, all, filter)?;
    let lines = removed
        .iter()
        .map(|gone| super::image::removed_line(gone, "untagged", "deleted"))
        .collect();
    show(
        "Deleted Images:",
        &Pruned {
            removed: lines,
            freed: bytes,
        },
    )?;
    Ok(bytes)
}

fn warning(args: &SystemPruneArgs) -> String {
    let images = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let volumes = if args.volumes {
        "  - all anonymous volumes not used by at least one container\n"
    } else {
        ""
    };
    let mut text = format!(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{volumes}  - {images}\n"
    );
    if !args.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for filter in &args.filter {
            text.push_str(&format!("  - {filter}\n"));
        }
    }
    text
}
