//! `cais run` and `cais create`.

use super::run_options::{no_image, options_of};
use super::{detach_keys, has_terminal, privileged_engine, show_timings, sweep_in_passing, tell_of_sweep};
use crate::failure::Failure;
use crate::output::{print, print_error, program};
use cais::cli::RunArgs;
use cais_engine::engine::Engine;
use cais_engine::id::ContainerId;
use cais_engine::options::{AttachedStream, RunOptions};
use cais_engine::run::{Manner, Outcome, Prepared, create as make, explain, prepare, run as start};

pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let engine = privileged_engine()?;
    let mut options = options_of(args, &engine.config)?;
    if engine.rootless {
        cais_engine::rootless::choose_network(&mut options, !args.network.is_empty())
            .map_err(Failure::of_start)?;
    }
    let takes_input = args.interactive || options.attach.contains(&AttachedStream::Stdin);
    if takes_input && args.tty && !args.detach && !args.explain && !has_terminal() {
        return Err(Failure::no_terminal());
    }
    super::volume::take_mounts(&engine.store, &args.volumes_from, &mut options)
        .map_err(|failure| failure.code(125))?;
    let keys = detach_keys(&engine, options.detach_keys.as_ref())?;
    super::transfer::ensure_image(&engine, &mut options, args)?;
    cais_engine::images::resolve_root(&engine, &mut options).map_err(Failure::of_start)?;
    if args.explain {
        let prepared = prepare(&engine, options, true).map_err(Failure::of_start)?;
        print(&explain(&prepared))?;
        return Ok(0);
    }
    let manner = Manner {
        detach: args.detach,
        interactive: args.interactive,
        shows: [AttachedStream::Stdout, AttachedStream::Stderr].map(|stream| attaches(&options, stream)),
        sig_proxy: args.sig_proxy,
        detach_keys: keys,
        timings: args.timings.then_some(show_timings),
        sweeps: Some(tell_of_sweep),
        farewell: Some(take_leave),
    };
    let started = prepare_new(&engine, options).and_then(|prepared| {
        // Who is shown nothing is told what it is called.
        if !args.detach && manner.shows == [false, false] {
            print(&format!("{}\n", prepared.record.id))?;
        }
        start(&engine, &prepared, &manner).map_err(Failure::of_start)
    });
    if started.is_err() {
        sweep_in_passing(&engine);
    }
    match started? {
        Outcome::Ended(code) => Ok(code),
        Outcome::Detached => Ok(0),
    }
}

/// Says what runs now, to a user who does not watch it, or that the monitor was killed. Returns
/// the exit status.
fn take_leave(id: Option<&ContainerId>) -> u8 {
    match id {
        Some(id) => print(&format!("{id}\n")).map_or_else(|failure| failure.show(), |()| 0),
        None => {
            print_error("cais: the monitor was killed while it started the container\n");
            125
        }
    }
}

/// `cais create`: all that `run` does before the start.
pub(crate) fn create(args: &RunArgs) -> Result<u8, Failure> {
    for (given, flag) in [
        (args.detach, "--detach"),
        (args.explain, "--explain"),
        (args.timings, "--timings"),
        (!args.sig_proxy, "--sig-proxy"),
        (args.detach_keys.is_some(), "--detach-keys"),
    ] {
        if given {
            let text = format!("{flag}: create starts nothing: give it to `{} start`", program());
            return Err(Failure::new(text).code(125));
        }
    }
    if args.words.is_empty() && args.rootfs.is_none() {
        return Err(no_image("create"));
    }
    let engine = privileged_engine()?;
    let mut options = options_of(args, &engine.config)?;
    if engine.rootless {
        cais_engine::rootless::choose_network(&mut options, !args.network.is_empty())
            .map_err(Failure::of_start)?;
    }
    super::volume::take_mounts(&engine.store, &args.volumes_from, &mut options)?;
    super::transfer::ensure_image(&engine, &mut options, args)?;
    // Docker's code for what the engine refuses is 1 here, and 125 with `run`.
    cais_engine::images::resolve_root(&engine, &mut options)?;
    sweep_in_passing(&engine);
    let prepared = prepare_new(&engine, options).map_err(|failure| failure.code(1))?;
    let id = make(&engine, &prepared)?;
    print(&format!("{id}\n"))?;
    Ok(0)
}

/// Whether a stream is shown or given: without `--attach` all are.
fn attaches(options: &RunOptions, stream: AttachedStream) -> bool {
    options.attach.is_empty() || options.attach.contains(&stream)
}

/// Prepares a new container, and writes its id where `--cidfile` says.
fn prepare_new(engine: &Engine, options: RunOptions) -> Result<Prepared, Failure> {
    let cidfile = options.cidfile.clone();
    if let Some(path) = cidfile.as_ref().filter(|path| path.exists()) {
        let text = format!(
            "--cidfile: {} is there already: remove it, or name another file",
            path.display()
        );
        return Err(Failure::new(text).code(125));
    }
    for finding in cais_engine::network::check::first_warnings(&engine.store, &options) {
        let text = format!("{}; to let them through: {}", finding.what, finding.remedy);
        print_error(&format!("{}: warning: {text}\n", program()));
    }
    let prepared = prepare(engine, options, false).map_err(Failure::of_start)?;
    for warning in &prepared.plan.warnings {
        print_error(&format!("{}: warning: {warning}\n", program()));
    }
    if let Some(path) = cidfile {
        std::fs::write(&path, prepared.record.id.as_str()).map_err(|error| {
            Failure::new(format!("--cidfile: cannot write {}: {error}", path.display())).code(125)
        })?;
    }
    Ok(prepared)
}
