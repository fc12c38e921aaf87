//! `cais pull`, `cais push`, and the pull of `cais run`.

use super::engine;
use super::image::familiar;
use crate::failure::Failure;
use crate::output::{print, print_error};
use cais::cli::{PullArgs, PushArgs};
use cais_engine::engine::Engine;
use cais_engine::images::{self, TransferOptions};
use cais_engine::options::{RootSource, RunOptions};
use cais_image::Descriptor;
use cais_image::registry::Credentials;

/// Reads `USER:PASSWORD`.
fn credentials(text: Option<&String>) -> Result<Option<Credentials>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let (username, password) = text
        .split_once(':')
        .ok_or_else(|| Failure::new("--creds: USER:PASSWORD is wanted"))?;
    Ok(Some(Credentials::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    }))
}

fn short(blob: &Descriptor) -> &str {
    blob.digest.hex().get(..12).unwrap_or("")
}

pub(crate) fn pull(args: &PullArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let options = TransferOptions {
        credentials: credentials(args.creds.as_ref())?,
        insecure: args.insecure,
        platform: args
            .platform
            .as_deref()
            .map(|text| {
                text.parse()
                    .map_err(|error: cais_image::platform::BadPlatform| Failure::new(error.to_string()))
            })
            .transpose()?,
    };
    let tell = |blob: &Descriptor| {
        if !args.quiet {
            print_error(&format!("{}: Pull complete\n", short(blob)));
        }
    };
    let pulled = images::pull(&engine, &args.name, &options, &tell)?;
    let name = familiar(&pulled.name);
    if args.quiet {
        print(&format!("{}\n", pulled.name))?;
        return Ok(0);
    }
    let status = if pulled.up_to_date {
        "Image is up to date for"
    } else {
        "Downloaded newer image for"
    };
    print(&format!(
        "Digest: {}\nStatus: {status} {name}\n{}\n",
        pulled.digest, pulled.name
    ))?;
    Ok(0)
}

pub(crate) fn push(args: &PushArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let options = TransferOptions {
        credentials: credentials(args.creds.as_ref())?,
        insecure: args.insecure,
        platform: None,
    };
    let tell = |blob: &Descriptor| {
        if !args.quiet {
            print_error(&format!("{}: Pushed\n", short(blob)));
        }
    };
    let digest = images::push(&engine, &args.name, &options, &tell)?;
    print(&if args.quiet {
        format!("{digest}\n")
    } else {
        format!("{}: digest: {digest}\n", args.name)
    })?;
    Ok(0)
}

/// Fetches the image of `cais run` as `--pull` says: `always`, where it is `missing`, or
/// `never`.
pub(super) fn ensure_image(engine: &Engine, options: &RunOptions, when: &str) -> Result<(), Failure> {
    let RootSource::Image { name, .. } = &options.root else {
        return Ok(());
    };
    let is_here = images::open(engine).is_ok_and(|store| images::find(&store, name).is_ok());
    match when {
        "never" => return Ok(()),
        "missing" if is_here => return Ok(()),
        _ => {}
    }
    if !is_here {
        print_error(&format!("Unable to find image '{}' locally\n", familiar(name)));
    }
    let tell = |blob: &Descriptor| print_error(&format!("{}: Pull complete\n", short(blob)));
    images::pull(engine, name, &TransferOptions::default(), &tell)
        .map(drop)
        .map_err(Failure::of_start)
}
