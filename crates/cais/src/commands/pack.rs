//! `cais pack`.

mod report;
mod trace;

use super::engine;
use crate::failure::Failure;
use crate::output::{print, print_error};
use cais::cli::PackArgs;
use cais_engine::images::{self, PackOptions};
use cais_engine::options::{process, signal};
use cais_image::manifest::config::{ContainerConfig, Empty};
use cais_image::pack::{ArchiveOptions, Collected, DEFAULT_PATH, Request};
use std::path::{Component, Path, PathBuf};

pub(crate) fn pack(args: &PackArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut config = config_of(args)?;
    let options = archive_options(args)?;
    let mut request = request_of(args, &config)?;
    let host = images::open_tree(Path::new(&args.root))?;
    let mut collected = images::collect_files(&host, &request)?;
    complete(&mut config, args, &collected);
    if !args.trace.is_empty() {
        trace::trace_all(args, &config, &collected, &mut request)?;
        collected = images::collect_files(&host, &request)?;
    }
    check_secrets(args, &collected)?;
    warn(args, &collected);
    config.env.extend(collected.env.iter().cloned());
    let options = PackOptions {
        tag: args.tag.clone(),
        config,
        archive: options,
        created_by: created_by(args),
    };
    if args.dry_run {
        report::show(args, &collected, None)?;
        return Ok(0);
    }
    let packed = images::pack(&engine, &host, &collected, &options)?;
    if args.quiet {
        print(&format!("{}\n", packed.id))?;
    } else {
        report::show(args, &collected, Some(&packed))?;
    }
    Ok(0)
}

/// What is to be collected.
fn request_of(args: &PackArgs, config: &ContainerConfig) -> Result<Request, Failure> {
    let of_image = |name: &str| {
        let variables = config.env.iter().rev();
        let mut found = variables.filter_map(|variable| variable.split_once('='));
        found
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let mut programs = Vec::new();
    for program in &args.programs {
        // A path is one of this machine's, wherever the command is given.
        programs.push(match program.contains('/') {
            true => absolute(program)?.display().to_string(),
            false => program.clone(),
        });
    }
    Ok(Request {
        programs,
        path: std::env::var("PATH").unwrap_or_default(),
        files: args
            .files
            .iter()
            .map(|text| parse_file(text))
            .collect::<Result<_, _>>()?,
        exclude: args.exclude.clone(),
        uses: Vec::new(),
        packages: args.deb,
        named_packages: args.package.clone(),
        configuration: !args.no_config,
        library_path: of_image("LD_LIBRARY_PATH").unwrap_or_default(),
        user: args.user.clone().unwrap_or_default(),
    })
}

/// Reads `PATH[:PLACE]`.
fn parse_file(text: &str) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let (from, to) = match text.rsplit_once(':') {
        // A file may have a colon in its name.
        Some((from, to)) if to.starts_with('/') && !Path::new(text).exists() => (from, Some(to)),
        _ => (text, None),
    };
    let to = to.map(clean).transpose()?;
    Ok((absolute(from)?, to))
}

/// An absolute path without `.` and `..`.
fn clean(text: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(text);
    let is_plain = path
        .components()
        .all(|component| matches!(component, Component::RootDir | Component::Normal(_)));
    if is_plain && path != Path::new("/") {
        return Ok(path.components().collect());
    }
    Err(Failure::new(format!("--file: {text} is no place in an image")).code(125))
}

fn absolute(text: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(text).map_err(|error| Failure::new(format!("{text}: {error}")).code(125))
}

