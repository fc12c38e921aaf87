//! The commands about images.

use super::engine;
use super::inspect::{Kind, inspect_kind};
use crate::failure::Failure;
use crate::output::{human_size, print, print_error, table};
use cais::cli::{HistoryArgs, ImageCommand, ImagesArgs, LoadArgs, RmiArgs, SaveArgs, TagArgs};
use cais_engine::EngineError;
use cais_engine::budget::keep_budget;
use cais_engine::describe::since;
use cais_engine::images::{self, Removed};
use cais_image::store::Image;
use cais_image::{Digest, Reference};
use serde_json::json;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::SystemTime;

pub(crate) fn image(command: &ImageCommand) -> Result<u8, Failure> {
    match command {
        ImageCommand::Inspect(args) => inspect_kind(args, Kind::Image),
        ImageCommand::Prune(args) => super::prune::prune_images(args),
        ImageCommand::Ls(args) => list(args),
        ImageCommand::Rm(args) => remove(args),
    }
}

/// One line of the list: an image by one of its names.
struct Row<'a> {
    image: &'a Image,
    repository: String,
    tag: String,
}

fn rows<'a>(images: &'a [Image], args: &ImagesArgs) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for image in images {
        for name in &image.names {
            let Ok(reference) = name.parse::<Reference>() else {
                continue;
            };
            rows.push(Row {
                image,
                repository: reference.familiar_name(),
                tag: reference.tag.unwrap_or_else(|| "<none>".to_owned()),
            });
        }
        if image.names.is_empty() && (args.all || args.name.is_none()) {
            rows.push(Row {
                image,
                repository: "<none>".to_owned(),
                tag: "<none>".to_owned(),
            });
        }
    }
    if let Some(wanted) = &args.name {
        let (repository, tag) = match wanted.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
            _ => (wanted.as_str(), None),
        };
        rows.retain(|row| row.repository == repository && tag.is_none_or(|tag| row.tag == tag));
    }
    rows
}

pub(crate) fn list(args: &ImagesArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let store = images::open(&engine)?;
    let mut all = store.images().map_err(EngineError::image("list the images"))?;
    all.sort_by(|one, other| other.created.cmp(&one.created));
    let rows = rows(&all, args);
    let id = |digest: &Digest| {
        if args.no_trunc {
            digest.to_string()
        } else {
            digest.hex().get(..12).unwrap_or("").to_owned()
        }
    };
    if args.quiet {
        let ids: String = rows.iter().map(|row| id(&row.image.id) + "\n").collect();
        print(&ids)?;
        return Ok(0);
    }
    let created = |image: &Image| match &image.created {
        Some(created) => format!("{} ago", since(created, SystemTime::now())),
        None => "N/A".to_owned(),
    };
    if args.format.as_deref() == Some("json") {
        for row in &rows {
            let object = json!({
                "ID": id(&row.image.id),
                "Repository": row.repository,
                "Tag": row.tag,
                "Digest": row.image.target.digest,
                "CreatedAt": row.image.created,
                "CreatedSince": created(row.image),
                "Size": human_size(row.image.size),
            });
            print(&format!("{object}\n"))?;
        }
        return Ok(0);
    }
    let mut heading = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        heading.insert(2, "DIGEST");
    }
    let mut lines = vec![heading.into_iter().map(str::to_owned).collect()];
    for row in &rows {
        let mut line = vec![
            row.repository.clone(),
            row.tag.clone(),
            id(&row.image.id),
            created(row.image),
            human_size(row.image.size),
        ];
        if args.digests {
            line.insert(2, row.image.target.digest.to_string());
        }
        lines.push(line);
    }
    print(&table(&lines))?;
    Ok(0)
}

