//! `cais pull`, `cais push`, and the pull of `cais run`.

use super::engine;
use super::image::familiar;
use crate::failure::Failure;
use crate::output::{print, print_error};
use crate::progress::{Progress, Stream, Style};
use cais::cli::{PullArgs, PushArgs, RegistryArgs, RunArgs};
use cais_engine::engine::Engine;
use cais_engine::images::{self, LayerCompression, Pulled, TransferOptions, Watch};
use cais_engine::options::{RootSource, RunOptions};
use cais_image::platform::Platform;
use cais_image::registry::look_up::LookUp;
use cais_image::registry::{Credentials, Overrides, Places, RegistryConfig};

/// How hosts of registries are found.
pub(super) const LOOK_UP: LookUp = LookUp(cais_net::dns::ask::find_addresses);

/// What is configured for registries.
pub(super) fn registry_config(authfile: Option<&str>) -> Result<RegistryConfig, Failure> {
    let rootless = !rustix::process::geteuid().is_root();
    let mut places = Places::from_environment(|name| std::env::var_os(name), rootless);
    if let Some(path) = authfile {
        places.auth_file = Some(path.into());
    }
    RegistryConfig::read(places, LOOK_UP).map_err(|error| Failure::new(error.to_string()))
}

/// Reads `USER:PASSWORD`.
pub(super) fn credentials(text: Option<&String>) -> Result<Option<Credentials>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let (username, password) = text
        .split_once(':')
        .ok_or_else(|| Failure::new("--creds: USER:PASSWORD is wanted"))?;
    Ok(Some(Credentials::Password {
        username: username.to_owned(),
        password: password.to_owned(),
    }))
}

pub(super) fn platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    text.map(|text| {
        text.parse()
            .map_err(|error: cais_image::platform::BadPlatform| Failure::new(error.to_string()))
    })
    .transpose()
}

/// How to speak to registries, by the configuration and the command line.
pub(super) fn transfer_options(args: &RegistryArgs) -> Result<TransferOptions, Failure> {
    let mut options = TransferOptions::new(registry_config(args.authfile.as_deref())?);
    options.overrides = Overrides {
        credentials: credentials(args.creds.as_ref())?,
        insecure: args.insecure,
        certificates: None,
    };
    Ok(options)
}

/// Shows how an image moves.
pub(super) fn progress(args: &RegistryArgs, quiet: bool) -> Progress {
    let style = Style::choose(&args.progress, quiet, Stream::Output);
    Progress::new(style, Stream::Output)
}

pub(crate) fn pull(args: &PullArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let mut options = transfer_options(&args.registry)?;
    options.platform = platform(args.platform.as_deref())?;
    check_trust(args.registry.disable_content_trust)?;
    let progress = progress(&args.registry, args.quiet);
    if args.all_tags {
        let all = images::pull_all_tags(&engine, &args.name, &options, &progress)?;
        if !args.quiet {
            all.iter().try_for_each(|pulled| tell(pulled, &progress))?;
        }
        if let Some(first) = all
            .first()
            .filter(|_| args.registry.progress != "json" || args.quiet)
        {
            let name = first
                .name
                .rsplit_once(':')
                .map_or(first.name.as_str(), |(name, _)| name);
            print(&format!("{name}\n"))?;
        }
        return Ok(0);
    }
    let is_named = args.name.contains('@')
        || args
            .name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':'));
    if !is_named {
        progress.line("Using default tag: latest");
    }
    let pulled = images::pull(&engine, &args.name, &options, &progress)?;
    if !args.quiet {
        tell(&pulled, &progress)?;
    }
    if args.registry.progress != "json" || args.quiet {
        print(&format!("{}\n", pulled.name))?;
    }
    Ok(0)
}

/// The last lines of a pull.
fn tell(pulled: &Pulled, progress: &Progress) -> Result<(), Failure> {
    let status = if pulled.up_to_date {
        "Image is up to date for"
    } else {
        "Downloaded newer image for"
    };
    progress.line(&format!("Digest: {}", pulled.digest));
    progress.line(&format!("Status: {status} {}", familiar(&pulled.name)));
    Ok(())
}