/// A JSON array, or words as a shell splits them without quotes.
fn words(flag: &str, text: &str) -> Result<Vec<String>, Failure> {
    if text.trim_start().starts_with('[') {
        return cais_json::from_str(text)
            .map_err(|error| Failure::new(format!("{flag}: {text}: {error}")).code(125));
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The configuration as far as the command line says it.
fn config_of(args: &PackArgs) -> Result<ContainerConfig, Failure> {
    let own = |name: &str| std::env::var(name).ok();
    let mut config = ContainerConfig {
        user: args.user.clone().unwrap_or_default(),
        working_dir: args.workdir.clone().unwrap_or_default(),
        ..ContainerConfig::default()
    };
    for text in &args.env {
        let entry = process::parse_env(text, &own)?;
        config.env.extend(Some(entry).filter(|entry| entry.contains('=')));
    }
    for text in &args.expose {
        config.exposed_ports.insert(port(text)?, Empty);
    }
    for text in &args.volume {
        config.volumes.insert(text.clone(), Empty);
    }
    for text in &args.label {
        let (key, value) = process::parse_label(text)?;
        config.labels.insert(key, value);
    }
    if let Some(text) = &args.stop_signal {
        config.stop_signal = Some(signal::check_signal(text)?);
    }
    if let Some(text) = &args.entrypoint {
        config.entrypoint = Some(match text.trim_start().starts_with('[') {
            true => words("--entrypoint", text)?,
            false => vec![text.clone()],
        });
    }
    if let Some(text) = &args.cmd {
        config.cmd = Some(words("--cmd", text)?);
    }
    Ok(config)
}

/// Checks `PORT[/PROTOCOL]`.
fn port(text: &str) -> Result<String, Failure> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_port = number.parse::<u16>().is_ok_and(|number| number > 0);
    if is_port && ["tcp", "udp", "sctp"].contains(&protocol) {
        return Ok(format!("{number}/{protocol}"));
    }
    Err(Failure::new(format!("--expose: {text} is not of the form PORT[/tcp|udp|sctp]")).code(125))
}

/// What a container runs, unless that was said: the first program.
fn complete(config: &mut ContainerConfig, args: &PackArgs, collected: &Collected) {
    if !config.env.iter().any(|variable| variable.starts_with("PATH=")) {
        config.env.insert(0, format!("PATH={}", search_path(collected)));
    }
    let first = collected
        .programs
        .first()
        .map(|program| program.display().to_string());
    match (&config.entrypoint, &config.cmd) {
        (Some(_), None) => config.cmd = Some(args.args.clone()).filter(|args| !args.is_empty()),
        (None, None) => config.cmd = Some(first.into_iter().chain(args.args.iter().cloned()).collect()),
        _ => {}
    }
}

/// Where programs are looked for: as usual, after where those are that are elsewhere.
fn search_path(collected: &Collected) -> String {
    let usual: Vec<&str> = DEFAULT_PATH.split(':').collect();
    let mut places: Vec<&str> = Vec::new();
    for place in collected
        .programs
        .iter()
        .filter_map(|path| path.parent()?.to_str())
    {
        if !usual.contains(&place) && !places.contains(&place) {
            places.push(place);
        }
    }
    places.extend(usual);
    places.join(":")
}

fn archive_options(args: &PackArgs) -> Result<ArchiveOptions, Failure> {
    let latest = match std::env::var("SOURCE_DATE_EPOCH") {
        Err(_) => None,
        Ok(text) => Some(text.parse().map_err(|_error| {
            Failure::new(format!("SOURCE_DATE_EPOCH: {text:?} is no number of seconds")).code(125)
        })?),
    };
    Ok(ArchiveOptions {
        keep_setuid: args.keep_setuid,
        keep_capabilities: args.keep_capabilities,
        latest,
    })
}

fn check_secrets(args: &PackArgs, collected: &Collected) -> Result<(), Failure> {
    if collected.secrets.is_empty() || args.allow_secrets {
        return Ok(());
    }
    let lines: String = collected
        .secrets
        .iter()
        .map(|secret| format!("\n  {}: {}", secret.path.display(), secret.why))
        .collect();
    Err(Failure::new(format!(
        "these files look like secrets, which an image would give to whoever has it:{lines}\n\
         leave them out with --exclude PATH, or pack them all the same with --allow-secrets"
    )))
}

fn warn(args: &PackArgs, collected: &Collected) {
    for secret in &collected.secrets {
        let (path, why) = (secret.path.display(), secret.why);
        print_error(&format!("cais: warning: {path} looks like a secret: {why}\n"));
    }
    for text in &collected.warnings {
        print_error(&format!("cais: warning: {text}\n"));
    }
    for path in collected.capable.iter().filter(|_| !args.keep_capabilities) {
        let path = path.display();
        print_error(&format!(
            "cais: warning: {path} loses its capabilities (--keep-capabilities keeps them)\n"
        ));
    }
    for path in collected.privileged.iter().filter(|_| !args.keep_setuid) {
        let path = path.display();
        print_error(&format!(
            "cais: warning: {path} loses its set-user-id or set-group-id bit (--keep-setuid keeps it)\n"
        ));
    }
}

/// How the image was made: the words that decide what is in it.
fn created_by(args: &PackArgs) -> String {
    let mut words = vec!["cais".to_owned(), "pack".to_owned()];
    words.extend(args.programs.iter().cloned());
    words.extend(args.files.iter().map(|file| format!("--file {file}")));
    words.join(" ")
}