pub(crate) fn load(args: &LoadArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Failure::new(format!("standard input: {error}")))?;
    if args.input.is_none() && rustix::termios::isatty(std::io::stdin()) {
        return Err(Failure::new(
            "standard input is a terminal: give an archive with --input, or by < FILE",
        ));
    }
    let loaded = images::load(&engine, args.input.as_deref().map(Path::new), File::from(input))?;
    let spared: Vec<Digest> = loaded.iter().map(|image| image.id.clone()).collect();
    for message in keep_budget(&engine, &spared)?.messages() {
        print_error(&format!("{message}\n"));
    }
    for image in loaded {
        if args.quiet {
            continue;
        }
        if image.names.is_empty() {
            print(&format!("Loaded image ID: {}\n", image.id))?;
        }
        for name in &image.names {
            print(&format!("Loaded image: {}\n", familiar(name)))?;
        }
    }
    Ok(0)
}

/// A full name as users write it.
pub(crate) fn familiar(name: &str) -> String {
    name.parse::<Reference>()
        .map_or_else(|_bad| name.to_owned(), |reference| reference.familiar())
}

pub(crate) fn save(args: &SaveArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let oci = args.format == "oci-archive";
    match &args.output {
        Some(path) => {
            let file =
                File::create(path).map_err(|error| Failure::new(format!("cannot write {path}: {error}")))?;
            let saved = images::save(&engine, &args.images, oci, file);
            if saved.is_err() {
                // Half an archive is none.
                std::fs::remove_file(path).unwrap_or_default();
            }
            saved?;
        }
        None if rustix::termios::isatty(std::io::stdout()) => {
            return Err(Failure::new(
                "standard output is a terminal: give a file with --output, or by > FILE",
            ));
        }
        None => images::save(&engine, &args.images, oci, std::io::stdout())?,
    }
    Ok(0)
}

pub(crate) fn tag(args: &TagArgs) -> Result<u8, Failure> {
    images::tag(&engine()?, &args.image, &args.name)?;
    Ok(0)
}

fn show_removed(removed: &Removed) -> Result<(), Failure> {
    for name in &removed.untagged {
        print(&format!("Untagged: {}\n", familiar(name)))?;
    }
    for id in &removed.deleted {
        print(&format!("Deleted: {id}\n"))?;
    }
    Ok(())
}

pub(crate) fn remove(args: &RmiArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut code = 0;
    for name in &args.images {
        match images::remove(&engine, name) {
            Ok(removed) => show_removed(&removed)?,
            Err(EngineError::Image { source, .. })
                if args.force && matches!(*source, cais_image::store::StoreError::NoImage(_)) => {}
            Err(error) => code = Failure::from(error).show(),
        }
    }
    Ok(code)
}

pub(crate) fn history(args: &HistoryArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let store = images::open(&engine)?;
    let image = images::find(&store, &args.image)?;
    let config = store
        .config(&image.id)
        .map_err(EngineError::image("read the image's configuration"))?;
    let mut layers = image.diff_ids.iter();
    let mut lines = Vec::new();
    for step in &config.history {
        let bytes = match step.empty_layer {
            true => 0,
            false => layers
                .next()
                .and_then(|diff_id| store.layer_meta(diff_id).ok().flatten())
                .map_or(0, |meta| meta.size),
        };
        let by = step
            .created_by
            .clone()
            .unwrap_or_default()
            .replace(['\t', '\n'], " ");
        let by = if args.no_trunc || by.chars().count() <= 45 {
            by
        } else {
            by.chars().take(44).collect::<String>() + "…"
        };
        let created = step.created.as_ref().map_or_else(
            || "N/A".to_owned(),
            |created| format!("{} ago", since(created, SystemTime::now())),
        );
        lines.push(vec![
            created,
            by,
            human_size(bytes),
            step.comment.clone().unwrap_or_default(),
        ]);
    }
    lines.push(
        ["CREATED", "CREATED BY", "SIZE", "COMMENT"]
            .map(str::to_owned)
            .to_vec(),
    );
    lines.reverse();
    print(&table(&lines))?;
    Ok(0)
}
