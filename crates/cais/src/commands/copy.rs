//! `cais copy` and `cais manifest inspect`.

use super::engine;
use super::transfer::{credentials, platform, progress, transfer_options};
use crate::failure::Failure;
use crate::output::print;
use cais::cli::{CopyArgs, ManifestCommand, ManifestInspectArgs};
use cais_engine::images::{self, CopyOptions, ShownManifest, Unwatched, Watch};
use cais_image::MediaType;
use cais_image::formats::{BadLocation, Location};
use cais_json::{Value, json};

pub(crate) fn copy(args: &CopyArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let location = |text: &str| {
        text.parse::<Location>()
            .map_err(|error: BadLocation| Failure::new(error.to_string()))
    };
    let (from, to) = (location(&args.source)?, location(&args.destination)?);
    let mut options = CopyOptions {
        from: transfer_options(&args.registry)?,
        to: transfer_options(&args.registry)?,
        platform: platform(args.platform.as_deref())?,
        referrers: args.referrers,
    };
    if args.src_creds.is_some() {
        options.from.overrides.credentials = credentials(args.src_creds.as_ref())?;
    }
    if args.dest_creds.is_some() {
        options.to.overrides.credentials = credentials(args.dest_creds.as_ref())?;
    }
    let progress = progress(&args.registry, args.quiet);
    let digest = images::copy_image(&engine, &from, &to, &options, &progress)?;
    if args.quiet {
        print(&format!("{digest}\n"))?;
    }
    progress.line(&format!("Digest: {digest}"));
    Ok(0)
}

pub(crate) fn manifest(command: &ManifestCommand) -> Result<u8, Failure> {
    match command {
        ManifestCommand::Inspect(args) => inspect(args),
    }
}

fn inspect(args: &ManifestInspectArgs) -> Result<u8, Failure> {
    let options = transfer_options(&args.registry)?;
    let found = images::remote_manifests(&args.name, args.verbose, &options, &Unwatched)?;
    let document = |one: &ShownManifest| {
        cais_json::from_slice::<Value>(&one.fetched.bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", one.name)))
    };
    let shown = if args.verbose {
        let mut all = Vec::new();
        for one in &found {
            let kind = match one.fetched.descriptor.media_type.as_str() {
                MediaType::DOCKER_MANIFEST => "SchemaV2Manifest",
                MediaType::MANIFEST => "OCIManifest",
                _ => "OCIIndex",
            };
            all.push(json!({
                "Ref": one.name,
                "Descriptor": cais_json::to_value(&one.fetched.descriptor).unwrap_or_default(),
                kind: document(one)?,
            }));
        }
        match all.len() {
            1 => all.remove(0),
            _ => Value::Array(all),
        }
    } else {
        found.first().map(document).transpose()?.unwrap_or_default()
    };
    print(&(with_tabs(&shown) + "\n"))?;
    Ok(0)
}

/// JSON as Docker's `manifest` prints it.
fn with_tabs(value: &Value) -> String {
    cais_json::to_string_indented(value, "\t")
}