/// Nothing here checks Docker's content trust, and nobody must think so.
fn check_trust(disabled: bool) -> Result<(), Failure> {
    if disabled {
        return Ok(());
    }
    Err(Failure::new(
        "--disable-content-trust=false: content trust is not supported: name the image by its digest",
    ))
}

pub(crate) fn push(args: &PushArgs) -> Result<u8, Failure> {
    let engine = engine()?;
    let options = transfer_options(&args.registry)?;
    check_trust(args.registry.disable_content_trust)?;
    let progress = progress(&args.registry, args.quiet);
    let compression = match args.compression.as_str() {
        "zstd" => LayerCompression::Zstd,
        _ => LayerCompression::Gzip,
    };
    let pushed = if args.all_tags {
        images::push_all_tags(&engine, &args.name, &options, compression, &progress)?
    } else {
        vec![images::push(
            &engine,
            &args.name,
            &options,
            compression,
            &progress,
        )?]
    };
    for pushed in &pushed {
        progress.line(&format!(
            "{}: digest: {} size: {}",
            pushed.tag, pushed.digest, pushed.size
        ));
    }
    if args.quiet {
        print(&format!("{}\n", images::full_name(&args.name)?))?;
    }
    Ok(0)
}

/// Fetches the image of `cais run` as `--pull` says: `always`, where it is `missing`, or
/// `never`. One for another machine than `--platform` says is missing.
pub(super) fn ensure_image(engine: &Engine, options: &mut RunOptions, args: &RunArgs) -> Result<(), Failure> {
    let wanted = platform(args.platform.as_deref()).map_err(|failure| failure.code(125))?;
    if let Some(Err(reason)) = wanted.as_ref().map(images::check_runs) {
        return Err(Failure::new(format!("--platform: what was asked for is {reason}")).code(125));
    }
    let RootSource::Image { name, .. } = &mut options.root else {
        let Some(wanted) = wanted else { return Ok(()) };
        let own = Platform::of_processor();
        return match own.distance(&wanted) {
            None => Err(Failure::new(format!(
                "--platform {wanted}: what runs is this machine's own, which is for {own}"
            ))
            .code(125)),
            Some(_) => Ok(()),
        };
    };
    let when = args.pull.as_deref().unwrap_or("missing");
    let find = |name: &str| {
        let store = images::open(engine).ok()?;
        let image = images::find(&store, name).ok()?;
        let fits = wanted
            .as_ref()
            .is_none_or(|wanted| wanted.distance(&image.platform).is_some());
        Some((image.platform, fits))
    };
    let fits = |name: &str| find(name).is_some_and(|(_, fits)| fits);
    if when != "always" && fits(name) {
        return Ok(());
    }
    // Only a name that is not here is looked up in the configuration: that takes a moment.
    let config = registry_config(None).map_err(|failure| failure.code(125))?;
    if when != "always" {
        let known = config.resolve(name).unwrap_or_default();
        if let Some(known) = known.iter().find(|known| fits(&known.to_string())) {
            *name = known.to_string();
            return Ok(());
        }
        if when == "never" {
            let (Some((other, _)), Some(wanted)) = (find(name), wanted) else {
                return Ok(());
            };
            let text = format!(
                "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {other}"
            );
            return Err(Failure::new(text).code(125));
        }
        if !args.quiet {
            print_error(&format!("Unable to find image '{}' locally\n", familiar(name)));
        }
    }
    let style = Style::choose("auto", args.quiet, Stream::Error);
    let progress = Progress::new(style, Stream::Error);
    let transfer = TransferOptions {
        platform: wanted,
        ..TransferOptions::new(config)
    };
    let pulled = images::pull(engine, name, &transfer, &progress).map_err(Failure::of_start)?;
    if !args.quiet {
        tell(&pulled, &progress)?;
    }
    *name = pulled.name;
    Ok(())
}
