//! Images and trees as archives: `load`, `save`, `import`, `export`.

use super::engine;
use super::image::familiar;
use super::transfer::platform;
use crate::failure::Failure;
use crate::output::{print, print_error};
use crate::progress::{Progress, Stream, Style};
use cais::cli::{ExportArgs, ImportArgs, LoadArgs, SaveArgs};
use cais_engine::budget::keep_budget;
use cais_engine::images::{self, ImportOptions};
use cais_image::manifest::config::ContainerConfig;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Standard input as a file; nobody types an archive.
fn standard_input() -> Result<File, Failure> {
    if rustix::termios::isatty(std::io::stdin()) {
        return Err(Failure::new(
            "standard input is a terminal: name a file, or give one by < FILE",
        ));
    }
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    input
        .map(File::from)
        .map_err(|error| Failure::new(format!("standard input: {error}")))
}

/// Writes an archive to a file, or to standard output. Half an archive is none.
fn write_to<E>(path: Option<&str>, write: impl FnOnce(&mut dyn Write) -> Result<(), E>) -> Result<(), Failure>
where
    Failure: From<E>,
{
    match path {
        Some(path) => {
            // For its owner alone, as Docker does: there may be secrets in it.
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let opened = options.open(path);
            let mut file = opened.map_err(|error| Failure::new(format!("cannot write {path}: {error}")))?;
            let written = write(&mut file);
            if written.is_err() {
                std::fs::remove_file(path).unwrap_or_default();
            }
            written?;
        }
        None if rustix::termios::isatty(std::io::stdout()) => {
            return Err(Failure::new(
                "standard output is a terminal: give a file with --output, or by > FILE",
            ));
        }
        None => write(&mut std::io::stdout())?,
    }
    Ok(())
}

pub(crate) fn load(args: &LoadArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let platform = platform(args.platform.as_deref())?;
    let path = args.input.as_deref().filter(|path| *path != "-").map(Path::new);
    let input = match path {
        // It is not read then.
        Some(_) => File::open("/dev/null").map_err(|error| Failure::new(error.to_string()))?,
        None => standard_input()?,
    };
    // Who reads what is printed reads the names.
    let style = match Style::choose("auto", args.quiet, Stream::Error) {
        Style::Terminal => Style::Terminal,
        _ => Style::Quiet,
    };
    let progress = Progress::new(style, Stream::Error);
    let loaded = images::load(&engine, path, input, platform.as_ref(), &progress)?;
    let spared: Vec<_> = loaded.iter().map(|image| image.id.clone()).collect();
    for message in keep_budget(&engine, &spared)?.messages() {
        print_error(&format!("{message}\n"));
    }
    for image in loaded {
        if image.names.is_empty() {
            print(&format!("Loaded image ID: {}\n", image.id))?;
        }
        for name in &image.names {
            print(&format!("Loaded image: {}\n", familiar(name)))?;
        }
    }
    Ok(0)
}

pub(crate) fn save(args: &SaveArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let oci = args.format == "oci-archive";
    write_to(args.output.as_deref(), |output| {
        images::save(&engine, &args.images, oci, output)
    })?;
    Ok(0)
}

pub(crate) fn export(args: &ExportArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    write_to(args.output.as_deref(), |output| {
        images::export(&engine, &args.container, output)
    })?;
    Ok(0)
}

pub(crate) fn import(args: &ImportArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut config = ContainerConfig::default();
    for text in &args.change {
        images::apply_change(&mut config, text)
            .map_err(|error| Failure::new(format!("--change {text:?}: {error}")))?;
    }
    let options = ImportOptions {
        name: args.name.clone(),
        config,
        message: args.message.clone(),
        platform: platform(args.platform.as_deref())?,
    };
    let is_address = args.source.starts_with("http://") || args.source.starts_with("https://");
    let input: Box<dyn Read + Send> = match args.source.as_str() {
        "-" => Box::new(standard_input()?),
        url if is_address => cais_image::registry::fetch_url(url, super::transfer::LOOK_UP)
            .map_err(|error| Failure::new(format!("cannot fetch the archive: {error}")))?,
        path => Box::new(images::open_input(Path::new(path))?),
    };
    let id = images::import(&engine, input, &options)?;
    print(&format!("{id}\n"))?;
    Ok(0)
}
